"""One connection to a target: reads answers, strictly, and hands them to the exchange that holds it.

The answer's framing is judged here (W09-W11) and nowhere else; what the caller is told of it is the
exchange's affair. The connection goes back to its pool by itself when an answer ended cleanly, and is
closed in every other case.
"""

import asyncio
import select
from typing import TYPE_CHECKING, Final, cast

from faregate.gateway.http1.chunked import ChunkDecoder, ChunkError
from faregate.gateway.http1.response import InvalidAnswer, ResponseHead, parse_response
from faregate.gateway.phases import WAITING
from faregate.gateway.upstream_tls import said_farewell

if TYPE_CHECKING:
    import socket

    from faregate.gateway.dial import Address
    from faregate.gateway.exchange import Exchange
    from faregate.gateway.pool import Pool

_HEAD, _SIZED, _CHUNKED, _UNTIL_CLOSE = range(4)
INTERIM_MAX: Final = 8
WRITE_HIGH_BYTES: Final = 256 << 10


class UpstreamConnection:
    """A keep-alive connection lent to one exchange at a time. ``exchange`` None: idle or done with.
    ``secure``: by TLS, with the files of that ``generation``. ``counted``: as one of the pool's.

    A protocol to asyncio by its methods, not by its base, which would keep it from being compiled.
    """

    __slots__ = (
        "_buffer",
        "_decoder",
        "_head",
        "_headers_max",
        "_interim",
        "_last",
        "_left",
        "_phase",
        "_poll",
        "address",
        "counted",
        "exchange",
        "generation",
        "idle_since",
        "made",
        "pool",
        "read_paused",
        "secure",
        "socket",
        "transport",
        "write_paused",
    )

    def __init__(self, pool: "Pool", headers_max: int) -> None:
        self.pool = pool
        self.made = False
        self.counted = True
        self.address: Address | None = None
        self.generation = 0
        self.secure = False
        self.socket: socket.socket | None = None
        self._poll: select.poll | None = None
        self.transport: asyncio.Transport | None = None
        self.exchange: Exchange | None = None
        self.idle_since = 0.0
        self.write_paused = False
        self.read_paused = False
        self._headers_max = headers_max
        self._buffer = bytearray()
        self._phase = _HEAD
        self._left = 0
        self._interim = 0
        self._decoder: ChunkDecoder | None = None
        self._head: ResponseHead | None = None
        self._last: ResponseHead | None = None  # of the answer before: most heads come again

    # what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.made = True
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=WRITE_HIGH_BYTES)

    def data_received(self, data: bytes) -> None:  # noqa: C901 - the common path, without calls
        exchange = self.exchange
        if exchange is None:
            self.close()  # nobody asked: surplus bytes, or an early 408 (W07)
            return
        exchange.now = exchange.plane.monotonic()
        try:
            phase = self._phase
            if phase == _HEAD:
                last = self._last
                if last is not None and not self._buffer and data.startswith(last.raw):
                    self._take_answer(exchange, last, data, len(last.raw))
                    return
                if self._buffer:
                    whole = self._gather(data)
                    if whole is None:
                        return
                    data = whole
                end = data.find(b"\r\n\r\n") + 4
                if end > 3:
                    self._take_head(exchange, data, end)
                else:
                    self._hold(data)
            elif phase == _SIZED:
                self._take_sized(exchange, data)
            elif phase == _CHUNKED:
                self._take_chunks(exchange, data)
            else:
                exchange.answer_data(data)
        except (InvalidAnswer, ChunkError) as error:
            self.abort()
            exchange.answer_invalid(str(error))
        except Exception as failure:  # noqa: BLE001 - one call's failure ends that call only (http-rules.md section 8)
            self.abort()
            exchange.internal_error(failure)

    def eof_received(self) -> bool:
        exchange = self.exchange
        if exchange is not None and self._phase == _UNTIL_CLOSE:
            transport = self.transport
            if not self.secure or (transport is not None and said_farewell(transport)):
                exchange.now = exchange.plane.monotonic()
                self._end(exchange, reusable=False)
        elif exchange is None:
            self.pool.ended_idle(self)
            self.transport = None  # already closing: not to be lent before the loop says that it is lost
        return False  # close our side too

    def connection_lost(self, error: Exception | None) -> None:
        self.transport = None
        if self.counted:
            self.pool.gone()
        exchange = self.exchange
        if exchange is None:
            return
        self.exchange = None
        if self._phase == _UNTIL_CLOSE and error is None and not self.secure:
            exchange.now = exchange.plane.monotonic()
            exchange.answer_end()
        else:
            exchange.upstream_lost("reset" if error is not None else "closed")

    def pause_writing(self) -> None:
        self.write_paused = True
        if self.exchange is not None:
            self.exchange.upstream_full()

    def resume_writing(self) -> None:
        self.write_paused = False
        if self.exchange is not None:
            self.exchange.upstream_drained()

    # what the exchange and the pool call

    def has_ended(self) -> bool:
        """Whether the idle connection is readable, which can only mean its end or bytes nobody asked for."""
        if self.socket is None:
            return True
        poll = self._poll
        if poll is None:
            poll = self._poll = select.poll()
            poll.register(self.socket, select.POLLIN)
        return bool(poll.poll(0))

    def close(self) -> None:
        """Closes in good order; the exchange, if any, hears no more, and the pool lends it to nobody."""
        self.exchange = None
        transport, self.transport = self.transport, None
        if transport is not None:
            transport.close()

    def abort(self) -> None:
        """Drops the connection with whatever is still unsent, so that a cut request cannot pass for a whole
        one.
        """
        self.exchange = None
        if self.transport is not None:
            self.transport.abort()

    def pause_reading(self) -> None:
        if self.transport is not None and not self.read_paused:
            self.read_paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        if self.transport is not None and self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()

    # the answer

    def _gather(self, data: bytes) -> bytes | None:
        """A head in pieces: the whole of it once it has ended."""
        buffer = self._buffer
        seen = len(buffer)
        buffer += data
        if buffer.find(b"\r\n\r\n", max(0, seen - 3)) < 0:
            if len(buffer) > self.pool.header_bytes_max:
                raise InvalidAnswer("head_too_large")
            return None
        whole = bytes(buffer)
        buffer.clear()
        return whole

    def _hold(self, data: bytes) -> None:
        if len(data) > self.pool.header_bytes_max:
            raise InvalidAnswer("head_too_large")
        self._buffer += data

    def _take_head(self, exchange: "Exchange", data: bytes, end: int) -> None:
        """A whole head and what came with it; interim ones are told apart and passed over."""
        while True:
            if end > self.pool.header_bytes_max:
                raise InvalidAnswer("head_too_large")
            head = parse_response(data[:end], self._headers_max)
            if head.status >= 200:
                self._last = head
                self._take_answer(exchange, head, data, end)
                return
            if head.status == 101 and exchange.call.upgrade is not None:
                exchange.answer_switch(self, head, data[end:])
                return
            self._take_interim(exchange, head)
            data = data[end:]
            if not data:
                return
            end = data.find(b"\r\n\r\n") + 4
            if end <= 3:
                self._hold(data)
                return

    def _take_answer(self, exchange: "Exchange", head: ResponseHead, data: bytes, end: int) -> None:
        """A final head; whole answers, the common case, in one go."""
        if self._interim:
            self._interim = 0
        if len(data) - end == head.content_length and not head.bodiless and exchange.call.method != b"HEAD":
            if (
                head.keep_alive
                and exchange.phase == WAITING
                and not self.read_paused
                and self.transport is not None
            ):
                self.exchange = None
                self.pool.give_back(self, exchange.now)
            else:
                self._release(exchange, reusable=head.keep_alive)
            exchange.answer_whole(head, data[end:])
            return
        self._start_body(exchange, head, data[end:])

    def _take_interim(self, exchange: "Exchange", head: ResponseHead) -> None:
        self._interim += 1
        if self._interim > INTERIM_MAX:
            raise InvalidAnswer("too_many_interim")
        if head.status == 101:
            raise InvalidAnswer("switching_not_asked")
        if head.content_length >= 0 or head.chunked:
            raise InvalidAnswer("interim_with_body")
        if head.status != 100:
            exchange.answer_interim(head)

    def _start_body(self, exchange: "Exchange", head: ResponseHead, rest: bytes) -> None:
        """An answer that is not wholly here, or has no body whatever its fields say (W10)."""
        bodiless = head.bodiless or exchange.call.method == b"HEAD"
        if bodiless or 0 <= head.content_length <= len(rest):
            length = 0 if bodiless else head.content_length
            if len(rest) > length:
                exchange.call.reason = "surplus_after_answer"
            # Not lent again when no body was due: a late one would be read as the next caller's answer.
            self._release(exchange, reusable=head.keep_alive and len(rest) == length and not bodiless)
            exchange.answer_whole(head, rest[:length])
            return
        self._head = head
        if head.chunked:
            self._phase = _CHUNKED
            self._decoder = ChunkDecoder(
                trailer_bytes_max=self.pool.header_bytes_max, trailers_max=self._headers_max
            )
            exchange.answer_head(head, sized=False)
            if rest:
                self._take_chunks(exchange, rest)
            return
        if head.content_length < 0:
            self._phase = _UNTIL_CLOSE
        else:
            self._phase = _SIZED
            self._left = head.content_length - len(rest)
        exchange.answer_head(head, sized=head.content_length >= 0)
        if rest:
            exchange.answer_data(rest)

    def _take_sized(self, exchange: "Exchange", data: bytes) -> None:
        left = self._left - len(data)
        if left > 0:
            self._left = left
            exchange.answer_data(data)
            return
        exchange.answer_data(data if left == 0 else data[:left])
        head = self._head
        self._end(exchange, reusable=left == 0 and head is not None and head.keep_alive)

    def _take_chunks(self, exchange: "Exchange", data: bytes) -> None:
        decoder = self._decoder
        if decoder is None:
            raise InvalidAnswer("no_decoder")
        pieces = decoder.feed(data)
        for piece in pieces:
            exchange.answer_data(piece)
        if decoder.done and self.exchange is exchange:
            head = self._head
            exchange.answer_trailers(decoder.trailers)
            self._end(exchange, reusable=not decoder.rest and head is not None and head.keep_alive)

    def _end(self, exchange: "Exchange", *, reusable: bool) -> None:
        if self.exchange is not exchange:
            return
        self._release(exchange, reusable=reusable)
        exchange.answer_end()

    def _release(self, exchange: "Exchange", *, reusable: bool) -> None:
        """Back to the pool, or closed; before the exchange goes on, which may at once want a connection."""
        self.exchange = None
        self._head = self._decoder = None
        self._phase = _HEAD
        if self.transport is None:
            return
        if not exchange.request_written:
            self.transport.abort()  # W06: the answer came early; the request must not look whole
        elif reusable and not self.write_paused:
            if self.read_paused:
                self.resume_reading()
            self.pool.give_back(self, exchange.now)
        else:
            self.transport.close()
