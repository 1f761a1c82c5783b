"""Rates: a sliding window (``100/second``) and a bucket (``100/second burst 200``), a slot each.

The window keeps 128 cells of a little more than 1/127 of the period and forgets whole cells, so that what it
remembers is always at least the period; a fixed window would let twice the limit pass at its edge. The bucket
keeps one moment: when it will be full again (the generic cell rate algorithm of ITU-T I.371). Readings of the
clock come from several workers and may be a little older than what a slot has seen; a slot never moves back
for that. Only a clock that truly stepped back, which the counters' own clock confirms, moves a slot's time,
and its counts move along.
"""

from typing import Final

from faregate.stores.counters import Counter, Counters, Owner
from faregate.stores.counters_layout import (
    BODY_CELLS,
    FIRST,
    SECOND,
    THIRD,
    WINDOWS,
    Kind,
    bucket_width_ns,
)

NEWEST: Final = FIRST
TOTAL: Final = SECOND
BUSY: Final = 1 << 63
"""Stands in ``TOTAL`` while cells change; larger than any limit, so the usual comparison finds it."""

_ZERO_CELLS: Final = memoryview(bytes(BODY_CELLS * 4)).cast("I")
_FEW_CELLS: Final = 8
"""Up to so many cells a loop is quicker than slices."""

_FULL_AT: Final = FIRST
_LAST: Final = SECOND
_INTERVAL: Final = THIRD
_STEP_BACK_NS: Final = 10_000_000
"""How much older than a slot's last reading another worker's may be before the clock is asked."""

_DEPTH_NS_MAX: Final = 1 << 62


class Window(Counter):
    """At most ``limit`` calls in any ``period_ms``, however placed. The count may change; the history stays.

    After ``check``: ``total`` is the number of calls remembered, the one at hand not counted. ``shown_at``:
    its place among the limits of a set; ``seconds``: the period.
    """

    __slots__ = (
        "_free_at",
        "_refused",
        "current",
        "inverse",
        "limit",
        "seconds",
        "shown_at",
        "total",
        "width",
    )

    def __init__(self, counters: Counters, owner: Owner, scope: str, limit: int, period_ms: int) -> None:
        super().__init__(counters, owner, scope, WINDOWS[period_ms])
        self.limit = limit
        self.width = bucket_width_ns(period_ms)
        self.inverse = 1 / limit
        self.seconds = -(-period_ms // 1000)
        self.shown_at = 0
        self.total = 0
        self.current = 0
        self._free_at = 0
        self._refused = (-1, -1, -1)

    def check(self, now: int, wall: float) -> int:
        """Nanoseconds until one more call fits; 0 = now. Takes nothing. ``now``: CLOCK_MONOTONIC in ns."""
        words = self.words
        if words[self.word] != self.low:
            self.seek(now, wall)
        word = self.word
        current = now // self.width
        newest = words[word + NEWEST]
        if current != newest:
            current = self.advance(current, newest)
        total = words[word + TOTAL]
        if total >= self.limit:
            if total == BUSY:
                total = self._repair()
            if total >= self.limit:
                self.total = total
                return self._wait(now, current, total)
        self.current = current
        self.total = total
        return 0

    def take(self) -> None:
        """Counts the call that ``check`` found room for."""
        words = self.words
        total_at = self.word + TOTAL
        # Read anew: in an overflow slot another limit of this call may have counted just now.
        total = words[total_at]
        # Killed before the last line: the next user of the slot adds the cells up. This call, never sent, may
        # count.
        words[total_at] = BUSY
        self.cells[self.cell + (self.current & 127)] += 1
        words[total_at] = total + 1

    def remaining(self) -> int:
        return max(0, self.limit - self.total)

    def advance(self, current: int, newest: int) -> int:  # noqa: C901, PLR0911 - each way out saves work
        """Forgets the cells that ``current`` leaves behind; returns the cell to count in."""
        if current < newest:
            if current == newest - 1:
                return newest
            current = self.counters.clock() // self.width
            if current < newest - 1:
                return self._step_back(current)
            if current <= newest:
                return newest
        words, word = self.words, self.word
        total = words[word + TOTAL]
        if total == BUSY:
            total = self._repair()
        if not total:
            words[word + NEWEST] = current
            return current
        cells, cell = self.cells, self.cell
        gap = current - newest
        if gap == 1:
            place = cell + (current & 127)
            held = cells[place]
            if held:
                words[word + TOTAL] = BUSY
                words[word + NEWEST] = current
                cells[place] = 0
                words[word + TOTAL] = total - held
            else:
                words[word + NEWEST] = current
            return current
        last = cell + (newest & 127)
        if gap > _FEW_CELLS and cells[last] == total:
            # A caller met now and then: one cell holds all that is remembered.
            if gap >= BODY_CELLS:
                words[word + TOTAL] = BUSY
                cells[last] = 0
                words[word + TOTAL] = 0
            words[word + NEWEST] = current
            return current
        # Newest first: killed in between, cells that should have gone count as young ones, so too much is
        # refused, for one period at most.
        words[word + TOTAL] = BUSY
        words[word + NEWEST] = current
        words[word + TOTAL] = total - self._forget(newest, current)
        return current

    def _forget(self, newest: int, current: int) -> int:
        """Empties the cells after ``newest`` up to ``current``; returns what they held."""
        cells, cell = self.cells, self.cell
        forgotten = 0
        if current - newest <= _FEW_CELLS:
            for index in range(newest + 1, current + 1):
                place = cell + (index & 127)
                held = cells[place]
                if held:
                    cells[place] = 0
                    forgotten += held
            return forgotten
        start = (newest + 1) & 127
        count = min(current - newest, BODY_CELLS)
        tail = min(count, BODY_CELLS - start)
        for place, length in ((cell + start, tail), (cell, count - tail)):
            held = sum(cells[place : place + length])
            if held:
                forgotten += held
                cells[place : place + length] = _ZERO_CELLS[:length]
        return forgotten

    def _step_back(self, current: int) -> int:
        """The clock stepped back: all that is remembered moves to ``current``, gone in one period."""
        words, word, cells, cell = self.words, self.word, self.cells, self.cell
        total = words[word + TOTAL]
        if total == BUSY:
            total = self._repair()
        place = cell + (current & 127)
        words[word + TOTAL] = BUSY
        cells[place] = total  # before the others go: killed in between, the sum is too large, not too small
        words[word + NEWEST] = current
        cells[cell:place] = _ZERO_CELLS[: place - cell]
        cells[place + 1 : cell + BODY_CELLS] = _ZERO_CELLS[: cell + BODY_CELLS - place - 1]
        words[word + TOTAL] = total
        return current

    def _repair(self) -> int:
        """A worker died while it changed this slot: the cells say what is remembered."""
        total = sum(self.cells[self.cell : self.cell + BODY_CELLS])
        self.words[self.word + TOTAL] = total
        self.counters.stats.repairs += 1
        return total

    def _wait(self, now: int, current: int, total: int) -> int:
        # A flood is refused over and over in the same state; when it ends is worked out once.
        if self._refused != (current, total, self.word):
            self._refused = (current, total, self.word)
            self._free_at = self._freed_at(current, total)
        return max(1, self._free_at - max(now, current * self.width))

    def _freed_at(self, current: int, total: int) -> int:
        """When so many of the oldest calls are forgotten that one more fits."""
        needed = total - self.limit + 1
        held = self.cells[self.cell : self.cell + BODY_CELLS].tolist()
        for index in range(current - 127, current + 1):
            needed -= held[index & 127]
            if needed <= 0:
                return (index + BODY_CELLS) * self.width
        return (current + BODY_CELLS) * self.width


class Bucket(Counter):
    """A bucket of depth ``burst`` refilled at ``count`` per ``period_ms``.

    Never more than burst + count * t / period in any t. One call's share of time is rounded up to whole ns:
    exact to 0.1 % up to a million calls a second. After ``check``: ``full_at`` is when the bucket would be
    full again if the call at hand were taken, ``now`` the time it decided by.
    """

    __slots__ = ("_depth", "full_at", "interval", "limit", "now")

    def __init__(  # noqa: PLR0913 - a rate and its owner
        self, counters: Counters, owner: Owner, scope: str, count: int, period_ms: int, *, burst: int
    ) -> None:
        super().__init__(counters, owner, f"{scope} {period_ms}", Kind.BUCKET)
        self.limit = burst
        self.interval = -(-period_ms * 1_000_000 // count)
        self._depth = min(burst * self.interval, _DEPTH_NS_MAX)
        self.full_at = 0
        self.now = 0

    def check(self, now: int, wall: float) -> int:
        """Nanoseconds until the bucket holds one call; 0 = now. Takes nothing."""
        words = self.words
        if words[self.word] != self.low:
            self.seek(now, wall)
        word = self.word
        last = words[word + _LAST]
        if now < last:
            now = self._behind(now, last)
        if words[word + _INTERVAL] != self.interval:
            self._convert(now)
        full_at = words[word + _FULL_AT]
        self.now = now
        self.full_at = full_at = (max(now, full_at)) + self.interval
        return max(0, full_at - now - self._depth)

    def take(self) -> None:
        """Counts the call that ``check`` found room for."""
        words, word = self.words, self.word
        words[word + _LAST] = self.now
        # Read anew: in an overflow slot another limit of this call may have counted just now.
        words[word + _FULL_AT] = max(words[word + _FULL_AT], self.now) + self.interval

    def remaining(self) -> int:
        return max(0, (self._depth - (self.full_at - self.interval - self.now)) // self.interval)

    def _behind(self, now: int, last: int) -> int:
        """The time to decide by when a reading is older than the slot's last one."""
        if last - now <= _STEP_BACK_NS:
            return last
        now = self.counters.clock()
        if last - now <= _STEP_BACK_NS:
            return max(now, last)
        # The clock stepped back; what is missing from the bucket moves along. Killed in between, it refuses
        # too much.
        words, word = self.words, self.word
        missing = max(0, words[word + _FULL_AT] - last)
        words[word + _LAST] = now
        words[word + _FULL_AT] = now + missing
        return now

    def _convert(self, now: int) -> None:
        """The rate was edited: as many calls are missing as before, at the new share of time each.

        An overflow slot serves several rates and stays as it is: its moment is never earlier than any
        caller's own.
        """
        words, word = self.words, self.word
        if words[word] != self.low:
            return
        before, missing = words[word + _INTERVAL], max(0, words[word + _FULL_AT] - now)
        if before and missing:
            # Killed between these two, the next one converts what is converted: for slower refill that errs
            # on the safe side; for faster refill it could give calls back, so there the interval goes first.
            after = min(-(-missing * self.interval // before), _DEPTH_NS_MAX)
            if self.interval < before:
                words[word + _INTERVAL] = self.interval
            words[word + _FULL_AT] = now + after
        words[word + _INTERVAL] = self.interval
