"""A call on its way to a target: a connection is found, the request goes out, and what was not sent may go
elsewhere.

Between ``Answering`` and ``Settling``, which ends it. Only what no target has looked at is tried again (W14),
within ``attempts``, the retry budget and the call's time. What that says about the target differs: a failed
connect is a failure; a stream that an HTTP/2 target did not take (RFC 9113 section 8.7) is none, whether it
was refused for want of room or fell to a connection that was about to end.
"""

from typing import TYPE_CHECKING, Final

from faregate.gateway.answering import Answering
from faregate.gateway.http1.answers import CONTINUE
from faregate.gateway.outbound import deadline_line, hash_key, request_head
from faregate.gateway.phases import CONNECTING, DONE, SENDING, WAITING
from faregate.kernel.problems import Refusal

if TYPE_CHECKING:
    from faregate.gateway.assembly import ReadyUpstream
    from faregate.gateway.balance import TargetState
    from faregate.gateway.pool import Pool
    from faregate.gateway.upstream import UpstreamConnection
    from faregate.snapshot.call import ReadyRoute


NO_STREAM: Final = "no_stream"
"""The connection had no stream left; nothing was sent."""
GOAWAY: Final = "goaway"
"""The connection was at the end of its time, and said so in good order."""
MOVES_MAX: Final = 3
"""How often a call may find its connection at its end, and how often without a stream, before that counts as
one of its ``attempts``.
"""
STREAM_REFUSED: Final = "stream_refused"
_NO_FAULTS: Final = frozenset({NO_STREAM, GOAWAY, STREAM_REFUSED})


class Dispatching(Answering):
    """What the pools call, and how a request is sent."""

    def _send_off(self, route: "ReadyRoute") -> None:
        """Finds a target and sends, or waits for a connection."""
        # The gateway's own, which the snapshot's room may not name.
        upstream: ReadyUpstream = route.upstream  # type: ignore[assignment]
        self.upstream = upstream
        self._total_deadline = self.now + upstream.total_timeout
        if self.fields.deadline_ms >= 0 and not self._hurry(self.fields.deadline_ms):
            return
        self.call.upstream = upstream.name
        body = self.body
        if body is not None and body.expect and body.left:
            body.expect = False
            self.client.write(CONTINUE)
        key = hash_key(upstream.hash_on, self.call, self.fields) if upstream.hash_on else b""
        target = upstream.balancer.pick(self.now, key, ())
        if target is not None:
            pool: Pool = target.pool  # type: ignore[assignment]  # put there by ReadyUpstream
            gate = target.gate
            if (gate is None or target.in_flight <= gate.least) and not self.attempt:
                connection = pool.take(self.now)
                if connection is not None:  # the common case: a connection is at hand
                    call = self.call
                    self._upstream_state = target
                    call.target_name = target.name
                    call.attempts = 1
                    self._send(connection)
                    return
        self._dispatch(upstream, target)

    def _send_on(self, route: "ReadyRoute") -> None:
        """Sends a call that was held back: its body, if any, is whole."""
        self._send_off(route)

    def _dispatch(self, upstream: "ReadyUpstream", target: "TargetState | None") -> None:
        """Lends a connection of ``target``, the balancer's choice, or opens one; one without room is passed
        over for the next choice.
        """
        call = self.call
        now = self.now
        full = ""
        priority = call.route.priority  # type: ignore[union-attr]  # set before any step ran
        while True:
            if target is None:
                self._no_target(full=full)
                return
            pool: Pool = target.pool  # type: ignore[assignment]  # put there by ReadyUpstream
            gate = target.gate
            if gate is None or gate.admits(priority, target.in_flight):
                connection = pool.take_sure(now) if self.attempt else pool.take(now)
                if connection is not None or pool.can_open():
                    break
                full = "upstream_connections"
            else:
                full = "upstream_concurrency"
            upstream.balancer.released(target)
            self._tried = (*self._tried, target)
            target = self._pick_another(upstream)
        self._upstream_state = target
        call.target_name = target.name
        call.attempts += 1
        if connection is not None:
            self._send(connection)
            return
        self.phase = CONNECTING
        if self.wants_body:
            self.client.pause_reading()
        self.client.arm(self._total_deadline, now)
        pool.open(self)

    def _dispatch_again(self, upstream: "ReadyUpstream", target: "TargetState | None") -> None:
        """The next try; what fails in it is this call's affair, not that of whoever told."""
        if self.call.upgrade is None:
            self.deadline_line = deadline_line(self._total_deadline - self.now)
        try:
            self._dispatch(upstream, target)
        except Exception as error:  # noqa: BLE001 - one call's failure ends that call only
            self.internal_error(error)

    def _pick_another(self, upstream: "ReadyUpstream") -> "TargetState | None":
        key = hash_key(upstream.hash_on, self.call, self.fields) if upstream.hash_on else b""
        return upstream.balancer.pick(self.now, key, self._tried)

    def _no_target(self, *, full: str) -> None:
        if full:
            self.plane.admission.count(self.call.route.priority, full)  # type: ignore[union-attr]  # set long ago
            self.refuse(Refusal("overloaded", reason=full))
        elif self._tried:
            self.refuse(Refusal("upstream_unreachable", reason=self.call.reason or "connect_failed"))
        else:
            self.refuse(Refusal("no_healthy_target", reason="no_healthy_target"))

    def connected(self, connection: "UpstreamConnection", now: float) -> None:
        """The pool opened what we asked for."""
        self.now = now
        if self.phase != CONNECTING:  # it has ended, or is ending as not sent
            connection.pool.give_back(connection, now)
            return
        if now >= self._total_deadline:
            connection.pool.give_back(connection, now)
            self.connect_failed("total_timeout", now)
            return
        if self.call.upgrade is None:
            self.deadline_line = deadline_line(self._total_deadline - now)
        try:
            self._send(connection)
        except Exception as error:  # noqa: BLE001 - one call's failure ends that call only
            self.internal_error(error)

    def connect_failed(self, reason: str, now: float) -> None:
        """Nothing was sent: another target may be tried (W14)."""
        self.now = now
        target = self._upstream_state
        self._upstream_state = None
        if self.phase == DONE or target is None:
            return
        self.upstream.balancer.connect_failed(target, now)
        self._tried = (*self._tried, target)
        self._try_again(reason)

    def not_taken(self, kept: list[bytes] | None, reason: str) -> None:
        """The target never looked at the request, so it may go elsewhere (W14). ``kept``: what was written
        of its body; None when that was too much to keep. ``reason``: one of those above, else it is a failure
        of the target.
        """
        self._upstream_connection = None
        body = self.body
        if body is not None:
            if kept is None:
                self._drop_upstream()
                self.refuse(Refusal("upstream_unreachable", reason=reason))
                return
            body.hold_again(kept)
        self.phase = CONNECTING
        now = self.plane.monotonic()
        target = self._upstream_state
        if reason not in _NO_FAULTS or target is None:
            self.connect_failed(reason, now)
            return
        self.now = now
        self._upstream_state = None
        if reason == NO_STREAM and self._returns < MOVES_MAX:
            self._returns += 1
            self.call.attempts -= 1  # nothing was tried; the target may have another connection
            self._dispatch_again(self.upstream, target)
            return
        if reason == STREAM_REFUSED:
            self.upstream.balancer.declined(target)
            self._tried = (*self._tried, target)
        else:
            self.upstream.balancer.released(target)
            if reason == GOAWAY:
                self._moves = min(self._moves + 1, MOVES_MAX)
        self._try_again(reason)

    def _try_again(self, reason: str) -> None:
        """Another try, if the rules grant one."""
        upstream = self.upstream
        now = self.now
        self.call.reason = reason
        if (
            self.call.attempts - self._moves > upstream.data.attempts
            or now >= self._total_deadline
            or not upstream.balancer.may_retry(now)
        ):
            self.refuse(Refusal("upstream_unreachable", reason=reason))
            return
        target = self._pick_another(upstream)
        if target is None and reason == STREAM_REFUSED:
            self._tried = ()  # there is none but those that were asked, and by now one may have room
            target = self._pick_another(upstream)
        self._dispatch_again(upstream, target)

    def _send(self, connection: "UpstreamConnection") -> None:
        transport = connection.transport
        if transport is None:
            self.connect_failed("closed_before_use", self.now)
            return
        if self.call.reason:
            self.call.reason = ""  # of an earlier target
        self._upstream_connection = connection
        connection.exchange = self  # type: ignore[assignment]  # every Dispatching is an Exchange
        body = self.body
        head = request_head(self)  # type: ignore[arg-type]
        data = head if body is None else b"".join((head, *body.release()))
        plane = self.plane
        self._sent_at = self.now = now = plane.monotonic()  # what came before is our own share
        transport.write(data)
        client = self.client
        if body is None or body.left == 0:
            self.phase = WAITING
            client.deadline = deadline = now + self.upstream.first_byte_timeout
        else:
            self.phase = SENDING
            if not connection.write_paused:  # else once the upstream has taken what was held
                client.resume_reading()
            body.pardon(now)
            deadline = min(body.started_at + self.plane.body_timeout, body.late_at())
            client.deadline = deadline
        if deadline > self._total_deadline:
            client.deadline = deadline = self._total_deadline
        if deadline < client.wheel_at:
            plane.wheel.watch(client, now)

    def _request_complete(self, now: float) -> None:
        """The last of the body has been handed on."""
        self.phase = WAITING
        self.client.arm(min(now + self.upstream.first_byte_timeout, self._total_deadline), now)
