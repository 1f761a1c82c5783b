"""The retry budget of one upstream in one worker (http-rules.md W14): tries elsewhere within 20 % of its
calls plus 10 a second.

When a whole upstream fails, each call tried twice doubles the load that made it fail. Calls are not counted
here: the balancer's own books are read once a second, so the budget costs a call nothing. The window is the
second before the last reading and what came since.
"""

from typing import Final

BUDGET_SHARE: Final = 0.2
BUDGET_PER_SECOND: Final = 10.0
_WINDOW_S: Final = 1.0


class RetryBudget:
    """``taken`` and ``refused`` count for ever, for the metrics."""

    __slots__ = ("_calls_then", "_calls_turned", "_since", "_spent", "_spent_before", "refused", "taken")

    def __init__(self, now: float) -> None:
        self.taken = 0
        self.refused = 0
        self._since = now
        self._calls_then = 0
        self._calls_turned = 0
        self._spent = 0
        self._spent_before = 0

    def is_due(self, now: float) -> bool:
        return now - self._since >= _WINDOW_S

    def turn(self, now: float, calls: int) -> None:
        """Begins a new second; ``calls``: how many have ended ever. After a longer pause the old ones say
        nothing.
        """
        if now - self._since < _WINDOW_S:
            return
        fresh = now - self._since < 2.0 * _WINDOW_S
        self._calls_then = self._calls_turned if fresh else calls
        self._spent_before = self._spent if fresh else 0
        self._calls_turned = calls
        self._spent = 0
        self._since = now

    def take(self, now: float, calls: int) -> bool:
        """Spends one try, or says that none is left."""
        self.turn(now, calls)
        # Two seconds at most lie in the window: the last whole one and the one begun.
        seconds = _WINDOW_S + min(now - self._since, _WINDOW_S)
        room = BUDGET_PER_SECOND * seconds + BUDGET_SHARE * max(0, calls - self._calls_then)
        if self._spent + self._spent_before + 1 > room:
            self.refused += 1
            return False
        self._spent += 1
        self.taken += 1
        return True
