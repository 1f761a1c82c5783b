"""An API's versions as the snapshot's records: in order, with what lies between two of them.

Pure, as ``translate`` is. The upstream of the API speaks the form of the newest version; older ones are
carried there and back by the ``changes`` of every version in between. A version with an upstream of its own
stands outside of that chain.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import msgspec

from faregate.model import apis
from faregate.policies.transform.settings import Change, Step
from faregate.snapshot import versions as data


class PlacedVersion(NamedTuple):
    """A declared version with what it has from its API. ``prefix``: the path of its routes."""

    name: str
    declared: apis.AnyVersion
    prefix: str


def placed_versions(api: apis.Api) -> list[PlacedVersion]:
    """The versions of ``api``; of those chosen by header the oldest first."""
    versions = api.versions
    if isinstance(versions, apis.HeaderVersions):
        return [PlacedVersion(name, one, versions.path) for name, one in versions.named.items()]
    return [PlacedVersion(name, one, one.path) for name, one in versions.items()]


def version_records(api_name: str, api: apis.Api, first: int) -> list[data.Version]:
    """The records of ``api``, the first of which has the index ``first``."""
    placed = placed_versions(api)
    indexes = {one.name: first + at for at, one in enumerate(placed)}
    return [_record(one, placed, indexes, _choice(api_name, api, one.name)) for one in placed]


def _choice(api_name: str, api: apis.Api, version: str) -> data.Choice | None:
    versions = api.versions
    if not isinstance(versions, apis.HeaderVersions):
        return None
    pinned = versions.default == apis.PINNED and bool(api.authenticate)
    return data.Choice(api_name, versions.name, version == versions.unpinned, pinned)


def _record(
    placed: PlacedVersion,
    beside: Iterable[PlacedVersion],
    indexes: Mapping[str, int],
    choice: data.Choice | None,
) -> data.Version:
    declared = placed.declared
    successor = next((one for one in beside if one.name == declared.successor), None)
    return data.Version(
        name=placed.name,
        path=placed.prefix,
        state=declared.state,
        deprecated_at=declared.deprecated_at or 0,
        sunset_at=declared.sunset_at or 0,
        successor="" if successor is None else successor.prefix,
        preview=tuple(declared.preview),
        retired_at=declared.retires_at,
        successor_name="" if successor is None or choice is None else successor.name,
        notice=declared.notice or "",
        brownouts=tuple(data.Brownout(one.at, one.lasts, one.every or 0.0) for one in declared.brownouts),
        splits=tuple(
            data.Split(indexes[name], percent) for name, percent in declared.split.items() if percent
        ),
        choice=choice,
    )


def chain(api: apis.Api) -> list[tuple[str, apis.HeaderVersion]]:
    """The versions that the API's own upstream serves, oldest first; the last one's form is its own."""
    versions = api.versions
    if not isinstance(versions, apis.HeaderVersions):
        return []
    return [(name, one) for name, one in versions.named.items() if one.upstream is None]


def changes_after(api: apis.Api, version: str) -> list[Change]:
    """What lies between ``version`` and the form of the API's upstream, oldest first."""
    served = chain(api)
    names = [name for name, _ in served]
    if version not in names:
        return []
    return [change for _, later in served[names.index(version) + 1 :] for change in later.changes]


def request_changes(changes: Iterable[Change], label: str) -> tuple[data.Operation, ...]:
    """What brings requests of the route ``label`` into the upstream's form."""
    return tuple(_operations(_steps([change.request for change in changes if _concerns(change, label)])))


def response_changes(changes: Iterable[Change], label: str) -> tuple[data.Operation, ...]:
    """What brings answers into the caller's form: the newest change first."""
    steps = [change.response for change in changes if _concerns(change, label)]
    return tuple(_operations(_steps(reversed(steps))))


def _concerns(change: Change, label: str) -> bool:
    return not change.routes or label in change.routes


def _steps(lists: Iterable[list[Step]]) -> list[Step]:
    return [step for steps in lists for step in steps]


def _operations(steps: list[Step]) -> Iterator[data.Operation]:
    """The steps as the snapshot holds them."""
    for step in steps:
        yield _operation(step)


def _operation(step: Step) -> data.Operation:  # noqa: PLR0911 - one row a kind
    if step.rename is not None:
        return data.Operation("rename", step.rename.at, name=step.rename.to)
    if step.move is not None:
        return data.Operation("move", step.move.source, step.move.to)
    if step.remove is not None:
        return data.Operation("remove", step.remove)
    if step.set_default is not None:
        value = msgspec.json.encode(step.set_default.value)
        return data.Operation("set_default", step.set_default.at, value=value)
    if step.wrap is not None:
        return data.Operation("wrap", step.wrap.at, name=step.wrap.key)
    if step.unwrap is not None:
        return data.Operation("unwrap", step.unwrap.at, name=step.unwrap.key)
    if step.rename_header is not None:
        return data.Operation("rename_header", (step.rename_header.source,), name=step.rename_header.to)
    if step.set_default_header is not None:
        value = step.set_default_header.value.encode("ascii")
        return data.Operation("set_default_header", name=step.set_default_header.name, value=value)
    assert step.remove_header is not None  # a step is one thing
    return data.Operation("remove_header", name=step.remove_header)
