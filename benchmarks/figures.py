"""The arithmetic of the results: medians, spreads, ratios round by round, percentiles.

Pure functions, so that tests can hold them. Ratios are taken within a round and then summed up: two
neighbours in time share the machine's mood (frequency, other guests), so their ratio is steadier than
either figure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from statistics import median


@dataclass(frozen=True)
class Spread:
    """Median, smallest and largest of some rounds, in the unit of what was measured."""

    median: float
    low: float
    high: float

    def text(self, digits: int = 1) -> str:
        """``24.1 (23.0-26.2)``."""
        return f"{self.median:.{digits}f} ({self.low:.{digits}f}-{self.high:.{digits}f})"


def spread(values: Sequence[float]) -> Spread:
    """Median and range of ``values``. Raises ValueError when empty."""
    if not values:
        raise ValueError("no rounds to sum up")
    return Spread(median(values), min(values), max(values))


def paired_ratio(ours: Mapping[int, float], theirs: Mapping[int, float]) -> Spread:
    """Spread of ours / theirs over the rounds (keys) that both have. Raises ValueError when they share
    none.
    """
    shared = sorted(ours.keys() & theirs.keys())
    return spread([ours[number] / theirs[number] for number in shared])


def percentile(sorted_values: Sequence[float], share: float) -> float:
    """Nearest-rank percentile of values in rising order; ``share`` in (0, 1]. Raises ValueError
    when empty.
    """
    if not sorted_values:
        raise ValueError("no values")
    if not 0 < share <= 1:
        raise ValueError("share must lie in (0, 1]")
    return sorted_values[ceil(share * len(sorted_values)) - 1]
