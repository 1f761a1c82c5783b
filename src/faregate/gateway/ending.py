"""How a call ends when it is not answered by its upstream, and what every end has in common.

The base of ``Exchange``: the state of a call, the one place where a refusal becomes an answer, and
``_finish``, which runs once whatever happens: it frees the concurrency place, writes the record and lets
the next request of the connection go on.
"""

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from faregate.gateway.body import RequestBody
from faregate.gateway.http1.answers import refusal_answer
from faregate.gateway.outbound import deadline_line
from faregate.gateway.phases import COLLECTING, CONNECTING, DECIDING, DONE, SENDING, WAITING
from faregate.kernel.problems import Outcome, Refusal
from faregate.snapshot.call import Call, ReadyRoute
from faregate.stores.ledger.moves import Teller

if TYPE_CHECKING:
    from faregate.gateway.assembly import ReadyUpstream
    from faregate.gateway.balance import TargetState
    from faregate.gateway.caller import Caller
    from faregate.gateway.http1.request import Fields
    from faregate.gateway.plane import Plane
    from faregate.gateway.tunnel import Tunnel
    from faregate.gateway.upstream import UpstreamConnection

_log = logging.getLogger("faregate.gateway")

SKIPPED_BYTES_MAX: Final = 64 << 10
"""How much of a refused call's body is read and dropped so that the connection may go on."""
_READS: Final = frozenset({b"GET", b"HEAD", b"OPTIONS"})
# Enum members cost a look-up in a descriptor each time; these are read once per call.
ANSWERED: Final = Outcome.ANSWERED.value
CLIENT_GONE: Final = Outcome.CLIENT_GONE.value
UNKNOWN: Final = Outcome.UNKNOWN.value


class Ending(Teller):
    """The state of one call between a caller's connection and an upstream's, and its ends. Never reused. What
    the ledger tells it is ``Claiming``'s affair.

    ``now``: monotonic seconds of the event being handled. ``deadline_line``: what the upstream is told of the
    time that is left, where it is less than usual; ``_hurried``: because the caller said so.
    ``traceparent``: the field's value as sent upstream. ``attempt``: names its hold on the ledger's record,
    while it has one. What most calls never set stands at its class
    default.
    """

    body: RequestBody | None = None
    cancels: bool = False
    deadline_line: bytes = b""
    fields: "Fields"
    minor: bytes
    phase: int = DECIDING
    target: bytes
    traceparent: bytes
    tunnel: "Tunnel | None" = None
    upstream: "ReadyUpstream"
    attempt: bytes = b""
    _answered_as: str = ANSWERED
    _chunked_answer: bool = False
    _head_sent: bool = False
    _hurried: bool = False
    _keep_alive: bool = False
    _moves: int = 0
    _returns: int = 0
    _sent_at: float
    _streams: bool = False
    _task: asyncio.Task[None] | None = None
    _total_deadline: float
    _tried: "tuple[TargetState, ...]" = ()
    _upstream_connection: "UpstreamConnection | None" = None
    _upstream_state: "TargetState | None" = None

    def __init__(self, client: "Caller", plane: "Plane", now: float) -> None:
        self.client = client
        self.plane = plane
        self.now = now
        runtime = plane.runtime
        canary = plane.canary
        if canary is not None:
            runtime = canary.choose(runtime)
        self.runtime = runtime
        self.call = call = Call(now, now + plane.wall_offset)
        call.revision = runtime.revision
        plane.in_flight += 1

    @property
    def wants_body(self) -> bool:
        """Whether bytes from the caller still belong to this request."""
        return self.body is not None and self.body.left != 0

    def _hurry(self, deadline_ms: int) -> bool:
        """Takes the caller's own deadline, counted from its request, if it is the earlier one; False: it has
        passed, and the call was refused.
        """
        deadline = self.call.now - self.call.waited + deadline_ms / 1000.0
        if deadline < self._total_deadline:
            self._hurried = True
            self._total_deadline = deadline
            if deadline <= self.now:
                self.refuse(Refusal("upstream_unreachable", reason="deadline_passed"))
                return False
            self.deadline_line = deadline_line(deadline - self.now)
        return True

    # ends that are not answers

    def deadline_passed(self, now: float) -> None:
        """The wheel says that the armed time is over."""
        self.now = now
        if self._head_sent:
            client = self.client
            if client.write_paused and now < self._total_deadline and not client.has_stalled(now):
                client.arm(min(now + client.look_s, self._total_deadline), now)
                return
            self._failed_upstream(
                Refusal(
                    "upstream_timeout",
                    reason="stalled_reader" if client.write_paused else self._late(now),
                )
            )
        elif self.phase in {SENDING, COLLECTING} and self._body_may_go_on(now):
            return
        elif self.phase == SENDING and self._upstream_is_stuck():
            self._failed_upstream(Refusal("upstream_timeout", reason="upstream_not_reading"))
        elif self.phase == WAITING or (self.phase == SENDING and now >= self._total_deadline):
            late = now >= self._total_deadline
            self._failed_upstream(
                Refusal("upstream_timeout", reason="total_timeout" if late else "first_byte_timeout")
            )
        elif self.phase == CONNECTING:
            self._drop_upstream()
            self.refuse(Refusal("upstream_unreachable", reason="total_timeout"))
        elif self.wants_body and self.phase in {DECIDING, COLLECTING, SENDING}:
            body = self.body
            late = body is not None and now >= body.started_at + self.plane.body_timeout
            self.abandon(Refusal("malformed_request", reason="body_timeout" if late else "body_too_slow"))

    def _late(self, now: float) -> str:
        """Which of the two bounds of an answer in progress has passed."""
        bound = "total" if now >= self._total_deadline else "idle"
        return ("stream_" if self._streams else "") + bound + "_timeout"

    def _body_may_go_on(self, now: float) -> bool:
        """Whether the body is in time after all: more of it came, or it waits for the upstream; then its
        deadline is moved.
        """
        body = self.body
        if body is None or body.left == 0:
            return False
        if self._upstream_is_stuck():
            body.pardon(now)  # not the caller's fault
        end = min(body.started_at + self.plane.body_timeout, self._total_deadline)
        if now >= end or now >= body.late_at():
            return False
        self.client.arm(min(end, body.late_at()), now)
        return True

    def _upstream_is_stuck(self) -> bool:
        """Whether the body waits for the upstream to read, and not for the caller to send."""
        return self._upstream_connection is not None and self._upstream_connection.write_paused

    def client_lost(self) -> None:
        """The caller's connection is gone. What was sent goes on to its own verdict unless it was only a
        read (W08).
        """
        if self.phase == DONE:
            return
        self.now = self.plane.monotonic()
        if self.phase < SENDING or self.wants_body or self.call.method in _READS or self.cancels:
            self._drop_upstream()
            self._finish(CLIENT_GONE)
            return
        self.plane.orphans.add(self)  # type: ignore[arg-type]  # every Ending is an Exchange
        if self._streams:  # nobody hears the events any more: the times of other answers hold
            self._streams = False
            self._total_deadline = min(self._total_deadline, self.now + self.upstream.total_timeout)
            self.client.arm(min(self.now + self.upstream.idle_timeout, self._total_deadline), self.now)
        if self._upstream_connection is not None:
            self._upstream_connection.resume_reading()

    def stop(self) -> None:
        """The process stops before the call could end: what was sent is unknown, what was not is not sent."""
        if self.tunnel is not None:
            self.tunnel.stop()
            return
        if self.phase >= SENDING:
            self._failed_upstream(Refusal("upstream_timeout", reason="gateway_stopped"))
        else:
            self.abandon(Refusal("overloaded", reason="gateway_stopped"))

    def be_the_last(self) -> None:
        """The caller's connection ends with this call."""
        self._keep_alive = False
        if self.tunnel is not None:
            self.tunnel.drain()

    def abandon(self, refusal: Refusal) -> None:
        """Gives the call up because of the caller: the upstream's request is cut, never completed."""
        self._drop_upstream()
        refusal.close = True
        self.refuse(refusal)

    def internal_error(self, error: Exception) -> None:
        """Our own fault: counted, logged once with its trace, told without it."""
        _log.error(
            "internal error in call %s", self.call.request_id.decode("ascii", "replace"), exc_info=error
        )
        if self.phase == DONE:
            return
        if self.tunnel is not None:
            self.tunnel.end("internal_error", cut=True)  # which finishes the call
            return
        sent = self.phase >= SENDING
        self._drop_upstream()
        self.refuse(Refusal("internal_error", reason=type(error).__name__), outcome=UNKNOWN if sent else "")

    def _failed_upstream(self, refusal: Refusal) -> None:
        """The upstream failed after something was sent: 502 or 504, or a visible break when the head is out
        (W11).
        """
        target = self._upstream_state
        if target is not None:
            self._upstream_state = None
            if self._hurried and self.now >= self._total_deadline:
                self.upstream.balancer.released(target)  # a caller's haste says nothing about the target
            else:
                self.upstream.balancer.unanswered(target, self.now, self.now - self._sent_at)
        self._drop_upstream()
        self.call.upstream_duration = self.now - self._sent_at
        if self.wants_body:
            refusal.close = True
        self.refuse(refusal)

    def _drop_upstream(self) -> None:
        connection = self._upstream_connection
        self._upstream_connection = None
        if connection is not None:
            connection.abort()
        target = self._upstream_state
        if target is not None:
            self._upstream_state = None
            self.upstream.balancer.released(target)

    def refuse(self, refusal: Refusal, *, outcome: str = "") -> None:
        """Answers in the upstream's place; if an answer is already on its way, breaks it off so that it
        shows.
        """
        call = self.call
        if self.phase == DONE:
            return
        self.now = self.plane.monotonic()
        call.refusal = refusal.code
        call.reason = refusal.reason
        call.parameter = refusal.parameter
        if self._head_sent:
            lost = self.client.lost
            self.client.break_off()
            self._finish(CLIENT_GONE if lost else UNKNOWN)
            return
        call.status = refusal.problem.status
        body = self.body
        left = 0 if body is None else body.left
        waits = body is not None and body.expect and left != 0  # it may never send what it announced
        self._keep_alive = (
            self._keep_alive
            and not (refusal.close or waits or self.plane.closes)
            and 0 <= left <= SKIPPED_BYTES_MAX
        )
        extra = call.limit_headers + call.route.answer_headers if call.route is not None else b""
        answer = refusal_answer(
            refusal,
            call.request_id,
            call.wall + (self.now - call.now),
            close=not self._keep_alive,
            head_only=call.method == b"HEAD",
            extra=extra,
        )
        call.response_bytes = len(answer) - answer.find(b"\r\n\r\n") - 4
        self.client.write_last(answer)
        self._finish(outcome or refusal.told_outcome.value)

    def refuse_head(self, refusal: Refusal, peer_ip: str) -> None:
        """The head was refused: nothing of it is known but where it came from."""
        call = self.call
        call.client_ip = peer_ip
        call.tls = self.client.tls
        call.request_id = self.plane.ids.request_id(call.wall)
        refusal.close = True
        self.refuse(refusal)

    def _is_misdirected(self, rest: bytes) -> bool:
        """Takes what the handshake proved. Whether the call is for another host than the handshake was; then
        it is refused (F10).
        """
        client = self.client
        self.call.tls = client.tls
        self.call.certificate = client.certificate
        if client.serves(self.fields.host):
            return False
        self._announce_unread(rest)
        self.refuse(Refusal("misdirected_request", reason="host_not_of_handshake"))
        return True

    def _admitted(self, route: ReadyRoute, rest: bytes) -> ReadyRoute | None:
        """What a call of this class runs in a worker so busy, or where a canary looks who calls: ``route``,
        or one in its place; None when it was refused.
        """
        plane = self.plane
        reason = plane.admission.refusal(route.priority, plane.in_flight)
        if reason:
            self._announce_unread(rest)
            self.refuse(Refusal("overloaded", reason=reason))
            return None
        canary = plane.canary
        return route if canary is None else canary.watched(route, self.runtime)

    def _announce_unread(self, rest: bytes) -> None:
        """The call is about to be refused before its body was looked at: what comes of it, ``rest`` first,
        is to be skipped.
        """
        fields = self.fields
        if self.body is not None:  # what has come of it is known
            self.body.drop()
        elif fields.framed:
            self.body = RequestBody(fields, 0, (0, 0), capture=False, now=self.now)
            self.body.drop()
            if rest:
                self.body.expect = False

    def _finish(self, outcome: str) -> None:
        call = self.call
        plane = self.plane
        self.phase = DONE
        plane.in_flight -= 1
        if self.client.lost:
            plane.orphans.discard(self)
        if self._task is not None:
            self._task.cancel()
            self._task = None
        release = call.release
        if release is not None:
            release()
        now = self.now
        call.outcome = outcome
        call.duration = now - call.now + call.waited
        body = self.body
        left = 0
        if body is not None:
            left = max(0, body.left)
            call.request_bytes = body.received_bytes
            if body.captured is not None:
                call.request_body = bytes(body.captured)
                call.request_content_type = self.fields.content_type
        plane.record(call)
        self.client.exchange_done(self._keep_alive, left, now)
