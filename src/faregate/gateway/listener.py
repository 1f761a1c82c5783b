"""A caller's connection: whole heads out of the byte stream, one request at a time, answers in order.

It knows HTTP's outer shape only: where a head ends, that pipelined requests wait their turn (F31), when a
connection is kept or closed, and what an idle, slow or half-closed peer is granted. What a request means is
the exchange's affair.
"""

import asyncio
from typing import TYPE_CHECKING, Final, cast

from faregate.gateway.exchange import Exchange
from faregate.gateway.http1.partial import hopeless
from faregate.gateway.http1.request import (
    LINE_BYTES_MAX,
    REQUEST_LINE,
    TARGET_BYTES_MAX,
    Fields,
    Line,
    may_have_body,
    parse_head,
)
from faregate.gateway.http1.sections import keyed_anew
from faregate.gateway.http1.targets import METHODS
from faregate.gateway.lingering import LINGER_S, Lingering
from faregate.gateway.outbound import plain_address
from faregate.gateway.unsent import bound_unsent
from faregate.gateway.wheel import NEVER
from faregate.kernel.problems import Refusal

if TYPE_CHECKING:
    from faregate.gateway.plane import Plane

_request_line: Final = REQUEST_LINE.match
PIPELINED_BYTES_MAX: Final = 64 << 10
"""Bytes of later requests held while one is in progress; beyond it reading pauses."""
SHORT_HEAD_BYTES: Final = 2 << 10
"""What is held of a head in pieces even when memory is short."""
WRITE_HIGH_BYTES: Final = 64 << 10
"""Of an answer held for a caller who reads slowly; beyond it the upstream is not read either."""


class ClientConnection(Lingering):
    """One accepted connection. ``exchange`` is the call in progress."""

    __slots__ = (
        "_fields",
        "_partial",
        "_skip",
        "exchange",
    )

    def __init__(self, plane: "Plane") -> None:
        super().__init__(plane)
        self.exchange: Exchange | None = None
        self._fields: Fields | None = None  # of the request before: most come again
        self._partial = False  # part of a head has come
        self._skip = 0  # bytes of a refused call's body still to be dropped

    # what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=WRITE_HIGH_BYTES)
        plane = self.plane
        peer = transport.get_extra_info("peername")
        if not peer:
            self._closing = self._unusual = True
            self.transport.abort()  # reset before we took it: there is no address to judge, forward or log
            return
        self.peer_ip = plain_address(str(peer[0]))
        self.judge(plane.runtime.trusted)
        if not plane.doorkeeper.admits(self.peer_ip, len(plane.clients), trusted=bool(self.trusted)):
            self._closing = self._unusual = True
            self.transport.abort()  # the cheapest answer there is (http-rules.md section 7)
            return
        plane.clients.add(self)
        bound_unsent(self.transport)
        forwarded = (self.peer_ip.encode(), self.proto)
        self.forwarded_lines = b"X-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\n" % forwarded
        self.made_at = now = plane.monotonic()
        self.arm(now + plane.header_timeout, now)

    def data_received(self, data: bytes) -> None:
        if self.exchange is not None or self._unusual:
            self._receive_unusual(data)
            return
        match = _request_line(data)
        if match is not None:
            at = match.end()
            fields = self._fields
            if fields is not None and not data.startswith(fields.raw, at):
                fields = self._fields = keyed_anew(fields, data, at)
            if fields is not None:  # the same fields as last time, or but for the key: their facts stand
                end = at + len(fields.raw)
            else:
                end = data.find(b"\r\n\r\n", at - 2) + 4
                memory = self.plane.runtime.fields
                if end > at and memory.section_bytes_max:
                    raw = data[at:end]
                    fields = memory.known(raw)
                    if fields is None:
                        fields = memory.keyed(raw)
                self._fields = fields
            if fields is not None and at < TARGET_BYTES_MAX:
                line: Line = match.groups()  # type: ignore[assignment]  # four groups, all matched
                path = line[2]
                if not (
                    path.find(b"/.") >= 0
                    or path.find(b"//") >= 0
                    or (fields.framed and not may_have_body(fields, line))
                ):
                    self._begin(line, fields, data, end)
                    return
        end = data.find(b"\r\n\r\n") + 4
        if end > 4:
            self._parse(data, end)
        else:
            self._receive_partial(data)

    def eof_received(self) -> bool:
        """The caller has no more to say; a complete request is still answered (W08)."""
        self._eof = True
        exchange = self.exchange
        if exchange is None:
            if self._partial and not self._closing:
                self._refuse_head(Refusal("malformed_request", reason="head_cut"))
            else:
                self._close_now()
        elif exchange.wants_body:
            exchange.request_cut()
        return True

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - the protocol's signature
        self.lost = True
        self.transport = None
        self.plane.forget(self)
        self._buffer.clear()
        if self.exchange is None:
            self.deadline = NEVER
        else:
            self.exchange.client_lost()

    def pause_writing(self) -> None:
        self.write_paused = self._unusual = True
        now = self.plane.monotonic()
        self._watch_unsent(now)
        if self.exchange is not None:
            self.exchange.client_full()
        elif not self._partial:
            self.arm(now + LINGER_S, now)

    def resume_writing(self) -> None:
        self.write_paused = False
        if self.exchange is not None:
            self.exchange.client_drained(self.plane.monotonic())
            return
        if not (self._closing or self._partial):
            now = self.plane.monotonic()
            self.arm(now + self.plane.idle_timeout, now)
        if self._buffer:
            self.plane.loop.call_soon(self._go_on)

    # what the wheel and the exchange call

    def on_deadline(self, now: float) -> None:
        exchange = self.exchange
        self.deadline = NEVER
        if exchange is not None:
            exchange.deadline_passed(now)
        elif self._partial and not self._closing:
            self._refuse_head(Refusal("malformed_request", reason="header_timeout"))
        elif self._closing or self.write_paused:
            self._linger_on(now)
        else:
            self._close_now()

    def resume_reading(self) -> None:
        if self._read_paused and self.transport is not None and len(self._buffer) <= PIPELINED_BYTES_MAX:
            self._read_paused = False
            self.transport.resume_reading()

    def hand_over(self) -> tuple[asyncio.Transport, bytes, bool] | None:
        transport = self.transport
        if transport is None:
            return None
        held = bytes(self._buffer)
        self._buffer.clear()
        self.resume_reading()
        return transport, held, self._eof

    def exchanges(self) -> list[Exchange]:
        """The calls in progress."""
        return [] if self.exchange is None else [self.exchange]

    def forget(self) -> None:
        """The configuration has changed: fields and the peer are judged anew."""
        self._fields = None
        self.judge(self.plane.runtime.trusted)

    def hurry(self, now: float) -> None:
        """Memory is short: who is idle, or in the middle of a head, has no longer than what now holds."""
        if self.exchange is None and not (self._closing or self.write_paused):
            plane = self.plane
            deadline = now + (plane.header_timeout if self._partial else plane.idle_timeout)
            if deadline < self.deadline:
                self.arm(deadline, now)

    def announce_drain(self) -> None:
        """The worker is going to stop: this protocol says so with its next answer."""

    def drain(self) -> None:
        """No further call here: an idle connection ends now, a busy one with its answer."""
        exchange = self.exchange
        if exchange is not None:
            exchange.be_the_last()
        elif not self._partial:
            self._close_now()

    def leave(self) -> None:
        """The caller would not be let in any more: a call of which only a part has come is not begun."""
        if self._partial and self.exchange is None:
            self._close_now()
        else:
            self.drain()

    def exchange_done(self, keep_alive: bool, skip: int, now: float) -> None:  # noqa: FBT001 - one caller, once a call
        """The call has ended; the next one may begin."""
        self.exchange = None
        if self.lost:
            self.deadline = NEVER
            return
        if not keep_alive:
            self._close_gently(now)
            return
        self.deadline = deadline = now + (LINGER_S if self.write_paused else self.plane.idle_timeout)
        if deadline < self.wheel_at:
            self.plane.wheel.watch(self, now)
        if self._buffer or self._eof or skip or self._read_paused:
            self._skip = skip
            self._unusual = True
            self.plane.loop.call_soon(self._go_on)

    # heads

    def _receive_unusual(self, data: bytes) -> None:
        """Bytes of a body, of later requests, of a head in pieces, to be skipped, or on a connection that
        only lingers.
        """
        exchange = self.exchange
        if exchange is not None:
            if exchange.wants_body:
                try:
                    data = exchange.request_data(data, self.plane.monotonic())
                except Exception as error:  # noqa: BLE001 - one call's failure ends that call only
                    exchange.internal_error(error)
                    return
            if data:
                self._keep(data)
            return
        if self._closing:
            self._linger_left -= len(data)
            if self._linger_left < 0:
                self._close_now()
            return
        if self.write_paused or (self._buffer and not self._partial):
            self._keep(data)  # who reads no answers asks nothing more; and held bytes come first
            return
        if self._skip:
            taken = min(self._skip, len(data))
            self._skip -= taken
            data = data[taken:]
            if self._skip or not data:
                self._unusual = self._skip > 0
                return
        self._receive_partial(data)

    def _receive_partial(self, data: bytes) -> None:
        """Adds to a head that has not ended; refuses at once what no further byte can mend."""
        plane = self.plane
        buffer = self._buffer
        seen = len(buffer)
        buffer += data
        now = plane.monotonic()
        if not self._partial:
            self._partial = self._unusual = True
            self.arm(now + plane.header_timeout, now)
        if buffer.startswith(b"\r\n\r\n"):
            self._refuse_head(Refusal("malformed_request", reason="empty_lines"))
            return
        end = buffer.find(b"\r\n\r\n", max(0, seen - 3))
        if end >= 0:
            whole = bytes(buffer)
            buffer.clear()
            self._parse(whole, end + 4)
            return
        if (reason := hopeless(buffer, max(0, seen - 1))) is not None:
            self._refuse_head(Refusal("malformed_request", reason=reason))
        elif len(buffer) > plane.runtime.limits.header_bytes:
            self._refuse_head(
                Refusal(
                    "headers_too_large" if b"\r\n" in buffer[2:] else "target_too_long",
                    reason="head_too_large",
                )
            )
        elif len(buffer) - buffer.rfind(b"\n") > LINE_BYTES_MAX:
            self._refuse_head(
                Refusal(
                    "headers_too_large" if b"\n" in buffer[2:] else "target_too_long", reason="line_too_long"
                )
            )
        elif not plane.held(len(data), now) and len(buffer) > SHORT_HEAD_BYTES:
            plane.doorkeeper.refused["memory"] += 1
            buffer.clear()
            self.break_off()

    def _parse(self, data: bytes, end: int) -> None:
        """A head with new fields or out of the common; it ends at ``end``."""
        self._partial = self._unusual = False
        if data[:2] == b"\r\n":  # one empty line ahead of a request is passed over (F04)
            data = data[2:]
            end -= 2
        plane = self.plane
        try:
            line, fields = parse_head(data, end, plane.runtime.fields, self.proto)
            if fields.via and plane.via in fields.via:
                raise Refusal("loop_detected", reason="own_name_in_via")  # noqa: TRY301 - told like the others
        except Refusal as refusal:
            self._refuse_head(refusal, data)
            return
        self._fields = fields if end <= plane.runtime.fields.section_bytes_max else None
        self._begin(line, fields, data, end)

    def _begin(self, line: Line, fields: Fields, data: bytes, end: int) -> None:
        """Starts the call of a head that ends in ``data`` at ``end``."""
        plane = self.plane
        self.exchange = exchange = Exchange(self, plane, plane.monotonic())
        try:
            if fields.framed:
                rest = exchange.begin_with_body(line, fields, data[end:])
            else:
                exchange.begin(line, fields)
                rest = data[end:]
        except Exception as error:  # noqa: BLE001 - one call's failure ends that call only
            exchange.internal_error(error)
            return
        if rest:
            self._keep(rest)

    def _refuse_head(self, refusal: Refusal, begun: bytes = b"") -> None:
        """Refuses a head; ``begun``: its first bytes, to tell a HEAD, whose answer has no body (W10)."""
        plane = self.plane
        self._partial = self._unusual = False
        self._buffer.clear()
        self.exchange = exchange = Exchange(self, plane, plane.monotonic())
        method = begun[:8].partition(b" ")[0]
        if method in METHODS:
            exchange.call.method = method
        exchange.refuse_head(refusal, self.peer_ip)

    def _keep(self, data: bytes) -> None:
        """Holds bytes of later requests until their turn (F31)."""
        if self._closing:
            return
        self._buffer += data
        self._unusual = True
        if len(self._buffer) > PIPELINED_BYTES_MAX or not self.plane.held(len(data), self.plane.monotonic()):
            self.pause_reading()
        if self.exchange is None and not self.write_paused:
            self.plane.loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        """Takes up what came while the last call was in progress."""
        busy = self.exchange
        if busy is not None or self._closing or self.lost or self.write_paused:
            return
        held = bytes(self._buffer)
        self._buffer.clear()
        self._unusual = self._partial or self._skip > 0
        if held:
            self.data_received(held)
        self.resume_reading()
        if self._eof and self.exchange is None and not self._closing:
            self._partial = self._unusual = False
            self._close_now()
