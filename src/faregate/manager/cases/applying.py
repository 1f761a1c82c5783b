"""A whole configuration at once, as a file has it: planned, applied, and written out.

``apply`` makes the sections that the tree names what it says, so that what it does not name in them is
removed; sections that it leaves out stay as they are. What the gateway's own file owns may stand in the tree
if it says the same.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from faregate.manager.cases import permits
from faregate.manager.cases.committing import Committing, Judgement, Plan, Why, on_base
from faregate.manager.cases.configuration import PAGE_MAX, Configuration, removal, writing
from faregate.manager.cases.deprecating import dated
from faregate.manager.cases.differences import masked
from faregate.manager.cases.domain import APPLIED, Actor, Change, Content, Revision, Section
from faregate.manager.cases.errors import Conflict, FileOwned, Forbidden, Invalid, NotFound
from faregate.manager.cases.permits import NOUNS
from faregate.manager.database.tables import entries as rows

APPLY_ENTRIES_MAX: Final = 250_000


class Applying:
    """The use cases; each says who it is for."""

    def __init__(self, configuration: Configuration, committing: Committing) -> None:
        self._configuration = configuration
        self._committing = committing
        self._entries = committing.entries
        self._compiler = committing.compiler

    async def apply(  # noqa: PLR0913 - likewise
        self,
        actor: Actor,
        tree: Mapping[str, Mapping[str, Content]],
        *,
        team: str = "",
        reason: str = "",
        base: int | None = None,
        force: bool = False,
    ) -> Revision | None:
        """Makes the sections of ``tree`` what it says, when ``base`` is the newest revision or None. All or
        nothing. Raises as ``entry_put``.
        """
        plan = on_base(base, self.applying(actor, tree, team))
        return await self._committing.commit(actor, Why("apply", reason, origin="apply", force=force), plan)

    async def plan(
        self, actor: Actor, tree: Mapping[str, Mapping[str, Content]], *, team: str = ""
    ) -> Judgement:
        """What ``apply`` would change, and what is wrong with it."""
        permits.demand_anywhere(actor, "see")
        return await self._committing.check(self.applying(actor, tree, team), actor)

    async def whole(self, actor: Actor) -> dict[str, dict[str, Content]]:
        """Everything that ``actor`` may see, secrets masked, as a file would hold it."""
        found: dict[str, dict[str, Content]] = {}
        for section in APPLIED:
            after = ""
            while True:
                page = await self._configuration.entry_list(actor, section, after=after, size=PAGE_MAX)
                if page.entries:
                    found.setdefault(section, {}).update({one.name: one.content for one in page.entries})
                after = page.after
                if not after:
                    break
        return found

    def applying(self, actor: Actor, tree: Mapping[str, Mapping[str, Content]], team: str) -> Plan:
        """The plan of an ``apply``."""

        async def plan(connection: AsyncConnection) -> Sequence[Change]:
            _check_tree(tree)
            changes: list[Change] = []
            try:
                for section in APPLIED:
                    if section in tree:
                        changes += await self._section(connection, actor, section, tree[section], team)
            except (NotFound, Forbidden):
                permits.demand_team_said(actor, team)
                raise
            gone = [one for one in changes if one.section == "consumers" and one.after is None]
            for one in gone:
                changes += await self._configuration.credentials_of(connection, one.name, one.team_before)
            return changes

        return plan

    async def _section(
        self,
        connection: AsyncConnection,
        actor: Actor,
        section: Section,
        wanted: Mapping[str, Content],
        team: str,
    ) -> list[Change]:
        own = set(await self._compiler.file_names(section))
        matching = rows.c.team == team if team else None
        present = {one.name: one for one in await self._entries.page(connection, section, matching=matching)}
        changes = []
        for name, content in wanted.items():
            if name in own:
                await self._same_as_file(actor, section, name, content)
                continue
            before = present.get(name)
            if before is None and team:
                before = await self._entries.get(connection, section, name)
                if before is not None:
                    permits.demand_entry(actor, "write", before)
                    raise Conflict(f"The {NOUNS[section]} {name} belongs to another team.")
            lies_in = permits.scopes_of(section, name, team if before is None else before.team)
            permits.demand(actor, "write", lies_in, noun=NOUNS[section])
            if before is None:
                permits.demand_team(actor, team)
            change = writing(section, name, content, before, team if before is None else before.team)
            changes.append(dated(change, self._committing.clock()))
        for name, before in present.items():
            if name not in wanted:
                permits.demand_entry(actor, "write", before)
                changes.append(removal(before))
        return changes

    async def _same_as_file(self, actor: Actor, section: Section, name: str, content: Content) -> None:
        permits.demand(actor, "see", permits.scopes_of(section, name, ""), noun=NOUNS[section])
        written = await self._compiler.file_entry(section, name)
        if written is not None and masked(content) != masked(written):
            raise FileOwned(
                f"{section}.{name} stands in the file that the gateway runs with: change it there and reload."
            )


def _check_tree(tree: Mapping[str, Mapping[str, Content]]) -> None:
    unknown = [section for section in tree if section not in APPLIED]
    if unknown:
        raise Invalid(f"`{unknown[0]}` cannot be applied; sections are {', '.join(APPLIED)}.")
    if sum(len(section) for section in tree.values()) > APPLY_ENTRIES_MAX:
        raise Invalid(f"More than {APPLY_ENTRIES_MAX} entries at once.")
