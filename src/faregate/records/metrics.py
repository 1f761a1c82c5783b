"""What a worker counts between two reports to the manager.

The recorder's loop adds to plain numbers of slots that it looks up once a call. A route's numbers stand in
one row (``frames``), kept with the route for as long as its snapshot lives, so that a report costs only the
routes that were called since the last one. While the manager is away the numbers grow where they are, bounded
by the ceiling of series.
"""

from itertools import islice
from typing import Final
from weakref import WeakValueDictionary

from faregate.records.families import SERIES_MAX
from faregate.records.frames import Count, RouteGrowth, RouteLabels, UsageGrowth
from faregate.records.tally import EndSlot, Tally
from faregate.records.usage import OTHER as NOT_TOLD_APART
from faregate.records.usage import Place, Uses
from faregate.snapshot.call import ReadyRoute

Labels = tuple[str, ...]
OTHER: Final = "other"


class TargetSlot:
    """Calls sent to one target with as many attempts, and that part of their lines, rendered."""

    __slots__ = ("calls", "line_fields")

    def __init__(self, line_fields: str) -> None:
        self.calls = 0
        self.line_fields = line_fields


class RouteSlot:
    """Where the calls of one route are counted, and what their lines have in common."""

    __slots__ = ("audited", "counts", "ends", "line_fields", "logs_bodies", "metrics", "place", "tally")

    def __init__(self, route: ReadyRoute | None, tally: Tally, metrics: "CallMetrics") -> None:
        self.tally = tally
        self.counts = tally.counts
        self.ends = tally.ends
        self.metrics = metrics
        api, version = ("", "") if route is None else route.metric_labels[:2]
        self.place = metrics.uses.place(api, version)
        self.line_fields = f"{route.log_fields}," if route is not None and route.log_fields else ""
        self.logs_bodies = route is not None and bool(
            route.data.log_request_body or route.data.log_response_body
        )
        self.audited = route is not None and route.data.audit != "off"

    def new_end(self, outcome: str, status: int) -> EndSlot:
        """The slot of an end that was not seen before."""
        slot = self.ends[outcome, status] = EndSlot(outcome, status)
        return slot


class Deltas:
    """Counts by metric and labels that were not acknowledged yet; each metric holds ``SERIES_MAX`` label
    sets.
    """

    __slots__ = ("_counts", "_sizes", "tallies", "usage")

    def __init__(self) -> None:
        self._counts: dict[tuple[str, Labels], int] = {}
        self._sizes: dict[str, int] = {}
        self.tallies: dict[Tally, None] = {}
        """Those that grew, the longest waiting first."""
        self.usage: list[Place] = []
        """Who called, by version."""

    def count(self, name: str, labels: Labels, value: int) -> None:
        if value:
            key = self._place(name, labels)
            self._counts[key] = self._counts.get(key, 0) + value

    def _place(self, name: str, labels: Labels) -> tuple[str, Labels]:
        key = (name, labels)
        if key in self._counts:
            return key
        if self._sizes.get(name, 0) >= SERIES_MAX:
            folded = ("faregate_series_folded_total", (name,))
            self._counts[folded] = self._counts.get(folded, 0) + 1
            return name, (OTHER,) * len(labels)
        self._sizes[name] = self._sizes.get(name, 0) + 1
        return key

    def take(self) -> list[Count]:
        """All counts but the routes', which are then zero again."""
        counts = [Count(name, labels, value) for (name, labels), value in self._counts.items()]
        self._counts, self._sizes = {}, {}
        return counts

    def take_routes(self, most: int) -> list[tuple[Tally, RouteGrowth]]:
        """What grew of at most ``most`` tallies; about 2 us each."""
        tallies = self.tallies
        if len(tallies) <= most:
            self.tallies = {}
            return [(tally, tally.take()) for tally in tallies]
        taken = []
        for tally in list(islice(tallies, most)):
            del tallies[tally]
            taken.append((tally, tally.take()))
        return taken

    def take_usage(self, most: int) -> list[UsageGrowth]:
        """At most ``most`` rows of who called."""
        return Uses.rows(self.usage, most)


class CallMetrics:
    """The slots that the recorder's loop adds to. Belongs to one thread."""

    def __init__(self) -> None:
        self.routes: dict[ReadyRoute | None, RouteSlot] = {}
        """Those called since the last drain, which lets go of them: an old snapshot is not kept alive."""
        self.targets: dict[tuple[str, str, int], TargetSlot] = {}
        self.refusals: dict[tuple[str, str], int] = {}
        self.keyed: dict[tuple[str, str, str, str], int] = {}
        """Calls with an idempotency key, by route and what became of them."""
        self.events: dict[tuple[str, Labels], int] = {}
        """What happens seldom, by metric and labels."""
        self.uses = Uses()
        self.request_bytes = 0
        self.response_bytes = 0
        self.lines = 0
        # Weak: free again when no route of a living snapshot has the labels and nothing waits under them.
        self._tallies: WeakValueDictionary[RouteLabels, Tally] = WeakValueDictionary()
        self._other = Tally((OTHER, OTHER, OTHER))
        self._unrouted = RouteSlot(None, Tally(("", "", "")), self)

    def slot(self, route: ReadyRoute | None) -> RouteSlot:
        """The slot of a route that was not called since the last drain."""
        if route is None:
            slot = self._unrouted
        else:
            kept = route.recorded
            if isinstance(kept, RouteSlot) and kept.metrics is self:
                slot = kept
            else:
                slot = route.recorded = RouteSlot(route, self._tally(route.metric_labels), self)
        self.routes[route] = slot
        return slot

    def _tally(self, labels: RouteLabels) -> Tally:
        """A label set beyond the ceiling is counted under ``other`` by the manager too, which says so."""
        tally = self._tallies.get(labels)
        if tally is None:
            if len(self._tallies) >= SERIES_MAX:
                return self._other
            tally = self._tallies[labels] = Tally(labels)
        return tally

    def drain(self, into: Deltas) -> None:
        """Adds everything counted since the last drain to ``into``."""
        into.tallies.update(dict.fromkeys([slot.tally for slot in self.routes.values()]))
        for (upstream, target, _), sent in self.targets.items():
            into.count("faregate_target_calls_total", (upstream, target), sent.calls)
        for (code, parameter), calls in self.refusals.items():
            into.count("faregate_refusals_total", (code,), calls)
            if parameter:
                into.count("faregate_limit_refusals_total", (parameter,), calls)
        for route_result, calls in self.keyed.items():
            into.count("faregate_idempotency_total", route_result, calls)
        self.keyed = {}
        for (name, labels), times in self.events.items():
            into.count(name, labels, times)
        self.events = {}
        into.count("faregate_bytes_total", ("request",), self.request_bytes)
        into.count("faregate_bytes_total", ("response",), self.response_bytes)
        into.count("faregate_log_lines_total", (), self.lines)
        self.routes, self.targets, self.refusals = {}, {}, {}
        self.request_bytes = self.response_bytes = self.lines = 0

    def drain_usage(self, into: Deltas) -> None:
        """Adds who called since the last time to ``into``."""
        for place in self.uses.take():
            if place.api == NOT_TOLD_APART:
                folded = sum([use.calls for use in place.uses.values()])
                into.count("faregate_usage_folded_total", (), folded)
            into.usage.append(place)
