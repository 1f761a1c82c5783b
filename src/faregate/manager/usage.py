"""Who called what, by hour: what the workers told, until a database takes it.

Rows add up in memory by credential, version and hour, and are held only while they wait: ``drain`` takes
them out, to be added to the database's own sums; ``put_back`` takes rows again that could not be written.
Where nobody manages the gateway those of a whole day wait, so a row is small: a quarter of a KiB. If the
manager dies, what it was told since the last drain is lost; what workers have not handed over yet (at most
``records.usage.FLUSH_EVERY_S`` of calls while the manager is up) is not. No IO and no clock here.
"""

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Final, NamedTuple, TypeAlias

import msgspec

from faregate.records.frames import UsageGrowth
from faregate.records.usage import OTHER

HOUR_S: Final = 3600
ROWS_MAX: Final = 200_000
"""Rows in memory, of all hours; what no row is left for is counted under ``OTHER``."""

HOURS_MAX: Final = 24
"""Hours that wait for a database; older ones are dropped."""

_Names: TypeAlias = tuple[str, str, str, str]
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(_Names).decode
_OTHERS: Final = _encode((OTHER, OTHER, OTHER, OTHER))


class UsageRow(NamedTuple):
    """Calls of one credential to one version of an API in one hour.

    ``hour``: hours since the epoch. ``errors``: calls answered by 400 or more, or not at all. ``last_ms``:
    when the last call began, in milliseconds since the epoch; ``last_status``: how it was answered, as in
    ``"2xx"``, or ``"none"``.
    """

    hour: int
    consumer: str
    credential: str
    api: str
    version: str
    calls: int
    errors: int
    last_ms: int
    last_status: str


class _Sum(msgspec.Struct, gc=False):
    """Counts of one credential and version in one hour. ``seen``: seconds since the epoch."""

    calls: int = 0
    errors: int = 0
    seen: float = 0.0
    status_class: int = 0


class Usage:
    """The sums that no database has taken yet. Belongs to one thread."""

    def __init__(self, rows_max: int = ROWS_MAX) -> None:
        self._rows_max = rows_max
        self._rows = 0
        self._hours: dict[int, dict[bytes, _Sum]] = {}
        """By hour and by the four names, encoded: a third of the room that they take apart."""
        self.folded = 0
        """Calls counted under ``OTHER`` for want of room."""

    def __len__(self) -> int:
        return self._rows

    def take(self, grown: Sequence[UsageGrowth]) -> None:
        """Adds a report's rows, each to the hour of its last call; a few microseconds a row."""
        for one in grown:
            names = _encode((one.consumer, one.credential, one.api, one.version))
            self._add(int(one.seen) // HOUR_S, names, one.calls, one.errors, one.seen, one.status_class)

    def drain(self, most: int = ROWS_MAX) -> list[UsageRow]:
        """Takes out what waits, at most so many rows, the oldest hour first; a few microseconds a row.

        ``calls`` and ``errors`` are to be added, ``last_ms`` counts where it is later.
        """
        rows: list[UsageRow] = []
        for hour in sorted(self._hours):
            sums = self._hours[hour]
            taken = list(islice(sums.items(), most - len(rows)))
            for names, one in taken:
                rows.append(_row(hour, names, one))
                del sums[names]
            if not sums:
                del self._hours[hour]
            if len(rows) == most:
                break
        self._rows -= len(rows)
        return rows

    def put_back(self, rows: Iterable[UsageRow]) -> None:
        """Rows of a drain that could not be written; the next drain has them."""
        for row in rows:
            names = _encode((row.consumer, row.credential, row.api, row.version))
            status_class = int(row.last_status[0]) if row.last_status[0].isdigit() else 0
            self._add(row.hour, names, row.calls, row.errors, row.last_ms / 1000, status_class)

    def _add(  # noqa: PLR0913, PLR0917 - the parts of a row
        self, hour: int, names: bytes, calls: int, errors: int, seen: float, status_class: int
    ) -> None:
        sums = self._hours.get(hour)
        if sums is None:
            sums = self._hours[hour] = {}
            self._drop_oldest()
            if hour not in self._hours:
                return
        one = sums.get(names)
        if one is None:
            if self._rows >= self._rows_max and names != _OTHERS:
                self.folded += calls
                self._add(hour, _OTHERS, calls, errors, seen, status_class)
                return
            one = sums[names] = _Sum()
            self._rows += 1
        one.calls += calls
        one.errors += errors
        if seen >= one.seen:
            one.seen, one.status_class = seen, status_class

    def _drop_oldest(self) -> None:
        while len(self._hours) > HOURS_MAX:
            self._rows -= len(self._hours.pop(min(self._hours)))


def _row(hour: int, names: bytes, one: _Sum) -> UsageRow:
    consumer, credential, api, version = _decode(names)
    last_ms, status = int(one.seen * 1000), f"{one.status_class}xx" if one.status_class else "none"
    return UsageRow(hour, consumer, credential, api, version, one.calls, one.errors, last_ms, status)
