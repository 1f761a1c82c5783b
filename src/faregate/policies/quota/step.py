"""Quotas: how many calls in a calendar period of UTC, in one word of one slot of the counters.

Period and count lie packed in that one word, so a change is whole or not made, whoever dies when. The word
outlives restarts and reboots (``stores.counters_prepare``). When the wall clock goes back over a period's
edge by up to a day, the count stays with the later period, so that a corrected clock gives nobody a second
quota; when it goes back further, it had been wrong, and the count moves to the period that it is now.
"""

from typing import Final

from faregate.stores.counters import Counter, Counters, Owner
from faregate.stores.counters_layout import CALENDARS, FIRST, Kind, calendar_period, calendar_start

_COUNT: Final = (1 << 32) - 1
_STEP_BACK_S: Final = 86_400


class Calendar:
    """The calendar period that is now, worked out once a period for all who count by it."""

    __slots__ = ("end", "kind", "period", "start")

    def __init__(self, period_ms: int) -> None:
        self.kind: Kind = CALENDARS[period_ms]
        self.period = 0
        self.start = self.end = 0

    def turn(self, wall: float) -> None:
        """Makes ``wall`` (seconds since the epoch) lie in ``[start, end)``."""
        self.period = calendar_period(self.kind, wall)
        self.start = calendar_start(self.kind, self.period)
        self.end = calendar_start(self.kind, self.period + 1)


class Quota(Counter):
    """At most ``limit`` calls in a calendar period. ``total``: those before the call last checked."""

    __slots__ = ("_period", "calendar", "limit", "total")

    def __init__(self, counters: Counters, owner: Owner, scope: str, limit: int, calendar: Calendar) -> None:
        super().__init__(counters, owner, scope, calendar.kind)
        self.limit = limit
        self.calendar = calendar
        self.total = 0
        self._period = 0

    def check(self, now: int, wall: float) -> int:
        """Nanoseconds until the period ends; 0 = there is room. Takes nothing. ``wall``: epoch seconds."""
        words = self.words
        if words[self.word] != self.low:
            self.seek(now, wall)
        calendar = self.calendar
        if not calendar.start <= wall < calendar.end:
            calendar.turn(wall)
        value = words[self.word + FIRST]
        period = value >> 32
        self._period = calendar.period
        self.total = value & _COUNT if period >= calendar.period else 0
        end = calendar.end
        if period > calendar.period:
            if calendar_start(self.kind, period) - wall <= _STEP_BACK_S:
                self._period = period
                end = calendar_start(self.kind, period + 1)
            else:
                words[self.word + FIRST] = calendar.period << 32 | self.total
        if self.total < self.limit:
            return 0
        return max(1, int((end - wall) * 1e9))

    def take(self) -> None:
        """Counts the call that ``check`` found room for."""
        # Read anew: in an overflow slot another limit of this call may have counted just now.
        value = self.words[self.word + FIRST]
        if value >> 32 != self._period:
            value = self._period << 32 | self.total
        self.words[self.word + FIRST] = value + 1

    def remaining(self) -> int:
        return max(0, self.limit - self.total)
