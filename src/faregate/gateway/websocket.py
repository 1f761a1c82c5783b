"""WebSocket as a proxy sees it (RFC 6455): the handshake judged, frames followed from head to head.

Pure: bytes in, facts out. A request's handshake is read once from fields that were judged already; an answer
is held against it. ``Frames`` follows one direction without copying or unmasking a byte: it knows where a
frame ends, so that a Close frame of ours can stand between two others, and what no endpoint may send. What
the frames carry is the endpoints' affair; so are extensions, whose bits pass when one was agreed.
"""

import re
from base64 import b64encode
from hashlib import sha1
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from faregate.gateway.http1.response import ResponseHead

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
_KEY: Final = re.compile(rb"[A-Za-z0-9+/]{21}[AQgw]==")
"""16 bytes in base64, written in the one way there is."""
VERSION: Final = b"13"

GOING_AWAY: Final = 1001
PROTOCOL_ERROR: Final = 1002
POLICY: Final = 1008
_CONTINUATION: Final = 0
_CLOSE: Final = 8
_CONTROL_BYTES_MAX: Final = 125


class Handshake:
    """What a request says that asks for a WebSocket.

    ``accept``: what a right answer says in ``Sec-WebSocket-Accept``. ``fault``: the reason word of what is
    wrong with it, or empty. ``protocols``: the subprotocols that the caller offers.
    """

    __slots__ = ("accept", "extensions", "fault", "origin", "protocols")

    def __init__(self) -> None:
        self.accept = b""
        self.extensions = False
        self.fault = ""
        self.origin = b""
        self.protocols: list[bytes] = []

    def refuses(self, head: "ResponseHead") -> str:
        """Why a 101 is not the answer to this handshake (RFC 6455 section 4.1), or an empty text."""
        if head.content_length >= 0 or head.chunked:
            return "interim_with_body"
        said = _values(head.raw)
        if _members(said.get(b"upgrade", [])) != [b"websocket"] or b"upgrade" not in _members(
            said.get(b"connection", [])
        ):
            return "switching_to_another"
        # The value may be right and yet not pass, when the answer's own Connection list names the field.
        passes = any(line.lower().startswith(b"sec-websocket-accept:") for line in head.lines)
        if said.get(b"sec-websocket-accept") != [self.accept] or not passes:
            return "websocket_accept"
        protocols = said.get(b"sec-websocket-protocol", [])
        if len(protocols) > 1 or not set(protocols) <= set(self.protocols):
            return "websocket_protocol"
        if b"sec-websocket-extensions" in said and not self.extensions:
            return "websocket_extension"
        return ""


def has_extension(head: "ResponseHead") -> bool:
    """Whether the answer agrees to an extension, which may give the reserved bits a meaning."""
    return any(line.lower().startswith(b"sec-websocket-extensions:") for line in head.lines)


def read_handshake(raw: bytes) -> Handshake | None:
    """What the field section ``raw``, judged already, asks for; None when it is no WebSocket (RFC 6455
    section 4.2.1).
    """
    said = _values(raw)
    if b"websocket" not in _members(said.get(b"upgrade", [])):
        return None
    handshake = Handshake()
    keys = said.get(b"sec-websocket-key", [])
    origins = said.get(b"origin", [])
    if b"upgrade" not in _members(said.get(b"connection", [])):
        handshake.fault = "upgrade_not_in_connection"
    elif said.get(b"sec-websocket-version", []) != [VERSION]:
        handshake.fault = "websocket_version"
    elif len(keys) != 1 or _KEY.fullmatch(keys[0]) is None:
        handshake.fault = "websocket_key"
    elif len(origins) > 1:
        handshake.fault = "origin_doubled"
    else:
        handshake.accept = accept_value(keys[0])
        handshake.origin = origins[0] if origins else b""
    offered = b",".join(said.get(b"sec-websocket-protocol", []))
    handshake.protocols = [word.strip(b" \t") for word in offered.split(b",") if word.strip(b" \t")]
    handshake.extensions = b"sec-websocket-extensions" in said
    return handshake


def accept_value(key: bytes) -> bytes:
    """``Sec-WebSocket-Accept`` for a key; SHA-1 proves nothing here and is not meant to."""
    return b64encode(sha1(key + _GUID, usedforsecurity=False).digest())


def close_frame(code: int, reason: str, mask: bytes = b"") -> bytes:
    """A whole Close frame; ``mask``: four bytes when it goes to a server (RFC 6455 section 5.3)."""
    payload = code.to_bytes(2, "big") + reason.encode()[: _CONTROL_BYTES_MAX - 2]
    if not mask:
        return b"\x88%c%b" % (len(payload), payload)
    masked = bytes([byte ^ mask[at % 4] for at, byte in enumerate(payload)])
    return b"\x88%c%b%b" % (0x80 | len(payload), mask, masked)


class Frames:
    """One direction's frames. ``left``: payload bytes still due, 0 between two frames. ``closed``: a Close
    frame has begun; behind it nothing passes. ``fault``: what the sender did wrong; from there on nothing
    passes either.

    The head of a frame is held back until it is whole, so that the receiver is always between two frames or
    within a payload.
    """

    __slots__ = ("_fragmented", "_head", "_masked", "_reserved", "closed", "fault", "left")

    def __init__(self, *, masked: bool, extended: bool) -> None:
        self._masked = masked
        self._reserved = 0 if extended else 0x70
        self._fragmented = False
        self._head = b""
        self.left = 0
        self.closed = False
        self.fault = ""

    @property
    def said_close(self) -> bool:
        """Whether a whole Close frame has passed."""
        return self.closed and not self.left

    def feed(self, data: bytes) -> bytes:
        """What of ``data`` and of what was held back may go on."""
        if self._head:
            data = self._head + data
            self._head = b""
        size = len(data)
        at = self.left
        while at < size:
            # a frame's head begins here
            if self.closed or self.fault:
                self.left = 0
                return data[:at]
            there = size - at
            if there < 2:
                break
            first, second = data[at], data[at + 1]
            length = second & 0x7F
            fault = self._judge(first, second, length)
            if fault:
                self.fault = fault
                self.left = 0
                return data[:at]
            head = 2 if length < 126 else 4 if length == 126 else 10
            need = head + 4 if self._masked else head
            if there < need:
                break
            if length > 125:
                length = int.from_bytes(data[at + 2 : at + head], "big")
                # in the fewest bytes, and below 2^63 (RFC 6455 section 5.2)
                if length < (126 if head == 4 else 65_536) or length >= 1 << 63:
                    self.fault = "frame_length"
                    self.left = 0
                    return data[:at]
            self._begin(first)
            at += need + length
        if at < size:
            self._head = data[at:]
            self.left = 0
            return data[:at]
        self.left = at - size
        return data

    def _judge(self, first: int, second: int, length: int) -> str:
        """What is wrong with a frame by its first two bytes, or an empty text."""
        if first & self._reserved:
            return "frame_reserved_bits"
        if (second >= 0x80) != self._masked:
            return "frame_mask"
        opcode = first & 0x0F
        if opcode > 10 or 2 < opcode < _CLOSE:
            return "frame_opcode"
        if opcode >= _CLOSE:
            if length > _CONTROL_BYTES_MAX or first < 0x80 or (opcode == _CLOSE and length == 1):
                return "frame_control"
        elif (opcode == _CONTINUATION) != self._fragmented:
            return "frame_continuation"
        return ""

    def _begin(self, first: int) -> None:
        opcode = first & 0x0F
        if opcode == _CLOSE:
            self.closed = True
        elif opcode < _CLOSE:
            self._fragmented = first < 0x80


def _values(raw: bytes) -> dict[bytes, list[bytes]]:
    """The values of each field of a head or a field section, by its name in lower case; a first line that is
    none has no colon before its first blank and names nothing.
    """
    found: dict[bytes, list[bytes]] = {}
    for line in raw.split(b"\r\n"):
        name, colon, value = line.partition(b":")
        if colon and b" " not in name:
            found.setdefault(name.lower(), []).append(value.strip(b" \t"))
    return found


def _members(values: list[bytes]) -> list[bytes]:
    """The members of a list field, in lower case."""
    return [word.strip(b" \t").lower() for value in values for word in value.split(b",")]
