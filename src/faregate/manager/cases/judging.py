"""Whether a canary is worse than the revision that runs: its failures and its slow calls, by two sequential
tests.

Together they raise a false alarm in at most ``LEVEL`` of all canaries, however often and however long one
looks. Slow are calls beyond the running revision's p99 as it was while it had its first calls; those calls
are left out of the test, so that the mark does not depend on what is judged by it.
"""

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from faregate.manager.arms import Arm, seconds_of
from faregate.manager.cases.domain import Json
from faregate.manager.cases.sequential import Shares

LEVEL: Final = 0.01
MARK_CALLS: Final = 1000
"""Calls of the running revision from which its p99 is taken."""
NEW_CALLS_MIN: Final = 20
OLD_CALLS_MIN: Final = 20

Ground: TypeAlias = Literal["", "failures", "slow_calls"]


@dataclass(frozen=True, slots=True)
class Test:
    """A test as it stands. ``evidence`` beyond ``bound`` ends the canary; ``p_value``: always valid. ``old``,
    ``new``: calls and hits that it has looked at.
    """

    __test__ = False

    evidence: float
    largest: float
    bound: float
    p_value: float
    old: tuple[int, int]
    new: tuple[int, int]


class Judge:
    """Fed with the sums over all workers as they grow. ``mark_s``: beyond which a call is slow, 0 while that
    is not known.
    """

    def __init__(self) -> None:
        self._failures = Shares(LEVEL / 2)
        self._slow = Shares(LEVEL / 2)
        self._seen = (Arm(), Arm())
        self._mark = 0
        self._before_mark = ((0, 0), (0, 0))
        self.old = Arm()
        self.new = Arm()

    @property
    def mark_s(self) -> float:
        return seconds_of(self._mark) if self._mark else 0.0

    def look(self, old: Arm, new: Arm, at_s: float) -> None:
        """Takes the sums as they are ``at_s`` seconds after the beginning."""
        self.old, self.new = old, new
        old_seen, new_seen = self._seen
        if old.calls < old_seen.calls or new.calls < new_seen.calls:
            return  # a part of them is not there for a moment
        self._failures.add(
            (old.calls - old_seen.calls, old.failures - old_seen.failures),
            (new.calls - new_seen.calls, new.failures - new_seen.failures),
            at_s,
        )
        if self._mark:
            self._slow.add(self._grown(old, old_seen), self._grown(new, new_seen), at_s)
        elif old.timed >= MARK_CALLS:
            self._mark = old.bucket_at(0.99)
            self._before_mark = self._counted(old), self._counted(new)
        self._seen = old, new

    def verdict(self) -> Ground:
        """On what ground the canary is worse, empty while there is none."""
        if self.new.calls < NEW_CALLS_MIN or self.old.calls < OLD_CALLS_MIN:
            return ""
        if self._failures.exceeded:
            return "failures"
        return "slow_calls" if self._slow.exceeded else ""

    @property
    def failures(self) -> Test:
        old, new = (self.old.calls, self.old.failures), (self.new.calls, self.new.failures)
        return _told(self._failures, old, new)

    @property
    def slow_calls(self) -> Test | None:
        """None while it is not known what is slow."""
        if not self._mark:
            return None
        looked_at = []
        for arm, (calls, hits) in zip((self.old, self.new), self._before_mark, strict=True):
            now = self._counted(arm)
            looked_at.append((now[0] - calls, now[1] - hits))
        return _told(self._slow, looked_at[0], looked_at[1])

    def _counted(self, arm: Arm) -> tuple[int, int]:
        return arm.timed, arm.beyond(self._mark)

    def _grown(self, arm: Arm, seen: Arm) -> tuple[int, int]:
        now, then = self._counted(arm), self._counted(seen)
        return now[0] - then[0], now[1] - then[1]


def _told(test: Shares, old: tuple[int, int], new: tuple[int, int]) -> Test:
    return Test(test.evidence, test.largest, test.bound, test.p_value, old, new)


def worse(judge: Judge, ground: str) -> str:
    """In words, with the numbers."""
    test = judge.failures if ground == "failures" else judge.slow_calls
    assert test is not None
    what = "fail" if ground == "failures" else f"take more than {judge.mark_s * 1000:.3g} ms"
    return (
        f"It is worse: {_share(test.new)} of its calls {what}, {_share(test.old)} of the running revision's"
        f" (evidence {test.largest:.0f}, bound {test.bound:.0f})."
    )


def _share(counted: tuple[int, int]) -> str:
    calls, hits = counted
    return f"{hits / calls if calls else 0.0:.2%}"


def numbers(judge: Judge) -> dict[str, Json]:
    """What stands in the audit record: whole numbers, and text where they are not."""
    found: dict[str, Json] = {
        "old": {"calls": judge.old.calls, "failures": judge.old.failures},
        "new": {"calls": judge.new.calls, "failures": judge.new.failures},
        "level": str(LEVEL),
    }
    tests: list[tuple[str, Test | None]] = [("failures", judge.failures), ("slow_calls", judge.slow_calls)]
    for name, test in tests:
        if test is not None:
            found[name] = {"evidence": f"{test.largest:.3g}", "bound": f"{test.bound:.0f}"}
    return found
