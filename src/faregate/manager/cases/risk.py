"""How much a set of changes puts at stake: plain, guarded (one approver), grave (two).

Guarded is what money depends on: APIs with idempotency or required audit and the upstreams they use, limits
and plans, keys and credentials, permissions. Grave is what takes a protection away: trust anchors, limits
upwards, retry and idempotency, authentication weakened, masking off, roles. What cannot be told apart counts
as the graver; an author has no say in it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Literal, TypeAlias

from faregate.kernel.units import Rate, parse_rates
from faregate.manager.cases.domain import Change, Content, Json
from faregate.manager.cases.route_risk import routes_of, routes_weaken, versions_of

Risk: TypeAlias = Literal["plain", "guarded", "grave"]
ORDER: Final[tuple[Risk, ...]] = ("plain", "guarded", "grave")
APPROVALS: Final[Mapping[Risk, int]] = {"plain": 1, "guarded": 1, "grave": 2}

CREDENTIAL_KINDS: Final = frozenset({"api_key", "mtls", "jwt"})
_IDENTITIES: Final = ("match", "id", "url", "name")


def worst(found: Iterable[Risk]) -> Risk:
    return max(found, key=ORDER.index, default="plain")


def risk_of(changes: Sequence[Change], money_upstreams: frozenset[str] = frozenset()) -> Risk:
    """The class of all ``changes`` together. ``money_upstreams``: those that APIs with money use now."""
    return worst(_risk(change, money_upstreams) for change in changes)


def is_money(api: Content | None) -> bool:
    """Whether a route of this API is one that money depends on."""
    return api is not None and any(
        route.get("idempotency", "off") != "off" or route.get("audit") == "required"
        for route in routes_of(api)
    )


def upstreams_of(api: Content | None) -> frozenset[str]:
    """The upstreams that an API's calls go to."""
    named = [one.get("upstream") for one in (api or {}, *versions_of(api or {}).values())]
    return frozenset(one for one in named if isinstance(one, str))


def _risk(change: Change, money_upstreams: frozenset[str]) -> Risk:
    if change.section == "issuers":
        return "grave"
    if change.section == "apis":
        return _api_risk(change, money_upstreams)
    if change.after is not None and weakens(change.before, change.after):
        return "grave"
    return "grave" if _kind_altered(change) else "guarded"


def _api_risk(change: Change, money_upstreams: frozenset[str]) -> Risk:
    money = is_money(change.before) or is_money(change.after)
    if change.after is None:  # it could come back without what protected it
        return "grave" if money else "plain"
    before = change.before or {}
    if weakens(_without_routes(before), _without_routes(change.after)):
        return "grave"
    if routes_weaken(before, change.after, weakens):
        return "grave"
    used = upstreams_of(change.before) | upstreams_of(change.after)
    return "guarded" if money or not used.isdisjoint(money_upstreams) else "plain"


def weakens(before: Json, after: Json) -> bool:
    """Whether ``after`` takes a protection away that ``before`` gave, anywhere in it."""
    if isinstance(after, dict):
        former = before if isinstance(before, dict) else {}
        for key in former.keys() | after.keys():
            rule = _RULES.get(key)
            if rule is None:
                if weakens(former.get(key), after.get(key)):
                    return True
            elif former.get(key) != after.get(key) and rule(former.get(key), after.get(key)):
                return True
        return False
    if isinstance(after, list):
        old = _named(before if isinstance(before, list) else [])
        return any(weakens(old.get(name), one) for name, one in _named(after).items())
    if after is None and isinstance(before, dict):  # a member that was left out: each protection in it is
        return weakens(before, {})
    return False


def _changed(before: Json, after: Json) -> bool:
    return before != after


def _altered(before: Json, after: Json) -> bool:
    """Grave once it is there: what is new has no former state to be weaker than."""
    return before is not None and before != after


def _fewer(before: Json, after: Json) -> bool:
    """For what must all hold: one that is gone."""
    return not _set(before) <= _set(after)


def _more(before: Json, after: Json) -> bool:
    """For what any suffices: one that is new, where there was any; or none at all."""
    if not _set(after):
        return True
    return before is not None and not _set(after) <= _set(before)


def _wider(before: Json, after: Json) -> bool:
    """For a list that narrows when it is there."""
    if not _set(before):
        return False
    return not _set(after) or not _set(after) <= _set(before)


def _bounds(before: Json, after: Json) -> bool:
    """For a list that narrows even when it is empty."""
    return before is not None and (after is None or not _set(after) <= _set(before))


def _open(before: Json, after: Json) -> bool:
    """Whether targets that are not https:// come where there were any."""
    former, present = _urls(before), _urls(after)
    return any(_tls(one) for one in former) and any(not _tls(one) for one in present - former)


def _tls(url: str) -> bool:
    return url.startswith("https://")


def _urls(targets: Json) -> frozenset[str]:
    listed = targets if isinstance(targets, list) else []
    return frozenset(str(one.get("url") if isinstance(one, dict) else one) for one in listed)


def _other_kinds(before: Json, after: Json) -> bool:
    """Whether a consumer can prove itself in a way that it could not."""
    return bool(kinds_of(before)) and not kinds_of(after) <= kinds_of(before)


def kinds_of(credentials: Json) -> frozenset[str]:
    """Of the credentials that a consumer's entry lists."""
    listed = credentials if isinstance(credentials, list) else []
    return frozenset(kind for one in listed if isinstance(one, dict) for kind in one)


def _kind_altered(change: Change) -> bool:
    """Whether a credential is one of another kind, or another consumer's, under the same name."""
    if change.section != "credentials" or change.before is None or change.after is None:
        return False
    before, after = change.before, change.after
    return before.get("consumer") != after.get("consumer") or not (
        CREDENTIAL_KINDS & after.keys() <= before.keys()
    )


def _audit(before: Json, _: Json) -> bool:
    return before in {"required", "on"} if isinstance(before, str) else False


def _limits(before: Json, after: Json) -> bool:
    """Whether there is a former limit that no present one holds."""
    try:
        former, present = _rates(before), _rates(after)
    except ValueError:
        return _altered(before, after)
    return not all(any(_holds(one, old) for one in present) for old in former)


def _holds(one: Rate, old: Rate) -> bool:
    return one.period_ms == old.period_ms and one.count <= old.count and one.burst <= old.burst


def _rates(value: Json) -> list[Rate]:
    if value is None:
        return []
    listed = value if isinstance(value, list) else [value]
    if not all(isinstance(one, str) for one in listed):
        raise ValueError("not limits in their short form")
    return [rate for one in listed for rate in parse_rates(str(one))]


def _number(before: Json, after: Json) -> bool:
    if isinstance(before, int) and isinstance(after, int):
        return after > before
    return _limits(before, after)


_RULES: Final[Mapping[str, Callable[[Json, Json], bool]]] = {
    "authenticate": _more,
    "require": _fewer,
    "idempotency": _altered,
    "forward_idempotency_key": _altered,
    "retry": _changed,
    "audit": _audit,
    "limits": _limits,
    "quota": _number,
    "concurrency": _number,
    "plan": _altered,
    "groups": _altered,
    "allow_ips": _wider,
    "apis": _bounds,
    "credentials": _other_kinds,
    "targets": _open,
    "forward_credential": lambda _, after: after not in {None, False},
    "tls": _changed,
    "ca": _changed,
    "verify": _changed,
    "log": _altered,
    "mask": _changed,
    "masking": _changed,
    "validate": _altered,
    "openapi": lambda _, __: False,  # a contract's words are its own
}
"""By the name of a member, wherever it stands: whether going from one value to the other is grave."""


def _set(value: Json) -> frozenset[str]:
    if value is None:
        return frozenset()
    return frozenset(str(one) for one in (value if isinstance(value, list) else [value]))


def _named(items: list[Json]) -> dict[str, Json]:
    """The items of a list by what names each, else by position."""
    found: dict[str, Json] = {}
    for at, item in enumerate(items):
        name = None
        if isinstance(item, dict):
            name = next((item[key] for key in _IDENTITIES if isinstance(item.get(key), str)), None)
        found[str(name) if name is not None else f"\0{at}"] = item
    return found


def _without_routes(api: Content) -> Content:
    """What is compared by name; routes are compared as calls meet them."""
    kept = {key: one for key, one in api.items() if key != "routes"}
    held = kept.get("versions")
    if isinstance(held, dict):
        kept["versions"] = {
            name: {key: part for key, part in one.items() if key != "routes"}
            if isinstance(one, dict)
            else one
            for name, one in held.items()
        }
    return kept
