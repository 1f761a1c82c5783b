"""Revisions: listed, shown with what they changed, and gone back to."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from faregate.manager.cases import permits
from faregate.manager.cases.committing import Committing, Judgement, Plan, Why, on_base
from faregate.manager.cases.configuration import difference_of, visible_anywhere
from faregate.manager.cases.domain import APPLIED, Actor, Change, Json, Revision
from faregate.manager.cases.errors import Forbidden, NotFound, Unavailable
from faregate.manager.database import revisions as revision_rows
from faregate.manager.database.engine import DatabaseError

PAGE_MAX: Final = 1000


@dataclass(frozen=True, slots=True)
class Shown:
    """A revision and what it changed, secrets hidden."""

    revision: Revision
    differences: Sequence[dict[str, Json]]


class History:
    def __init__(self, committing: Committing) -> None:
        self._committing = committing

    async def revision_list(self, actor: Actor, *, before: int = 0, size: int = 100) -> Sequence[Revision]:
        """The newest revisions before number ``before``, newest first, without author and reason of those
        that touch nothing which ``actor`` may see. Raises Forbidden.
        """
        permits.demand_anywhere(actor, "see")
        try:
            async with self._committing.database.reading() as connection:
                found = await revision_rows.page(connection, before, min(size, PAGE_MAX))
                if not found or permits.may(actor, "see"):
                    return found
                seen = await self._committing.entries.touched(
                    connection, found[-1].number, found[0].number, visible_anywhere(actor)
                )
        except DatabaseError as error:
            raise Unavailable(str(error)) from error
        return [_as_seen(actor, one, touches=one.number in seen) for one in found]

    async def revision_get(self, actor: Actor, number: int) -> Shown:
        """One revision, with what of it ``actor`` may see. Raises NotFound."""
        permits.demand_anywhere(actor, "see")
        try:
            async with self._committing.database.reading() as connection:
                revision = await revision_rows.get(connection, number)
                if revision is None:
                    raise NotFound("There is no such revision.")
                changes = await self._committing.entries.of_revision(connection, number)
        except DatabaseError as error:
            raise Unavailable(str(error)) from error
        seen = [change for change in changes if _sees(actor, change)]
        told = _as_seen(actor, revision, touches=bool(seen))
        return Shown(told, difference_of(seen, self._committing))

    async def rollback(
        self, actor: Actor, number: int, *, reason: str = "", force: bool = False, base: int | None = None
    ) -> Revision | None:
        """Makes the configuration what it was at revision ``number``, by a new revision; None when it is
        already. Credentials stay: what was revoked remains so. Raises NotFound, Invalid,
        Forbidden, Stale when ``base`` is told and is not the newest revision.
        """
        why = Why("rollback", reason, rolled_back_to=number, force=force)
        return await self._committing.commit(actor, why, on_base(base, self.rolling_back(actor, number)))

    async def rollback_plan(self, actor: Actor, number: int) -> Judgement:
        """What ``rollback`` would change."""
        permits.demand_anywhere(actor, "see")
        return await self._committing.check(self.rolling_back(actor, number), actor)

    def rolling_back(self, actor: Actor, number: int) -> Plan:
        """The plan of a ``rollback``."""

        async def plan(connection: AsyncConnection) -> Sequence[Change]:
            if not permits.may(actor, "write"):
                raise Forbidden(
                    "A rollback goes over the entries of all: it needs the role operator everywhere (`*`). "
                    "What your team shall have can be applied, with `team`."
                )
            if number != 0 and await revision_rows.get(connection, number) is None:
                raise NotFound("There is no such revision.")
            entries = self._committing.entries
            own = {section: set(await self._committing.compiler.file_names(section)) for section in APPLIED}
            changes: list[Change] = []
            for section, name, present in await entries.changed_after(connection, number):
                if section not in APPLIED or name in own[section]:
                    continue
                former = await entries.state_at(connection, section, name, number)
                changes.append(
                    Change(
                        section,
                        name,
                        None if present is None else present.content,
                        None if former is None else former.content,
                        "" if former is None else former.team,
                        "" if present is None else present.team,
                    )
                )
            gone = {
                one.name: one.team_before
                for one in changes
                if one.section == "consumers" and one.after is None
            }
            if gone:
                changes += [
                    Change("credentials", one.name, one.content, None, "", gone[str(one.content["consumer"])])
                    for one in await entries.page(connection, "credentials")
                    if one.content.get("consumer") in gone
                ]
            return changes

        return plan


def _as_seen(actor: Actor, revision: Revision, *, touches: bool) -> Revision:
    """``revision`` without who made it and why, where it ``touches`` nothing of ``actor``'s."""
    if touches or revision.author == actor.person or permits.may(actor, "see"):
        return revision
    return replace(revision, author="", reason="", change_request=None)


def _sees(actor: Actor, change: Change) -> bool:
    return any(
        permits.may(actor, "see", permits.scopes_of(change.section, change.name, team))
        for team in {change.team, change.team_before}
    )
