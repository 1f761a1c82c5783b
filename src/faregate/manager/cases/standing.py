"""How things stand: which gateway runs which revision, who calls what, and the forms of entries."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from faregate.manager.cases import permits
from faregate.manager.cases.committing import Committing
from faregate.manager.cases.domain import Actor, Section
from faregate.manager.cases.errors import Unavailable
from faregate.manager.database import revisions as revision_rows
from faregate.manager.database.engine import DatabaseError
from faregate.manager.database.gateways import Caller, GatewayState, gateway_list, usage_since
from faregate.manager.database.tables import entries as rows

HOUR_MS: Final = 3_600_000
CALLERS_MAX: Final = 10_000


@dataclass(frozen=True, slots=True)
class Status:
    """``revision``: the newest."""

    revision: int
    gateways: Sequence[GatewayState]


async def status_get(committing: Committing, actor: Actor) -> Status:
    """Raises Forbidden, Unavailable."""
    permits.demand_anywhere(actor, "see")
    try:
        async with committing.database.reading() as connection:
            return Status(await revision_rows.head(connection), await gateway_list(connection))
    except DatabaseError as error:
        raise Unavailable(str(error)) from error


async def usage_list(  # noqa: PLR0913 - whose calls of what
    committing: Committing,
    actor: Actor,
    hours: int,
    *,
    api: str = "",
    version: str = "",
    consumer: str = "",
    credential: str = "",
) -> Sequence[tuple[Caller, float]]:
    """Who called in the last ``hours``, with the share of each in its version's calls; what ``actor`` may
    see of it: the callers of an API, of a team's APIs, or everything. Raises Forbidden, Unavailable.
    """
    permits.demand_anywhere(actor, "see")
    since = committing.clock() // HOUR_MS - hours
    try:
        async with committing.database.reading() as connection:
            everyone = await usage_since(connection, since, api=api, version=version, size=CALLERS_MAX)
    except DatabaseError as error:
        raise Unavailable(str(error)) from error
    seen = await _apis_seen(committing, actor, {one.api for one in everyone})
    sums: dict[tuple[str, str], int] = {}
    for one in everyone:
        at = (one.api, one.version)
        sums[at] = sums.get(at, 0) + one.calls
    return [
        (one, one.calls / sums[one.api, one.version])
        for one in everyone
        if one.api in seen
        and (not consumer or one.consumer == consumer)
        and (not credential or one.credential == credential)
    ]


async def _apis_seen(committing: Committing, actor: Actor, names: Collection[str]) -> Collection[str]:
    """Those of the APIs ``names`` that ``actor`` may see."""
    if permits.may(actor, "see"):
        return names
    try:
        async with committing.database.reading() as connection:
            found = await committing.entries.page(connection, "apis", matching=rows.c.name.in_(names))
    except DatabaseError as error:
        raise Unavailable(str(error)) from error
    teams = {one.name: one.team for one in found}
    return {
        name
        for name in names
        if permits.may(actor, "see", permits.scopes_of("apis", name, teams.get(name, "")))
    }


@cache
def _schema() -> dict[str, Any]:
    from faregate.model.schema import configuration_schema  # noqa: PLC0415 - a fifth of a second

    return configuration_schema()


def schema_get(actor: Actor, section: Section) -> dict[str, Any]:
    """The JSON Schema (2020-12) of an entry of ``section``. Raises Forbidden."""
    permits.demand_anywhere(actor, "see")
    whole = _schema()
    entries = whole["properties"][section]
    one = entries.get("additionalProperties") or next(iter(entries["patternProperties"].values()))
    return {"$schema": whole.get("$schema", ""), **one, "$defs": whole.get("$defs", {})}
