"""What a worker counts between two reports to the manager.

The recorder's loop adds to plain attributes of slots that it looks up once a call; ``drain`` turns them into
deltas under their labels and lets go of the routes, so that an old snapshot is not kept alive. ``Deltas`` add
up while the manager is away, bounded by the ceiling of series.
"""

from typing import Final

from faregate.records.families import DURATION_BUCKETS_US, GATEWAY_BUCKETS_US, SERIES_MAX
from faregate.records.frames import Count, Observations
from faregate.snapshot.call import ReadyRoute

Labels = tuple[str, ...]
OTHER: Final = "other"


class EndSlot:
    """Calls of one route that ended alike, and that part of their lines, rendered."""

    __slots__ = ("calls", "line_fields")

    def __init__(self, outcome: str, status: int) -> None:
        self.calls = 0
        self.line_fields = (f'"status":{status},' if status else "") + f'"outcome":"{outcome}",'


class TargetSlot:
    """Calls sent to one target with as many attempts, and that part of their lines, rendered."""

    __slots__ = ("calls", "line_fields")

    def __init__(self, line_fields: str) -> None:
        self.calls = 0
        self.line_fields = line_fields


class RouteSlot:
    """Counts of one route: a count a bucket for each histogram, sums in microseconds."""

    __slots__ = ("duration_us", "durations", "ends", "gateways", "labels", "line_fields", "logs_bodies",
                 "upstream_us", "upstreams")  # fmt: skip

    def __init__(self, route: ReadyRoute | None) -> None:
        self.labels: Labels = ("", "", "") if route is None else route.metric_labels
        self.line_fields = f"{route.log_fields}," if route is not None and route.log_fields else ""
        self.logs_bodies = route is not None and bool(
            route.data.log_request_body or route.data.log_response_body
        )
        self.ends: dict[tuple[str, int], EndSlot] = {}
        self.durations = [0] * (len(DURATION_BUCKETS_US) + 1)
        self.upstreams = [0] * (len(DURATION_BUCKETS_US) + 1)
        self.gateways = [0] * (len(GATEWAY_BUCKETS_US) + 1)
        self.duration_us = 0
        self.upstream_us = 0

    def new_end(self, outcome: str, status: int) -> EndSlot:
        """The slot of an end that was not seen since the last drain."""
        slot = self.ends[outcome, status] = EndSlot(outcome, status)
        return slot


class Deltas:
    """Counts by metric and labels that were not acknowledged yet; each metric holds ``SERIES_MAX`` label
    sets.
    """

    __slots__ = ("_counts", "_observations", "_sizes")

    def __init__(self) -> None:
        self._counts: dict[tuple[str, Labels], int] = {}
        self._observations: dict[tuple[str, Labels], Observations] = {}
        self._sizes: dict[str, int] = {}

    def __bool__(self) -> bool:
        return bool(self._counts or self._observations)

    def count(self, name: str, labels: Labels, value: int) -> None:
        if value:
            key = self._place(name, labels, self._counts)
            self._counts[key] = self._counts.get(key, 0) + value

    def observe(self, name: str, labels: Labels, counts: list[int], sum_us: int) -> None:
        if not any(counts):
            return
        key = self._place(name, labels, self._observations)
        known = self._observations.get(key)
        if known is None:
            self._observations[key] = Observations(name, key[1], counts[:], sum_us)
        else:
            known.counts = [old + new for old, new in zip(known.counts, counts, strict=True)]
            known.sum_us += sum_us

    def _place(
        self,
        name: str,
        labels: Labels,
        series: "dict[tuple[str, Labels], int] | dict[tuple[str, Labels], Observations]",
    ) -> tuple[str, Labels]:
        key = (name, labels)
        if key in series:
            return key
        if self._sizes.get(name, 0) >= SERIES_MAX:
            folded = ("faregate_series_folded_total", (name,))
            self._counts[folded] = self._counts.get(folded, 0) + 1
            return name, (OTHER,) * len(labels)
        self._sizes[name] = self._sizes.get(name, 0) + 1
        return key

    def take(self) -> tuple[list[Count], list[Observations]]:
        """All counts, which are then zero again."""
        counts = [Count(name, labels, value) for (name, labels), value in self._counts.items()]
        observations = list(self._observations.values())
        self._counts, self._observations, self._sizes = {}, {}, {}
        return counts, observations


class CallMetrics:
    """The slots that the recorder's loop adds to. Belongs to one thread."""

    def __init__(self) -> None:
        self.routes: dict[ReadyRoute | None, RouteSlot] = {}
        self.targets: dict[tuple[str, str, int], TargetSlot] = {}
        self.refusals: dict[tuple[str, str], int] = {}
        self.request_bytes = 0
        self.response_bytes = 0
        self.lines = 0

    def drain(self, into: Deltas) -> None:
        """Adds everything counted since the last drain to ``into``."""
        for slot in self.routes.values():
            _drain_route(slot, into)
        for (upstream, target, _), sent in self.targets.items():
            into.count("faregate_target_calls_total", (upstream, target), sent.calls)
        for (code, parameter), calls in self.refusals.items():
            into.count("faregate_refusals_total", (code,), calls)
            if parameter:
                into.count("faregate_limit_refusals_total", (parameter,), calls)
        into.count("faregate_bytes_total", ("request",), self.request_bytes)
        into.count("faregate_bytes_total", ("response",), self.response_bytes)
        into.count("faregate_log_lines_total", (), self.lines)
        self.routes, self.targets, self.refusals = {}, {}, {}
        self.request_bytes = self.response_bytes = self.lines = 0


def _drain_route(slot: RouteSlot, into: Deltas) -> None:
    labels = slot.labels
    for (outcome, status), ended in slot.ends.items():
        status_class = f"{status // 100}xx" if status else "none"
        into.count("faregate_calls_total", (*labels, status_class, outcome), ended.calls)
    into.observe("faregate_call_duration_seconds", labels, slot.durations, slot.duration_us)
    into.observe("faregate_upstream_duration_seconds", labels, slot.upstreams, slot.upstream_us)
    into.observe(
        "faregate_gateway_duration_seconds", labels, slot.gateways, slot.duration_us - slot.upstream_us
    )
