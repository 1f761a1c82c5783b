"""Reads HTTP/1.1 from a socket, strictly: one spelling of everything, or ``WireError``.

Shared by the client (answers) and the recording upstream (requests). Sockets stay raw, so that a test can send half a
request, half-close, or reset. Bodies are kept up to a bound; beyond it only their length and digest are.
"""

import asyncio
import hashlib
import re
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

HEAD_BYTES_MAX: Final = 256 << 10
KEPT_BYTES_MAX: Final = 4 << 20
_READ_BYTES: Final = 256 << 10
_FIELD: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)")
_REQUEST_LINE: Final = re.compile(rb"([A-Z]+) ([!-~]+) (HTTP/1\.[01])")
_STATUS_LINE: Final = re.compile(rb"(HTTP/1\.[01]) ([1-5][0-9]{2}) ([\t -~\x80-\xff]*)")
_LENGTH: Final = re.compile(rb"0|[1-9][0-9]{0,15}")
_CHUNK_SIZE: Final = re.compile(rb"[0-9a-fA-F]{1,16}")


class WireError(Exception):
    """Bytes that are not HTTP/1.1 as RFC 9112 writes it."""


@dataclass(frozen=True)
class Head:
    """A start line in its three parts and the field lines in the order received, values without outer blanks."""

    start: tuple[bytes, bytes, bytes]
    fields: tuple[tuple[bytes, bytes], ...]
    raw: bytes

    def all(self, name: str) -> list[bytes]:
        """Every value under ``name``, in any letter case."""
        wanted = name.lower().encode()
        return [value for key, value in self.fields if key.lower() == wanted]

    def one(self, name: str) -> bytes | None:
        """The value under ``name``, None when absent. Raises WireError when it occurs twice."""
        values = self.all(name)
        if len(values) > 1:
            raise WireError(f"{name} occurs {len(values)} times")
        return values[0] if values else None

    @property
    def names(self) -> list[str]:
        return [key.decode().lower() for key, _ in self.fields]


@dataclass
class Body:
    """A message body: ``data`` as far as kept, ``length`` and ``digest`` of all of it."""

    framing: str = "none"  # none, length, chunked, close
    data: bytearray = field(default_factory=bytearray)
    length: int = 0
    complete: bool = False
    trailers: tuple[tuple[bytes, bytes], ...] = ()
    sha256: "hashlib._Hash" = field(default_factory=hashlib.sha256, repr=False)

    def add(self, piece: bytes) -> None:
        self.length += len(piece)
        self.sha256.update(piece)
        if len(self.data) < KEPT_BYTES_MAX:
            self.data += piece

    @property
    def digest(self) -> str:
        return self.sha256.hexdigest()


def parse_head(raw: bytes, start: re.Pattern[bytes]) -> Head:
    """A head that ends with its empty line. Raises WireError."""
    if re.search(rb"(?<!\r)\n|\r(?!\n)", raw):
        raise WireError(f"bare CR or LF in {raw[:200]!r}")
    first, *lines = raw[:-4].split(b"\r\n")
    match = start.fullmatch(first)
    if match is None:
        raise WireError(f"start line {first!r}")
    return Head((match[1], match[2], match[3]), parse_fields(lines), raw)


def parse_fields(lines: list[bytes]) -> tuple[tuple[bytes, bytes], ...]:
    """Field lines without their CRLF. Raises WireError."""
    fields = []
    for line in lines:
        match = _FIELD.fullmatch(line)
        if match is None:
            raise WireError(f"field line {line!r}")
        fields.append((match[1], match[2].rstrip(b" \t")))
    return tuple(fields)


class Wire:
    """One socket with a read buffer. ``tap`` sees every byte received; ``reset`` tells an RST from a FIN."""

    def __init__(self, sock: socket.socket, tap: Callable[[bytes], None] | None = None) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.buffer = bytearray()
        self.ended = False
        self.reset = False
        self._tap = tap

    async def fill(self) -> bool:
        """Reads once; False at the end of the stream, however it came."""
        if self.ended:
            return False
        try:
            piece = await asyncio.get_running_loop().sock_recv(self.sock, _READ_BYTES)
        except (ConnectionError, TimeoutError):
            self.reset, piece = True, b""
        if not piece:
            self.ended = True
            return False
        if self._tap is not None:
            self._tap(piece)
        self.buffer += piece
        return True

    def over(self) -> bool:
        """Whether the other side has ended, as far as can be known without waiting."""
        while not self.ended:
            try:
                piece = self.sock.recv(_READ_BYTES)
            except BlockingIOError:
                return False
            except OSError:
                self.reset, piece = True, b""
            self._arrived(piece)
        return True

    def _arrived(self, piece: bytes) -> None:
        """Takes what was read without waiting; nothing is the end of the stream."""
        self.ended = not piece
        self.buffer += piece

    async def line(self) -> bytes:
        """Up to CRLF, which is taken off. Raises WireError at a bare LF or an early end."""
        while (end := self.buffer.find(b"\n")) < 0:
            if len(self.buffer) > HEAD_BYTES_MAX or not await self.fill():
                raise WireError(f"no line in {bytes(self.buffer[:200])!r}")
        line = bytes(self.buffer[: end + 1])
        del self.buffer[: end + 1]
        if not line.endswith(b"\r\n"):
            raise WireError(f"bare LF after {line!r}")
        return line[:-2]

    async def head(self, start: re.Pattern[bytes]) -> Head | None:
        """The next head, None when the stream ends before its first byte. Raises WireError."""
        while (end := self.buffer.find(b"\r\n\r\n")) < 0:
            if len(self.buffer) > HEAD_BYTES_MAX:
                raise WireError("endless head")
            if not await self.fill():
                if self.buffer:
                    raise WireError(f"head cut after {bytes(self.buffer[:200])!r}")
                return None
        raw = bytes(self.buffer[: end + 4])
        del self.buffer[: end + 4]
        return parse_head(raw, start)

    async def request_head(self) -> Head | None:
        return await self.head(_REQUEST_LINE)

    async def answer_head(self) -> Head | None:
        return await self.head(_STATUS_LINE)

    async def read_length(self, body: Body, count: int) -> None:
        """Adds ``count`` bytes to ``body``, which stays incomplete when the stream ends first."""
        left = count
        while left:
            if not self.buffer and not await self.fill():
                return
            piece = bytes(self.buffer[:left])
            del self.buffer[:left]
            body.add(piece)
            left -= len(piece)
        body.complete = True

    async def read_chunks(self, body: Body) -> None:
        """Adds a chunked body and its trailers. Raises WireError on bad chunks; an early end leaves it incomplete."""
        try:
            while True:
                size_line = await self.line()
                if not _CHUNK_SIZE.fullmatch(size_line):
                    raise WireError(f"chunk size {size_line!r}")
                size = int(size_line, 16)
                if size == 0:
                    break
                body.complete = False
                await self.read_length(body, size)
                if not body.complete or await self.line() != b"":
                    raise WireError("chunk data not closed by CRLF")
            lines = []
            while line := await self.line():
                lines.append(line)
            body.trailers = parse_fields(lines)
            body.complete = True
        except WireError:
            body.complete = False
            if not self.ended:
                raise

    async def read_to_end(self, body: Body) -> None:
        """Adds everything up to the end of the stream; a reset leaves the body incomplete."""
        while self.buffer or await self.fill():
            body.add(bytes(self.buffer))
            self.buffer.clear()
        body.complete = not self.reset

    async def read_body(self, head: Head, body: Body, *, close_ends: bool) -> Body:
        """The body that ``head`` announces. ``close_ends``: without framing fields it lasts until the end (answers)."""
        coding, length = head.one("transfer-encoding"), head.one("content-length")
        if coding is not None:
            if coding != b"chunked" or length is not None:
                raise WireError(f"transfer coding {coding!r} with length {length!r}")
            body.framing = "chunked"
            await self.read_chunks(body)
        elif length is not None:
            if not _LENGTH.fullmatch(length):
                raise WireError(f"content length {length!r}")
            body.framing = "length"
            await self.read_length(body, int(length))
        elif close_ends:
            body.framing = "close"
            await self.read_to_end(body)
        else:
            body.complete = True
        return body

    async def send(self, data: bytes, slice_bytes: int = 0) -> None:
        """Sends all of ``data``, in writes of ``slice_bytes`` when that is not 0. Raises ConnectionError."""
        loop = asyncio.get_running_loop()
        for piece in sliced(data, slice_bytes):
            await loop.sock_sendall(self.sock, piece)
            if slice_bytes:
                await asyncio.sleep(0)  # lets the other connections in, so that the writes travel apart

    def half_close(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    def reset_on_close(self) -> None:
        """Lets ``close`` send an RST (linger 0). Closing is left to the task that reads: a socket closed under a
        reader would leave its number in the selector for the next socket to trip over.
        """
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def close(self) -> None:
        self.sock.close()


def sliced(data: bytes, slice_bytes: int) -> list[bytes]:
    """``data`` in pieces of ``slice_bytes``; 0 is one piece."""
    if not slice_bytes:
        return [data]
    return [data[start : start + slice_bytes] for start in range(0, len(data), slice_bytes)]


def no_delay(sock: socket.socket) -> socket.socket:
    """Turns Nagle's algorithm off, so that each write is a segment of its own."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock
