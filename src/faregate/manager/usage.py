"""Who called what, by hour: what the workers told, until a database takes it.

Rows add up in memory by credential, version and hour. ``drain`` gives what grew since the last drain, to be
added to the database's own sums; ``put_back`` takes rows again that could not be written. If the manager
dies, what it was told since the last drain is lost; what workers have not handed over yet (at most
``records.usage.FLUSH_EVERY_S`` of calls while the manager is up) is not. No IO and no clock here.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from sys import intern
from typing import Final, NamedTuple, TypeAlias

from faregate.records.frames import UsageGrowth
from faregate.records.usage import OTHER

HOUR_S: Final = 3600
ROWS_MAX: Final = 200_000
"""Rows in memory, of all hours; what no row is left for is counted under ``OTHER``."""

HOURS_MAX: Final = 24
"""Hours that wait for a database; older ones are dropped."""

_Key: TypeAlias = tuple[str, str, str, str]
_OTHERS: Final[_Key] = (OTHER, OTHER, OTHER, OTHER)


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


class _Sum:
    """Counts of one key and hour; ``taken_*``: what of them was drained. ``waits``: grown since."""

    __slots__ = (
        "calls",
        "errors",
        "hour",
        "key",
        "seen",
        "status_class",
        "taken_calls",
        "taken_errors",
        "waits",
    )

    def __init__(self, hour: int, key: _Key) -> None:
        self.hour = hour
        self.key = key
        self.calls = 0
        self.errors = 0
        self.seen = 0.0
        self.status_class = 0
        self.taken_calls = 0
        self.taken_errors = 0
        self.waits = False

    def row(self, calls: int, errors: int) -> UsageRow:
        status = f"{self.status_class}xx" if self.status_class else "none"
        return UsageRow(self.hour, *self.key, calls, errors, int(self.seen * 1000), status)


class Usage:
    """The sums of this hour, and of former ones until they are drained. Belongs to one thread."""

    def __init__(self, rows_max: int = ROWS_MAX) -> None:
        self._rows_max = rows_max
        self._rows = 0
        self._hours: dict[int, dict[_Key, _Sum]] = {}
        self._grown: deque[_Sum] = deque()
        self.folded = 0
        """Calls counted under ``OTHER`` for want of room."""

    def __len__(self) -> int:
        return self._rows

    def take(self, grown: Sequence[UsageGrowth]) -> None:
        """Adds a report's rows, each to the hour of its last call; a few microseconds a row."""
        for one in grown:
            key = (one.consumer, one.credential, one.api, one.version)
            self._add(int(one.seen) // HOUR_S, key, one.calls, one.errors, one.seen, one.status_class)

    def drain(self, most: int = ROWS_MAX) -> list[UsageRow]:
        """What grew since the last drain, at most so many rows, the longest waiting first; a few microseconds
        a row. ``calls`` and ``errors`` are to be added, the rest replaces.

        Hours that are over are let go of once nothing of them waits.
        """
        rows: list[UsageRow] = []
        grown = self._grown
        while grown and len(rows) < most:
            one = grown.popleft()
            one.waits = False
            rows.append(one.row(one.calls - one.taken_calls, one.errors - one.taken_errors))
            one.taken_calls, one.taken_errors = one.calls, one.errors
        if not grown:
            newest = max(self._hours, default=0)
            for hour in [hour for hour in self._hours if hour < newest]:
                self._rows -= len(self._hours.pop(hour))
        return rows

    def put_back(self, rows: Iterable[UsageRow]) -> None:
        """Rows of a drain that could not be written; the next drain has them."""
        for row in rows:
            key = (row.consumer, row.credential, row.api, row.version)
            one = self._hours.get(row.hour, {}).get(key)
            if one is None:
                status_class = int(row.last_status[0]) if row.last_status[0].isdigit() else 0
                self._add(row.hour, key, row.calls, row.errors, row.last_ms / 1000, status_class)
            else:
                one.taken_calls -= row.calls
                one.taken_errors -= row.errors
                self._wait(one)

    def recent(
        self,
        *,
        consumer: str | None = None,
        credential: str | None = None,
        api: str | None = None,
        version: str | None = None,
    ) -> Iterator[UsageRow]:
        """The whole sums in memory, drained or not, of what is named; None stands for all."""
        wanted = (consumer, credential, api, version)
        for sums in self._hours.values():
            for key, one in sums.items():
                if all(want is None or want == name for want, name in zip(wanted, key, strict=True)):
                    yield one.row(one.calls, one.errors)

    def _add(  # noqa: PLR0913, PLR0917 - the parts of a row
        self, hour: int, key: _Key, calls: int, errors: int, seen: float, status_class: int
    ) -> None:
        sums = self._hours.get(hour)
        if sums is None:
            sums = self._begin(hour)
        one = sums.get(key)
        if one is None:
            if self._rows >= self._rows_max and key != _OTHERS:
                self.folded += calls
                self._add(hour, _OTHERS, calls, errors, seen, status_class)
                return
            consumer, credential, api, version = key
            key = (consumer, credential, intern(api), intern(version))
            one = sums[key] = _Sum(hour, key)
            self._rows += 1
        one.calls += calls
        one.errors += errors
        if seen >= one.seen:
            one.seen, one.status_class = seen, status_class
        self._wait(one)

    def _wait(self, one: _Sum) -> None:
        if not one.waits:
            one.waits = True
            self._grown.append(one)

    def _begin(self, hour: int) -> dict[_Key, _Sum]:
        sums = self._hours[hour] = {}
        while len(self._hours) > HOURS_MAX:
            oldest = min(self._hours)
            self._rows -= len(self._hours.pop(oldest))
            self._grown = deque(one for one in self._grown if one.hour != oldest)
        return sums
