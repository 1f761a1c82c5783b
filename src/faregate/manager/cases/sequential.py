"""Whether one of two shares is larger than the other, looked at as often as one likes.

The hypothesis is that hits (failures, slow calls) are no more frequent with the new revision than with the
old. Each block of calls multiplies a bet against it by how much better another explanation fits, one in which
the new revision's odds are a few times those of the old: the E-variable of two proportions (Turner, Ly and
Grünwald, "Generic E-variables for exact sequential k-sample tests", J. Stat. Plan. Inference 230, 2024).
While the hypothesis holds the expectation of the bet is at most one, whatever the shares are and however they
drift from block to block; so the chance that it ever reaches ``1 / level`` is at most ``level`` (Ville 1939),
without any correction for repeated looks (Johari et al., "Always valid inference", Oper. Res. 70, 2022). The
bet is spread over several odds, and over several moments at which the new revision may have become worse.
"""

import math
from typing import Final

ODDS: Final = (1.5, 3.0, 10.0, 100.0, 1000.0)
"""How many times as high the odds of a hit may be. Less than about a fifth more goes unnoticed, by intent."""
_HITS_BEFORE: Final = 0.5
_CALLS_BEFORE: Final = 50.0
"""What is assumed to be known of the old revision before the first block: 1 %. A wrong guess costs time only.
"""
BEGIN_EVERY_S: Final = 10.0
_LATER: Final = 60.0
"""From ten minutes on another bet begins whenever a sixtieth of the time that has passed has passed again."""


class Shares:
    """The test. ``level``: the chance of a false alarm over all its time. Calls of a block must not know what
    came of others in it.
    """

    def __init__(self, level: float) -> None:
        self.bound = 1.0 / level
        self.evidence = 1.0
        """How often larger the bet is than at the beginning."""
        self.largest = 1.0
        self._calls = [0, 0]
        self._hits = [0, 0]
        self._pending = [0, 0, 0, 0]
        self._sums = [0.0] * len(ODDS)
        self._begun: list[tuple[float, tuple[float, ...]]] = []
        """Of each moment its part of the bet, and where the sums stood."""
        self._left = 1.0
        self._next_at = 0.0

    @property
    def exceeded(self) -> bool:
        """Whether the new revision is worse, as far as the level goes; once so, for good."""
        return self.largest >= self.bound

    @property
    def p_value(self) -> float:
        """Always valid: the level at which the hypothesis would be given up by now."""
        return min(1.0, 1.0 / self.largest)

    def add(self, old: tuple[int, int], new: tuple[int, int], at_s: float) -> None:
        """Takes the calls and hits of both that have come by ``at_s`` seconds and not before. A block in
        which one had no calls waits for the next.
        """
        pending = self._pending
        for place, count in enumerate((*old, *new)):
            pending[place] += count
        old_calls, old_hits, new_calls, new_hits = pending
        if not old_calls or not new_calls:
            return
        self._pending = [0, 0, 0, 0]
        self._begin(at_s)
        base = (self._hits[0] + _HITS_BEFORE) / (self._calls[0] + _CALLS_BEFORE)
        base = min(max(base, 1e-6), 1 - 1e-6)
        for place, odds in enumerate(ODDS):
            worse = odds * base / (1 - base + odds * base)
            both = (old_calls * base + new_calls * worse) / (old_calls + new_calls)
            self._sums[place] += _gain(old_calls, old_hits, base, both) + _gain(
                new_calls, new_hits, worse, both
            )
        self._calls[0] += old_calls
        self._hits[0] += old_hits
        self._calls[1] += new_calls
        self._hits[1] += new_hits
        found = self._left
        for part, sums in self._begun:
            bets = (_exp(now - then) for now, then in zip(self._sums, sums, strict=True))
            found += part * math.fsum(bets) / len(ODDS)
        self.evidence = found
        self.largest = max(self.largest, found)

    def _begin(self, at_s: float) -> None:
        if at_s < self._next_at:
            return
        number = len(self._begun) + 1
        part = 1.0 / (number * (number + 1))  # together one
        self._left = max(0.0, self._left - part)
        self._begun.append((part, tuple(self._sums)))
        self._next_at = at_s + max(BEGIN_EVERY_S, at_s / _LATER)


def _gain(calls: int, hits: int, share: float, both: float) -> float:
    """How much better ``share`` explains it than ``both``, as a logarithm."""
    return hits * math.log(share / both) + (calls - hits) * math.log((1 - share) / (1 - both))


def _exp(value: float) -> float:
    return math.exp(min(value, 700.0))
