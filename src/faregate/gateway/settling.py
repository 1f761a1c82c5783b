"""How a call that holds a record ends: settled in the ledger before its caller is told.

Between ``Dispatching``, which sends, and ``Claiming``, which takes the record. An answer is held back until
what it means is stored; a long one streams, and its last piece waits. Whatever else ends the call settles it
too: as RELEASED where no byte can have reached the upstream, else as UNKNOWN (payments.md section 3.6).
``_finish`` lets no record go unsettled. The ledger bounds its own waits; ``GUARD_S`` is for one that breaks
its word.
"""

from typing import TYPE_CHECKING, Final

from faregate.gateway.carrying import NotCarried, carried_answer, concerns
from faregate.gateway.dispatching import Dispatching
from faregate.gateway.ending import UNKNOWN
from faregate.gateway.held_answer import HeldAnswer
from faregate.gateway.keeping import Keeping, coding_of
from faregate.gateway.phases import DONE, SETTLING, WAITING
from faregate.kernel.problems import Refusal
from faregate.policies.transform.step import Carried
from faregate.policies.validate.step import UNDESCRIBED, Checks, Misfit
from faregate.records.stored_answer import BODY_BYTES_MAX, plain_body
from faregate.stores.ledger import moves
from faregate.stores.ledger.moves import LOST, UNAVAILABLE, Claim, Standing

if TYPE_CHECKING:
    from faregate.gateway.http1.response import ResponseHead

GUARD_S: Final = 10.0
"""How long a move may take at the very most; the stores give up after two seconds."""
# What the ledger is being asked.
NOTHING: Final = 0
CLAIM: Final = 1
MARK: Final = 2
SETTLE: Final = 3


class Settling(Dispatching):
    """``attempt`` names the call's hold on its record while there is something to settle; ``_written``: a
    byte of the request may have gone out; ``_kept``: the answer, while it waits; ``_held_max``: its bytes.
    ``_watched``: an answer is settled, checked or changed before it goes on.
    """

    _asked: int = NOTHING
    _claim: Claim | None = None
    _keeping: Keeping | None = None
    _kept: HeldAnswer | None = None
    _refusal: Refusal | None = None
    _refusal_outcome: str = ""
    _written: bool = False
    _answer_changes: Carried | None = None
    _answer_checks: Checks | None = None
    _held_max: int = BODY_BYTES_MAX
    _watched: bool = False

    def not_taken(self, kept: list[bytes] | None, reason: str) -> None:
        self._written = False  # the target never looked at it
        super().not_taken(kept, reason)

    # the answer

    def answer_whole(self, head: "ResponseHead", body: bytes) -> None:
        if not self._watched:
            super().answer_whole(head, body)
            return
        self._upstream_connection = None  # it is lent to others by now
        kept = HeldAnswer(head, body)
        if self._answer_changes is not None and not self._changed(kept, body):
            return
        if self._answer_checks is not None and not self._fits(kept.head, kept.whole):
            return
        if not self.attempt:
            super().answer_whole(kept.head, body if kept.whole is None else kept.whole)
            return
        self._kept = kept
        self._settle_answer(head, body)

    def answer_head(self, head: "ResponseHead", *, sized: bool) -> None:
        if not self._watched:
            super().answer_head(head, sized=sized)
            return
        kept = self._kept = HeldAnswer(head, sized=sized)
        streams = head.content_type[:17].lower() == b"text/event-stream"
        if streams or head.content_length > self._held_max:
            if not streams and not self._may_pass(head):
                return
            kept.passing = True
            super().answer_head(head, sized=sized)
            return
        self.client.arm(min(self.now + self.upstream.idle_timeout, self._total_deadline), self.now)

    def answer_data(self, data: bytes) -> None:
        kept = self._kept
        if kept is None:
            if self._watched and self.phase >= SETTLING:
                return  # more of an answer that was withheld
            super().answer_data(data)
            return
        kept.size += len(data)
        if not kept.passing:
            kept.pieces.append(data)
            if kept.size <= self._held_max:
                self.client.arm(min(self.now + self.upstream.idle_timeout, self._total_deadline), self.now)
                return
            if not self._may_pass(kept.head):
                return
            kept.passing = True
            super().answer_head(kept.head, sized=kept.sized)
            held, kept.pieces = kept.pieces, []
            for piece in held[:-1]:
                super().answer_data(piece)
        else:
            held, kept.pieces = kept.pieces, []
            for piece in held:
                super().answer_data(piece)
        kept.pieces.append(data)  # the last piece waits until the answer is settled

    def answer_trailers(self, trailers: list[tuple[bytes, bytes]]) -> None:
        if self._kept is not None:
            self._kept.trailers = trailers
        elif not self._watched or self.phase < SETTLING:
            super().answer_trailers(trailers)

    def answer_end(self) -> None:
        kept = self._kept
        if kept is None or self.phase == DONE:
            if not self._watched or self.phase < SETTLING:
                super().answer_end()
            return
        self._upstream_connection = None
        head = kept.head
        body = None if kept.passing else b"".join(kept.pieces)
        if body is not None:
            if self._answer_changes is not None and not self._changed(kept, body):
                return
            if not self._fits(kept.head, body if kept.whole is None else kept.whole):
                return
        if self.attempt:
            self._settle_answer(head, body)
        else:
            self._kept = None
            self._pass_on(kept)

    def _pass_on(self, kept: HeldAnswer) -> None:
        """What was held of an answer that came in pieces goes to the caller."""
        if kept.whole is not None:  # it was changed
            super().answer_whole(kept.head, kept.whole)
            return
        if not kept.passing:
            super().answer_head(kept.head, sized=kept.sized)
        for piece in kept.pieces:
            super().answer_data(piece)
        if kept.trailers is not None:
            super().answer_trailers(kept.trailers)
        super().answer_end()

    def _fits(self, head: "ResponseHead", body: bytes | None) -> bool:
        """Whether the answer, in its caller's form, may go on: it is as its API has it, or that is only
        logged; else the call was refused. ``body`` None: it is too long to be looked at.
        """
        checks = self._answer_checks
        if checks is None:
            return True
        try:
            plain = None if body is None else plain_body(body, coding_of(head))
            checks.answer(head.status, plain, head.content_type, head_alone=head.bodiless)
        except Misfit as misfit:
            self.plane.answers_misfit += 1
            self.call.reason = misfit.reason
            if checks.response != "refuse" or misfit.reason == UNDESCRIBED:
                return True
            self._withhold(head, misfit.reason)
            return False
        return True

    def _may_pass(self, head: "ResponseHead") -> bool:
        """Whether an answer that is too long to be held may go on as it comes."""
        changes = self._answer_changes
        if changes is not None and concerns(head, changes):
            self._withhold(head, "answer_too_long")
            return False
        return self._fits(head, None)

    def _changed(self, kept: HeldAnswer, body: bytes) -> bool:
        """Brings an answer into its caller's form; False: it cannot be, and the call was refused."""
        changes = self._answer_changes
        assert changes is not None
        head = kept.head
        try:
            told, made = carried_answer(head, body, changes)
        except NotCarried as fault:
            self._withhold(head, str(fault))
            return False
        kept.head = told
        if made is not body:
            kept.whole = made
        return True

    def _withhold(self, head: "ResponseHead", reason: str) -> None:
        """The caller is not told this answer; it was one all the same, as far as the target's health goes."""
        self._kept = None
        self._first_byte(head)
        self._drop_upstream()
        self.call.upstream_duration = self.now - self._sent_at
        self.refuse(Refusal("upstream_invalid_response", reason=reason))

    def _settle_answer(self, head: "ResponseHead", body: bytes | None) -> None:
        """The answer is complete: what it means is stored, then it goes on. ``body`` None: it was not
        held.
        """
        kept, claim, keeping = self._kept, self._claim, self._keeping
        assert kept is not None
        assert claim is not None
        assert keeping is not None
        state = keeping.verdict(head, body)
        sealed = b""
        told = body if kept.whole is None else kept.whole  # in the caller's form
        if state == moves.COMPLETED and told is not None and not kept.trailers and self._has_an_end(head):
            sealed = keeping.sealed(claim, kept.head, told)
        if state == moves.UNKNOWN:
            self._answered_as = UNKNOWN
        self._settle(state, sealed)

    def _has_an_end(self, head: "ResponseHead") -> bool:
        """Whether the answer said where it ends. One that ends with its connection may have been cut short,
        and must not be told again as if it were whole.
        """
        return (
            head.content_length >= 0 or head.chunked or head.bodiless or self.upstream.data.protocol == "h2"
        )

    def _settle(self, state: int, sealed: bytes) -> None:
        claim, keeping = self._claim, self._keeping
        assert claim is not None
        assert keeping is not None
        self.call.idempotency = moves.STATE_NAMES[state]
        self.phase = SETTLING
        self._asked = SETTLE
        now = self.plane.monotonic()
        self.client.arm(now + GUARD_S, now)
        keeping.keeper.mover.settle(claim.key, claim.attempt, state, sealed, self)

    def _told_settle(self, standing: Standing) -> None:
        """It is stored, or could not be: either way the caller learns what became of its call."""
        if self.phase != SETTLING:
            return
        self.attempt = b""
        if standing.kind in {LOST, UNAVAILABLE}:
            self.call.idempotency = "unknown"  # which the record is, or will be
        refusal, kept = self._refusal, self._kept
        if refusal is not None:
            super().refuse(refusal, outcome=self._refusal_outcome)
        elif kept is None:
            raise AssertionError("settled without an answer")
        elif kept.whole is not None:
            super().answer_whole(kept.head, kept.whole)
        else:
            self._pass_on(kept)

    # ends that are not answers

    def refuse(self, refusal: Refusal, *, outcome: str = "") -> None:
        if self.attempt and self.phase != DONE:
            state = moves.UNKNOWN if self._written else moves.RELEASED
            if self.phase == SETTLING or self._head_sent or self.client.lost:
                self._settle_unheard(state)
            else:
                self._refusal = refusal
                self._refusal_outcome = outcome
                self._settle(state, b"")
                return
        super().refuse(refusal, outcome=outcome)

    def deadline_passed(self, now: float) -> None:
        phase = self.phase
        if phase == SETTLING:
            self._asked = NOTHING
            self._told_settle(Standing(UNAVAILABLE, reason="ledger_silent"))
        elif phase == WAITING and self._kept is not None:
            self.now = now
            self._failed_upstream(Refusal("upstream_timeout", reason=self._late(now)))
        else:
            super().deadline_passed(now)

    def stop(self) -> None:
        if self.phase == SETTLING:
            self._asked = NOTHING
            self._told_settle(Standing(UNAVAILABLE, reason="gateway_stopped"))
            return
        if self.attempt:
            self._settle_unheard(moves.UNKNOWN if self._written else moves.RELEASED)
        super().stop()

    def _finish(self, outcome: str) -> None:
        if self.attempt:
            self._settle_unheard(moves.UNKNOWN if self._written else moves.RELEASED)
        elif self._asked == CLAIM:
            self._withdraw()  # behind the claim on the same way
        self._kept = None
        super()._finish(outcome)

    def _settle_unheard(self, state: int) -> None:
        """Nobody waits for it."""
        claim, keeping = self._claim, self._keeping
        assert claim is not None
        assert keeping is not None
        self.attempt = b""
        self.call.idempotency = moves.STATE_NAMES[state]
        keeping.keeper.mover.settle(claim.key, claim.attempt, state, b"", None)

    def _withdraw(self) -> None:
        """Nothing was sent, and nothing will be."""
        claim, keeping = self._claim, self._keeping
        assert claim is not None
        assert keeping is not None
        keeping.keeper.mover.settle(claim.key, claim.attempt, moves.RELEASED, b"", None)
