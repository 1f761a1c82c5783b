"""Where one team's entries meet another's: what may be referred to, granted and placed, and what is told.

Permits decide who may write an entry; this is about what is written in it. Whoever may not write everywhere
refers only to entries of theirs or of no team, grants permissions only for APIs of theirs, and takes no place
under another team's path. What another team has is answered as what is missing. Only what a change adds is
judged: what somebody else put there stays. Entries of the file belong to no team.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from faregate.compile.conflicts import placed_routes
from faregate.compile.grants import places_named
from faregate.compile.references import REFERENCES
from faregate.compile.walk import mapping, matches, sequence
from faregate.manager.cases import permits
from faregate.manager.cases.domain import EVERYWHERE, SECTIONS, Actor, Change, Content, Entry, Section
from faregate.manager.cases.errors import Conflict
from faregate.manager.cases.permits import NOUNS
from faregate.manager.cases.ports import Compiler, Diagnostic
from faregate.manager.database.entries import Entries
from faregate.manager.database.tables import entries as rows
from faregate.model.diagnostics import TreePath, Value, path_text

SHOWN_MAX: Final = 200
_OTHER: Final = "; the other is at "
_UNSEEN: Final = "an entry that you may not see would not be right any more"

Key = tuple[Section, str]
Route = tuple[str, str]
"""Method and whole template."""


class _Paths:
    """What lies where, by team. At the root, which is everybody's, only the routes themselves count."""

    def __init__(self) -> None:
        self._teams: dict[str, set[str]] = {}
        self._at_root: list[tuple[str, str, str]] = []

    def add(self, entry: Entry) -> None:
        for prefix in _prefixes(entry.content):
            if prefix != "/":
                self._teams.setdefault(prefix, set()).add(entry.team)
            else:
                self._at_root += [(*route, entry.team) for route in _routes(entry.name, entry.content)]

    def taken(self, method: str, template: str, team: str) -> bool:
        """Whether a team other than ``team`` has a path that ``template`` lies under."""
        steps = template.split("/")
        above = ("/".join(steps[: count + 1]) for count in range(1, len(steps)))
        return any(self._teams.get(path, set()) - {team} for path in above) or any(
            method == one and team != other and _meet(template, route) for one, route, other in self._at_root
        )


@dataclass(slots=True)
class _Judged:
    """``mine``: the scopes in which the actor may write; ``made``: what stands there with the changes."""

    connection: AsyncConnection
    mine: frozenset[str]
    made: Mapping[Key, Change]
    present: dict[Key, Entry | None] = field(default_factory=dict)
    """What was looked up: many consumers name the same few plans."""
    paths: _Paths | None = None

    def holds(self, section: Section, name: str, team: str) -> bool:
        return not self.mine.isdisjoint(permits.scopes_of(section, name, team))


class Teams:
    """``entries`` and ``compiler`` tell what the database and the file own."""

    def __init__(self, entries: Entries, compiler: Compiler) -> None:
        self._entries = entries
        self._compiler = compiler

    async def judge(
        self, connection: AsyncConnection, actor: Actor, changes: Sequence[Change]
    ) -> list[Diagnostic]:
        """What ``actor`` may not refer to or grant, told as what is missing is. Raises Conflict for a path
        that is taken.
        """
        mine = permits.scopes(actor, "write")
        if EVERYWHERE in mine:
            return []
        judged = _Judged(connection, mine, {(one.section, one.name): one for one in changes})
        wrong: list[Diagnostic] = []
        for change in changes:
            if change.after is not None:
                wrong += await self._references(judged, change)
                wrong += await self._grants(judged, change)
                await self._demand_free(judged, change)
        return wrong

    async def shown(
        self,
        connection: AsyncConnection,
        actor: Actor,
        changes: Sequence[Change],
        found: Sequence[Diagnostic],
    ) -> list[Diagnostic]:
        """``found`` without what ``actor`` may not see: names, places and contents of others' entries."""
        if EVERYWHERE in permits.scopes(actor, "see"):
            return list(found)
        changed = {(one.section, one.name) for one in changes}
        told: list[Diagnostic] = []
        for one in found[:SHOWN_MAX]:
            if await self._seen(connection, actor, changed, str(one.get("path", ""))):
                message, other, place = str(one.get("message", "")).partition(_OTHER)
                if other and await self._seen(connection, actor, changed, place.rpartition(" ")[2]):
                    message += other + place
                kept = {**one, "message": message}
                if one.get("code") == "unresolved_reference":
                    kept |= {"expected": "", "nearest": ""}
            else:
                kept = {"level": one.get("level"), "code": one.get("code"), "path": "", "message": _UNSEEN}
            if kept not in told:
                told.append(kept)
        return told

    async def _seen(
        self, connection: AsyncConnection, actor: Actor, changed: Iterable[Key], path: str
    ) -> bool:
        """Whether all entries that ``path`` may lie in (names have dots too) are ones that ``actor`` sees."""
        section = next((one for one in SECTIONS if path.startswith(f"{one}.")), None)
        if section is None:
            return False
        steps = path.partition("[")[0].split(".")[1:]
        names = [".".join(steps[:count]) for count in range(1, len(steps) + 1)]
        own = set(await self._compiler.file_names(section))
        teams = {name: "" for name in names if name in own}
        found = await self._entries.page(connection, section, matching=rows.c.name.in_(names))
        teams |= {one.name: one.team for one in found}
        known = any((section, name) in changed for name in names)
        return (known or bool(teams)) and all(
            (section, name) in changed or permits.may(actor, "see", permits.scopes_of(section, name, team))
            for name, team in teams.items()
        )

    async def _references(self, judged: _Judged, change: Change) -> list[Diagnostic]:
        assert change.after is not None
        former = {key for _, key in _named(change.section, change.name, change.before or {})}
        return [
            _missing(path, key)
            for path, key in _named(change.section, change.name, change.after)
            if key not in former and not await self._usable(judged, key)
        ]

    async def _usable(self, judged: _Judged, key: Key) -> bool:
        """Whether it is there, and the actor's or nobody's."""
        entry = await self._present(judged, key)
        if entry is None:
            return False
        if judged.holds(*key, entry.team):
            return True
        granted = sequence(entry.content.get("permissions")) if key[0] == "groups" else []
        return not entry.team and all([await self._grantable(judged, one) for one in granted])

    async def _present(self, judged: _Judged, key: Key) -> Entry | None:
        change = judged.made.get(key)
        if change is not None:
            return None if change.after is None else Entry(*key, change.after, team=change.team)
        if key not in judged.present:
            content = await self._compiler.file_entry(*key)
            judged.present[key] = (
                await self._entries.get(judged.connection, *key)
                if content is None
                else Entry(*key, content, "file")
            )
        return judged.present[key]

    async def _grants(self, judged: _Judged, change: Change) -> list[Diagnostic]:
        """A bare permission holds in every API that asks for it, so that it is not a team's to grant."""
        if change.section not in {"consumers", "groups"} or change.after is None:
            return []
        former = sequence((change.before or {}).get("permissions"))
        wrong: list[Diagnostic] = []
        for index, one in enumerate(sequence(change.after.get("permissions"))):
            if one in former or await self._grantable(judged, one):
                continue
            path: TreePath = (change.section, change.name, "permissions", index)
            message = f"`{str(one)[:100]}` is not yours to grant everywhere"
            wrong.append(
                {
                    "level": "error",
                    "code": "unresolved_reference",
                    "path": path_text(path),
                    "message": message,
                    "expected": "a permission and an API of yours that it holds in, such as read@payments",
                    "nearest": "",
                }
            )
        return wrong

    async def _grantable(self, judged: _Judged, permission: object) -> bool:
        api = str(permission).partition("@")[2].partition("/")[0]
        entry = await self._present(judged, ("apis", api)) if api else None
        return entry is not None and judged.holds("apis", api, entry.team)

    async def _demand_free(self, judged: _Judged, change: Change) -> None:
        """Raises Conflict when a new route lies under the path of an API of another team."""
        if change.section != "apis" or change.after is None:
            return
        added = _routes(change.name, change.after) - _routes(change.name, change.before or {})
        if not added:
            return
        if judged.paths is None:
            judged.paths = await self._paths(judged)
        for method, template in sorted(added):
            if judged.paths.taken(method, template, change.team):
                raise Conflict(f"The path {template} is taken.")

    async def _paths(self, judged: _Judged) -> "_Paths":
        """The paths of all APIs in which the actor may not write."""
        found = await self._entries.page(judged.connection, "apis")
        for name in await self._compiler.file_names("apis"):
            content = await self._compiler.file_entry("apis", name)
            if content is not None:
                found.append(Entry("apis", name, content, "file"))
        paths = _Paths()
        for entry in found:
            if not judged.holds("apis", entry.name, entry.team):
                paths.add(entry)
        return paths


def _named(section: Section, name: str, content: Content) -> Iterator[tuple[TreePath, Key]]:
    """Each place that names another entry, and which."""
    data: dict[str, Value] = {section: {name: content}}
    for pattern, target, _ in REFERENCES:
        for path, value in matches(data, pattern):
            if isinstance(value, str):
                yield path, (_section(target), value)
    if section in {"consumers", "groups"}:
        for path, place in places_named(data):
            if path[2] == "apis":  # those of permissions are judged as grants
                yield path, ("apis", place.partition("/")[0])
        for api in mapping(content.get("pins")):
            yield (section, name, "pins", api), ("apis", api)
    if section == "credentials":
        issuer = mapping(content.get("jwt")).get("issuer")
        if isinstance(issuer, str):
            yield (section, name, "jwt", "issuer"), ("issuers", issuer)


def _section(name: str) -> Section:
    return next(one for one in SECTIONS if one == name)


def _missing(path: TreePath, key: Key) -> Diagnostic:
    return {
        "level": "error",
        "code": "unresolved_reference",
        "path": path_text(path),
        "message": f"no {NOUNS[key[0]]} is named `{key[1][:100]}`",
        "expected": "",
        "nearest": "",
    }


def _routes(name: str, content: Content) -> set[Route]:
    return {(route.match.method, route.template) for route in placed_routes({"apis": {name: content}})}


def _prefixes(content: Content) -> set[str]:
    versions = mapping(content.get("versions"))
    if isinstance(versions.get("by"), str):
        return {str(versions.get("path", "/"))}
    return {str(mapping(one).get("path")) for one in versions.values() if mapping(one).get("path")}


def _meet(one: str, other: str) -> bool:
    """Whether some path has both templates; what takes every path that is left gives way."""
    left, right = one.split("/")[1:], other.split("/")[1:]
    if left[0].endswith("...}") or right[0].endswith("...}"):
        return False
    for ours, theirs in zip(left, right, strict=False):
        if ours.endswith("...}") or theirs.endswith("...}"):
            return True
        if ours != theirs and not ours.startswith("{") and not theirs.startswith("{"):
            return False
    return len(left) == len(right)
