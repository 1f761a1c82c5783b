"""What the gateways told: which revision they run, and who called what."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import case, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from faregate.manager.database.tables import gateways, usage
from faregate.manager.usage import UsageRow


@dataclass(frozen=True, slots=True)
class GatewayState:
    """``revision``: what all its workers acknowledged last. ``failure``: why it does not run the newest."""

    id: str
    host: str
    revision: int
    acknowledged_ms: int
    seen_ms: int
    workers: int
    failure: str


async def gateway_seen(connection: AsyncConnection, state: GatewayState) -> None:
    """Notes what a gateway runs; revision 0 and acknowledged 0 leave what was noted."""
    values = {
        "host": state.host,
        "seen_ms": state.seen_ms,
        "workers": state.workers,
        "failure": state.failure,
    }
    if state.revision:
        values |= {"revision": state.revision, "acknowledged_ms": state.acknowledged_ms}
    done = await connection.execute(update(gateways).where(gateways.c.id == state.id).values(**values))
    if not done.rowcount:
        whole = {"revision": state.revision, "acknowledged_ms": state.acknowledged_ms, **values}
        await connection.execute(insert(gateways).values(id=state.id, **whole))


async def gateway_list(connection: AsyncConnection) -> Sequence[GatewayState]:
    rows = await connection.execute(select(gateways).order_by(gateways.c.host, gateways.c.id))
    return [
        GatewayState(
            row.id, row.host, row.revision, row.acknowledged_ms, row.seen_ms, row.workers, row.failure
        )
        for row in rows
    ]


async def usage_add(connection: AsyncConnection, rows: Iterable[UsageRow]) -> None:
    """Adds what was counted to the sums of its hours; of two last calls the later one counts, whichever
    machine tells it first.
    """
    for row in rows:
        later = case((usage.c.last_ms > row.last_ms, usage.c.last_ms), else_=row.last_ms)
        here = (
            (usage.c.hour == row.hour)
            & (usage.c.consumer == row.consumer)
            & (usage.c.credential == row.credential)
            & (usage.c.api == row.api)
            & (usage.c.version == row.version)
        )
        done = await connection.execute(
            update(usage)
            .where(here)
            .values(
                calls=usage.c.calls + row.calls,
                errors=usage.c.errors + row.errors,
                last_ms=later,
            )
        )
        if not done.rowcount:
            await connection.execute(
                insert(usage).values(
                    hour=row.hour,
                    consumer=row.consumer,
                    credential=row.credential,
                    api=row.api,
                    version=row.version,
                    calls=row.calls,
                    errors=row.errors,
                    last_ms=row.last_ms,
                )
            )


@dataclass(frozen=True, slots=True)
class Caller:
    """Calls of one credential to one version since some hour."""

    consumer: str
    credential: str
    api: str
    version: str
    calls: int
    errors: int
    last_ms: int


async def usage_since(  # noqa: PLR0913 - whose calls of what
    connection: AsyncConnection,
    hour: int,
    *,
    api: str = "",
    version: str = "",
    consumer: str = "",
    credential: str = "",
    size: int = 1000,
) -> Sequence[Caller]:
    """Who called since ``hour`` (hours since the epoch), the most calls first."""
    keys = (usage.c.consumer, usage.c.credential, usage.c.api, usage.c.version)
    calls = func.sum(usage.c.calls)
    wanted = select(*keys, calls, func.sum(usage.c.errors), func.max(usage.c.last_ms)).where(
        usage.c.hour >= hour
    )
    for column, value in zip(keys, (consumer, credential, api, version), strict=True):
        if value:
            wanted = wanted.where(column == value)
    rows = await connection.execute(wanted.group_by(*keys).order_by(calls.desc(), *keys).limit(size))
    return [Caller(*row[:4], int(row[4]), int(row[5]), int(row[6])) for row in rows]


async def usage_expire(connection: AsyncConnection, before_hour: int) -> None:
    """Forgets the hours before ``before_hour``."""
    await connection.execute(delete(usage).where(usage.c.hour < before_hour))
