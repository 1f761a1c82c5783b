"""Reads and writes of change requests and the decisions on them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

import msgspec
from sqlalchemy import and_, func, insert, or_, select, update
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from faregate.manager.database.tables import changes, decisions

ChangeState: TypeAlias = Literal[
    "draft", "proposed", "approved", "applied", "rejected", "expired", "withdrawn", "rolled_back"
]
OPEN: Final[tuple[ChangeState, ...]] = ("draft", "proposed", "approved")


@dataclass(frozen=True, slots=True)
class Request:
    """One change request. ``content`` is sealed; ``diff`` is canonical JSON; ``places``: the scopes that each
    of its parts lies in.
    """

    id: str
    author: str
    reason: str
    risk: Literal["plain", "guarded", "grave"]
    kind: str
    state: ChangeState
    base: int
    content: str = field(repr=False)
    diff: str = field(repr=False)
    hash: str
    created_ms: int
    expires_ms: int
    activate_ms: int = 0
    window_ms: int = 0
    subject: Literal["config", "people"] = "config"
    places: tuple[frozenset[str], ...] = ()
    approvals: int = 0
    failure: str = ""
    failure_code: str = ""
    replaced_by: str | None = None
    revision: int | None = None
    version: int = 1


@dataclass(frozen=True, slots=True)
class Decision:
    """What one person said of a request."""

    person: str
    verdict: Literal["approved", "rejected"]
    hash: str
    reason: str
    at_ms: int


async def add(connection: AsyncConnection, request: Request) -> None:
    await connection.execute(
        insert(changes).values(
            id=request.id,
            author=request.author,
            reason=request.reason,
            risk=request.risk,
            kind=request.kind,
            state=request.state,
            base=request.base,
            content=request.content,
            diff=request.diff,
            hash=request.hash,
            created_ms=request.created_ms,
            expires_ms=request.expires_ms,
            activate_ms=request.activate_ms,
            window_ms=request.window_ms,
            subject=request.subject,
            places=msgspec.json.encode([sorted(one) for one in request.places]).decode(),
            approvals=request.approvals,
        )
    )


async def get(connection: AsyncConnection, name: str) -> Request | None:
    row = (await connection.execute(select(changes).where(changes.c.id == name))).one_or_none()
    return None if row is None else _request(row)


async def page(
    connection: AsyncConnection, *, before: str = "", state: str = "", size: int = 100
) -> list[Request]:
    """The newest first, those made before the request ``before``."""
    wanted = select(changes).order_by(changes.c.id.desc()).limit(size)
    if before:
        wanted = wanted.where(changes.c.id < before)
    if state:
        wanted = wanted.where(changes.c.state == state)
    return [_request(row) for row in await connection.execute(wanted)]


async def count_open(connection: AsyncConnection) -> int:
    found = await connection.execute(
        select(func.count()).select_from(changes).where(changes.c.state.in_(OPEN))
    )
    return found.scalar() or 0


async def due(connection: AsyncConnection, now_ms: int) -> list[tuple[str, bool]]:
    """Requests whose time has come: the id, and whether it has run out."""
    rows = await connection.execute(
        select(changes.c.id, changes.c.expires_ms)
        .where(
            or_(
                and_(changes.c.state.in_(OPEN), changes.c.expires_ms <= now_ms),
                and_(changes.c.state == "approved", changes.c.activate_ms <= now_ms),
            )
        )
        .order_by(changes.c.activate_ms, changes.c.id)
        .limit(100)
    )
    return [(row.id, row.expires_ms <= now_ms) for row in rows]


async def put(
    connection: AsyncConnection, name: str, values: Mapping[str, object], *states: ChangeState
) -> bool:
    """Writes ``values`` when the request is in one of ``states``; whether it was."""
    found = await connection.execute(
        update(changes)
        .where(changes.c.id == name, changes.c.state.in_(states))
        .values(**values, version=changes.c.version + 1)
    )
    return found.rowcount == 1


async def rolled_back(connection: AsyncConnection, revision: int) -> None:
    """Marks what was applied after ``revision``."""
    await connection.execute(
        update(changes)
        .where(changes.c.state == "applied", changes.c.subject == "config", changes.c.revision > revision)
        .values(state="rolled_back", version=changes.c.version + 1)
    )


async def decide(connection: AsyncConnection, name: str, decision: Decision) -> None:
    await connection.execute(
        insert(decisions).values(
            change=name,
            person=decision.person,
            verdict=decision.verdict,
            hash=decision.hash,
            reason=decision.reason,
            at_ms=decision.at_ms,
        )
    )


async def decided(connection: AsyncConnection, name: str) -> Sequence[Decision]:
    """What was said of a request, in the order in which it was said."""
    rows = await connection.execute(
        select(decisions).where(decisions.c.change == name).order_by(decisions.c.at_ms, decisions.c.person)
    )
    return [Decision(row.person, row.verdict, row.hash, row.reason, row.at_ms) for row in rows]


def _request(row: "Row[Any]") -> Request:
    places = tuple(frozenset(one) for one in msgspec.json.decode(row.places, type=list[list[str]]))
    return Request(
        row.id,
        row.author,
        row.reason,
        row.risk,
        row.kind,
        row.state,
        row.base,
        row.content,
        row.diff,
        row.hash,
        row.created_ms,
        row.expires_ms,
        row.activate_ms,
        row.window_ms,
        row.subject,
        places,
        row.approvals,
        row.failure,
        row.failure_code,
        row.replaced_by,
        row.revision,
        row.version,
    )
