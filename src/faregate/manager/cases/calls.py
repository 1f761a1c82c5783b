"""Ended calls for people: the newest first, one by its id, and why it ended as it did.

Whoever sees everything sees every call; others those of the APIs they may see. Files are read in threads, two
searches at a time.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import msgspec
from sqlalchemy import select

from faregate.manager.cases import permits
from faregate.manager.cases.domain import EVERYWHERE, Actor
from faregate.manager.cases.errors import Invalid, NotFound, Unavailable
from faregate.manager.cases.permits import Need
from faregate.manager.database.engine import Database, DatabaseError
from faregate.manager.database.tables import entries
from faregate.records.explaining import Explanation, explain
from faregate.records.searching import Found, PlaceError, Wanted, search
from faregate.snapshot import encoded
from faregate.snapshot.data import Snapshot

SEARCHES_MAX: Final = 2
SAME_ID_MAX: Final = 10
SNAPSHOT_BYTES_MAX: Final = 8 << 20
"""A larger configuration is not read for one explanation."""
_TEAM: Final = "team:"
_API: Final = "api:"

_T = TypeVar("_T")


async def apis_of(database: Database, actor: Actor, need: Need = "see") -> frozenset[str] | None:
    """The APIs that ``actor`` may see, or do ``need`` to, None for all. Raises Forbidden, Unavailable."""
    permits.demand_anywhere(actor, need)
    scopes = permits.scopes(actor, need)
    if EVERYWHERE in scopes:
        return None
    teams = [scope.removeprefix(_TEAM) for scope in scopes if scope.startswith(_TEAM)]
    wanted = select(entries.c.name).where(
        entries.c.section == "apis", entries.c.until.is_(None), entries.c.team.in_(teams)
    )
    try:
        async with database.reading() as connection:
            named = {row.name for row in await connection.execute(wanted)} if teams else set()
    except DatabaseError as error:
        raise Unavailable(str(error)) from error
    return frozenset(named | {scope.removeprefix(_API) for scope in scopes if scope.startswith(_API)})


@dataclass(frozen=True, slots=True)
class Ended:
    """A call's line. ``others``: further calls that carried the same id, which callers choose."""

    call: dict[str, object]
    others: int


class Calls:
    """Use cases over the access log in the data folder ``data``."""

    def __init__(self, data: Path, database: Database) -> None:
        self._data = data
        self._database = database
        self._turn = asyncio.Semaphore(SEARCHES_MAX)

    async def call_list(self, actor: Actor, wanted: Wanted, *, offset: str = "", size: int = 100) -> Found:
        """The newest calls of these. Raises Forbidden, Invalid, Unavailable."""
        seen = wanted._replace(apis=await apis_of(self._database, actor))
        return await self._read(lambda: search(self._data, seen, size=size, place=offset))

    async def call_get(self, actor: Actor, request_id: str) -> Ended:
        """The newest call with this id. Raises NotFound, Forbidden, Unavailable."""
        wanted = Wanted({"request_id": request_id}, apis=await apis_of(self._database, actor))
        found = await self._read(lambda: search(self._data, wanted, size=SAME_ID_MAX))
        if not found.calls:
            raise NotFound("There is no such call in the newest part of the log.")
        return Ended(found.calls[0], len(found.calls) - 1)

    async def call_explain(self, actor: Actor, request_id: str) -> tuple[Ended, Explanation]:
        """Why it ended so; with what the configuration says, for who may see all of it. Raises as
        ``call_get``.
        """
        ended = await self.call_get(actor, request_id)
        whole = permits.may(actor, "see", (EVERYWHERE,))
        return ended, await self._read(lambda: explain(ended.call, _running(self._data) if whole else None))

    async def _read(self, read: Callable[[], _T]) -> _T:
        async with self._turn:
            try:
                return await asyncio.to_thread(read)
            except PlaceError as error:
                raise Invalid(f"offset: {error}.") from error
            except OSError as error:
                raise Unavailable(f"The access log cannot be read: {error.strerror}.") from error


def _running(data: Path) -> Snapshot | None:
    """The last good revision, None where there is none or reading it would cost too much."""
    path = data / "snapshot"
    try:
        return encoded.decode(path.read_bytes()) if path.stat().st_size <= SNAPSHOT_BYTES_MAX else None
    except (OSError, ValueError, msgspec.MsgspecError):
        return None
