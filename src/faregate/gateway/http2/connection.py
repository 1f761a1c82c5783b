"""A caller's HTTP/2 connection: frames in, counted and put in order; calls in parallel; frames out.

Our own frame layer over jh2's HPACK (docs/decisions/0012): every frame has to be walked and counted anyway,
and what breaks one stream must not break the calls beside it. It is a ``ClientConnection`` in what concerns
the transport: who is admitted, the peer's address and TLS facts, lingering ends. What is said about calls is
in ``stream``, what a peer may do in ``guards``, what goes out in ``sending``.
"""

import asyncio
import logging
from typing import TYPE_CHECKING

from faregate.gateway.http2 import frames
from faregate.gateway.http2.controlling import Controlling
from faregate.gateway.http2.frames import ConnectionFault, unpadded
from faregate.gateway.http2.guards import EMPTY_DATA
from faregate.gateway.http2.hpack import FieldReader
from faregate.gateway.http2.order import FrameOrder
from faregate.gateway.http2.sending import LEAVING, LEFT
from faregate.gateway.http2.stream import H2Stream
from faregate.gateway.http2.translate import RequestReader
from faregate.gateway.lingering import LINGER_S
from faregate.gateway.listener import ClientConnection
from faregate.gateway.wheel import NEVER
from faregate.kernel.problems import Refusal

if TYPE_CHECKING:
    from faregate.gateway.exchange import Exchange
    from faregate.gateway.http1.request import Fields, Line
    from faregate.gateway.plane import Plane

_log = logging.getLogger("faregate.gateway")


class Http2Connection(Controlling):
    """One accepted connection that speaks HTTP/2."""

    __slots__ = (
        "_idle_since",
        "_need",
        "_order",
        "_partial_since",
        "_preface_left",
        "_reader",
        "_requests",
        "_starting",
    )

    def __init__(self, plane: "Plane") -> None:
        super().__init__(plane)
        self._idle_since = 0.0
        self._need = frames.HEAD_BYTES
        self._order = FrameOrder()
        self._partial_since = 0.0
        self._preface_left = frames.PREFACE
        self._reader = FieldReader()
        self._requests = RequestReader()
        self._starting: tuple[H2Stream, Line, Fields] | None = None  # its body may be the next frame

    # what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self._closing:
            return
        self._idle_since = self._partial_since = self.plane.monotonic()
        self.out.append(frames.SERVER_START)
        self.flush()

    def data_received(self, data: bytes) -> None:
        if self._closing:
            self._linger_left -= len(data)
            if self._linger_left < 0:
                self._close_now()
            return
        now = self.plane.monotonic()
        buffer = self._buffer
        if buffer:
            buffer += data
            if len(buffer) < self._need:
                return  # the deadline stands since the frame began
            data = bytes(buffer)
            buffer.clear()
        self.inside = True
        try:
            at = self._take_preface(data) if self._preface_left else 0
            self._take_frames(data, at, now)
        except ConnectionFault as fault:
            self._fail(fault, now)
        except Exception:  # noqa: BLE001 - told to the peer, logged once
            _log.exception("internal error in an HTTP/2 connection")
            self._fail(ConnectionFault(frames.INTERNAL_ERROR, "internal_error"), now)
        self.inside = False
        if self.out or self._ready or (self._eof and not self.streams):
            self.flush()
        if not self._closing:
            self._set_deadline(now)

    def eof_received(self) -> bool:
        """The caller has no more to say; whole requests are still answered (W08)."""
        self._eof = True
        for stream in list(self.streams.values()):
            exchange = stream.exchange
            if exchange is not None and exchange.wants_body and not stream.remote_ended:
                exchange.request_cut()
        self.flush()
        if not self.streams:
            self._close_now()
        return True

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - the protocol's signature
        self.lost = True
        self.transport = None
        self.plane.forget(self)
        self._buffer.clear()
        self.deadline = NEVER
        self._lose_streams()

    # what the wheel and the worker call

    def on_deadline(self, now: float) -> None:
        self.deadline = NEVER
        if self._closing:
            self._linger_on(now)
        elif self.write_paused:
            if self.has_stalled(now):
                ClientConnection.break_off(self)
            else:
                self.arm(now + LINGER_S, now)
        elif self._partial_since and now - self._partial_since >= self.plane.header_timeout:
            self._fail(ConnectionFault(frames.ENHANCE_YOUR_CALM, "header_timeout"), now)
            self.flush()
        elif self._goaway == LEAVING:
            self._leave()
        elif not self.streams and now - self._idle_since >= self.plane.idle_timeout:
            self._announce_end(now)
        else:
            self._set_deadline(now)

    def announce_drain(self) -> None:
        """The worker is going to stop: GOAWAY tells at once."""
        self.drain()

    def drain(self) -> None:
        """The worker is stopping: what was sent before the caller could know is still answered."""
        self._announce_end(self.plane.monotonic())

    def forget(self) -> None:
        super().forget()
        self._requests.forget()

    def exchanges(self) -> "list[Exchange]":
        return [stream.exchange for stream in self.streams.values() if stream.exchange is not None]

    def has_unsent(self) -> bool:
        return self._goaway == LEAVING or self.queued > 0 or super().has_unsent()

    def _last_stream_ended(self, now: float) -> None:
        self._idle_since = now
        if not self._closing:
            self._set_deadline(now)

    def _set_deadline(self, now: float) -> None:
        """When the connection itself must be looked at; its calls have deadlines of their own."""
        if self.write_paused or self._goaway == LEAVING:
            return  # looked at each second, or about to leave
        if self._partial_since:
            self.arm(self._partial_since + self.plane.header_timeout, now)
        elif not self.streams:
            self.arm(self._idle_since + self.plane.idle_timeout, now)
        else:
            self.deadline = NEVER

    # frames

    def _take_preface(self, data: bytes) -> int:
        """Where the frames begin in ``data``."""
        left = self._preface_left
        size = min(len(left), len(data))
        if data[:size] != left[:size]:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "preface")
        self._preface_left = left[size:]
        return size

    def _take_frames(self, data: bytes, at: int, now: float) -> None:
        size = len(data)
        need = frames.HEAD_BYTES
        partial_data = False
        while size - at >= frames.HEAD_BYTES:
            length = (data[at] << 16) | (data[at + 1] << 8) | data[at + 2]
            if length > frames.FRAME_BYTES_MAX:
                raise ConnectionFault(frames.FRAME_SIZE_ERROR, "frame_too_long")
            kind = data[at + 3]
            begin = at + frames.HEAD_BYTES
            if size < begin + length:
                need = frames.HEAD_BYTES + length
                partial_data = kind == frames.DATA  # which the body's own deadline bounds
                break
            stream_id = int.from_bytes(data[at + 5 : begin], "big") & frames.WINDOW_MAX
            at = begin + length
            self._take(kind, data[begin - 5], stream_id, data[begin:at], now)
            if self._closing:
                return
        if self._starting is not None:
            self._start(now)
        self._need = need
        if at < size:
            self._buffer += data[at:]
        order = self._order
        if order.settings_seen and order.block is None and (at == size or partial_data):
            self._partial_since = 0.0
        elif not self._partial_since:
            self._partial_since = now

    def _take(self, kind: int, flags: int, stream_id: int, payload: bytes, now: float) -> None:
        order = self._order
        order.check(kind, flags, stream_id)
        if self._starting is not None and self._start(now, kind, flags, stream_id, payload):
            return
        if kind == frames.HEADERS:
            if not stream_id & 1:
                raise ConnectionFault(frames.PROTOCOL_ERROR, "stream_id")
            block = order.headers(stream_id, flags, payload)
            if block is not None:
                self._take_block(stream_id, flags, block, now)
        elif kind == frames.DATA:
            self._take_data(stream_id, flags, payload, now)
        elif kind == frames.CONTINUATION:
            block = order.continuation(flags, payload)
            if block is not None:
                self._take_block(order.stream, order.flags, block, now)
        else:
            self._take_control(kind, flags, stream_id, payload, now)

    def _take_block(self, stream_id: int, flags: int, block: bytes, now: float) -> None:
        """A whole field block: a request, or what follows its body."""
        fields = self._reader.read(block, self.plane.runtime.limits.headers)
        stream = self.streams.get(stream_id)
        end = bool(flags & frames.END_STREAM)
        if stream is not None:
            if stream.lost:
                return
            if not end or stream.remote_ended:
                self.reset(stream, frames.PROTOCOL_ERROR, ours=True)
                return
            stream.take_trailers(fields)
        elif stream_id <= self._highest:
            if stream_id not in self._recent:
                raise ConnectionFault(frames.STREAM_CLOSED, "stream_closed")
        else:
            self._highest = stream_id
            if self._goaway == LEFT:
                self._remember(stream_id)  # the caller was told that it would not be looked at
            elif len(self.streams) >= frames.STREAMS_MAX:
                self._refuse(stream_id)
            else:
                self._begin_stream(stream_id, fields, now, end=end)

    def _begin_stream(
        self, stream_id: int, fields: list[tuple[bytes, ...]], now: float, *, end: bool
    ) -> None:
        stream = H2Stream(self, stream_id, remote_ended=end)
        self.streams[stream_id] = stream
        plane = self.plane
        try:
            line, facts = self._requests.read(fields, self.proto, plane.runtime.fields, end_stream=end)
            if facts.via and plane.via in facts.via:
                raise Refusal("loop_detected", reason="own_name_in_via")  # noqa: TRY301 - told like the others
        except Refusal as refusal:
            stream.refuse_head(refusal, fields, now)
            return
        if end or not facts.framed:
            stream.begin(line, facts, now)
        else:
            self._starting = (stream, line, facts)

    def _start(
        self, now: float, kind: int = -1, flags: int = 0, stream_id: int = 0, payload: bytes = b""
    ) -> bool:
        """Begins the call whose head came last: with its body, when the next frame holds just that."""
        starting = self._starting
        assert starting is not None
        self._starting = None
        stream, line, facts = starting
        size = len(payload)
        if (
            kind != frames.DATA
            or flags != frames.END_STREAM
            or stream_id != stream.id
            or not size
            or facts.content_length not in {-1, size}
        ):
            stream.begin(line, facts, now)
            return False
        self._receive_left -= size
        if self._receive_left < 0:
            raise ConnectionFault(frames.FLOW_CONTROL_ERROR, "connection_window")
        stream.remote_ended = True
        self.give_back(size)
        stream.begin(line, facts, now, payload)
        return True

    def _take_data(self, stream_id: int, flags: int, payload: bytes, now: float) -> None:
        length = len(payload)
        self._receive_left -= length
        if self._receive_left < 0:
            raise ConnectionFault(frames.FLOW_CONTROL_ERROR, "connection_window")
        stream = self.streams.get(stream_id)
        if stream is None and stream_id not in self._recent:
            if not stream_id or stream_id > self._highest:
                raise ConnectionFault(frames.PROTOCOL_ERROR, "data_on_idle_stream")
            raise ConnectionFault(frames.STREAM_CLOSED, "stream_closed")
        if flags & frames.PADDED:
            payload = unpadded(payload, flags & frames.PADDED)
        end = bool(flags & frames.END_STREAM)
        if not payload and not end:
            self._guards.count(EMPTY_DATA, now)
        if stream is None or stream.lost:
            self.give_back(length)
        elif stream.remote_ended:
            self.give_back(length)
            self.reset(stream, frames.STREAM_CLOSED, ours=True)
        elif not stream.data(payload, length, end=end):
            self.give_back(length)
            self.reset(stream, frames.FLOW_CONTROL_ERROR, ours=True)
