"""What an API's versions need of each other: a default, another version to share calls with, changes that
lead somewhere, pins to what exists.

Over settings whose shape is right; what names must exist elsewhere in the tree is ``references``' affair.
"""

import re
from collections.abc import Iterator
from typing import Final

from faregate.compile.idempotency import BODY_BYTES_MAX
from faregate.compile.version_records import PlacedVersion, chain, changes_after, placed_versions
from faregate.model.apis import PINNED, Api, HeaderVersion, HeaderVersions, Route
from faregate.model.config import Config
from faregate.model.diagnostics import Findings, TreePath, nearest_name
from faregate.policies.idempotency.settings import TAKEN, TAKEN_STARTS, settings_of

_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,127}")
_OWN_HEADER: Final = "x-api-version"
"""Taken away from what callers send on, and all the same theirs to choose by."""


def check_versions(config: Config, findings: Findings) -> None:
    """Reports what does not go together in the versions of each API, and pins that lead nowhere."""
    for name, api in config.apis.items():
        path: TreePath = ("apis", name)
        if isinstance(api.versions, HeaderVersions):
            _check_choice((*path, "versions"), api.versions, findings)
            _check_upgrades(path, api, findings)
            _check_changes(path, api, config, findings)
        else:
            for version, one in api.versions.items():
                if one.changes:
                    place = (*path, "versions", version, "changes")
                    message = "`changes` lie between versions that callers choose by a header"
                    findings.add("bad_value", place, message, expected="versions: {by: header}", at_key=True)
        _check_splits((*path, "versions"), api, findings)
    _check_pins(config, findings)


def _check_choice(path: TreePath, versions: HeaderVersions, findings: Findings) -> None:
    named = versions.named
    if not named:
        findings.add(
            "no_versions",
            path,
            "an API needs a version",
            expected='"2026-11-01": {state: active}',
            at_key=True,
        )
        return
    for name in named:
        if not _NAME.fullmatch(name) or name == PINNED:
            findings.add(
                "bad_name", (*path, name), "not a version's name", expected="2026-11-01", at_key=True
            )
    lower = versions.name.lower()
    if (lower in TAKEN or lower.startswith(TAKEN_STARTS)) and lower != _OWN_HEADER:
        message = "a header that the gateway reads itself"
        findings.add(
            "bad_value", (*path, "name"), message, expected="a header of its own, such as Api-Version"
        )
    for key, value in (("default", versions.default), ("default_version", versions.default_version)):
        if value is None or (key == "default" and value == PINNED):
            continue
        if value not in named:
            expected = f"{'pinned or ' if key == 'default' else ''}one of {', '.join(named)}"
            findings.add(
                "unresolved_reference",
                (*path, key),
                "no version has this name",
                expected=expected,
                nearest=nearest_name(value, named),
            )
        elif key == "default_version" and versions.default != PINNED:
            message = "`default_version` is of consumers without a pin, and no pin counts here"
            findings.add("bad_value", (*path, key), message, expected="default: pinned", at_key=True)


def _check_upgrades(path: TreePath, api: Api, findings: Findings) -> None:
    for place, _, route in _routes(path, api):
        if route.upgrade is not None:
            message = "a WebSocket on an API whose versions are chosen by header: pages cannot send one"
            findings.add("bad_value", (*place, "upgrade"), message, expected="versions by path", at_key=True)


def _routes(path: TreePath, api: Api) -> Iterator[tuple[TreePath, list[PlacedVersion], Route]]:
    """Every route where it is written, with the versions that have it."""
    placed = placed_versions(api)
    inheriting = [one for one in placed if one.declared.routes is None]
    for index, route in enumerate(api.routes):
        yield (*path, "routes", index), inheriting, route
    for one in placed:
        for index, route in enumerate(one.declared.routes or []):
            yield (*path, "versions", one.name, "routes", index), [one], route


def _check_changes(path: TreePath, api: Api, config: Config, findings: Findings) -> None:
    served = chain(api)
    labels = {
        name: {route.match.label for route in (api.routes if one.routes is None else one.routes)}
        for name, one in served
    }
    assert isinstance(api.versions, HeaderVersions)
    for name, one in api.versions.named.items():
        place: TreePath = (*path, "versions", name, "changes")
        older = [labels[before] for before, _ in served if before in labels and before != name]
        if one.changes and (one.upstream is not None or served[0][0] == name):
            why = "has its own upstream" if one.upstream is not None else "is the oldest"
            message = f"the version {why}: no calls are carried to it"
            findings.add("bad_value", place, message, expected="`changes` of a later version", at_key=True)
        else:
            _check_labels(place, one, set().union(*older), findings)
    for route_path, versions, route in _routes(path, api):
        changes = [change for one in versions for change in changes_after(api, one.name)]
        concerning = [change for change in changes if not change.routes or route.match.label in change.routes]
        if concerning:
            _check_changed(route_path, route, config, findings, back=any(one.response for one in concerning))


def _check_labels(place: TreePath, one: HeaderVersion, known: set[str], findings: Findings) -> None:
    for index, change in enumerate(one.changes):
        for at, label in enumerate(change.routes):
            if label not in known:
                findings.add(
                    "unresolved_reference",
                    (*place, index, "routes", at),
                    "no earlier version has this route",
                    expected="a route as its `match` is written",
                    nearest=nearest_name(label, known),
                )


def _check_changed(path: TreePath, route: Route, config: Config, findings: Findings, *, back: bool) -> None:
    """A route whose calls are changed: its body is held whole; what is stored is in the caller's form."""
    if (config.gateway.limits.body if route.body is None else route.body) > BODY_BYTES_MAX:
        message = "a call that is changed is held whole, and this one may be larger than 1MiB"
        expected = "body: 1MiB or less"
        findings.add(
            "bad_value", (*path, "match" if route.body is None else "body"), message, expected=expected
        )
    settings = settings_of(route.idempotency)
    if back and settings is not None and settings.resolve is not None and settings.resolve.answer == "query":
        message = "the query's answer would be stored in the newest version's form, and told to older callers"
        findings.add(
            "bad_value",
            (*path, "idempotency", "resolve", "answer"),
            message,
            expected="no `answer: query` on routes whose answers are changed",
        )


def _check_splits(path: TreePath, api: Api, findings: Findings) -> None:
    placed = {one.name: one for one in placed_versions(api)}
    for name, one in placed.items():
        for other_name in one.declared.split:
            place = (*path, name, "split", other_name)
            other = placed.get(other_name)
            if other is None or other_name == name:
                expected = f"one of {', '.join(known for known in placed if known != name)}"
                message = "no other version has this name"
                findings.add("unresolved_reference", place, message, expected=expected, at_key=True)
                continue
            fault = _split_fault(api, one, other)
            if fault:
                findings.add("bad_value", place, fault[0], expected=fault[1], at_key=True)


def _split_fault(api: Api, one: PlacedVersion, other: PlacedVersion) -> tuple[str, str] | None:
    if other.declared.state != "active" or other.declared.retires_at:
        return "calls would be shared with a version that is not active", "a version with state: active"
    if other.declared.split:
        return "calls would be shared with a version that shares its own", "a version without `split`"
    if one.declared.state in {"draft", "retired"}:
        return f"a {one.declared.state} version has no calls to share", "an active or deprecated version"
    if isinstance(api.versions, HeaderVersions) and _changed_between(api, one.name, other.name):
        return "`changes` lie between the two: callers would get another form", "versions of one form"
    return _twin_fault(api, one, other)


def _twin_fault(api: Api, one: PlacedVersion, other: PlacedVersion) -> tuple[str, str] | None:
    """What keeps a route of one from running calls of the other's."""
    own = api.routes if one.declared.routes is None else one.declared.routes
    theirs = api.routes if other.declared.routes is None else other.declared.routes
    by_label = {route.match.label: route for route in theirs}
    for route in own:
        twin = by_label.get(route.match.label)
        if twin is None:
            continue
        if twin.idempotency != route.idempotency:
            message = f"{route.match.label} has other `idempotency` there: a repeat could run twice"
            return message, "the same `idempotency` in both versions"
        if route.upgrade is not None or twin.upgrade is not None:
            return f"{route.match.label} takes WebSockets", "a version of its own for WebSockets"
    return None


def _changed_between(api: Api, one: str, other: str) -> bool:
    return changes_after(api, one) != changes_after(api, other)


def _check_pins(config: Config, findings: Findings) -> None:
    for consumer, declared in config.consumers.items():
        for api_name, version in declared.pins.items():
            place: TreePath = ("consumers", consumer, "pins", api_name)
            api = config.apis.get(api_name)
            if api is None:
                message = "no API has this name"
                nearest = nearest_name(api_name, config.apis) if len(config.apis) <= 1000 else ""
                findings.add("unresolved_reference", place, message, nearest=nearest, at_key=True)
            elif not isinstance(api.versions, HeaderVersions) or api.versions.default != PINNED:
                message = "callers of this API are not pinned to a version"
                findings.add(
                    "bad_value", place, message, expected="an API with `default: pinned`", at_key=True
                )
            elif version not in api.versions.named:
                message = "the API has no version of this name"
                findings.add(
                    "unresolved_reference",
                    place,
                    message,
                    expected=f"one of {', '.join(list(api.versions.named)[-12:])}",
                    nearest=nearest_name(version, api.versions.named),
                )
