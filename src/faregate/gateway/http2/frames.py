"""HTTP/2 frames as bytes: the numbers of RFC 9113, what we tell a peer first, and how frames are written.

Pure: no state, no sockets. Who may send which frame when is the connections' affair.
"""

import struct
from typing import Final

DATA: Final = 0x0
HEADERS: Final = 0x1
PRIORITY: Final = 0x2
RST_STREAM: Final = 0x3
SETTINGS: Final = 0x4
PUSH_PROMISE: Final = 0x5
PING: Final = 0x6
GOAWAY: Final = 0x7
WINDOW_UPDATE: Final = 0x8
CONTINUATION: Final = 0x9

END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
HAS_PRIORITY: Final = 0x20

NO_ERROR: Final = 0x0
PROTOCOL_ERROR: Final = 0x1
INTERNAL_ERROR: Final = 0x2
FLOW_CONTROL_ERROR: Final = 0x3
STREAM_CLOSED: Final = 0x5
FRAME_SIZE_ERROR: Final = 0x6
REFUSED_STREAM: Final = 0x7
CANCEL: Final = 0x8
COMPRESSION_ERROR: Final = 0x9
ENHANCE_YOUR_CALM: Final = 0xB

HEADER_TABLE_SIZE: Final = 0x1
ENABLE_PUSH: Final = 0x2
MAX_CONCURRENT_STREAMS: Final = 0x3
INITIAL_WINDOW_SIZE: Final = 0x4
MAX_FRAME_SIZE: Final = 0x5
MAX_HEADER_LIST_SIZE: Final = 0x6

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD_BYTES: Final = 9
FRAME_BYTES_MAX: Final = 16 << 10
"""Of a payload, both ways: the smallest that RFC 9113 section 4.2 allows."""
WINDOW_MAX: Final = 2**31 - 1
DEFAULT_WINDOW_BYTES: Final = 65_535
STREAM_WINDOW_BYTES: Final = 64 << 10
CONNECTION_WINDOW_BYTES: Final = 1 << 20
STREAMS_MAX: Final = 100
TABLE_BYTES_MAX: Final = 4096
"""Of the tables of both directions, whatever the peer would allow us."""
HEADER_LIST_BYTES_MAX: Final = 64 << 10
_TABLE_BYTES_SILLY: Final = 2**31
_HEAD: Final = struct.Struct(">HBBBI")
_pack: Final = _HEAD.pack


class ConnectionFault(Exception):  # noqa: N818 - what it is
    """The whole connection must end. ``code`` goes into GOAWAY, ``args[0]`` is the reason word."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """One whole frame; ``payload`` at most 16 MiB - 1."""
    length = len(payload)
    return _pack(length >> 8, length & 0xFF, kind, flags, stream) + payload


def field_block(stream: int, block: bytes, frame_bytes_max: int, *, end_stream: bool) -> bytes:
    """HEADERS and as many CONTINUATION frames as ``block`` needs."""
    flags = END_STREAM if end_stream else 0
    if len(block) <= frame_bytes_max:
        return frame(HEADERS, flags | END_HEADERS, stream, block)
    pieces = [frame(HEADERS, flags, stream, block[:frame_bytes_max])]
    at = frame_bytes_max
    while at < len(block):
        piece = block[at : at + frame_bytes_max]
        at += frame_bytes_max
        pieces.append(frame(CONTINUATION, END_HEADERS if at >= len(block) else 0, stream, piece))
    return b"".join(pieces)


def rst_stream(stream: int, code: int) -> bytes:
    return frame(RST_STREAM, 0, stream, code.to_bytes(4, "big"))


def window_update(stream: int, increment: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, increment.to_bytes(4, "big"))


def goaway(last_stream: int, code: int) -> bytes:
    """Without debug data: it would tell an attacker which guard it met."""
    return frame(GOAWAY, 0, 0, last_stream.to_bytes(4, "big") + code.to_bytes(4, "big"))


def settings(values: dict[int, int]) -> bytes:
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *pair) for pair in values.items()))


SERVER_START: Final = settings(
    {
        HEADER_TABLE_SIZE: TABLE_BYTES_MAX,
        ENABLE_PUSH: 0,
        MAX_CONCURRENT_STREAMS: STREAMS_MAX,
        INITIAL_WINDOW_SIZE: STREAM_WINDOW_BYTES,
        MAX_FRAME_SIZE: FRAME_BYTES_MAX,
        MAX_HEADER_LIST_SIZE: HEADER_LIST_BYTES_MAX,
    }
) + window_update(0, CONNECTION_WINDOW_BYTES - DEFAULT_WINDOW_BYTES)
CLIENT_START: Final = (
    PREFACE
    + settings(
        {
            HEADER_TABLE_SIZE: TABLE_BYTES_MAX,
            ENABLE_PUSH: 0,
            MAX_CONCURRENT_STREAMS: 0,
            INITIAL_WINDOW_SIZE: STREAM_WINDOW_BYTES,
            MAX_FRAME_SIZE: FRAME_BYTES_MAX,
            MAX_HEADER_LIST_SIZE: HEADER_LIST_BYTES_MAX,
        }
    )
    + window_update(0, CONNECTION_WINDOW_BYTES - DEFAULT_WINDOW_BYTES)
)
SETTINGS_ACK: Final = frame(SETTINGS, ACK, 0, b"")


def read_settings(payload: bytes) -> list[tuple[int, int]]:
    """The peer's settings, in order. Raises ``ConnectionFault`` for what RFC 9113 section 6.5.2 forbids and
    for values that serve no purpose but harm (http-rules.md H06).
    """
    if len(payload) % 6:
        raise ConnectionFault(FRAME_SIZE_ERROR, "settings_length")
    if len(payload) > 6 * 64:
        raise ConnectionFault(ENHANCE_YOUR_CALM, "settings_too_many")
    found = []
    for at in range(0, len(payload), 6):
        key = int.from_bytes(payload[at : at + 2], "big")
        value = int.from_bytes(payload[at + 2 : at + 6], "big")
        if key == INITIAL_WINDOW_SIZE and value > WINDOW_MAX:
            raise ConnectionFault(FLOW_CONTROL_ERROR, "settings_window")
        if (
            (key == MAX_FRAME_SIZE and not FRAME_BYTES_MAX <= value < 1 << 24)
            or (key == ENABLE_PUSH and value > 1)
            or (key == HEADER_TABLE_SIZE and value >= _TABLE_BYTES_SILLY)
        ):
            raise ConnectionFault(PROTOCOL_ERROR, "settings_value")
        found.append((key, value))
    return found


def unpadded(payload: bytes, flags: int) -> bytes:
    """What is left of DATA or HEADERS without padding and priority. Raises ``ConnectionFault`` (RFC 9113
    section 6.1, 6.2).
    """
    begin, end = 0, len(payload)
    if flags & PADDED:
        if not payload:
            raise ConnectionFault(FRAME_SIZE_ERROR, "padding")
        begin = 1
        end -= payload[0]
    if flags & HAS_PRIORITY:
        begin += 5
    if begin > end:
        raise ConnectionFault(PROTOCOL_ERROR, "padding")
    return payload[begin:end]
