"""Chunked bodies, read strictly (RFC 9112 section 7.1; http-rules.md F23-F26) and written anew.

A decoder takes the bytes as they come and hands back the data without its framing; nothing of the received
framing is passed on (W01). Its memory is bounded: one size line or trailer line at a time, never the body.
The same decoder serves requests and responses; what a fault means is the caller's affair.
"""

import re
from typing import Final

from faregate.gateway.http1.fields import is_forbidden_in_trailers

_SIZE_LINE: Final = re.compile(
    rb"([0-9A-Fa-f]{1,16})((?:[ \t]*;[ \t]*[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
    rb"(?:[ \t]*=[ \t]*(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
    rb"|\"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*\"))?)*)"
)
_TRAILER_LINE: Final = re.compile(rb"([!#$%&'*+\-.^`|~0-9A-Za-z]+):[ \t]*([\t -~\x80-\xff]*)")
_EXTENSION_BYTES_MAX: Final = 1024
"""Per message (F24)."""
_LINE_BYTES_MAX: Final = 16 << 10
_SIZE, _DATA, _DATA_END, _TRAILERS, _DONE = range(5)


class ChunkError(Exception):
    """The body's framing is broken; ``args[0]`` is the reason word."""


class BodyTooLarge(ChunkError):  # noqa: N818 - what it is
    """The chunks announce more than the body may hold."""


class ChunkDecoder:
    """One body. ``feed`` returns the data in these bytes; ``done`` and ``rest`` say where it ended."""

    __slots__ = (
        "_extensions",
        "_left",
        "_line",
        "_state",
        "_trailer_bytes",
        "_trailer_limits",
        "announced_bytes",
        "body_bytes_max",
        "done",
        "rest",
        "trailers",
    )

    def __init__(self, *, trailer_bytes_max: int, trailers_max: int, body_bytes_max: int = 2**63) -> None:
        self.body_bytes_max = body_bytes_max
        self.announced_bytes = 0
        self._state = _SIZE
        self._left = 0
        self._line = bytearray()
        self._extensions = 0
        self._trailer_bytes = 0
        self._trailer_limits = (trailer_bytes_max, trailers_max)
        self.done = False
        self.rest = b""
        self.trailers: list[tuple[bytes, bytes]] = []

    def feed(self, data: bytes) -> list[bytes]:
        """The pieces of body data in ``data``. Raises ``ChunkError``; after ``done``, ``rest`` holds what
        follows the body.
        """
        pieces: list[bytes] = []
        at, size = 0, len(data)
        while at < size:
            state = self._state
            if state == _DATA:
                take = min(self._left, size - at)
                pieces.append(data[at : at + take] if take != size else data)
                at += take
                self._left -= take
                if not self._left:
                    self._state = _DATA_END
                continue
            end = data.find(b"\n", at)
            stop = size if end < 0 else end + 1
            line = self._line
            if len(line) + stop - at > _LINE_BYTES_MAX:
                raise ChunkError("chunk_line_too_long")
            line += data[at:stop]
            at = stop
            if end < 0:
                self._check_partial(state)
                break
            if not line.endswith(b"\r\n"):
                raise ChunkError("bare_lf")
            text = bytes(line[:-2])
            line.clear()
            if self._take_line(state, text):
                self.rest = data[at:]
                break
        return pieces

    def _check_partial(self, state: int) -> None:
        """Refuses early what no further byte can mend, so that a broken sender is not waited for."""
        line = self._line
        if state == _DATA_END and not b"\r\n".startswith(bytes(line)):
            raise ChunkError("chunk_data_end")
        carriage = line.find(b"\r")
        if 0 <= carriage < len(line) - 1:
            raise ChunkError("bare_cr")
        if state == _SIZE and len(line) > 16 + _EXTENSION_BYTES_MAX + 2:
            raise ChunkError("chunk_extension_too_long")

    def _take_line(self, state: int, text: bytes) -> bool:
        """Handles one whole line without its CRLF; True when it ended the body."""
        if state == _DATA_END:
            if text:
                raise ChunkError("chunk_data_end")
            self._state = _SIZE
        elif state == _SIZE:
            match = _SIZE_LINE.fullmatch(text)
            if match is None:
                raise ChunkError("chunk_size")
            self._extensions += len(match[2])
            if self._extensions > _EXTENSION_BYTES_MAX:
                raise ChunkError("chunk_extension_too_long")
            self._left = int(match[1], 16)
            self.announced_bytes += self._left
            if self.announced_bytes > self.body_bytes_max:
                raise BodyTooLarge("chunked_body")
            self._state = _DATA if self._left else _TRAILERS
        elif text:
            self._take_trailer(text)
        else:
            self._state = _DONE
            self.done = True
            return True
        return False

    def _take_trailer(self, text: bytes) -> None:
        match = _TRAILER_LINE.fullmatch(text)
        if match is None:
            raise ChunkError("trailer_syntax")
        self._trailer_bytes += len(text) + 2
        bytes_max, count_max = self._trailer_limits
        if self._trailer_bytes > bytes_max or len(self.trailers) >= count_max:
            raise ChunkError("trailers_too_large")
        if is_forbidden_in_trailers(match[1].lower()):
            raise ChunkError("trailer_forbidden")
        self.trailers.append((match[1], match[2].rstrip(b" \t")))


def encode_chunk(data: bytes) -> bytes:
    """One chunk; ``data`` is not empty (an empty chunk would end the body)."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def encode_last(trailers: list[tuple[bytes, bytes]]) -> bytes:
    """The last chunk with its trailers."""
    if not trailers:
        return b"0\r\n\r\n"
    return b"0\r\n" + b"".join(b"%b: %b\r\n" % trailer for trailer in trailers) + b"\r\n"
