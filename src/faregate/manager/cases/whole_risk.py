"""Whether some call gets less than it did, whichever API its path is in before and after.

``route_risk`` compares an API with itself. Here all APIs are one table of method and whole path, as the
router has it: a route that moves to another API, one that another API's takes calls from, and one that is
gone so that calls fall to another's, are held against each other. So are new routes with what stood at their
paths within ``REMEMBERED_MS``: to go in several commits, with nothing there in between, is no way round.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from faregate.manager.cases.domain import Content
from faregate.manager.cases.route_risk import (
    GIVEN,
    ONE,
    REST,
    Weakens,
    meet,
    places_of,
    settings_of,
    versions_of,
)

REMEMBERED_MS: Final = 90 * 86_400_000
FORMER_MAX: Final = 5_000
"""Former states of APIs that are looked at; where there are more, a new route counts as weaker."""
LOOKS_MAX: Final = 400_000
"""More than so many are not looked at: they count as weaker."""
_OWN: Final = frozenset({"routes", "versions", "upstream", "openapi", *GIVEN})

Key = tuple[str, tuple[str, ...]]
"""Method, and shape of the whole path."""


class Placed(NamedTuple):
    """A route where calls find it, of ``version`` of the API named ``api`` with the content ``whole``."""

    api: str
    method: str
    shape: tuple[str, ...]
    whole: Content
    version: Content
    route: Content

    @property
    def key(self) -> Key:
        return self.method, self.shape

    @property
    def settings(self) -> Content:
        """What it asks of its calls, and what the API asks of all."""
        api = {key: one for key, one in self.whole.items() if key not in _OWN}
        return {**settings_of(self.whole, self.version, self.route), "api": api}


@dataclass(slots=True)
class _Table:
    """Routes by method and first segment."""

    groups: dict[tuple[str, str], list[Placed]] = field(default_factory=lambda: defaultdict(list))
    places: set[tuple[str, Key]] = field(default_factory=set)

    @classmethod
    def of(cls, placed: Iterable[Placed]) -> "_Table":
        table = cls()
        for one in placed:
            table.groups[one.method, one.shape[0]].append(one)
            table.places.add((one.api, one.key))
        return table

    def near(self, route: Placed) -> Iterator[Placed]:
        """Those that could take a call of ``route``, and others."""
        first = route.shape[0]
        if first in {ONE, REST}:
            for (method, _), group in self.groups.items():
                if method == route.method:
                    yield from group
            return
        for one in (first, ONE, REST):
            yield from self.groups.get((route.method, one), ())


class Whole:
    """All APIs by name, ``before`` and ``after`` a change."""

    def __init__(self, before: Mapping[str, Content], after: Mapping[str, Content]) -> None:
        names = before.keys() | after.keys()
        changed = {name for name in names if before.get(name) != after.get(name)}
        rest = [one for name in names - changed for one in placed(name, before[name])]
        out = [one for name in changed if name in before for one in placed(name, before[name])]
        come = [one for name in changed if name in after for one in placed(name, after[name])]
        self._before, self._after = _Table.of([*rest, *out]), _Table.of([*rest, *come])
        self._gone = [one for one in out if (one.api, one.key) not in self._after.places]
        self._fresh = [one for one in come if (one.api, one.key) not in self._before.places]
        self._looks = 0

    @property
    def grows(self) -> bool:
        """Whether there are routes that were not there."""
        return bool(self._fresh)

    def weakens(self, weakens: Weakens) -> bool:
        """Whether calls go over from one API's route to a weaker one of another."""
        return self._judged((*self._of_fresh(), *self._of_gone()), weakens)

    def weakens_former(self, former: Iterable[tuple[str, Content]], weakens: Weakens) -> bool:
        """Whether a new route is weaker than the last at its paths. ``former``: the newest first."""
        live = {key for _, key in self._before.places}
        last: dict[Key, Placed] = {}
        for name, content in former:
            for one in placed(name, content):
                if one.key not in live:
                    last.setdefault(one.key, one)
        table = _Table.of(last.values())
        pairs = [(old, new) for new in self._fresh for old in self._looked(table, new)]
        return self._judged(pairs, weakens)

    def _judged(self, pairs: Iterable[tuple[Placed, Placed]], weakens: Weakens) -> bool:
        """Whether one is weaker; routes that ask the same are compared once."""
        told: dict[int, tuple[str, Content]] = {}

        def of(one: Placed) -> tuple[str, Content]:
            if id(one) not in told:
                settings = one.settings
                told[id(one)] = json.dumps(settings, sort_keys=True), settings
            return told[id(one)]

        unlike = {(of(old)[0], of(new)[0]): (of(old)[1], of(new)[1]) for old, new in pairs}
        return self._looks > LOOKS_MAX or any(weakens(before, after) for before, after in unlike.values())

    def _of_fresh(self) -> Iterator[tuple[Placed, Placed]]:
        for new in self._fresh:
            for old in self._looked(self._before, new):
                stays = (old.api, old.key) in self._after.places
                if old.api != new.api and (not stays or _precedes(new, old)):
                    yield old, new

    def _of_gone(self) -> Iterator[tuple[Placed, Placed]]:
        for old in self._gone:
            for new in self._looked(self._after, old):
                stood = (new.api, new.key) in self._before.places
                if old.api != new.api and (not stood or _precedes(old, new)):
                    yield old, new

    def _looked(self, table: _Table, route: Placed) -> Iterator[Placed]:
        for one in table.near(route):
            self._looks += 1
            if self._looks > LOOKS_MAX:
                return
            if meet(one.shape, route.shape):
                yield one


def placed(name: str, api: Content) -> Iterator[Placed]:
    """The routes of an API, each with its whole path."""
    held = api.get("versions")
    common = held.get("path", "/") if isinstance(held, dict) and isinstance(held.get("by"), str) else None
    for version in versions_of(api).values():
        prefix = str(version.get("path", "/") if common is None else common).strip("/").lower()
        above = tuple(prefix.split("/")) if prefix else ()
        for method, shape, route in places_of(api, version):
            below = () if shape == ("",) else shape
            yield Placed(name, method, (*above, *below) or ("",), api, version, route)


def _precedes(one: Placed, other: Placed) -> bool:
    """Whether the router gives ``one`` the calls that both match: literal before ``{}`` before ``{...}``."""
    return [_rank(step) for step in one.shape] < [_rank(step) for step in other.shape]


def _rank(step: str) -> int:
    return 2 if step == REST else int(step == ONE)
