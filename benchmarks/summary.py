"""From rounds to the figures that may be quoted, and the promises they are held against."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from benchmarks.figures import Spread, paired_ratio, spread
from benchmarks.rounds import LatencyRound, Round

PROMISES: Final = (
    ("repeated", "nginx", 1.6),
    ("repeated", "haproxy", 0.6),
    ("repeated", "envoy", 0.6),
    ("unique", "haproxy", 0.8),
    ("unique", "envoy", 0.8),
    ("tls", "nginx", 2.0),
    ("tls", "haproxy", 1.0),
    ("tls", "envoy", 1.0),
    ("h2", "envoy", 2.0),
)
"""(series, contender, the most that Faregate's CPU per call may be of the contender's)."""
SCALE_PROMISE: Final = 1.10
"""The most that CPU per call of the large configuration may be of the small one's."""


@dataclass(frozen=True)
class Line:
    """One contender in one series."""

    contender: str
    series: str
    cpu_us: Spread
    calls_per_second: Spread
    resident_bytes: int
    cpu_us_by_role: dict[str, float]


@dataclass(frozen=True)
class Ratio:
    """Faregate against another; ``most`` is the promise, None where none was made."""

    series: str
    against: str
    ratio: Spread
    most: float | None

    @property
    def verdict(self) -> str:
        """``kept``, ``broken`` or ``-``."""
        return "-" if self.most is None else "kept" if self.ratio.median <= self.most else "broken"


@dataclass(frozen=True)
class LatencyLine:
    """One contender at one fixed rate: medians over the rounds."""

    contender: str
    rate: int
    p50_us: Spread
    p99_us: Spread


def cpu_by_number(rounds: Sequence[Round], contender: str, series: str) -> dict[int, float]:
    """Round number -> CPU microseconds a call."""
    return {
        each.number: each.cpu_us for each in rounds if (each.contender, each.series) == (contender, series)
    }


def names(rounds: Sequence[Round]) -> tuple[list[str], list[str]]:
    """Contenders and series in order of appearance."""
    return list(dict.fromkeys(r.contender for r in rounds)), list(dict.fromkeys(r.series for r in rounds))


def lines(rounds: Sequence[Round]) -> list[Line]:
    """One line for each contender and series."""
    result = []
    contenders, all_series = names(rounds)
    for series in all_series:
        for contender in contenders:
            mine = [each for each in rounds if (each.contender, each.series) == (contender, series)]
            roles = mine[0].cpu_us_by_role
            result.append(
                Line(
                    contender,
                    series,
                    spread([each.cpu_us for each in mine]),
                    spread([each.calls_per_second for each in mine]),
                    max(sum(each.resident_bytes.values()) for each in mine),
                    {role: median(each.cpu_us_by_role[role] for each in mine) for role in roles},
                )
            )
    return result


def ratios(rounds: Sequence[Round], ours: str = "faregate") -> list[Ratio]:
    """``ours`` against every other in every series; empty when ``ours`` did not run."""
    contenders, all_series = names(rounds)
    if ours not in contenders:
        return []
    most = {(series, contender): limit for series, contender, limit in PROMISES}
    return [
        Ratio(
            series,
            other,
            paired_ratio(cpu_by_number(rounds, ours, series), cpu_by_number(rounds, other, series)),
            most.get((series, other)),
        )
        for series in all_series
        for other in contenders
        if other != ours
    ]


def scale_ratios(rounds: Sequence[Round]) -> list[Ratio]:
    """The large configuration against the small one."""
    _, all_series = names(rounds)
    return [
        Ratio(
            series,
            "small",
            paired_ratio(cpu_by_number(rounds, "large", series), cpu_by_number(rounds, "small", series)),
            SCALE_PROMISE,
        )
        for series in all_series
    ]


def latency_lines(rounds: Sequence[LatencyRound]) -> list[LatencyLine]:
    """One line for each rate and contender."""
    keys = dict.fromkeys((each.result.rate, each.contender) for each in rounds)
    result = []
    for rate, contender in keys:
        mine = [each.result for each in rounds if (each.result.rate, each.contender) == (rate, contender)]
        result.append(
            LatencyLine(
                contender,
                rate,
                spread([each.p50_us for each in mine]),
                spread([each.p99_us for each in mine]),
            )
        )
    return result
