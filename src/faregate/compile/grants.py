"""What a consumer has with what its groups grant: permissions and APIs together, a plan from the first group
that has one unless it has its own.

Resolved here, once, so that workers know of no groups. Also whether the places that grants name exist.
"""

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from faregate.compile.references import report_unknown
from faregate.compile.walk import ANY, Pattern, mapping, matches, texts
from faregate.model.consumers import Consumer
from faregate.model.diagnostics import Findings, TreePath, Value
from faregate.model.groups import Group
from faregate.model.interpolate import Unfilled
from faregate.policies.permit.settings import PLACE

_GRANTS: Final[tuple[Pattern, ...]] = (
    ("consumers", ANY, "permissions", ANY),
    ("groups", ANY, "permissions", ANY),
)
_PLACES: Final[tuple[Pattern, ...]] = (("consumers", ANY, "apis", ANY), ("groups", ANY, "apis", ANY))


class Granted(NamedTuple):
    """``apis``: what it may call; None when neither the consumer nor a group of it says."""

    plan: str | None
    permissions: tuple[str, ...]
    apis: tuple[str, ...] | None


def granted(consumer: Consumer, groups: Mapping[str, Group]) -> Granted:
    """What ``consumer`` has; a group that is not defined grants nothing (it is reported elsewhere)."""
    if not consumer.groups:  # most: there may be 100,000
        apis = None if consumer.apis is None else tuple(dict.fromkeys(consumer.apis))
        return Granted(consumer.plan, tuple(dict.fromkeys(consumer.permissions)), apis)
    known = [groups[name] for name in consumer.groups if name in groups]
    sources: list[Consumer | Group] = [consumer, *known]
    plans = [source.plan for source in sources if source.plan is not None]
    permissions = {permission: None for source in sources for permission in source.permissions}
    told = [source.apis for source in sources if source.apis is not None]
    apis = tuple({place: None for places in told for place in places}) if told else None
    return Granted(plans[0] if plans else None, tuple(permissions), apis)


def check_grants(data: dict[str, Value], findings: Findings) -> None:
    """Reports APIs and versions that grants name and nothing defines."""
    apis = mapping(data.get("apis"))
    named = {_place_in(text, pattern) for pattern in (*_GRANTS, *_PLACES) for text in texts(data, pattern)}
    if not any(_is_undefined(place, apis) for place in named - {""}):
        return  # of a hundred thousand consumers most name the same few
    for path, place in places_named(data):
        api, slash, version = place.partition("/")
        if api not in apis:
            report_unknown(path, api, "API", apis, findings)
        elif slash:
            versions = _versions(apis[api])
            if version not in versions:
                report_unknown(path, version, f"version of `{api}`", versions, findings)


def _is_undefined(place: str, apis: dict[str, Value]) -> bool:
    api, slash, version = place.partition("/")
    return api not in apis or bool(slash and version not in _versions(apis[api]))


def places_named(data: dict[str, Value]) -> Iterator[tuple[TreePath, str]]:
    """Every place that a grant names; what is no place by its form has an error of its own."""
    for pattern in (*_GRANTS, *_PLACES):
        for path, value in matches(data, pattern):
            if isinstance(value, str) and not isinstance(value, Unfilled):
                place = _place_in(value, pattern)
                if place:
                    yield path, place


def _place_in(text: str, pattern: Pattern) -> str:
    """The place that a text found at ``pattern`` names; empty when it names none."""
    place = text.partition("@")[2] if pattern in _GRANTS else text
    return place if PLACE.fullmatch(place) else ""


def _versions(api: Value) -> dict[str, Value]:
    versions = mapping(mapping(api).get("versions"))
    if not isinstance(versions.get("by"), str):
        return versions
    return {name: version for name, version in versions.items() if name not in {"by", "name", "default"}}
