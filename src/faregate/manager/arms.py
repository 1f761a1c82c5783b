"""What the workers have counted of a canary's two arms: the sums over all of them, and over their former
lives.

Workers report running counts, so that a report that comes twice or not at all changes nothing. Those of a
worker that is gone stay: its successor begins at zero.
"""

from dataclasses import dataclass, field
from typing import Final

from faregate.records.frames import ArmCounts

LIVES_MAX: Final = 1024
"""Workers that died during one canary, and those that live."""


@dataclass(slots=True)
class Arm:
    """``buckets``: durations, as ``gateway.canary`` numbers them."""

    calls: int = 0
    failures: int = 0
    buckets: dict[int, int] = field(default_factory=dict)

    @property
    def timed(self) -> int:
        return sum(self.buckets.values())

    def beyond(self, bucket: int) -> int:
        """How many took longer than the calls of ``bucket``."""
        return sum(count for number, count in self.buckets.items() if number > bucket)

    def bucket_at(self, share: float) -> int:
        """The bucket that holds this share of the durations with those below; 0 without any."""
        wanted = share * self.timed
        passed = 0
        for number in sorted(self.buckets):
            passed += self.buckets[number]
            if passed >= wanted:
                return number
        return 0


class Arms:
    """Belongs to the loop's thread. ``watch`` says which canary is meant."""

    def __init__(self) -> None:
        self._canary = 0
        self._lives: dict[tuple[int, str], list[ArmCounts]] = {}

    def watch(self, canary: int) -> None:
        """Begins to sum up canary number ``canary``; 0: none."""
        self._canary = canary
        self._lives = {}

    def take(self, worker: int, instance: str, arms: list[ArmCounts]) -> None:
        if len(arms) != 2 or arms[0].canary != self._canary or not self._canary:
            return
        if (worker, instance) in self._lives or len(self._lives) < LIVES_MAX:
            self._lives[worker, instance] = arms

    def sums(self) -> tuple[Arm, Arm]:
        """The running revision's, and the canary's."""
        old, new = Arm(), Arm()
        for lives in self._lives.values():
            for arm, counts in zip((old, new), lives, strict=True):
                arm.calls += counts.calls
                arm.failures += counts.failures
                for bucket, count in counts.buckets.items():
                    arm.buckets[bucket] = arm.buckets.get(bucket, 0) + count
        return old, new


def seconds_of(bucket: int) -> float:
    """Where ``bucket`` ends."""
    return float(2 ** (bucket / 8)) / 1e6
