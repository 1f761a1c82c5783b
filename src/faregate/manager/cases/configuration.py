"""Entries of the configuration: looked at, and written one by one. What the file owns is never written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from sqlalchemy import ColumnElement, and_, or_
from sqlalchemy.ext.asyncio import AsyncConnection

from faregate.manager.cases import permits
from faregate.manager.cases.committing import Committing, Plan, Why
from faregate.manager.cases.deprecating import dated
from faregate.manager.cases.differences import differences, masked, unmasked
from faregate.manager.cases.domain import (
    EVERYWHERE,
    Actor,
    Change,
    Content,
    Entry,
    Json,
    Revision,
    Section,
)
from faregate.manager.cases.errors import (
    FileOwned,
    Invalid,
    NotFound,
    PreconditionMissing,
    Referenced,
    Stale,
    Unavailable,
)
from faregate.manager.cases.permits import NOUNS
from faregate.manager.database.engine import DatabaseError
from faregate.manager.database.entries import owned_by
from faregate.manager.database.tables import entries as rows

PAGE_MAX: Final = 1000


@dataclass(frozen=True, slots=True)
class Precondition:
    """``match``: the digest an entry must have (``If-Match``), ``*`` for any; ``absent``: there must be none
    (``If-None-Match: *``).
    """

    match: str = ""
    absent: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """``after`` empty: there are no more."""

    entries: Sequence[Entry]
    after: str


class Configuration:
    """The use cases; each says who it is for."""

    def __init__(self, committing: Committing) -> None:
        self._committing = committing
        self._entries = committing.entries
        self._compiler = committing.compiler

    async def entry_get(self, actor: Actor, section: Section, name: str) -> Entry:
        """One entry, secrets masked. Raises NotFound."""
        try:
            async with self._committing.database.reading() as connection:
                entry = await self._present(connection, section, name)
        except DatabaseError as error:
            raise Unavailable(str(error)) from error
        if entry is None:
            raise NotFound(f"There is no such {NOUNS[section]}.")
        permits.demand_entry(actor, "see", entry)
        return replace(entry, content=masked(entry.content))

    async def entry_list(
        self, actor: Actor, section: Section, *, after: str = "", size: int = 100, team: str | None = None
    ) -> Page:
        """Entries that ``actor`` may see, by name, those after the name ``after``. Raises Forbidden."""
        permits.demand_anywhere(actor, "see")
        size = min(size, PAGE_MAX)
        try:
            async with self._committing.database.reading() as connection:
                found = await self._entries.page(
                    connection,
                    section,
                    after=after,
                    size=size + 1,
                    visible=_visible(actor, section),
                    matching=None if team is None else rows.c.team == team,
                )
        except DatabaseError as error:
            raise Unavailable(str(error)) from error
        if not team:
            found += await self._of_file(actor, section, after, size + 1)
            found.sort(key=lambda entry: entry.name)
        kept = [replace(entry, content=masked(entry.content)) for entry in found[:size]]
        return Page(kept, kept[-1].name if len(found) > size else "")

    async def entry_put(  # noqa: PLR0913 - what is written, where, by whom and why
        self,
        actor: Actor,
        section: Section,
        name: str,
        content: Content,
        *,
        team: str | None,
        condition: Precondition,
        reason: str = "",
    ) -> tuple[Entry, Revision | None]:
        """Makes an entry, or replaces it; ``team`` None: it keeps the one it has. Raises Stale, Invalid,
        FileOwned, Forbidden, NotFound.
        """
        plan = self._putting(actor, section, name, content, team, condition)
        revision = await self._committing.commit(actor, Why("edit", reason), plan)
        return await self.entry_get(actor, section, name), revision

    async def entry_patch(  # noqa: PLR0913 - likewise
        self,
        actor: Actor,
        section: Section,
        name: str,
        patch: Mapping[str, Json],
        *,
        condition: Precondition,
        reason: str = "",
    ) -> tuple[Entry, Revision | None]:
        """Merges ``patch`` (RFC 7396) into ``{"spec": ..., "team": ...}`` of an entry. Raises as
        ``entry_put``.
        """

        async def plan(connection: AsyncConnection) -> Sequence[Change]:
            present = await self.writable(connection, actor, section, name)
            if present is None:
                raise NotFound(f"There is no such {NOUNS[section]}.")
            await self._demand_match(connection, present, condition)
            merged = _merge({"spec": present.content, "team": present.team}, patch)
            spec, team = merged.get("spec"), merged.get("team")
            if not isinstance(spec, dict) or merged.keys() - {"spec", "team"}:
                raise Invalid("A patch has the members `spec` and `team`, and cannot remove `spec`.")
            return await self._putting(
                actor, section, name, spec, team if isinstance(team, str) else "", condition
            )(connection)

        revision = await self._committing.commit(actor, Why("edit", reason), plan)
        return await self.entry_get(actor, section, name), revision

    async def entry_delete(  # noqa: PLR0913 - likewise
        self,
        actor: Actor,
        section: Section,
        name: str,
        *,
        condition: Precondition,
        force: bool = False,
        reason: str = "",
    ) -> Revision | None:
        """Removes an entry; a consumer goes with its credentials. ``force``: also what refers to it is told
        to stop, where it can. Raises Referenced, and as ``entry_put``.
        """

        async def plan(connection: AsyncConnection) -> Sequence[Change]:
            present = await self.writable(connection, actor, section, name)
            if present is None:
                raise NotFound(f"There is no such {NOUNS[section]}.")
            await self._demand_match(connection, present, condition)
            gone = [removal(present)]
            if section == "consumers":
                gone += await self.credentials_of(connection, name, present.team)
            return gone

        try:
            return await self._committing.commit(actor, Why("edit", reason, force=force), plan)
        except Invalid as error:
            users = [one for one in _diagnostics(error) if one.get("code") == "unresolved_reference"]
            if users and not force:
                places = ", ".join(str(one.get("path")) for one in users[:5] if one.get("path"))
                raise Referenced(
                    f"Others refer to it{places and ': '}{places}.", diagnostics=users
                ) from error
            raise

    def _putting(  # noqa: PLR0913, PLR0917 - as entry_put
        self,
        actor: Actor,
        section: Section,
        name: str,
        content: Content,
        team: str | None,
        condition: Precondition,
    ) -> Plan:
        async def plan(connection: AsyncConnection) -> Sequence[Change]:
            try:
                present = await self.writable(connection, actor, section, name)
            except NotFound:
                if not condition.match:
                    permits.demand_team_said(actor, team)
                raise
            if present is None:
                lies_in = permits.scopes_of(section, name, team or "")
                if not condition.match and not permits.may(actor, "write", lies_in):
                    permits.demand_team_said(actor, team)
                permits.demand(actor, "write", lies_in, noun=NOUNS[section])
                if condition.match:  # told to nobody who may not write: that there is none is a fact too
                    raise Stale("There is none any more.", diff=[])
            else:
                await self._demand_match(connection, present, condition)
            wanted = team if team is not None else "" if present is None else present.team
            if present is None:
                permits.demand_team(actor, wanted)
            elif wanted != present.team:
                permits.demand_move(actor, present.team, wanted)
            change = writing(section, name, content, present, wanted)
            return [dated(change, self._committing.clock())]

        return plan

    async def writable(
        self, connection: AsyncConnection, actor: Actor, section: Section, name: str
    ) -> Entry | None:
        """The entry that ``actor`` is about to write, None where there is none. Raises NotFound, Forbidden,
        FileOwned.
        """
        entry = await self._present(connection, section, name)
        if entry is None:
            return None
        permits.demand_entry(actor, "write", entry)
        if entry.owner == "file":
            raise FileOwned(
                f"{section}.{name} stands in the file that the gateway runs with: change it there and reload."
            )
        return entry

    async def _demand_match(
        self, connection: AsyncConnection, present: Entry, condition: Precondition
    ) -> None:
        if condition.absent:
            raise Stale("There is one already.", etag=present.digest)
        if not condition.match:
            raise PreconditionMissing("Say which state is meant: If-Match with the ETag that was read.")
        if condition.match in {"*", present.digest}:
            return
        read = await self._entries.with_digest(connection, present.section, present.name, condition.match)
        members: dict[str, object] = {"etag": present.digest, "revision": present.revision}
        if read is not None:  # what the other did since this one was read
            other = writing(present.section, present.name, present.content, read, present.team)
            members["diff"] = difference_of([other], self._committing)
        raise Stale(f"It was changed by revision {present.revision} since.", **members)

    async def _present(self, connection: AsyncConnection, section: Section, name: str) -> Entry | None:
        content = await self._compiler.file_entry(section, name)
        if content is not None:
            return Entry(section, name, content, "file", digest=self._entries.digest(content, ""))
        return await self._entries.get(connection, section, name)

    async def _of_file(self, actor: Actor, section: Section, after: str, size: int) -> list[Entry]:
        found: list[Entry] = []
        for name in await self._compiler.file_names(section):
            if name > after and permits.may(actor, "see", permits.scopes_of(section, name, "")):
                content = await self._compiler.file_entry(section, name)
                if content is not None:
                    digest = self._entries.digest(content, "")
                    found.append(Entry(section, name, content, "file", digest=digest))
            if len(found) == size:
                break
        return found

    async def credentials_of(self, connection: AsyncConnection, consumer: str, team: str) -> list[Change]:
        """The removals of the credentials of a consumer of ``team``, which go with it."""
        owned = await self._entries.page(
            connection,
            "credentials",
            matching=owned_by(consumer),
        )
        return [removal(replace(one, team=team)) for one in owned if one.content.get("consumer") == consumer]


def _diagnostics(error: Invalid) -> list[Mapping[str, object]]:
    found = error.members.get("diagnostics")
    return found if isinstance(found, list) else []


def removal(present: Entry) -> Change:
    """``present`` is no more."""
    return Change(present.section, present.name, present.content, None, "", present.team)


def writing(section: Section, name: str, content: Content, present: Entry | None, team: str) -> Change:
    """``content`` in place of ``present``, or as something new."""
    before = None if present is None else present.content
    return Change(
        section, name, before, unmasked(content, before), team, "" if present is None else present.team
    )


def _visible(actor: Actor, section: Section) -> "ColumnElement[bool] | None":
    """Which rows ``actor`` may see, None for all."""
    seen = permits.scopes(actor, "see")
    if EVERYWHERE in seen:
        return None
    teams = [scope.removeprefix("team:") for scope in seen if scope.startswith("team:")]
    conditions: list[ColumnElement[bool]] = [rows.c.team.in_(teams)]
    if section == "apis":
        conditions.append(
            rows.c.name.in_([one.removeprefix("api:") for one in seen if one.startswith("api:")])
        )
    return or_(*conditions)


def visible_anywhere(actor: Actor) -> "ColumnElement[bool]":
    """Which rows of all sections ``actor`` may see, who does not see everything."""
    seen = permits.scopes(actor, "see")
    teams, apis = (
        [one.removeprefix(kind) for one in seen if one.startswith(kind)] for kind in ("team:", "api:")
    )
    return or_(rows.c.team.in_(teams), and_(rows.c.section == "apis", rows.c.name.in_(apis)))


def _merge(target: Json, patch: Mapping[str, Json]) -> dict[str, Json]:
    """RFC 7396 section 2."""
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict):
            merged[key] = _merge(merged.get(key), value)
        else:
            merged[key] = value
    return merged


def difference_of(changes: Sequence[Change], committing: Committing) -> list[dict[str, Json]]:
    """The differences of ``changes``, as they may be shown."""
    return [one.as_json() for change in changes for one in differences(change, committing.hashed)]
