"""What a caller's HTTP/2 connection sends: answers as the windows allow, window updates, resets, its end.

The base of ``Http2Connection``. Frames are gathered and go out in one write for each turn of the event loop
that made any; streams take turns of one frame each. What is queued is bounded, for each stream and for the
connection, by pausing the upstreams.
"""

from typing import TYPE_CHECKING, Final

from faregate.gateway.http2 import frames
from faregate.gateway.http2.frames import ConnectionFault, field_block, frame
from faregate.gateway.http2.guards import Guards
from faregate.gateway.http2.hpack import FieldWriter
from faregate.gateway.http2.stream import QUEUED_LOW_BYTES, H2Stream
from faregate.gateway.lingering import LINGER_S
from faregate.gateway.listener import ClientConnection
from faregate.gateway.phases import DONE
from faregate.gateway.wheel import NEVER

if TYPE_CHECKING:
    from faregate.gateway.http2.translate import AnswerField
    from faregate.gateway.plane import Plane

QUEUED_BYTES_MAX: Final = 1 << 20
"""Of all answers of a connection, above which every upstream of it that still sends is paused."""
WRITE_BYTES_MAX: Final = 256 << 10
"""Handed to the transport at once; more when that has gone out."""
CREDIT_STEP_BYTES: Final = frames.CONNECTION_WINDOW_BYTES // 2
RESETS_REMEMBERED: Final = 256
"""Streams we reset of late: frames for them may still be on their way (RFC 9113 section 5.1)."""
GOAWAY_PING: Final = b"faregate"
OPEN: Final = 0
LEAVING: Final = 1
"""The caller was told to begin nothing new; what it had begun by then may still arrive."""
LEFT: Final = 2


class Sending(ClientConnection):
    """``streams``: those not ended on both sides, and those reset whose call still goes on. ``window``: what
    the caller lets us send; ``peer_window``: the same for a new stream. ``out``: frames for the next write.
    ``inside``: a flush will follow anyway.
    """

    __slots__ = (
        "_credit",
        "_goaway",
        "_guards",
        "_highest",
        "_out_bytes",
        "_paused",
        "_ready",
        "_receive_left",
        "_recent",
        "_scheduled",
        "inside",
        "out",
        "peer_window",
        "queued",
        "streams",
        "window",
        "writer",
    )

    def __init__(self, plane: "Plane") -> None:
        super().__init__(plane)
        self._credit = 0  # taken from the connection's window and not yet given back
        self._goaway = OPEN
        self._guards = Guards()
        self._highest = 0
        self._out_bytes = 0
        self._paused: dict[int, H2Stream] = {}
        self._ready: dict[int, H2Stream] = {}
        self._receive_left = frames.CONNECTION_WINDOW_BYTES
        self._recent: dict[int, None] = {}
        self._scheduled = False
        self.inside = False
        self.out: list[bytes] = []
        self.peer_window = frames.DEFAULT_WINDOW_BYTES
        self.queued = 0
        self.streams: dict[int, H2Stream] = {}
        self.window = frames.DEFAULT_WINDOW_BYTES
        self.writer = FieldWriter()

    # what the event loop calls

    def pause_writing(self) -> None:
        self.write_paused = True
        now = self.plane.monotonic()
        self._watch_unsent(now)
        self.arm(now + LINGER_S, now)

    def resume_writing(self) -> None:
        self.write_paused = False
        self._schedule()

    # what streams call

    def ready(self, stream: H2Stream) -> None:
        """The stream has something to send."""
        if not stream.lost:
            self._ready[stream.id] = stream
            self._schedule()

    def answered(self, stream: H2Stream) -> None:
        """The stream's answer is whole. Where it is the only one, nothing is won by waiting for others."""
        self._ready[stream.id] = stream
        if self.inside or len(self.streams) > 1:
            self._schedule()
        else:
            self.flush()

    def is_full(self) -> bool:
        return self.queued > QUEUED_BYTES_MAX

    def pause(self, stream: H2Stream) -> None:
        """The stream's upstream is to wait until the caller has taken more."""
        stream.write_paused = True
        self._paused[stream.id] = stream

    def send_interim(self, stream_id: int, fields: "list[AnswerField]") -> None:
        self.out.append(
            field_block(stream_id, self.writer.write(fields), frames.FRAME_BYTES_MAX, end_stream=False)
        )
        self._schedule()

    def give_back(self, size: int) -> None:
        """Bytes of the connection's window that need no memory any more."""
        self._credit += size
        if self._credit >= CREDIT_STEP_BYTES:
            self.out.append(frames.window_update(0, self._credit))
            self._receive_left += self._credit
            self._credit = 0
            self._schedule()

    def open_window(self, stream_id: int, size: int) -> None:
        self.out.append(frames.window_update(stream_id, size))
        self._schedule()

    def reset(self, stream: H2Stream, code: int, *, ours: bool) -> None:
        """Ends a stream before its time; ``ours``: because of what the caller did (H02). Its call goes on as
        if the caller had gone: what was sent has a verdict coming (W08).
        """
        if stream.lost:
            return
        stream.lost = True
        stream.discard()
        self._ready.pop(stream.id, None)
        self._paused.pop(stream.id, None)
        self.out.append(frames.rst_stream(stream.id, code))
        self._remember(stream.id)
        exchange = stream.exchange
        if exchange is None:
            self.forget_stream(stream, self.plane.monotonic())
        elif ours and exchange.phase != DONE:
            exchange.client_lost()
        self._schedule()
        if ours:
            self._count_reset()

    def forget_stream(self, stream: H2Stream, now: float) -> None:
        """Nothing of it is left to do."""
        stream.lost = True
        stream.deadline = NEVER
        self._ready.pop(stream.id, None)
        self._paused.pop(stream.id, None)
        self.streams.pop(stream.id, None)
        if not self.streams:
            self._last_stream_ended(now)
            if self._eof or self._goaway == LEFT:
                self._schedule()

    # inside

    def _last_stream_ended(self, now: float) -> None:
        raise NotImplementedError

    def _count_reset(self) -> None:
        try:
            self._guards.we_reset()
        except ConnectionFault as fault:
            self._fail(fault, self.plane.monotonic())

    def _remember(self, stream_id: int) -> None:
        recent = self._recent
        if len(recent) >= RESETS_REMEMBERED:
            del recent[next(iter(recent))]
        recent[stream_id] = None

    def _refuse(self, stream_id: int) -> None:
        """No room for another call; nothing was done, so the caller may ask again (RFC 9113 section 8.7)."""
        self.out.append(frames.rst_stream(stream_id, frames.REFUSED_STREAM))
        self._remember(stream_id)
        self._count_reset()

    def _schedule(self) -> None:
        if not self.inside and not self._scheduled and not self.lost:
            self._scheduled = True
            self.plane.loop.call_soon(self.flush)

    def flush(self) -> None:
        """Everything that may go out now goes out."""
        self._scheduled = False
        transport = self.transport
        if transport is None or self._closing:
            return
        if self._ready and not self.write_paused:
            self._emit_ready()
        if self.out:
            data = b"".join(self.out)
            self.out.clear()
            self._out_bytes = 0
            transport.write(data)
        if self._paused:
            self._go_on_paused()
        if not self.streams and (self._goaway == LEFT or self._eof):
            self._close_gently(self.plane.monotonic())
        elif self._ready and not self.write_paused:
            self._schedule()

    def _emit_ready(self) -> None:
        """Streams in turns of a frame, until nothing may be sent or enough is under way."""
        ready = self._ready
        while ready and self._out_bytes < WRITE_BYTES_MAX:
            for stream in list(ready.values()):
                if not self._emit(stream):
                    ready.pop(stream.id, None)

    def _emit(self, stream: H2Stream) -> bool:
        """The next frame of a stream; whether there may be another."""
        queue = stream.queue
        head = stream.head
        if head is not None:
            stream.head = None
            done = stream.ended and not queue and not stream.trailers
            self.out.append(
                field_block(stream.id, self.writer.write(head), frames.FRAME_BYTES_MAX, end_stream=done)
            )
            if done:
                self._sent_all(stream)
                return False
        if queue:
            room = min(self.window, stream.window)
            if room <= 0:
                return False
            piece = queue[0]
            size = len(piece)
            if size <= room:
                queue.popleft()
            else:
                queue[0] = piece[room:]
                piece = piece[:room]
                size = room
            self.window -= size
            stream.window -= size
            stream.queued -= size
            stream.sent += size
            self.queued -= size
            self._out_bytes += size
            done = stream.ended and not queue and not stream.trailers
            self.out.append(frame(frames.DATA, frames.END_STREAM if done else 0, stream.id, piece))
            if done:
                self._sent_all(stream)
                return False
            if queue:
                return True
        if stream.ended:
            self._emit_end(stream)
        return False

    def _emit_end(self, stream: H2Stream) -> None:
        """The end of an answer whose last byte is out already, with its trailers if there are any."""
        if stream.trailers:
            block = self.writer.write([(name, value, False) for name, value in stream.trailers])
            self.out.append(field_block(stream.id, block, frames.FRAME_BYTES_MAX, end_stream=True))
        else:
            self.out.append(frame(frames.DATA, frames.END_STREAM, stream.id, b""))
        self._sent_all(stream)

    def _sent_all(self, stream: H2Stream) -> None:
        """The answer is out; a request that has not ended need not go on (RFC 9113 section 8.1)."""
        if not stream.remote_ended:
            self.out.append(frames.rst_stream(stream.id, frames.NO_ERROR))
            self._remember(stream.id)
        self.forget_stream(stream, self.plane.monotonic())

    def _go_on_paused(self) -> None:
        """Upstreams whose answers have been taken far enough go on: wholly, where much of others still waits.
        Answers that the caller does not take hold up none that it takes.
        """
        low = 0 if self.queued > QUEUED_BYTES_MAX // 2 else QUEUED_LOW_BYTES
        now = self.plane.monotonic()
        for stream in list(self._paused.values()):
            if stream.queued <= low:
                self._paused.pop(stream.id, None)
                stream.write_paused = False
                stream.drained(now)

    def resume_all(self) -> None:
        """The connection's window has opened."""
        for stream in self.streams.values():
            if stream.queue:
                self._ready[stream.id] = stream
        self._schedule()

    def change_windows(self, value: int) -> None:
        """The caller's window for new streams changed, and by as much those of the others (RFC 9113 section
        6.9.2). Raises ``ConnectionFault``.
        """
        more = value - self.peer_window
        self.peer_window = value
        for stream in self.streams.values():
            stream.window += more
            if stream.window > frames.WINDOW_MAX:
                raise ConnectionFault(frames.FLOW_CONTROL_ERROR, "settings_window")
        self.resume_all()

    # the end

    def _announce_end(self, now: float) -> None:
        """The first of two GOAWAY: begin nothing new. Requests on their way by then are still answered (RFC
        9113 section 6.8); the answer to the PING shows that there are no more.
        """
        if self._goaway != OPEN or self._closing:
            return
        self._goaway = LEAVING
        self.out.append(frames.goaway(frames.WINDOW_MAX, frames.NO_ERROR))
        self.out.append(frame(frames.PING, 0, 0, GOAWAY_PING))
        self._schedule()
        self.arm(now + LINGER_S, now)

    def _leave(self) -> None:
        """The second GOAWAY: which streams were the last. The connection ends with them."""
        self._goaway = LEFT
        self.out.append(frames.goaway(self._highest, frames.NO_ERROR))
        self._schedule()

    def _fail(self, fault: ConnectionFault, now: float) -> None:
        """The peer broke the protocol or a bound: the connection ends; calls sent go on to their verdict."""
        if self._closing or self.transport is None:
            return
        self.plane.http2_faults += 1
        self._ready.clear()
        self.out.append(frames.goaway(self._highest, fault.code))
        self.transport.write(b"".join(self.out))
        self.out.clear()
        self._close_gently(now)
        self._lose_streams()

    def _lose_streams(self) -> None:
        for stream in list(self.streams.values()):
            if not stream.lost:
                stream.reset_by_peer()
            if stream.exchange is None:
                self.streams.pop(stream.id, None)

    def end_now(self) -> None:
        if self._closing:
            super().end_now()
        else:
            self.break_off()

    def break_off(self) -> None:
        """The end at once; GOAWAY says which requests were never looked at, if it can still be said."""
        transport = self.transport
        if transport is not None and not self._closing and not transport.get_write_buffer_size():
            transport.write(frames.goaway(self._highest, frames.NO_ERROR))
            self._closing = self._unusual = True
            transport.close()
            return
        super().break_off()
