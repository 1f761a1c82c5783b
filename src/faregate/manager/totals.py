"""What all workers have counted since this manager began, and what each of them says right now.

Counts only add up; readings and state belong to a connection and vanish with it. A report is taken whole or
not at all. No IO and no clock here: the caller says what time it is.
"""

import platform
from collections.abc import Iterator
from typing import Final, NamedTuple

import faregate
from faregate.manager.arms import Arms
from faregate.manager.usage import Usage
from faregate.records.families import FAMILIES, SERIES_MAX, Across, Family, Kind
from faregate.records.frames import (
    DURATION_SUM,
    DURATIONS_AT,
    GATEWAYS_AT,
    ROUTE_PLACES,
    UPSTREAM_SUM,
    UPSTREAMS_AT,
    Count,
    Reading,
    Report,
    RouteGrowth,
    RouteLabels,
    WorkerState,
)

WORKERS_MAX: Final = 64
"""Indexes of workers lie below; how many are alive changes while they are replaced."""
OTHER: Final = "other"
_OTHERS: Final = (OTHER, OTHER, OTHER)
_CALLS: Final = "faregate_calls_total"
_DURATION: Final = "faregate_call_duration_seconds"
_UPSTREAM: Final = "faregate_upstream_duration_seconds"
_GATEWAY: Final = "faregate_gateway_duration_seconds"
_PARTS: Final = {
    _DURATION: slice(DURATIONS_AT, UPSTREAMS_AT),
    _UPSTREAM: slice(UPSTREAMS_AT, GATEWAYS_AT),
    _GATEWAY: slice(GATEWAYS_AT, DURATION_SUM),
}
"""Histogram -> where its buckets stand in a route's row."""
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
    that runs. A worker that drains while others take its place is none of them. ``stopping``: the gateway is.
    """

    expected: int
    connected: int
    ready: int
    draining: int
    revisions: tuple[int, ...]
    stopping: bool = False

    @property
    def lacks(self) -> str:
        """What is missing for the gateway to be ready, in words; empty when nothing is."""
        missing = ["the gateway is stopping"] if self.stopping else []
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
    """One counter's running total."""

    __slots__ = ("grown_at", "value")

    def __init__(self) -> None:
        self.value = 0
        self.grown_at = 0.0


class RouteSeries:
    """All series of one route: the row of ``frames``, and calls by end."""

    __slots__ = ("counts", "dropped", "ends", "grown_at", "labels")

    def __init__(self, labels: RouteLabels) -> None:
        self.labels = labels
        self.counts = [0] * ROUTE_PLACES
        self.ends: dict[str, int] = {}
        self.grown_at = 0.0
        self.dropped = False


class Totals:
    """The sums and the workers' present state. Belongs to one thread. ``expected``: how many workers there
    shall be.
    """

    def __init__(self, expected: int) -> None:
        self.expected = expected
        self.stopping = False
        self.stale = False
        self._series: dict[str, dict[tuple[str, ...], _Series]] = {name: {} for name in FAMILIES}
        self._routes: dict[RouteLabels, RouteSeries] = {}
        self._readings: dict[int, list[Reading]] = {}
        self._states: dict[int, WorkerState] = {}
        self._taken: dict[int, tuple[str, int]] = {}
        self.usage = Usage()
        self.arms = Arms()
        self.silent = 0
        """Workers that did not answer the last ask in time."""

    def take(self, report: Report, now: float, numbered: list[RouteSeries] | None = None) -> None:
        """Adds a report, its counts only if its number is new. Raises ValueError on one that no worker of
        ours sends.

        ``numbered``: the label sets that the report's connection had so far; it is brought up to date.
        """
        numbered = [] if numbered is None else numbered
        _check(report, len(numbered))
        del numbered[report.first :]
        numbered += [self._route(labels, now) for labels in report.labels]
        self._readings[report.worker] = report.readings
        self._states[report.worker] = report.state
        instance, sequence = self._taken.get(report.worker, ("", 0))
        if instance == report.instance and report.sequence <= sequence:
            return
        self._taken[report.worker] = (report.instance, report.sequence)
        self.usage.take(report.usage)
        self.arms.take(report.worker, report.instance, report.arms)
        for count in report.counts:
            self._grow(count.name, count.labels, count.value, now)
        self._grow_routes(report.routes, numbered, now)

    def forget(self, worker: int) -> None:
        """Drops what ``worker`` said of itself; what it counted stays."""
        self._readings.pop(worker, None)
        self._states.pop(worker, None)

    def readiness(self) -> Readiness:
        states = list(self._states.values())
        if sum(not state.draining for state in states) >= self.expected:
            states = [state for state in states if not state.draining]  # others have taken their place
        return Readiness(
            self.expected,
            len(states),
            sum(state.ready or state.draining for state in states),
            sum(state.draining for state in states),
            tuple(sorted({state.revision for state in states})),
            self.stopping,
        )

    def expire(self, now: float) -> None:
        """Drops series that have not grown for ``IDLE_SERIES_S``."""
        for series in self._series.values():
            for labels in [key for key, one in series.items() if now - one.grown_at > IDLE_SERIES_S]:
                del series[labels]
        for route in [one for one in self._routes.values() if now - one.grown_at > IDLE_SERIES_S]:
            route.dropped = True  # a connection's number may still stand for it
            del self._routes[route.labels]

    def samples(self, family: Family) -> Iterator[Sample]:
        """The values of a counter or gauge."""
        for labels, one in self._series[family.name].items():
            yield Sample(tuple(zip(family.labels, labels, strict=True)), one.value)
        if family.name == _CALLS:
            yield from self._calls(family)
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
            yield Sample(pairs, _merged(family.across, values))

    def distributions(self, family: Family) -> Iterator[Distribution]:
        """The histograms of ``family``."""
        part = _PARTS[family.name]
        for labels, route in self._routes.items():
            counts = route.counts
            if any(counts[part]):
                pairs = tuple(zip(family.labels, labels, strict=True))
                yield Distribution(pairs, tuple(counts[part]), _sum_us(family.name, counts))

    def _calls(self, family: Family) -> Iterator[Sample]:
        for labels, route in self._routes.items():
            for end, calls in route.ends.items():
                status_class, _, outcome = end.partition(" ")
                yield Sample(tuple(zip(family.labels, (*labels, status_class, outcome), strict=True)), calls)

    def _own(self, family: Family) -> Iterator[Sample]:
        """What the manager itself knows."""
        match family.name:
            case "faregate_build_info":
                yield Sample((("version", faregate.VERSION), ("python", platform.python_version())), 1)
            case "faregate_workers":
                yield Sample((("state", "expected"),), self.expected)
                yield Sample((("state", "connected"),), len(self._states))
            case "faregate_workers_silent":
                yield Sample((), self.silent)
            case "faregate_config_stale":
                yield Sample((), int(self.stale))
            case "faregate_config_revision":
                for worker, state in sorted(self._states.items()):
                    yield Sample((("worker", str(worker)),), state.revision)
            case "faregate_worker_ready":
                for worker, state in sorted(self._states.items()):
                    yield Sample((("worker", str(worker)),), int(state.ready and not state.draining))

    def _grow(self, name: str, labels: tuple[str, ...], value: int, now: float) -> None:
        series = self._series[name]
        if labels not in series and len(series) >= SERIES_MAX:
            labels = (OTHER,) * len(labels)
            if name != "faregate_series_folded_total":
                self._grow("faregate_series_folded_total", (name,), 1, now)
        one = series.get(labels)
        if one is None:
            one = series[labels] = _Series()
        one.value += value
        one.grown_at = now

    def _route(self, labels: RouteLabels, now: float) -> RouteSeries:
        """A route's series; beyond the ceiling, that of all others."""
        routes = self._routes
        if labels not in routes and len(routes) >= SERIES_MAX:
            labels = _OTHERS
        one = routes.get(labels)
        if one is None:
            one = routes[labels] = RouteSeries(labels)
            one.grown_at = now
        return one

    def _grow_routes(self, grown: list[RouteGrowth], numbered: list[RouteSeries], now: float) -> None:
        """About a microsecond a route: a busy gateway of many routes reports thousands a second."""
        for growth in grown:
            one = numbered[growth.number]
            if one.dropped:
                one = numbered[growth.number] = self._route(one.labels, now)
            counts = one.counts
            for place, value in growth.counts.items():
                counts[place] += value
            ends = one.ends
            for end, calls in growth.ends.items():
                ends[end] = ends.get(end, 0) + calls
            one.grown_at = now
            if one.labels == _OTHERS:
                self._say_folded(growth, now)

    def _say_folded(self, growth: RouteGrowth, now: float) -> None:
        calls = sum(growth.ends.values())
        sent = sum(value for place, value in growth.counts.items() if UPSTREAMS_AT <= place < GATEWAYS_AT)
        for name, samples in ((_CALLS, calls), (_DURATION, calls), (_UPSTREAM, sent), (_GATEWAY, calls)):
            self._grow("faregate_series_folded_total", (name,), samples, now)


def _merged(across: Across, values: list[float]) -> float:
    if across is Across.LARGEST:
        return max(values)
    return sum(values) / (len(values) if across is Across.MEAN else 1)


def _sum_us(name: str, counts: list[int]) -> int:
    if name == _GATEWAY:
        return counts[DURATION_SUM] - counts[UPSTREAM_SUM]
    return counts[DURATION_SUM if name == _DURATION else UPSTREAM_SUM]


def _check(report: Report, numbered: int) -> None:
    if not 0 <= report.worker < WORKERS_MAX:
        raise ValueError("a worker that is not expected")
    if report.first > numbered:
        raise ValueError("labels that begin beyond those that are numbered")
    numbered = report.first + len(report.labels)
    for growth in report.routes:
        if growth.number >= numbered or not all(map(_is_end, growth.ends)):
            raise ValueError("a route without labels, or an end that is none")
    items: list[Count | Reading] = [*report.counts, *report.readings]
    for item in items:
        family = FAMILIES.get(item.name)
        if family is None or len(item.labels) != len(family.labels) or not _fits(item, family):
            raise ValueError("a metric that is not in the table")


def _is_end(end: str) -> bool:
    return end.count(" ") == 1


def _fits(item: Count | Reading, family: Family) -> bool:
    if isinstance(item, Count):
        return family.kind is Kind.COUNTER and family.name != _CALLS and item.value >= 0
    return family.kind is not Kind.HISTOGRAM
