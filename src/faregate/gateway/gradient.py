"""How many calls one target bears at once: lowered while its latency says that calls wait in line there.

A line forms when more is sent than is served; then latency grows with the calls in flight and nothing is
gained by sending more. So: while the latency of a window of calls lies well above what the target showed
when it had room, the limit shrinks. What tells a line from a target that has simply become slower is the
answer to the shrinking itself: in a line latency falls with it. If it does not, the new latency is what the
target takes, it becomes the new measure, and the limit goes back; a wrong guess costs a window or two, never
an outage. Nothing is probed by holding calls back: the windows of common traffic show when there is room
again. Pure: time comes with the calls.
"""

from typing import Final

from faregate.gateway.admission import CRITICAL, LOW, NORMAL

LIMIT_MIN: Final = 8
WINDOW_S: Final = 0.25
SAMPLES_MIN: Final = 32
SAMPLES_MAX: Final = 64
SAMPLES_FEW: Final = 8
SLOW_S: Final = 2.0
"""After this time fewer samples must do."""
STALE_S: Final = 10.0
"""Where so few calls come that no window fills in this time, the limit is given back bit by bit."""
BEARABLE: Final = 2.0
SLACK_S: Final = 0.050
"""A latency is bearable up to twice the usual and this much more: less is noise, or our own lag."""
_SHRINK: Final = 0.7
_JUDGED: Final = 0.75
"""A smaller step says nothing: latencies differ by as much."""
_SHRINK_SURE: Final = 0.3
"""Once latency has fallen with the limit: a line, of which the length is known."""
_HELPED: Final = 0.3
"""Of the fall in latency that a line alone would show, what counts as one."""
_GROW: Final = 1.1
_FALL: Final = 0.3
_RISE: Final = 0.05
_ROOM: Final = 0.7
"""Below this part of the limit it holds nothing back, so that a change of latency is the target's own."""
_RESTORE: Final = 1.25
_BEYOND: Final = 1.25
"""Of the limit, what critical calls may use: it moves under them, and a few calls more lengthen no line."""
STALL_S: Final = 2.0
_STALL_FACTOR: Final = 8.0


class Gate:
    """The calls that may be in flight to one target from one worker. ``ceiling``: at most that many;
    ``adaptive``: fewer when latency says so, never fewer than ``LIMIT_MIN``.

    ``least``: how many of any class may be in flight, read by each call. ``quiet_until``: until then enough
    is known of the window, and ``answered`` need not be called. ``long_s``: the usual latency, 0
    until known.
    """

    __slots__ = (
        "_adaptive",
        "_answered_at",
        "_ceiling",
        "_due_at",
        "_first",
        "_limit",
        "_opened_at",
        "_peak",
        "_reference_calls",
        "_reference_s",
        "_samples",
        "_shares",
        "_start_calls",
        "least",
        "long_s",
        "quiet_until",
    )

    def __init__(self, ceiling: int, now: float, *, adaptive: bool) -> None:
        self._adaptive = adaptive
        self._answered_at = now
        self._ceiling = ceiling
        self._due_at = now + WINDOW_S
        self._first = NORMAL
        self._limit = float(ceiling)
        self._opened_at = now
        self._peak = 0
        self._reference_calls = 0.0  # limit and latency that the next step down is judged by, 0: none
        self._reference_s = 0.0
        self._samples: list[float] = []
        self._shares = (1.0, 1.0, 1.0)
        self._start_calls = 0.0
        self.least = ceiling
        self.long_s = 0.0
        self.quiet_until = 0.0

    def take(self, ceiling: int, shares: tuple[float, float, float], *, adaptive: bool, low: bool) -> None:
        """The bounds of a new revision; what was learned stays. ``shares``: of each class, of the limit."""
        self._limit = (
            min(self._limit, float(ceiling)) if adaptive and self._limit < self._ceiling else float(ceiling)
        )
        self._adaptive = adaptive
        self._ceiling = ceiling
        self._shares = shares
        self._first = LOW if low else NORMAL
        self._set_least()

    @property
    def limit(self) -> int:
        """Calls in flight that a critical call may be one of."""
        return int(self._limit)

    def admits(self, priority: int, in_flight: int) -> bool:
        """Whether a call of that class may be one of ``in_flight``. Critical calls may go a quarter beyond an
        adaptive limit, and while a step down drains, beyond what there was before it.
        """
        if priority == CRITICAL and self._adaptive:
            return in_flight <= min(self._ceiling, _BEYOND * max(self._limit, self._start_calls))
        return in_flight <= max(1.0, int(self._limit) * self._shares[priority])

    def answered(self, now: float, latency_s: float, in_flight: int) -> None:
        """A call was answered after ``latency_s``, one of ``in_flight``."""
        self._answered_at = now
        if now - latency_s < self._opened_at or not self._adaptive:
            return  # sent under another limit
        self._peak = max(self._peak, in_flight)
        samples = self._samples
        if len(samples) < SAMPLES_MAX:
            samples.append(latency_s)
        elif now < self._due_at:
            self.quiet_until = self._due_at
            return
        if now >= self._due_at and (
            len(samples) >= SAMPLES_MIN or (len(samples) >= SAMPLES_FEW and now >= self._opened_at + SLOW_S)
        ):
            self._close(now)

    def look(self, now: float, in_flight: int) -> None:
        """About once a second: a target that answers nothing holds only a part of what waits for it."""
        if not self._adaptive:
            return
        silent_s = now - self._answered_at
        if in_flight > LIMIT_MIN and silent_s > max(STALL_S, _STALL_FACTOR * self.long_s):
            if not self._start_calls:
                self._start_calls = min(self._limit, float(in_flight))
            self._set(max(float(min(LIMIT_MIN, self._ceiling)), self._limit / 2.0), now)
        elif not in_flight:
            self._answered_at = now
        if now - self._opened_at > STALE_S and in_flight < _ROOM * self._limit < _ROOM * self._ceiling:
            self._start_calls = self._reference_calls = 0.0
            self._grow(now)

    def _close(self, now: float) -> None:
        """Judges a window of calls that were all sent under the limit as it is."""
        ordered = sorted(self._samples)
        short_s = ordered[len(ordered) // 2]
        level = min(self._limit, float(self._peak))
        long_s = self.long_s or short_s
        bearable_s = BEARABLE * long_s + SLACK_S
        if short_s <= bearable_s:
            self._reference_calls = self._start_calls = 0.0
            if short_s < long_s or level < _ROOM * self._limit or self._limit >= self._ceiling:
                long_s += (short_s - long_s) * (_FALL if short_s < long_s else _RISE)
            self.long_s = long_s
            self._grow(now)
            return
        if not self._start_calls:
            # What was measured was sent while fewer were in flight: first a window with the number held.
            self._start_calls = max(level, float(LIMIT_MIN))
            self._set(self._start_calls, now)
            return
        shrink = _SHRINK
        if not self._reference_calls:
            self._reference_calls, self._reference_s = self._limit, short_s
        elif self._limit <= _JUDGED * self._reference_calls:
            line_s = self._reference_s * self._limit / self._reference_calls
            if short_s > self._reference_s - _HELPED * (self._reference_s - line_s):
                self.long_s = short_s
                limit = self._start_calls * _RESTORE
                self._reference_calls = self._start_calls = 0.0
                self._set(limit, now)
                return
            shrink = _SHRINK_SURE
            self._reference_calls, self._reference_s = self._limit, short_s
        self._set(max(float(LIMIT_MIN), self._limit * max(shrink, bearable_s / short_s)), now)

    def _grow(self, now: float) -> None:
        self._set(self._limit * _GROW + 1.0, now)

    def _set(self, limit: float, now: float) -> None:
        self._limit = min(float(self._ceiling), limit)
        self._set_least()
        self._open(now)

    def _open(self, now: float) -> None:
        self._opened_at = now
        self._due_at = now + WINDOW_S
        self._peak = 0
        self._samples.clear()

    def _set_least(self) -> None:
        self.least = max(1, int(int(self._limit) * self._shares[self._first]))
