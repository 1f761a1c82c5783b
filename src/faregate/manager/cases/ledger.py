"""Records of idempotent calls: listed, shown, and settled where nobody else can say what became of a call.

The ledger is the one of the gateway on this machine's data folder, as its last good revision names it. A
verdict is an audit leaf before the ledger is told.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from faregate.manager.cases import permits
from faregate.manager.cases.calls import apis_of
from faregate.manager.cases.domain import Actor
from faregate.manager.cases.errors import Conflict, Forbidden, Invalid, NotFound, Unavailable
from faregate.manager.cases.permits import Need
from faregate.manager.cases.ports import Audit
from faregate.manager.database.engine import Database
from faregate.manager.ledger.asking import Asked, kept_of, last_good, listed, opened
from faregate.manager.ledger.shown import STATES, Kept, about_of
from faregate.manager.ledger.verdicts import (
    NAME_CHARACTERS_MAX,
    VERDICTS,
    Verdict,
    VerdictError,
    is_name,
    reason_of,
    settle,
    unknown_one,
)
from faregate.stores.ledger.protocol import KEY_BYTES, Entry, Ledger, LedgerError

ASKING_MAX: Final = 4
NONE: Final = "There is no such record."


@dataclass(frozen=True, slots=True)
class Records:
    """``after``: where the following page begins, empty at the end. ``now``: seconds since the epoch."""

    entries: list[Entry]
    after: str
    now: float


@dataclass(frozen=True, slots=True)
class Shown:
    entry: Entry
    answer: Kept | None
    now: float


class LedgerRecords:
    """Use cases over the ledger of the gateway in the data folder ``data``. ``wall``: seconds."""

    def __init__(
        self, data: Path, database: Database, audit: Audit, wall: Callable[[], float] = time.time
    ) -> None:
        self._data = data
        self._database = database
        self._audit = audit
        self._wall = wall
        self._turn = asyncio.Semaphore(ASKING_MAX)

    async def record_list(
        self, actor: Actor, *, state: str, consumer: str = "", offset: str = "", size: int = 100
    ) -> Records:
        """Records by key, in ``state`` or in ``all``. Raises Forbidden, Unavailable."""
        apis = await apis_of(self._database, actor)
        states = list(STATES.values()) if state == "all" else [STATES[state]]
        after = key_of(offset) if offset else b""
        async with self._opened() as (_, ledger):
            found = await listed(ledger, states, consumer, size + 1, after=after, apis=apis)
        more = found[size - 1].key.hex() if len(found) > size else ""
        return Records(found[:size], more, self._wall())

    async def record_get(self, actor: Actor, name: str) -> Shown:
        """One record with its stored answer. Raises NotFound, Forbidden, Unavailable."""
        permits.demand_anywhere(actor, "see")
        async with self._opened() as (asked, ledger):
            entry = await self._visible(actor, ledger, name)
        kept = await asyncio.to_thread(_kept, asked, entry)
        return Shown(entry, kept, self._wall())

    async def record_settle(self, actor: Actor, name: str, verdict: str, reason: str) -> Shown:
        """Settles a record of unknown outcome. Raises NotFound, Conflict, Forbidden, Invalid, Unavailable."""
        try:
            decided = Verdict(VERDICTS[verdict], actor.person[:NAME_CHARACTERS_MAX], reason_of(reason))
        except ValueError as error:
            raise Invalid(f"reason: {error}.") from error
        if not is_name(decided.by):
            raise Forbidden(f"A verdict cannot be that of {decided.by!r}.")
        permits.demand_anywhere(actor, "write")
        async with self._opened() as (_, ledger):
            await self._visible(actor, ledger, name)
            entry = await self._visible(actor, ledger, name, "write")
            try:
                entry = await unknown_one(ledger, entry.key)
                await self._told(actor, entry, verdict, decided.reason)
                await settle(self._data, ledger, entry, decided)
            except VerdictError as error:
                raise _case(error) from error
            standing = await ledger.entry(entry.key)
        changed = standing or entry._replace(state=decided.state, by=decided.by, note=decided.reason)
        return Shown(changed, None, self._wall())

    async def _told(self, actor: Actor, entry: Entry, verdict: str, reason: str) -> None:
        about = about_of(entry)
        await self._audit.append(
            "ledger.verdict",
            actor.person,
            f"ledger/{entry.key.hex()}",
            {
                "verdict": verdict,
                "was": "unknown",
                "reason": reason,
                "consumer": about.consumer,
                "api": about.api,
                "route": about.route,
                "call": about.request_id,
                "credential": actor.credential,
                "from": actor.address,
                "request_id": actor.request_id,
            },
        )

    async def _visible(self, actor: Actor, ledger: Ledger, name: str, need: Need = "see") -> Entry:
        apis = await apis_of(self._database, actor, need)
        entry = await ledger.entry(key_of(name))
        if entry is None:
            raise NotFound(NONE)
        if apis is not None and about_of(entry).api not in apis:
            raise NotFound(NONE) if need == "see" else Forbidden("This needs the role operator for its API.")
        return entry

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[tuple[Asked, Ledger]]:
        async with self._turn:
            try:
                asked = await asyncio.to_thread(last_good, self._data)
                async with opened(asked) as ledger:
                    yield asked, ledger
            except LedgerError as error:
                raise Unavailable(f"The ledger cannot be asked: {error}.") from error


def key_of(name: str) -> bytes:
    """A record's key by its id. Raises Invalid."""
    try:
        key = bytes.fromhex(name)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise Invalid(f"A record's id is {2 * KEY_BYTES} hexadecimal digits.")
    return key


def _kept(asked: Asked, entry: Entry) -> Kept | None:
    try:
        return kept_of(asked, entry)
    except LedgerError as error:
        return Kept(None, str(error))


def _case(error: VerdictError) -> NotFound | Conflict | Unavailable:
    if error.kind == "absent":
        return NotFound(NONE)
    if error.kind == "unnoted":
        return Unavailable(str(error))
    return Conflict(f"{str(error)[:1].upper()}{str(error)[1:]}.")
