"""How a call that holds a record ends: settled in the ledger before its caller is told.

Between ``Dispatching``, which sends, and ``Claiming``, which takes the record. An answer is held back until
what it means is stored; a long one streams, and its last piece waits. Whatever else ends the call settles it
too: as RELEASED where no byte can have reached the upstream, else as UNKNOWN (payments.md section 3.6).
``_finish`` lets no record go unsettled. The ledger bounds its own waits; ``GUARD_S`` is for one that breaks
its word.
"""

from typing import TYPE_CHECKING, Final

from faregate.gateway.dispatching import Dispatching
from faregate.gateway.ending import UNKNOWN
from faregate.gateway.held_answer import HeldAnswer
from faregate.gateway.keeping import Keeping
from faregate.gateway.phases import DONE, SETTLING, WAITING
from faregate.gateway.stored_answer import BODY_BYTES_MAX
from faregate.kernel.problems import Refusal
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
    byte of the request may have gone out; ``_kept``: the answer, while it waits.
    """

    _asked: int = NOTHING
    _claim: Claim | None = None
    _keeping: Keeping | None = None
    _kept: HeldAnswer | None = None
    _refusal: Refusal | None = None
    _refusal_outcome: str = ""
    _written: bool = False

    def not_taken(self, kept: list[bytes] | None, reason: str) -> None:
        self._written = False  # the target never looked at it
        super().not_taken(kept, reason)

    # the answer

    def answer_whole(self, head: "ResponseHead", body: bytes) -> None:
        if not self.attempt:
            super().answer_whole(head, body)
            return
        self._upstream_connection = None  # it is lent to others by now
        self._kept = HeldAnswer(head, body)
        self._settle_answer(head, body)

    def answer_head(self, head: "ResponseHead", *, sized: bool) -> None:
        if not self.attempt:
            super().answer_head(head, sized=sized)
            return
        kept = self._kept = HeldAnswer(head, sized=sized)
        if head.content_type[:17].lower() == b"text/event-stream" or head.content_length > BODY_BYTES_MAX:
            kept.passing = True
            super().answer_head(head, sized=sized)
            return
        self.client.arm(min(self.now + self.upstream.idle_timeout, self._total_deadline), self.now)

    def answer_data(self, data: bytes) -> None:
        kept = self._kept
        if kept is None or not self.attempt:
            super().answer_data(data)
            return
        kept.size += len(data)
        if not kept.passing:
            kept.pieces.append(data)
            if kept.size <= BODY_BYTES_MAX:
                self.client.arm(min(self.now + self.upstream.idle_timeout, self._total_deadline), self.now)
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
        if self._kept is None or not self.attempt:
            super().answer_trailers(trailers)
        else:
            self._kept.trailers = trailers

    def answer_end(self) -> None:
        kept = self._kept
        if kept is None or not self.attempt or self.phase == DONE:
            super().answer_end()
            return
        self._upstream_connection = None
        self._settle_answer(kept.head, None if kept.passing else b"".join(kept.pieces))

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
        if state == moves.COMPLETED and body is not None and not kept.trailers and self._has_an_end(head):
            sealed = keeping.sealed(claim, head, body)
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
        keeping.keeper.ledger.settle(claim.key, claim.attempt, state, sealed, self)

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
            if not kept.passing:
                super().answer_head(kept.head, sized=kept.sized)
            for piece in kept.pieces:
                super().answer_data(piece)
            if kept.trailers is not None:
                super().answer_trailers(kept.trailers)
            super().answer_end()

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
        keeping.keeper.ledger.settle(claim.key, claim.attempt, state, b"", None)

    def _withdraw(self) -> None:
        """Nothing was sent, and nothing will be."""
        claim, keeping = self._claim, self._keeping
        assert claim is not None
        assert keeping is not None
        keeping.keeper.ledger.settle(claim.key, claim.attempt, moves.RELEASED, b"", None)
