"""How a call is kept from running twice: its record is claimed before anything is sent.

Between ``Settling``, which ends what was begun here, and ``Exchange``, which decides. A call whose route
keeps records collects its body, which its fingerprint covers, and claims its record; what another call holds
or has done is told, replayed or waited for. The ledger knows that a byte may go out before it does. SPEC
section 6 and payments.md section 3 are the rules, ``stores.ledger.protocol`` the moves.
"""

from typing import TYPE_CHECKING, Final

from faregate.gateway.body import RequestBody
from faregate.gateway.dispatching import MOVES_MAX
from faregate.gateway.ending import ANSWERED, CLIENT_GONE
from faregate.gateway.held_answer import said_again
from faregate.gateway.http1.answers import CONTINUE, date_line
from faregate.gateway.keeping import Keeping, answered, in_flight, mismatch, unsettled
from faregate.gateway.phases import CLAIMING, COLLECTING, MARKING
from faregate.gateway.settling import CLAIM, GUARD_S, MARK, NOTHING, SETTLE, Settling
from faregate.kernel.problems import Refusal
from faregate.records.stored_answer import answer_parts
from faregate.stores.ledger import moves
from faregate.stores.ledger.moves import (
    GRANTED,
    IN_FLIGHT,
    LOST,
    MISMATCH,
    OPEN,
    REPLAY,
    UNAVAILABLE,
    Claim,
    Standing,
)
from faregate.stores.ledger.sealing import SealError

if TYPE_CHECKING:
    from faregate.gateway.assembly import ReadyUpstream
    from faregate.gateway.upstream import UpstreamConnection
    from faregate.snapshot.call import ReadyRoute

_ASK_AGAIN_S: Final = 0.025
_ASK_AGAIN_MAX_S: Final = 0.4
_TARGETS_LOOKED_AT: Final = 8


class Claiming(Settling):
    """What idempotency adds before a call is sent. ``_marked``: the ledger knows that a byte may go out."""

    _asks: int = 0
    _caller_key: bytes | None = None
    _marked: bool = False
    _marking: "UpstreamConnection | None" = None
    _wait_until: float = 0.0

    # before it is sent

    def _holds_back(self, route: "ReadyRoute", keeping: Keeping) -> bool:
        """Whether the call waits for its body or the ledger, or was refused; False: it needs no record."""
        self._keeping = keeping
        try:
            if keeping.data.header:
                key = self._caller_key = keeping.head_key(self.fields)
                if key is None:
                    if keeping.data.required:
                        self.refuse(keeping.keying.missing())
                    return keeping.data.required
        except Refusal as refusal:
            self.refuse(refusal)
            return True
        body = self.body
        if body is not None and body.left:
            self._collect(body)
            return True
        self._ask(route, keeping)
        return True

    def _collect(self, body: RequestBody) -> None:
        """Nothing goes on before the whole body has come; then ``_collected``."""
        self.phase = COLLECTING
        self._total_deadline = body.started_at + self.plane.body_timeout
        if body.expect:
            body.expect = False
            self.client.write(CONTINUE)

    def _collected(self) -> None:
        """The last of the body has come."""
        route = self.call.route
        keeping = self._keeping
        assert route is not None
        assert keeping is not None
        self._ask(route, keeping)

    def _ask(self, route: "ReadyRoute", keeping: Keeping) -> None:
        """Claims the record, or goes on without one where no key came and none is required."""
        body = self.body
        content = b"" if body is None else body.content()
        fields = self.fields
        key = self._caller_key
        try:
            if key is None:
                key = keeping.keying.body_key(content, fields.content_type)
                if key is None:
                    if keeping.data.required:
                        raise keeping.keying.missing()
                    self._send_on(route)
                    return
            claim = self._claim = keeping.claim(self.call, key, self.target, fields, content)
        except Refusal as refusal:
            self.refuse(refusal)
            return
        self._wait_until = self.now + keeping.data.wait
        self._ask_ledger(route, keeping, claim)

    def _ask_ledger(self, route: "ReadyRoute", keeping: Keeping, claim: Claim) -> None:
        claim.sends = _at_hand(route.upstream, self.now)  # type: ignore[arg-type]  # the gateway's own
        self.phase = CLAIMING
        self._asked = CLAIM
        self.client.arm(self.now + GUARD_S, self.now)
        keeping.keeper.mover.claim(claim, self)

    def _ask_again(self) -> None:
        """The record was another attempt's; by now that may have ended."""
        if self.phase != CLAIMING:
            return
        self.now = self.plane.monotonic()
        claim, keeping, route = self._claim, self._keeping, self.call.route
        assert claim is not None
        assert keeping is not None
        assert route is not None
        self._ask_ledger(route, keeping, claim)

    # what the ledger says

    def ledger_told(self, standing: Standing) -> None:
        """What came of the move that was asked for."""
        asked, self._asked = self._asked, NOTHING
        try:
            if asked == CLAIM:
                self._told_claim(standing)
            elif asked == MARK:
                self._told_mark(standing)
            elif asked == SETTLE:
                self._told_settle(standing)
            elif standing.kind == GRANTED:
                self._withdraw()  # it came too late: the call has ended
        except Exception as error:  # noqa: BLE001 - one call's failure ends that call only
            self.internal_error(error)

    def _told_claim(self, standing: Standing) -> None:
        claim, keeping = self._claim, self._keeping
        assert claim is not None
        assert keeping is not None
        if self.phase != CLAIMING:
            if standing.kind == GRANTED:
                self._withdraw()
            return
        self.now = now = self.plane.monotonic()
        call = self.call
        kind = standing.kind
        if kind == GRANTED:
            self.attempt = claim.attempt
            self._watched = True
            self._marked = claim.sends
            self.cancels = False  # a sent call goes on to its own verdict (W08)
            assert call.route is not None
            self._send_on(call.route)
        elif kind == REPLAY:
            self._replay(claim, keeping, standing)
        elif kind == IN_FLIGHT:
            if now < self._wait_until:
                pause = min(_ASK_AGAIN_S * 2.0**self._asks, _ASK_AGAIN_MAX_S, self._wait_until - now + 0.001)
                self._asks = min(self._asks + 1, 8)
                self.client.arm(self._wait_until + GUARD_S, now)
                self.plane.loop.call_later(pause, self._ask_again)
                return
            call.idempotency = "in_flight"
            self.refuse(in_flight())
        elif kind == OPEN:
            call.idempotency = "in_flight"  # what the record is was counted when it became so
            self.refuse(unsettled())
        elif kind == MISMATCH:
            call.idempotency = "mismatch"
            self.refuse(mismatch())
        else:
            self.refuse(Refusal("store_unavailable", reason=standing.reason or "ledger", retry_after=1))

    def _replay(self, claim: Claim, keeping: Keeping, standing: Standing) -> None:
        """The stored answer, byte for byte, with the fields of this call."""
        call = self.call
        route = call.route
        assert route is not None
        reason = "answer_not_kept"
        if standing.answer:
            try:
                packed = keeping.unsealed(claim, standing.attempt, standing.answer)
                status, lines, body = answer_parts(packed)
            except SealError:
                reason = "seal_not_opened"
            except ValueError:
                reason = "answer_broken"
            else:
                plane = self.plane
                call.idempotency = "replayed"
                call.status = status
                call.response_bytes = len(body)
                closes = not self._keep_alive or plane.closes
                if closes:
                    self._keep_alive = False
                self.client.write_last(
                    b"".join(
                        (
                            said_again(status, lines, body),
                            date_line(call.wall + (self.now - call.now)),
                            call.limit_headers,
                            route.answer_headers,
                            plane.via_line,
                            call.request_id,
                            b"\r\nConnection: close\r\n\r\n" if closes else b"\r\n\r\n",
                            body,
                        )
                    )
                )
                self._finish(CLIENT_GONE if self.client.lost else ANSWERED)
                return
        call.idempotency = "not_kept"
        self.refuse(answered(reason))

    # sending

    def _send(self, connection: "UpstreamConnection") -> None:
        if self.attempt:
            if not self._marked and connection.transport is not None:
                self._mark(connection)
                return
            self._written = connection.transport is not None
        super()._send(connection)

    def _mark(self, connection: "UpstreamConnection") -> None:
        """Tells the ledger that the next thing is the first byte."""
        claim, keeping = self._claim, self._keeping
        assert claim is not None
        assert keeping is not None
        self._marking = connection
        self.phase = MARKING
        self._asked = MARK
        self.client.arm(self.now + GUARD_S, self.now)
        keeping.keeper.mover.mark_sent(claim.key, claim.attempt, self)

    def _told_mark(self, standing: Standing) -> None:
        connection, self._marking = self._marking, None
        assert connection is not None
        self.now = now = self.plane.monotonic()
        kind = standing.kind
        if self.phase == MARKING and kind not in {LOST, UNAVAILABLE} and now < self._total_deadline:
            self._marked = True
            if connection.transport is None and self._returns < MOVES_MAX:
                self._go_elsewhere()
            else:
                self._send(connection)
            return
        connection.pool.give_back(connection, now)
        if self.phase != MARKING:
            return
        if kind == LOST:
            self.attempt = b""
            self.call.idempotency = "in_flight"
            self._let_target_go()
            self.refuse(Refusal("idempotency_in_flight", reason="claim_lost", retry_after=1))
        elif kind == UNAVAILABLE:
            self._not_marked(standing.reason or "ledger")
        else:
            self._let_target_go()
            self.refuse(Refusal("upstream_unreachable", reason="total_timeout"))

    def _go_elsewhere(self) -> None:
        """The connection ended while the ledger was told: nothing was tried, and no target has failed."""
        self._returns += 1
        self.call.attempts -= 1
        target, self._upstream_state = self._upstream_state, None
        self._dispatch_again(self.upstream, target)

    def _not_marked(self, reason: str) -> None:
        """The ledger was not told, as far as is known: nothing may be sent."""
        self._settle_unheard(moves.RELEASED)
        self._let_target_go()
        self.refuse(Refusal("store_unavailable", reason=reason, retry_after=1))

    def _let_target_go(self) -> None:
        target = self._upstream_state
        if target is not None:
            self._upstream_state = None
            self.upstream.balancer.released(target)

    def deadline_passed(self, now: float) -> None:
        phase = self.phase
        if phase == CLAIMING:
            self.refuse(Refusal("store_unavailable", reason="ledger_silent", retry_after=1))
        elif phase == MARKING:
            self.now = now
            self._not_marked("ledger_silent")
        else:
            super().deadline_passed(now)


def _at_hand(upstream: "ReadyUpstream", now: float) -> bool:
    """Whether a connection will very likely be had at once, so that claiming and sending are one move."""
    targets = upstream.balancer.targets
    if not 0 < len(targets) <= _TARGETS_LOOKED_AT:
        return False
    return all(target.pool.has_sure(now) for target in targets)  # type: ignore[attr-defined]  # a Pool
