"""Reads and writes of revisions."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, insert, select, update
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from faregate.manager.cases.domain import Revision
from faregate.manager.database.tables import revisions


async def head(connection: AsyncConnection) -> int:
    """The number of the newest revision, 0 when there is none."""
    return (await connection.execute(select(func.max(revisions.c.number)))).scalar() or 0


async def get(connection: AsyncConnection, number: int) -> Revision | None:
    row = (await connection.execute(select(revisions).where(revisions.c.number == number))).one_or_none()
    return None if row is None else _revision(row)


async def page(connection: AsyncConnection, before: int, size: int) -> Sequence[Revision]:
    """The ``size`` newest revisions before number ``before`` (0: all), newest first."""
    wanted = select(revisions)
    if before:
        wanted = wanted.where(revisions.c.number < before)
    rows = await connection.execute(wanted.order_by(revisions.c.number.desc()).limit(size))
    return [_revision(row) for row in rows]


async def has_act(connection: AsyncConnection, act: str) -> bool:
    """Whether the act that an audit leaf names was committed."""
    found = await connection.execute(select(revisions.c.number).where(revisions.c.act == act))
    return found.first() is not None


async def add(connection: AsyncConnection, revision: Revision, act: str) -> None:
    await connection.execute(
        insert(revisions).values(
            number=revision.number,
            at_ms=revision.at_ms,
            kind=revision.kind,
            author=revision.author,
            reason=revision.reason,
            changes=revision.changes,
            digest=revision.digest,
            rolled_back_to=revision.rolled_back_to,
            change_request=revision.change_request,
            act=act,
        )
    )


async def audited(connection: AsyncConnection, number: int, seq: int) -> None:
    """Notes the audit leaf of a revision."""
    await connection.execute(update(revisions).where(revisions.c.number == number).values(audit_seq=seq))


def _revision(row: "Row[Any]") -> Revision:
    return Revision(
        row.number,
        row.at_ms,
        row.kind,
        row.author,
        row.reason,
        row.changes,
        row.digest,
        row.rolled_back_to,
        row.change_request,
        row.audit_seq,
    )
