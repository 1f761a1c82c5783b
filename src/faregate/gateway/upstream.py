"""One connection to a target: reads answers, strictly, and hands them to the exchange that holds it.

The answer's framing is judged here (W09-W11) and nowhere else; what the caller is told of it is the exchange's affair.
The connection goes back to its pool by itself when an answer ended cleanly, and is closed in every other case.
"""

import asyncio
import socket
from typing import TYPE_CHECKING, Final, cast

from faregate.gateway.http1.chunked import ChunkDecoder, ChunkError
from faregate.gateway.http1.response import InvalidAnswer, ResponseHead, parse_response

if TYPE_CHECKING:
    from faregate.gateway.exchange import Exchange
    from faregate.gateway.pool import Pool

_HEAD, _SIZED, _CHUNKED, _UNTIL_CLOSE = range(4)
INTERIM_MAX: Final = 8
WRITE_HIGH_BYTES: Final = 256 << 10


class UpstreamConnection(asyncio.Protocol):
    """A keep-alive connection lent to one exchange at a time. ``exchange`` None: idle or done with."""

    __slots__ = ("_buffer", "_decoder", "_head", "_interim", "_left", "_headers_max", "_phase", "exchange", "idle_since", "made", "pool",
                 "read_paused", "socket", "transport", "write_paused")

    def __init__(self, pool: "Pool", headers_max: int) -> None:
        self.pool = pool
        self.made = False
        self.socket: socket.socket | None = None
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

    # what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.made = True
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=WRITE_HIGH_BYTES)

    def data_received(self, data: bytes) -> None:
        exchange = self.exchange
        if exchange is None:
            self.close()  # nobody asked: surplus bytes, or an early 408 (W07)
            return
        exchange.now = exchange.plane.monotonic()
        try:
            if self._phase == _HEAD:
                self._take_head(exchange, data)
            elif self._phase == _SIZED:
                self._take_sized(exchange, data)
            elif self._phase == _CHUNKED:
                self._take_chunks(exchange, data)
            else:
                exchange.answer_data(data)
        except (InvalidAnswer, ChunkError) as error:
            self.abort()
            exchange.answer_invalid(str(error))
        except Exception as error:  # noqa: BLE001 - one call's failure ends that call only (http-rules.md section 8)
            self.abort()
            exchange.internal_error(error)

    def eof_received(self) -> bool:
        exchange = self.exchange
        if exchange is not None and self._phase == _UNTIL_CLOSE:
            exchange.now = exchange.plane.monotonic()
            self._end(exchange, reusable=False)
        return False  # close our side too

    def connection_lost(self, error: Exception | None) -> None:
        self.transport = None
        self.pool.gone()
        exchange = self.exchange
        if exchange is None:
            return
        self.exchange = None
        if self._phase == _UNTIL_CLOSE and error is None:
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

    def lend(self, exchange: "Exchange") -> None:
        """Gives the connection to ``exchange`` for one request."""
        self.exchange = exchange
        self._phase = _HEAD
        self._interim = 0

    def has_ended(self) -> bool:
        """Whether the idle connection is readable, which can only mean its end or bytes nobody asked for."""
        if self.socket is None:
            return True
        try:
            self.socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            return True
        return True

    def close(self) -> None:
        """Closes in good order; the exchange, if any, hears no more."""
        self.exchange = None
        if self.transport is not None:
            self.transport.close()

    def abort(self) -> None:
        """Drops the connection with whatever is still unsent, so that a cut request cannot pass for a whole one."""
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

    def _take_head(self, exchange: "Exchange", data: bytes) -> None:
        buffer = self._buffer
        if buffer:
            seen = len(buffer)
            buffer += data
            if buffer.find(b"\r\n\r\n", max(0, seen - 3)) < 0:
                if len(buffer) > self.pool.header_bytes_max:
                    raise InvalidAnswer("head_too_large")
                return
            data = bytes(buffer)
            buffer.clear()
        while True:
            end = data.find(b"\r\n\r\n")
            if end < 0:
                if len(data) > self.pool.header_bytes_max:
                    raise InvalidAnswer("head_too_large")
                buffer += data
                return
            if end > self.pool.header_bytes_max:
                raise InvalidAnswer("head_too_large")
            end += 4
            whole = end == len(data)
            head = parse_response(data if whole else data[:end], self._headers_max)
            rest = b"" if whole else data[end:]
            if head.status >= 200:
                break
            self._take_interim(exchange, head)
            if not rest:
                return
            data = rest
        self._start_body(exchange, head, rest)

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
        status = head.status
        if status == 205 and (head.chunked or head.content_length > 0):
            raise InvalidAnswer("body_on_205")
        if exchange.head_only or status in {204, 205, 304}:
            length = 0
        elif head.chunked:
            self._head = head
            self._phase = _CHUNKED
            self._decoder = ChunkDecoder(trailer_bytes_max=self.pool.header_bytes_max, trailers_max=128)
            exchange.answer_head(head, -1)
            if rest:
                self._take_chunks(exchange, rest)
            return
        else:
            length = head.content_length
        if length < 0:
            self._phase = _UNTIL_CLOSE
            exchange.answer_head(head, -1)
            if rest and self.exchange is exchange:
                exchange.answer_data(rest)
            return
        if len(rest) >= length:
            surplus = len(rest) > length
            reusable = head.keep_alive and not surplus
            self._release(exchange, reusable=reusable)
            exchange.answer_whole(head, rest[:length] if surplus else rest, surplus=surplus)
            return
        self._head = head
        self._phase = _SIZED
        self._left = length - len(rest)
        exchange.answer_head(head, length)
        if rest and self.exchange is exchange:
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
