"""Whether what an API asks of its calls gets weaker, route by route as calls meet it.

Every version's routes are taken with what the version or the API gives them, so that it does not matter
where a setting stands. A route is compared with the one of its method and shape, whatever its parameters are
called; one that is new with those that its calls could have met, with those that are gone, and with the
strictest of all; one that is gone with those that its calls can meet now.
"""

import json
from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

from faregate.manager.cases.domain import Content, Json

Weakens: TypeAlias = Callable[[Json, Json], bool]

PAIRS_MAX: Final = 50_000
"""More than so many are not compared: they count as weaker."""
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
GIVEN: Final = ("authenticate", "forward_credential", "validate")
"""What a route has of its version, and that of its API."""
ONE: Final = "{}"
REST: Final = "{...}"


class Met(NamedTuple):
    """A route as calls meet it. ``told``: its settings as a text; equal ones are equal."""

    method: str
    shape: tuple[str, ...]
    settings: Content
    told: str


def versions_of(api: Content) -> dict[str, Content]:
    held = api.get("versions")
    found = held.items() if isinstance(held, dict) else ()
    return {name: one for name, one in found if isinstance(one, dict)}


def routes_of(api: Content) -> list[Content]:
    """Those of the API and of its versions, as they are written."""
    return [one for holder in (api, *versions_of(api).values()) for one in _own_routes(holder)]


def routes_weaken(before: Content, after: Content, weakens: Weakens) -> bool:
    """Whether a call could meet less than it did."""
    former = {name: met_of(before, one) for name, one in _each_version(before).items()}
    everywhere = [one for routes in former.values() for one in routes]
    if not everywhere:
        return any(weakens({}, one.settings) for one in _every(after))
    for name, version in _each_version(after).items():
        present = met_of(after, version)
        stays = name in former and _place(before, name) == _place(after, name)
        if stays and present == former[name]:
            continue
        if _version_weakens(former[name] if stays else everywhere, everywhere, present, weakens):
            return True
    return False


def _version_weakens(own: list[Met], everywhere: list[Met], present: list[Met], weakens: Weakens) -> bool:
    """``own``: what the version's calls met before; ``everywhere``: what those of any version met."""
    keys = {(one.method, one.shape) for one in present}
    gone = [one for one in own if (one.method, one.shape) not in keys]
    of_own, of_all = _by_key(own), _by_key(everywhere)
    pairs: dict[tuple[str, str], tuple[Met, Met]] = {}
    looked = 0
    for one in present:
        key = one.method, one.shape
        paired = of_own.get(key) or of_all.get(key)
        against = paired or [
            old for old in everywhere if old.method == one.method and meet(old.shape, one.shape)
        ]
        looked += len(gone) if paired else len(everywhere) + len(gone)
        if looked > PAIRS_MAX:
            return True
        against = against + [
            old for old in gone if old.method == one.method and (not paired or meet(old.shape, one.shape))
        ]
        pairs.update({(old.told, one.told): (old, one) for old in against})
        if not paired and (_bare(one, everywhere) or weakens({}, one.settings)):
            return True
    return any(weakens(old.settings, one.settings) for old, one in pairs.values())


def _bare(route: Met, former: list[Met]) -> bool:
    """Whether a new route lacks altogether what the strictest of the former ones asks."""
    safe = route.method in _SAFE
    alike = [one for one in former if (one.method in _SAFE) == safe]
    if not _asks(route, "require") and any(_asks(one, "require") for one in former):
        return True
    return any(
        not _asks(route, key) and any(_asks(one, key) for one in alike)
        for key in ("limits", "idempotency", "validate", "audit")
    )


def _asks(route: Met, key: str) -> bool:
    return route.settings.get(key) not in {None, "off"} if _plain(route, key) else bool(route.settings[key])


def _plain(route: Met, key: str) -> bool:
    return not isinstance(route.settings.get(key), list | dict)


def _every(api: Content) -> list[Met]:
    return [one for version in _each_version(api).values() for one in met_of(api, version)]


def _each_version(api: Content) -> dict[str, Content]:
    return versions_of(api) or {"": {}}


def _place(api: Content, name: str) -> Json:
    """Where a version's calls come in: its path, or how the API chooses."""
    held = api.get("versions")
    version = versions_of(api).get(name, {})
    if not isinstance(held, dict) or "path" in version:
        return version.get("path")
    return [held.get("by"), held.get("name"), held.get("path")]


def met_of(api: Content, version: Content) -> list[Met]:
    """The routes of ``version`` of ``api``, below its path."""
    found = []
    for method, shape, route in places_of(api, version):
        settings = settings_of(api, version, route)
        found.append(Met(method, shape, settings, json.dumps(settings, sort_keys=True)))
    return found


def places_of(api: Content, version: Content) -> list[tuple[str, tuple[str, ...], Content]]:
    """Method and shape of each route of ``version`` of ``api``, below its path, and the route."""
    found = []
    for route in _own_routes(version) if isinstance(version.get("routes"), list) else _own_routes(api):
        method, _, template = str(route.get("match")).partition(" ")
        found.append((method, _shape(template), route))
    return found


def settings_of(api: Content, version: Content, route: Content) -> Content:
    """What a route asks of its calls, with what its version and that of its API give it."""
    given = {key: one[key] for one in (api, version) for key in GIVEN if one.get(key) is not None}
    return {**given, **{key: one for key, one in route.items() if key != "match" and one is not None}}


def _own_routes(holder: Content) -> list[Content]:
    routes = holder.get("routes")
    return [one for one in routes if isinstance(one, dict)] if isinstance(routes, list) else []


def _shape(template: str) -> tuple[str, ...]:
    """Its segments, parameters nameless; case and a slash at the end may mean the same to an upstream."""
    return tuple(
        (REST if one.endswith("...}") else ONE) if one.startswith("{") else one.lower()
        for one in template.strip("/").split("/")
    )


def _by_key(routes: list[Met]) -> dict[tuple[str, tuple[str, ...]], list[Met]]:
    found: dict[tuple[str, tuple[str, ...]], list[Met]] = {}
    for one in routes:
        found.setdefault((one.method, one.shape), []).append(one)
    return found


def meet(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Whether a path fits both shapes."""
    for mine, theirs in zip(one, other, strict=False):
        if REST in {mine, theirs}:
            return True
        if mine != theirs and ONE not in {mine, theirs}:
            return False
    longer = max(one, other, key=len)
    shorter = min(len(one), len(other))
    return longer[shorter:] in {(), (REST,)}
