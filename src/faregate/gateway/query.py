"""One question of the gateway's own to a target, apart from the callers' traffic: HTTP/1.1 on a connection of
its own, by the target's ``Dialler`` and judged by the same strict readers as any answer.

Everything has an end: the deadline of the whole question, the bytes of head and body. No redirect is followed
and nothing is unpacked. What the answer means is left to who asks.
"""

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from faregate.gateway.dial import DialError, Dialler
from faregate.gateway.http1.chunked import ChunkDecoder, ChunkError
from faregate.gateway.http1.response import InvalidAnswer, ResponseHead, parse_response
from faregate.gateway.upstream_tls import said_farewell

if TYPE_CHECKING:
    from faregate.snapshot.data import Target

DEADLINE_S: Final = 10.0
BODY_BYTES_MAX: Final = 64 << 10
HEAD_BYTES_MAX: Final = 16 << 10
FIELDS_MAX: Final = 128
INTERIM_MAX: Final = 8


class Answer(NamedTuple):
    """``lines``: the fields, each ended by CRLF; ``body``: whole, its content coding as received."""

    status: int
    content_type: bytes
    lines: tuple[bytes, ...]
    body: bytes


class QueryError(Exception):
    """No answer, or none that can be used. ``reason``: lower_snake_case; ``sent``: the target may have it."""

    def __init__(self, reason: str, *, sent: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.sent = sent


async def ask(dialler: Dialler, request: bytes, connect_s: float, deadline_s: float = DEADLINE_S) -> Answer:
    """The answer to ``request``, which ends its connection (``Connection: close``). Raises ``QueryError``."""
    asking = _Asking(asyncio.get_running_loop())
    try:
        async with asyncio.timeout(deadline_s):
            await dialler.dial(cast("asyncio.Protocol", asking), connect_s)
            asking.send(request)
            return await asking.answer
    except DialError as error:
        raise QueryError(error.reason, sent=False) from None
    except TimeoutError:
        raise QueryError("deadline", sent=asking.sent) from None
    except (InvalidAnswer, ChunkError) as error:
        raise QueryError(f"answer_{error}", sent=True) from None
    finally:
        asking.end()


def request_head(method: str, target: bytes, server: "Target", lines: bytes, body: bytes) -> bytes:
    """A whole request. ``target``: visible ASCII from ``/``; ``lines``: more fields, each ended by CRLF."""
    host = f"[{server.host}]" if ":" in server.host else server.host
    length = b"Content-Length: %d\r\n" % len(body) if body or method != "GET" else b""
    return b"%b %b HTTP/1.1\r\nHost: %b:%d\r\nUser-Agent: faregate\r\nConnection: close\r\n%b%b\r\n%b" % (
        method.encode("ascii"), target, host.encode("ascii"), server.port, lines, length, body,
    )  # fmt: skip


class _Asking:
    """A connection for one question: collects one answer within the bounds.

    A protocol to asyncio by its methods. ``answer`` is done once; what is wrong with it is its exception.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.answer: asyncio.Future[Answer] = loop.create_future()
        self.sent = False
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._head: ResponseHead | None = None
        self._body = bytearray()
        self._chunks: ChunkDecoder | None = None
        self._interim = 0

    def send(self, request: bytes) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            raise QueryError("closed", sent=False)
        self.sent = True
        transport.write(request)

    def end(self) -> None:
        """Nothing more is wanted."""
        if not self.answer.done():
            self.answer.cancel()
        elif not self.answer.cancelled():
            self.answer.exception()  # looked at, also where the deadline came first
        if self._transport is not None:
            self._transport.abort()

    # what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self.answer.done():
            return
        try:
            if self._head is None:
                data = self._take_heads(data)
            if self._head is not None and not self.answer.done():
                self._take_body(self._head, data)
        except (InvalidAnswer, ChunkError) as error:
            self.answer.set_exception(error)

    def eof_received(self) -> bool:
        head, transport = self._head, self._transport
        if (
            head is not None
            and not head.chunked
            and head.content_length < 0
            and transport is not None
            and (transport.get_extra_info("ssl_object") is None or said_farewell(transport))
        ):
            self._done(head)
        return False

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._transport = None
        if not self.answer.done():
            self.answer.set_exception(QueryError("cut", sent=self.sent))

    def pause_writing(self) -> None:
        """A question is small: it lies in the buffer until the target reads."""

    def resume_writing(self) -> None:
        """As above."""

    # the answer

    def _take_heads(self, data: bytes) -> bytes:
        """Reads the head, interim ones before it passed over; returns what follows."""
        buffer = self._buffer
        buffer += data
        while True:
            end = buffer.find(b"\r\n\r\n") + 4
            if max(end, 0) > HEAD_BYTES_MAX or (end < 4 and len(buffer) > HEAD_BYTES_MAX):
                raise InvalidAnswer("head_too_large")
            if end < 4:
                return b""
            head = parse_response(bytes(buffer[:end]), FIELDS_MAX)
            rest = bytes(buffer[end:])
            if head.status >= 200:
                self._head = head
                self._begin(head)
                return rest
            self._interim += 1
            if head.status == 101 or self._interim > INTERIM_MAX:
                raise InvalidAnswer("interim")
            del buffer[:end]

    def _begin(self, head: ResponseHead) -> None:
        if head.content_length > BODY_BYTES_MAX:
            raise InvalidAnswer("too_large")
        if head.chunked:
            self._chunks = ChunkDecoder(
                trailer_bytes_max=HEAD_BYTES_MAX, trailers_max=FIELDS_MAX, body_bytes_max=BODY_BYTES_MAX
            )

    def _take_body(self, head: ResponseHead, data: bytes) -> None:
        chunks = self._chunks
        if head.bodiless:
            self._done(head)
        elif chunks is not None:
            for piece in chunks.feed(data) if data else ():
                self._body += piece
            if chunks.done:
                self._done(head)
        else:
            self._body += data
            length = head.content_length
            if 0 <= length <= len(self._body):
                del self._body[length:]
                self._done(head)
            elif len(self._body) > BODY_BYTES_MAX:
                raise InvalidAnswer("too_large")

    def _done(self, head: ResponseHead) -> None:
        if not self.answer.done():
            body = bytes(self._body)
            self.answer.set_result(Answer(head.status, head.content_type, tuple(head.lines), body))
