"""What all workers have counted since this manager began, and what each of them says right now.

Counts only add up; readings and state belong to a connection and vanish with it. A report is taken whole or
not at all. No IO and no clock here: the caller says what time it is.
"""

import platform
from collections.abc import Iterator
from typing import Final, NamedTuple

import faregate
from faregate.records.families import FAMILIES, SERIES_MAX, Across, Family, Kind
from faregate.records.frames import Count, Observations, Reading, Report, WorkerState

OTHER: Final = "other"
IDLE_SERIES_S: Final = 24 * 3600.0
"""A series that did not grow for so long is dropped: its route is gone from the configuration."""


class Sample(NamedTuple):
    """One value of a counter or gauge."""

    labels: tuple[tuple[str, str], ...]
    value: float


class Distribution(NamedTuple):
    """One histogram: a count a bucket, not cumulative, and the sum in microseconds."""

    labels: tuple[tuple[str, str], ...]
    counts: tuple[int, ...]
    sum_us: int


class Readiness(NamedTuple):
    """Workers by what they last said; ``ready`` has those that take calls or drain, ``revisions`` each one
    that runs.
    """

    expected: int
    connected: int
    ready: int
    draining: int
    revisions: tuple[int, ...]

    @property
    def lacks(self) -> str:
        """What is missing for the gateway to be ready, in words; empty when nothing is."""
        missing = []
        if self.connected < self.expected:
            missing.append(f"{self.connected} of {self.expected} workers report")
        if self.ready < self.connected:
            missing.append(f"{self.connected - self.ready} of {self.connected} reporting workers not ready")
        if self.draining:
            missing.append(f"{self.draining} draining")
        if len(self.revisions) > 1:
            missing.append(f"{len(self.revisions)} different revisions run")
        return "; ".join(missing)


class _Series:
    """One series' running total: ``counts`` of a histogram, or a counter's alone."""

    __slots__ = ("counts", "grown_at", "sum_us")

    def __init__(self, length: int) -> None:
        self.counts = [0] * length
        self.sum_us = 0
        self.grown_at = 0.0


class Totals:
    """The sums and the workers' present state. Belongs to one thread. ``expected``: how many workers there
    shall be.
    """

    def __init__(self, expected: int) -> None:
        self._expected = expected
        self._series: dict[str, dict[tuple[str, ...], _Series]] = {name: {} for name in FAMILIES}
        self._readings: dict[int, list[Reading]] = {}
        self._states: dict[int, WorkerState] = {}
        self._taken: dict[int, tuple[str, int]] = {}
        self.silent = 0
        """Workers that did not answer the last ask in time."""

    def take(self, report: Report, now: float) -> None:
        """Adds a report, its counts only if its number is new. Raises ValueError on one that no worker of
        ours sends.
        """
        _check(report, self._expected)
        self._readings[report.worker] = report.readings
        self._states[report.worker] = report.state
        instance, sequence = self._taken.get(report.worker, ("", 0))
        if instance == report.instance and report.sequence <= sequence:
            return
        self._taken[report.worker] = (report.instance, report.sequence)
        for count in report.counts:
            self._grow(count.name, count.labels, [count.value], 0, now)
        for observed in report.observations:
            self._grow(observed.name, observed.labels, observed.counts, observed.sum_us, now)

    def forget(self, worker: int) -> None:
        """Drops what ``worker`` said of itself; what it counted stays."""
        self._readings.pop(worker, None)
        self._states.pop(worker, None)

    def readiness(self) -> Readiness:
        states = self._states.values()
        return Readiness(
            self._expected,
            len(states),
            sum(state.ready or state.draining for state in states),
            sum(state.draining for state in states),
            tuple(sorted({state.revision for state in states})),
        )

    def expire(self, now: float) -> None:
        """Drops series that have not grown for ``IDLE_SERIES_S``."""
        for series in self._series.values():
            for labels in [key for key, one in series.items() if now - one.grown_at > IDLE_SERIES_S]:
                del series[labels]

    def samples(self, family: Family) -> Iterator[Sample]:
        """The values of a counter or gauge."""
        for labels, one in self._series[family.name].items():
            yield Sample(tuple(zip(family.labels, labels, strict=True)), one.counts[0])
        yield from self._own(family)
        merged: dict[tuple[tuple[str, str], ...], list[float]] = {}
        for worker in sorted(self._readings):
            for reading in self._readings[worker]:
                if reading.name == family.name:
                    pairs = tuple(zip(family.labels, reading.labels, strict=True))
                    if family.across is Across.EACH:
                        pairs = (("worker", str(worker)), *pairs)
                    merged.setdefault(pairs, []).append(reading.value)
        for pairs, values in merged.items():
            yield Sample(pairs, sum(values) / (len(values) if family.across is Across.MEAN else 1))

    def distributions(self, family: Family) -> Iterator[Distribution]:
        """The histograms of ``family``."""
        for labels, one in self._series[family.name].items():
            yield Distribution(tuple(zip(family.labels, labels, strict=True)), tuple(one.counts), one.sum_us)

    def _own(self, family: Family) -> Iterator[Sample]:
        """What the manager itself knows."""
        match family.name:
            case "faregate_build_info":
                yield Sample((("version", faregate.VERSION), ("python", platform.python_version())), 1)
            case "faregate_workers":
                yield Sample((("state", "expected"),), self._expected)
                yield Sample((("state", "connected"),), len(self._states))
            case "faregate_workers_silent":
                yield Sample((), self.silent)
            case "faregate_config_revision":
                for worker, state in sorted(self._states.items()):
                    yield Sample((("worker", str(worker)),), state.revision)
            case "faregate_worker_ready":
                for worker, state in sorted(self._states.items()):
                    yield Sample((("worker", str(worker)),), int(state.ready and not state.draining))

    def _grow(self, name: str, labels: tuple[str, ...], counts: list[int], sum_us: int, now: float) -> None:
        series = self._series[name]
        if labels not in series and len(series) >= SERIES_MAX:
            labels = (OTHER,) * len(labels)
            if name != "faregate_series_folded_total":
                self._grow("faregate_series_folded_total", (name,), [1], 0, now)
        one = series.get(labels)
        if one is None:
            one = series[labels] = _Series(len(counts))
        one.counts = [old + new for old, new in zip(one.counts, counts, strict=True)]
        one.sum_us += sum_us
        one.grown_at = now


def _check(report: Report, expected: int) -> None:
    if not 0 <= report.worker < expected:
        raise ValueError("a worker that is not expected")
    items: list[Count | Observations | Reading] = [*report.counts, *report.observations, *report.readings]
    for item in items:
        family = FAMILIES.get(item.name)
        if family is None or len(item.labels) != len(family.labels) or not _fits(item, family):
            raise ValueError("a metric that is not in the table")


def _fits(item: Count | Observations | Reading, family: Family) -> bool:
    if isinstance(item, Observations):
        return (
            family.kind is Kind.HISTOGRAM
            and len(item.counts) == len(family.buckets_us) + 1
            and min(item.counts) >= 0
        )
    if isinstance(item, Count):
        return family.kind is Kind.COUNTER and item.value >= 0
    return family.kind is not Kind.HISTOGRAM
