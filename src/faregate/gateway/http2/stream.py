"""One HTTP/2 stream of a caller: one call, to the rest of the gateway a caller like any other.

The exchange writes an answer as HTTP/1.1 would have it; here it becomes HEADERS and DATA as the caller's
windows allow. The request's body comes in as DATA and goes on as the exchange takes it: what it does not take
does not open the stream's window again, so a slow upstream slows its own caller. The connection's window is
for all of them and opens at once, unless memory is short. Frames and their order are the connection's affair.
"""

from collections import deque
from typing import TYPE_CHECKING, Final

from faregate.gateway.caller import STALLED_READER_S, Caller
from faregate.gateway.exchange import Exchange
from faregate.gateway.http1.chunked import encode_chunk, encode_last
from faregate.gateway.http2.frames import (
    CANCEL,
    FRAME_BYTES_MAX,
    INTERNAL_ERROR,
    PROTOCOL_ERROR,
    STREAM_WINDOW_BYTES,
)
from faregate.gateway.http2.grpc import is_grpc, refusal_fields
from faregate.gateway.http2.translate import answer_fields, trailer_fields
from faregate.gateway.phases import DONE
from faregate.gateway.wheel import NEVER
from faregate.kernel.problems import PROBLEMS, Refusal

if TYPE_CHECKING:
    from faregate.gateway.http1.request import Fields, Line
    from faregate.gateway.http2.connection import Http2Connection
    from faregate.gateway.http2.translate import AnswerField

QUEUED_HIGH_BYTES: Final = 64 << 10
"""Of an answer, above which its upstream is paused."""
QUEUED_LOW_BYTES: Final = 16 << 10
PROGRESS_BYTES: Final = 16 << 10
"""What a caller must take of an ended answer, or all that is left, each ``STALLED_READER_S`` (H04, H07)."""
WINDOW_STEP_BYTES: Final = STREAM_WINDOW_BYTES // 2


class H2Stream(Caller):
    """``window``: what the caller lets us send. ``ended``: the answer is whole. ``head``, ``queue`` (of
    ``queued`` bytes), ``trailers``: of it, not yet sent. ``remote_ended``: the request is whole.
    """

    __slots__ = (
        "_chunked",
        "_credit",
        "_expected",
        "_grpc",
        "_paused",
        "_receive_left",
        "_received",
        "_sent_mark",
        "_trailers_in",
        "_withheld",
        "answered",
        "connection",
        "ended",
        "exchange",
        "head",
        "id",
        "inbox",
        "queue",
        "queued",
        "remote_ended",
        "sent",
        "trailers",
        "window",
    )

    def __init__(self, connection: "Http2Connection", stream_id: int, *, remote_ended: bool) -> None:
        super().__init__(connection.plane)
        self.connection = connection
        self.id = stream_id
        self.exchange: Exchange | None = None
        self.peer_ip = connection.peer_ip
        self.trusted = connection.trusted
        self.proto = connection.proto
        self.forwarded_lines = connection.forwarded_lines
        self.tls = connection.tls
        self.server_name = connection.server_name
        self.certificate = connection.certificate
        self.remote_ended = remote_ended
        self.window = connection.peer_window
        self.answered = False
        self.ended = False
        self.head: list[AnswerField] | None = None
        self.queue: deque[bytes] = deque()
        self.queued = 0
        self.sent = 0
        self.trailers: list[tuple[bytes, bytes]] = []
        self.inbox = bytearray()
        self._trailers_in: list[tuple[bytes, bytes]] = []
        self._chunked = False
        self._credit = 0
        self._expected = -1
        self._grpc = False
        self._paused = False
        self._received = 0
        self._receive_left = STREAM_WINDOW_BYTES
        self._sent_mark = 0
        self._withheld = 0  # of the connection's window

    def serves(self, host: bytes) -> bool:
        return self.connection.serves(host)

    # the request

    def begin(self, line: "Line", fields: "Fields", now: float, body: bytes = b"") -> None:
        """Starts the call of a head that was judged; ``body``: the whole of it, when that is here already."""
        self.exchange = exchange = Exchange(self, self.plane, now)
        if fields.content_type and is_grpc(fields.content_type):
            self._grpc = exchange.cancels = True
        try:
            if fields.framed:
                self._chunked = fields.chunked
                self._expected = fields.content_length
                if body and self._chunked:
                    body = encode_chunk(body) + encode_last([])
                exchange.begin_with_body(line, fields, body)
            else:
                if not self.remote_ended:
                    self._expected = 0
                exchange.begin(line, fields)
        except Exception as error:  # noqa: BLE001 - one call's failure ends that call only
            exchange.internal_error(error)

    def refuse_head(self, refusal: Refusal, fields: list[tuple[bytes, ...]], now: float) -> None:
        """The head was refused: nothing goes upstream. ``fields`` shape the answer, no more."""
        self.exchange = exchange = Exchange(self, self.plane, now)
        exchange.minor = b"2"
        for field in fields:
            if field[0] == b":method" and field[1] == b"HEAD":
                exchange.call.method = b"HEAD"  # whose answer has no body (W10)
            elif field[0] == b"content-type":
                self._grpc = is_grpc(field[1])
        exchange.refuse_head(refusal, self.peer_ip)

    def data(self, payload: bytes, length: int, *, end: bool) -> bool:
        """DATA of ``length`` octets with its padding; False when it is more than the window allowed."""
        self._receive_left -= length
        if self._receive_left < 0:
            return False
        if end:
            self.remote_ended = True
        size = len(payload)
        if length > size:
            self._open_window(length - size)
        self._received += size
        expected = self._expected
        mismatch = expected >= 0 and (self._received > expected or (end and self._received < expected))
        exchange = self.exchange
        waits = self._paused and exchange is not None and not mismatch
        if waits and not self.plane.held(size, self.plane.monotonic()):
            self._withheld += length  # memory is short: it is for others again when this has gone on
        else:
            self.connection.give_back(length)
        if mismatch:
            self._mismatch()
            return True
        if exchange is None:
            self._open_window(size)  # answered already: nobody will take it
            return True
        if self._paused or (not end and self._received == expected):
            # The last piece of a sized body waits for the stream's end: only then is it known to be whole.
            # Joined: an object for each of many small frames would cost far more than the window says.
            self.inbox += payload
        else:
            self.deliver(payload)
        return True

    def take_trailers(self, fields: list[tuple[bytes, ...]]) -> None:
        """The fields behind a request's body, which end it."""
        self.remote_ended = True
        exchange = self.exchange
        try:
            self._trailers_in = trailer_fields(fields)
        except Refusal as refusal:
            if exchange is not None:
                exchange.abandon(refusal)
            return
        if 0 <= self._received < self._expected:
            self._mismatch()
        elif not self._paused:
            self.deliver()

    def deliver(self, last: bytes = b"") -> None:
        """Hands on what has come of the body, ``last`` behind it, and opens the window for as much."""
        inbox = self.inbox
        data = last
        if inbox:
            inbox += last
            data = bytes(inbox)
            inbox.clear()
        if data:
            self._open_window(len(data))
        self._give_back_withheld()
        exchange = self.exchange
        if exchange is None or not exchange.wants_body:
            return
        if self._chunked:
            if data:
                data = encode_chunk(data)
            if self.remote_ended:
                data += encode_last(self._trailers_in)
        if data:
            try:
                exchange.request_data(data, self.plane.monotonic())
            except Exception as error:  # noqa: BLE001 - one call's failure ends that call only
                exchange.internal_error(error)

    def _mismatch(self) -> None:
        """More or less DATA than Content-Length said (H09)."""
        exchange = self.exchange
        self._drop_inbox()
        if exchange is not None and exchange.wants_body:
            exchange.abandon(Refusal("malformed_request", reason="length_mismatch"))
        else:
            self.connection.reset(self, PROTOCOL_ERROR, ours=True)

    def _give_back_withheld(self) -> None:
        if self._withheld:
            self.connection.give_back(self._withheld)
            self._withheld = 0

    def _open_window(self, size: int) -> None:
        self._credit += size
        if self._credit >= WINDOW_STEP_BYTES and not self.remote_ended and not self.lost:
            self.connection.open_window(self.id, self._credit)
            self._receive_left += self._credit
            self._credit = 0

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        if self._paused:
            self._paused = False
            if self.inbox or (self.remote_ended and self._chunked):
                self.plane.loop.call_soon(self._deliver_later)

    def _deliver_later(self) -> None:
        if not self._paused and not self.lost and (self.remote_ended or self._received != self._expected):
            self.deliver()

    # the answer

    def write(self, data: bytes) -> None:
        self._put(data)
        self.connection.ready(self)

    def _put(self, data: bytes) -> None:
        if self.lost:
            return
        if not self.answered:
            end = data.find(b"\r\n\r\n")
            status, fields = answer_fields(data[:end])
            if status < 200:
                self.connection.send_interim(self.id, fields)
                return
            self.answered = True
            data = data[end + 4 :]
            exchange = self.exchange
            if self._grpc and exchange is not None and exchange.call.refusal:
                fields = refusal_fields(PROBLEMS[exchange.call.refusal], fields)
                data = b""
            self.head = fields
        if data:
            size = len(data)
            if size <= FRAME_BYTES_MAX:
                self.queue.append(data)
            else:
                self.queue.extend([data[at : at + FRAME_BYTES_MAX] for at in range(0, size, FRAME_BYTES_MAX)])
            self.queued += size
            connection = self.connection
            connection.queued += size
            if not self.write_paused and (self.queued > QUEUED_HIGH_BYTES or connection.is_full()):
                connection.pause(self)
                if self.exchange is not None:
                    self.exchange.client_full()

    def write_last(self, data: bytes) -> None:
        self._put(data)

    def write_trailers(self, trailers: list[tuple[bytes, bytes]]) -> None:
        """Fields behind the answer's body; its end follows."""
        self.trailers = [(name.lower(), value) for name, value in trailers]

    def drained(self, now: float) -> None:
        """The caller has taken enough of the answer for more of it to come."""
        if self.exchange is not None:
            self.exchange.client_drained(now)

    def break_off(self) -> None:
        self.connection.reset(self, INTERNAL_ERROR, ours=False)

    def exchange_done(self, keep_alive: bool, skip: int, now: float) -> None:  # noqa: ARG002, FBT001 - a caller's
        self.exchange = None
        if self.lost:
            self.deadline = NEVER
            self.connection.forget_stream(self, now)
            return
        self.ended = True
        self._drop_inbox()
        self._sent_mark = self.sent
        self.arm(now + STALLED_READER_S, now)
        self.connection.answered(self)
        if self.plane.closes:
            self.connection.drain()

    def on_deadline(self, now: float) -> None:
        exchange = self.exchange
        self.deadline = NEVER
        if exchange is not None:
            exchange.deadline_passed(now)
        elif not self.lost:
            if self.sent - self._sent_mark < PROGRESS_BYTES:
                self.connection.reset(self, CANCEL, ours=True)
            else:
                self._sent_mark = self.sent
                self.arm(now + STALLED_READER_S, now)

    def has_stalled(self, now: float) -> bool:  # noqa: ARG002 - a caller's
        return True  # asked each ``look_s``, and any progress worth the name has moved that deadline

    def reset_by_peer(self) -> None:
        """The caller wants no answer any more; what was sent goes on to its own verdict (W08)."""
        self.lost = True
        self.discard()
        exchange = self.exchange
        if exchange is not None and exchange.phase != DONE:
            exchange.client_lost()

    def discard(self) -> None:
        """Nothing more is sent or taken in."""
        self.connection.queued -= self.queued
        self.queued = 0
        self.queue.clear()
        self.head = None
        self._drop_inbox()

    def _drop_inbox(self) -> None:
        """Nobody takes what came of the body."""
        self.inbox.clear()
        self._give_back_withheld()
