"""Makes a violation small: the keys it is about, then fewer faults and errands, as long as playing it again still fails.

Time decides such runs as well as the plan, so a part counts as needed only when several replays without it passed; and the number of
replays is bounded. When no replay fails, the story on record is still that of the keys concerned.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from tests.ledger_proof.histories import History, tell
from tests.ledger_proof.judge import NOWHERE, Violation, judge
from tests.ledger_proof.plan import Plan

REPEATS: Final = 3
KEYS_MAX: Final = 3


@dataclass
class Small:
    """The smallest that failed: its plan, history and violations. ``replayed``: whether any replay failed."""

    plan: Plan
    history: History
    violations: list[Violation]
    replayed: bool = False
    replays: int = 0
    left: int = 0
    _play: Callable[[Plan], History] = field(repr=False, default=lambda _: History())

    def story(self) -> str:
        """The violations and what happened, in order of time."""
        scopes = {one.scope for one in self.violations} - {NOWHERE}
        chosen = sorted(scopes)[: KEYS_MAX if self.replayed else 1]
        how = (
            f"still failed in {self.replays} replays"
            if self.replayed
            else f"failed in none of {self.replays} replays"
        )
        faults = [one.fault for one in self.plan.rounds if one.fault]
        head = [
            *map(str, self.violations[:10]),
            f"seed {self.plan.seed}, {self.plan.errands} errands, faults {faults}; {how}",
        ]
        return "\n".join([*head, tell(self.history, chosen)])

    def fails(self, plan: Plan) -> bool:
        """Plays ``plan`` a few times; a failure becomes what this holds."""
        for _ in range(REPEATS):
            if self.left <= 0:
                return False
            self.left -= 1
            self.replays += 1
            history = self._play(plan)
            violations = judge(history)
            if any(one.scope != NOWHERE for one in violations):
                self.plan, self.history, self.violations, self.replayed = plan, history, violations, True
                return True
        return False


def shrink(plan: Plan, history: History, play: Callable[[Plan], History], replays_max: int = 30) -> Small:
    """``play`` runs a plan from the beginning, on a bench of its own."""
    violations = judge(history)
    scopes = {one.scope for one in violations} - {NOWHERE}
    small = Small(plan.only(scopes), history, violations, left=replays_max, _play=play)
    if not scopes:
        return small
    if not any(small.fails(plan.only({scope})) for scope in sorted(scopes)[:KEYS_MAX]) and not small.fails(
        small.plan
    ):
        return small
    for number, one in enumerate(small.plan.rounds):
        if one.fault:
            small.fails(small.plan.without_fault(number))
    for one in small.plan.rounds:
        for errand in one.errands:
            small.fails(small.plan.without_errand(errand.number))
    return small
