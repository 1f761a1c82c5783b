"""What grew under one label set of a route, until the next report takes it.

Apart from the slots that the recorder's loop adds to (``metrics``), because it is held by weak references.
"""

from itertools import compress
from typing import Final

from faregate.records.frames import ROUTE_PLACES, RouteGrowth, RouteLabels

_PLACES: Final = range(ROUTE_PLACES)
_ZEROS: Final = (0,) * ROUTE_PLACES
_ENDS_KEPT_MAX: Final = 32
"""Ends of one label set kept from report to report; an upstream may answer with any status."""


class EndSlot:
    """Calls of one label set that ended alike, and that part of their lines, rendered."""

    __slots__ = ("calls", "end", "line_fields")

    def __init__(self, outcome: str, status: int) -> None:
        self.calls = 0
        self.end = f"{f'{status // 100}xx' if status else 'none'} {outcome}"
        self.line_fields = (f'"status":{status},' if status else "") + f'"outcome":"{outcome}",'


class Tally:
    """What grew under one label set: ``counts`` is the row of ``frames``.

    ``number`` names the labels on the feed's connection ``connection`` (0: on none yet).
    """

    __slots__ = ("__weakref__", "connection", "counts", "ends", "labels", "number")

    def __init__(self, labels: RouteLabels) -> None:
        self.labels = labels
        self.counts = [0] * ROUTE_PLACES
        self.ends: dict[tuple[str, int], EndSlot] = {}
        self.number = 0
        self.connection = 0

    def take(self) -> RouteGrowth:
        """What grew, which is then zero again."""
        counts = self.counts
        grown = dict(zip(compress(_PLACES, counts), filter(None, counts), strict=True))
        counts[:] = _ZEROS
        ends: dict[str, int] = {}
        for ended in self.ends.values():
            if ended.calls:
                ends[ended.end] = ends.get(ended.end, 0) + ended.calls
                ended.calls = 0
        if len(self.ends) > _ENDS_KEPT_MAX:
            self.ends.clear()
        return RouteGrowth(0, grown, ends)
