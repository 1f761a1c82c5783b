"""One call on a shared HTTP/2 connection to a target: borrowed by an exchange as if it were a connection.

What the exchange writes is an HTTP/1.1 request, since that is what it writes; what it is told is an answer's
head, judged by the rules of HTTP/1.1, its data, its trailers and its end.
"""

from typing import TYPE_CHECKING, Final, cast

from faregate.gateway.http1.chunked import ChunkDecoder
from faregate.gateway.http1.response import InvalidAnswer, ResponseHead, parse_response
from faregate.gateway.http2 import frames
from faregate.gateway.http2.translate import answer_head, trailer_fields, upstream_fields
from faregate.gateway.upstream import INTERIM_MAX, UpstreamConnection
from faregate.kernel.problems import Refusal

if TYPE_CHECKING:
    import asyncio

    from faregate.gateway.exchange import Exchange
    from faregate.gateway.http2.translate import AnswerField
    from faregate.gateway.http2.upstream_link import UpstreamLink

QUEUED_HIGH_BYTES: Final = 64 << 10
QUEUED_LOW_BYTES: Final = 16 << 10
KEPT_BYTES_MAX: Final = 64 << 10
"""Of a request's body, kept until the server has shown that it took the stream; a longer one is sent once."""
_WINDOW_STEP_BYTES: Final = frames.STREAM_WINDOW_BYTES // 2


class H2UpstreamStream(UpstreamConnection):
    """``transport`` is the stream itself: it has what the exchange asks of one. ``fields``, ``queue``: of the
    request, not yet sent. ``end_sent``: the request is out. ``id`` 0: not begun.
    """

    __slots__ = (
        "_answer",
        "_body_left",
        "_chunks",
        "_credit",
        "_head_due",
        "_kept",
        "_request_left",
        "connection",
        "end_sent",
        "fields",
        "id",
        "queue",
        "request_ended",
        "window",
    )

    def __init__(self, connection: "UpstreamLink", headers_max: int) -> None:
        super().__init__(connection.pool, headers_max)
        self.made = True
        self.secure = connection.secure
        self.transport = cast("asyncio.Transport", self)
        self.connection = connection
        self.end_sent = False
        self.fields: list[AnswerField] | None = None
        self.id = 0
        self.queue = bytearray()
        self.request_ended = False
        self.window = 0
        self._answer: ResponseHead | None = None
        self._body_left = -1
        self._chunks: ChunkDecoder | None = None
        self._credit = 0
        self._head_due = True
        self._kept: bytearray | None = bytearray()
        self._request_left = 0

    # what the exchange calls: a transport's methods, and a connection's

    def write(self, data: bytes) -> None:
        """The request: its head, which comes whole and first, then its body as HTTP/1.1 frames it.

        Only the first piece is ever read as a head. When no stream could begin with it, ``not_taken`` is on
        its way; uvloop may hand over more of the body before that, which is kept like the rest.
        """
        if self._head_due:
            self._head_due = False
            data = self._begin(data)
        if data:
            self._keep(data)
        if not self.id:
            return
        if data:
            if self._chunks is not None:
                for piece in self._chunks.feed(data):
                    self.queue += piece
                self.request_ended = self._chunks.done
            else:
                self.queue += data
                self._request_left -= len(data)
                self.request_ended = self._request_left <= 0
        self.connection.push(self)

    def is_closing(self) -> bool:
        return self.connection.transport is None

    def abort(self) -> None:
        self._cut(frames.CANCEL)

    def close(self) -> None:
        self._cut(frames.CANCEL)

    def has_ended(self) -> bool:
        return self.connection.transport is None

    def pause_reading(self) -> None:
        self.read_paused = True

    def resume_reading(self) -> None:
        self.read_paused = False
        self._open_window()

    # what the connection calls

    def pushed(self) -> None:
        """Some of the request went out."""
        exchange = self.exchange
        if len(self.queue) > QUEUED_HIGH_BYTES:
            if not self.write_paused:
                self.write_paused = True
                if exchange is not None:
                    exchange.upstream_full()
        elif self.write_paused and len(self.queue) <= QUEUED_LOW_BYTES:
            self.write_paused = False
            if exchange is not None:
                exchange.upstream_drained()

    def take_fields(self, fields: list[tuple[bytes, ...]], *, end: bool) -> None:
        """A field block of the answer: an interim head, the head, or trailers."""
        exchange = self.exchange
        if exchange is None:
            return
        exchange.now = exchange.plane.monotonic()
        self._kept = None
        try:
            if self._answer is not None:
                if not end or self._body_left > 0:
                    raise InvalidAnswer("http2_trailers")  # noqa: TRY301 - told like the others
                trailers = trailer_fields(fields)
                self._complete()
                exchange.answer_trailers(trailers)
                exchange.answer_end()
                return
            head = parse_response(answer_head(fields), self._headers_max)
            if head.status < 200:
                self._take_interim_head(head, end=end)
            else:
                self._take_final(head, end=end)
        except InvalidAnswer as error:
            self.invalid(str(error))
        except Refusal as refusal:
            self.invalid(refusal.reason)
        except Exception as failure:  # noqa: BLE001 - one call's failure ends that call only
            self._cut(frames.INTERNAL_ERROR)
            exchange.internal_error(failure)

    def take_data(self, payload: bytes, length: int, *, end: bool) -> None:
        exchange = self.exchange
        if exchange is None:
            return
        exchange.now = exchange.plane.monotonic()
        head = self._answer
        if head is None:
            self.invalid("http2_data_first")
            return
        if self._body_left >= 0:
            self._body_left -= len(payload)
            if self._body_left < 0 or (end and self._body_left):
                self.invalid("content_length")
                return
        try:
            if payload:
                exchange.answer_data(payload)
            if end:
                self._complete()
                exchange.answer_end()
            else:
                self._credit += length
                self._open_window()
        except Exception as failure:  # noqa: BLE001 - one call's failure ends that call only
            self._cut(frames.INTERNAL_ERROR)
            exchange.internal_error(failure)

    def not_taken(self, reason: str) -> None:
        """The server has not looked at it: nothing was sent (RFC 9113 section 8.7). One that has answered, if
        only in the interim, has looked.
        """
        if self._answer is not None or self._interim:
            self.lost("reset")
            return
        exchange = self._let_go()
        self.connection.forget(self)
        if exchange is not None:
            kept = self._kept
            exchange.not_taken(None if kept is None else [bytes(kept)], reason)

    def lost(self, how: str) -> None:
        """The stream or its connection ended before the answer did."""
        exchange = self._let_go()
        self.connection.forget(self)
        if exchange is not None:
            exchange.upstream_lost(how)

    def invalid(self, reason: str) -> None:
        """What came is no valid answer."""
        exchange = self.exchange
        self._cut(frames.PROTOCOL_ERROR)
        if exchange is not None:
            exchange.answer_invalid(reason)

    # inside

    def _begin(self, data: bytes) -> bytes:
        """Takes the request's head and asks for a stream; what of the body came with it."""
        connection = self.connection
        end = data.find(b"\r\n\r\n")
        fields, length, chunked = upstream_fields(data[:end], secure=self.secure)
        if connection.begin(self):
            self.fields = fields
            if chunked:
                self._chunks = ChunkDecoder(trailer_bytes_max=1 << 16, trailers_max=128)
            self._request_left = length
            self.request_ended = not length and not chunked
        else:
            connection.pool.loop.call_soon(self.not_taken, connection.why_not())
        return data[end + 4 :]

    def _take_interim_head(self, head: ResponseHead, *, end: bool) -> None:
        self._interim += 1
        if self._interim > INTERIM_MAX:
            raise InvalidAnswer("too_many_interim")
        if head.status == 101 or end or head.content_length >= 0:
            raise InvalidAnswer("interim_with_body")
        if head.status != 100 and self.exchange is not None:
            self.exchange.answer_interim(head)

    def _take_final(self, head: ResponseHead, *, end: bool) -> None:
        exchange = self.exchange
        if exchange is None:
            return
        bodiless = head.bodiless or exchange.call.method == b"HEAD"
        if end:
            if head.content_length > 0 and not bodiless:
                raise InvalidAnswer("content_length")
            self._complete()
            if head.content_length < 0 and not bodiless and exchange.minor != b"2":
                exchange.answer_head(head, sized=False)  # HTTP/1 needs a word for the end of the body
                exchange.answer_end()
            else:
                exchange.answer_whole(head, b"")
            return
        self._answer = head
        self._body_left = 0 if bodiless else head.content_length
        exchange.answer_head(head, sized=bodiless or head.content_length >= 0)

    def _keep(self, data: bytes) -> None:
        kept = self._kept
        if kept is not None:
            kept += data  # joined: an object for each of many small pieces would cost far more than its bytes
            if self.id and len(kept) > KEPT_BYTES_MAX:
                self._kept = None

    def _open_window(self) -> None:
        if self._credit >= _WINDOW_STEP_BYTES and not self.read_paused and self.id:
            self.connection.open_window(self, self._credit)
            self._credit = 0

    def _cut(self, code: int) -> None:
        """The stream is over before its time."""
        self._let_go()
        self.queue.clear()
        if self.id:
            self.connection.reset(self, code)

    def _complete(self) -> None:
        """The answer is whole; a request that is not need not go on (W06)."""
        self._let_go()
        if self.end_sent:
            self.connection.forget(self)
        else:
            self._cut(frames.CANCEL)

    def _let_go(self) -> "Exchange | None":
        """Ends the hold of both on each other, and the stream's on itself: it would stay until the garbage
        collector finds it, which is rare in a worker.
        """
        exchange, self.exchange = self.exchange, None
        self.transport = None
        return exchange
