"""Which calls a worker begins: a bound on calls in progress, lowered while the event loop lags behind.

Lag that stands, and does not only flicker, means that the worker is asked for more than its core can do;
then fewer calls are let in, step by step, and more again as soon as the loop is on time. What is refused
goes by the class of its route: low first, then normal, and a fifth is kept for critical. Pure: the plane
brings time and counts. There is always a floor, so that no measurement can close the door altogether.
"""

from typing import Final

LOW, NORMAL, CRITICAL = range(3)
CLASSES: Final = ("low", "normal", "critical")
KEPT_FOR_CRITICAL: Final = 0.2
KEPT_FROM_LOW: Final = 0.25
"""Of what normal calls may use."""
LAG_S: Final = 0.040
"""A refusal must be out within 50 ms, so the loop may not be later than that for long."""
STANDING_S: Final = 0.25
CALLS_MIN: Final = 16
_CUT: Final = 0.7
_CUT_EVERY_S: Final = 0.1
_GROW: Final = 1.1
_GROW_BY: Final = 2.0


def shares_of(priorities: frozenset[int]) -> tuple[float, float, float]:
    """Of a limit, what low, normal and critical calls may use when routes of ``priorities`` share it; a class
    that no route has is kept nothing.
    """
    normal = 1.0 - (KEPT_FOR_CRITICAL if CRITICAL in priorities else 0.0)
    return normal * (1.0 - KEPT_FROM_LOW), normal, 1.0


class Admission:
    """How many calls may be in progress, by class. ``classes``: whether any route is low, or critical.

    ``least``: the count up to which every class is let in, read by each call. ``refused``: calls refused so
    far by class and reason.
    """

    __slots__ = (
        "_calls_max",
        "_cut_at",
        "_first",
        "_late_since",
        "_limit",
        "_memory_short",
        "_shares",
        "least",
        "refused",
    )

    def __init__(self, calls_max: int, priorities: frozenset[int]) -> None:
        self.refused: dict[tuple[str, str], int] = {}
        self._limit = float(calls_max)
        self._calls_max = calls_max
        self._late_since = -1.0
        self._cut_at = 0.0
        self._memory_short = False
        self._first = NORMAL
        self._shares = (1.0, 1.0, 1.0)
        self.least = 0
        self.take(calls_max, priorities)

    def take(self, calls_max: int, priorities: frozenset[int]) -> None:
        """The bounds of a new revision."""
        self._limit = min(self._limit, float(calls_max)) if self._late_since >= 0 else float(calls_max)
        self._calls_max = calls_max
        self._shares = shares_of(priorities)
        self._first = LOW if LOW in priorities else NORMAL
        self._set_least()

    @property
    def limit(self) -> int:
        """Calls in progress that a critical call may be one of."""
        return int(min(CALLS_MIN, self._limit) if self._memory_short else self._limit)

    def refusal(self, priority: int, in_flight: int) -> str:
        """Why a call of that class may not begin, itself counted in ``in_flight``; empty if it may."""
        if in_flight <= self.limit * self._shares[priority]:
            return ""
        if self._memory_short:
            reason = "memory"
        else:
            reason = "event_loop_lag" if self._limit < self._calls_max else "calls_in_progress"
        self.count(priority, reason)
        return reason

    def count(self, priority: int, reason: str) -> None:
        """A call of that class was refused."""
        key = (CLASSES[priority], reason)
        self.refused[key] = self.refused.get(key, 0) + 1

    def tick(self, now: float, lag_s: float) -> None:
        """What the lateness of one tick of the wheel says."""
        if lag_s < LAG_S:
            self._late_since = -1.0
            if self._limit < self._calls_max:
                self._limit = min(float(self._calls_max), self._limit * _GROW + _GROW_BY)
                self._set_least()
            return
        if self._late_since < 0:
            self._late_since = now  # one late tick is not yet a standing lag
        elif now - self._late_since >= STANDING_S and now - self._cut_at >= _CUT_EVERY_S:
            self._cut_at = now
            self._limit = max(float(min(CALLS_MIN, self._calls_max)), self._limit * _CUT)
            self._set_least()

    def memory(self, *, short: bool) -> None:
        """Whether memory leaves no room for more than a few calls."""
        self._memory_short = short
        self._set_least()

    def _set_least(self) -> None:
        self.least = int(self.limit * self._shares[self._first])
