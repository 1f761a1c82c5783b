"""The callers' HTTP/1.1: one connection, one call at a time, kept alive between calls.

A demo should see the gateway as a plain client does, so this is no more than asyncio streams and llhttp's
parser: no pool, no retry, no redirect. A call that gets no whole answer in time ends its connection; the
next opens a new one.
"""

import asyncio
import time
from dataclasses import dataclass
from typing import Final

import httptools

ANSWER_BYTES_MAX: Final = 1 << 20
_READ_BYTES: Final = 1 << 16


class NoAnswerError(Exception):
    """No whole answer came: refused, cut, garbled or late."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request; ``headers`` are encoded lines, each ended by CRLF."""

    method: str
    path: str
    headers: bytes = b""
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Answer:
    """One whole answer; ``latency_s`` from the first byte sent to the last received."""

    status: int
    body: bytes = b""
    latency_s: float = 0.0


class _Reading:
    """An answer being read: what llhttp calls back."""

    def __init__(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.body = bytearray()
        self.complete = False
        self.keep_alive = False

    def on_body(self, chunk: bytes) -> None:
        self.body += chunk
        if len(self.body) > ANSWER_BYTES_MAX:
            raise NoAnswerError("answer too large")

    def on_message_complete(self) -> None:
        # Asked here: once the message is over, llhttp has forgotten.
        self.keep_alive = bool(self.parser.should_keep_alive())
        self.complete = True


class Connection:
    """A kept connection to 127.0.0.1:``port``. Use it from one task at a time; ``close`` it at the end."""

    def __init__(self, port: int, timeout_s: float = 10.0) -> None:
        self._port = port
        self._timeout_s = timeout_s
        self._host = b"Host: 127.0.0.1:%d\r\n" % port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def call(self, request: Request) -> Answer:
        """Sends one request and reads its answer. Raises NoAnswerError."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._exchange(request)
        except (OSError, TimeoutError, httptools.HttpParserError, NoAnswerError) as error:
            self.close()
            raise NoAnswerError(str(error) or type(error).__name__) from None
        except asyncio.CancelledError:
            self.close()
            raise

    async def _exchange(self, request: Request) -> Answer:
        if self._streams is None or self._streams[0].at_eof() or self._streams[1].is_closing():
            self.close()
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        began = time.perf_counter()
        writer.write(self._encoded(request))
        await writer.drain()
        reading = _Reading()
        while not reading.complete:
            data = await reader.read(_READ_BYTES)
            if not data:
                raise NoAnswerError("connection closed")
            reading.parser.feed_data(data)
        latency_s = time.perf_counter() - began
        if not reading.keep_alive:
            self.close()
        return Answer(reading.parser.get_status_code(), bytes(reading.body), latency_s)

    def _encoded(self, request: Request) -> bytes:
        line = f"{request.method} {request.path} HTTP/1.1\r\n".encode("ascii")
        if not request.body:
            # RFC 9110 section 8.6: a POST without content says so.
            end = b"Content-Length: 0\r\n\r\n" if request.method == "POST" else b"\r\n"
            return b"".join((line, self._host, request.headers, end))
        length = b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(request.body)
        return b"".join((line, self._host, request.headers, length, request.body))

    def close(self) -> None:
        """Closes the connection, if one is open; the next call opens another."""
        if self._streams is not None:
            # Abort, not close: nobody wants what may still wait to be sent, so no task need linger for it.
            self._streams[1].transport.abort()
            self._streams = None
