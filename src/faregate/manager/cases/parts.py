"""Parts of an entry that have names of their own: versions and routes of an API, targets of an upstream.

They are written as if each were an entry, with its own ETag, so that two people who change two routes of an
API do not meet. A route is named by its match: ``POST.payments.{id}.refunds``; a target by ``host:port``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from sqlalchemy.ext.asyncio import AsyncConnection

from faregate.kernel import canonical_json
from faregate.manager.cases.committing import Committing, Plan, Why
from faregate.manager.cases.configuration import Configuration, Precondition
from faregate.manager.cases.deprecating import dated
from faregate.manager.cases.differences import differences, masked, unmasked
from faregate.manager.cases.domain import Actor, Change, Content, Entry, Json, Revision, Section
from faregate.manager.cases.errors import Invalid, NotFound, PreconditionMissing, Stale

Kind: TypeAlias = Literal["versions", "routes", "targets"]
OF: Final[dict[Kind, Section]] = {"versions": "apis", "routes": "apis", "targets": "upstreams"}
NOUNS: Final[dict[Kind, str]] = {"versions": "version", "routes": "route", "targets": "target"}
_RESERVED: Final = frozenset({"by", "name", "default", "default_version"})
"""Members of ``versions`` by header that are no version."""


@dataclass(frozen=True, slots=True)
class Part:
    """One part as it stands."""

    name: str
    content: Json
    digest: str
    owner: Literal["file", "database"] = "database"


@dataclass(frozen=True, slots=True)
class Place:
    """Where parts are: of which entry, and for routes of a version, which version."""

    kind: Kind
    entry: str
    version: str = ""


def route_name(match: str) -> str:
    """``POST.payments.{id}`` of ``POST /payments/{id}``; a dot in a path is doubled."""
    method, _, path = match.partition(" ")
    segments = [segment.replace(".", "..") for segment in path.strip().split("/") if segment]
    return ".".join([method, *segments])


def target_name(content: Json) -> str:
    """``127.0.0.1:9001`` of ``http://127.0.0.1:9001``."""
    url = content.get("url") if isinstance(content, dict) else content
    return str(url).partition("://")[2].rstrip("/")


class Parts:
    """Use cases of parts; permission is that of the entry."""

    def __init__(self, configuration: Configuration, committing: Committing) -> None:
        self._configuration = configuration
        self._committing = committing

    async def part_list(self, actor: Actor, place: Place) -> Sequence[Part]:
        """All parts at ``place``, in their order. Raises NotFound."""
        entry = await self._configuration.entry_get(actor, OF[place.kind], place.entry)
        return [
            Part(name, content, self._digest(content), entry.owner)
            for name, content in _parts(entry.content, place).items()
        ]

    async def part_get(self, actor: Actor, place: Place, name: str) -> Part:
        """Raises NotFound."""
        for part in await self.part_list(actor, place):
            if part.name == name:
                return part
        raise NotFound(f"There is no such {NOUNS[place.kind]}.")

    async def part_put(  # noqa: PLR0913 - what is written, where, by whom and why
        self,
        actor: Actor,
        place: Place,
        name: str,
        content: Json,
        *,
        condition: Precondition,
        reason: str = "",
    ) -> tuple[Part, Revision | None]:
        """Makes or replaces one part. Raises as ``Configuration.entry_put``."""
        if place.kind == "versions" and name in _RESERVED:
            raise Invalid(f"A version cannot be named `{name}`.")

        def alter(whole: Content, parts: dict[str, Json]) -> Content:
            present = parts.get(name)
            self._demand(present, condition, place, name)
            told = content
            if isinstance(content, dict):
                told = unmasked(content, present if isinstance(present, dict) else None)
            if _name(place.kind, told, name) != name:
                raise Invalid(
                    f"This is not the {NOUNS[place.kind]} `{name}`: its name follows from what it says."
                )
            return _with(whole, place, {**parts, name: told})

        revision = await self._commit(actor, place, alter, reason)
        return await self.part_get(actor, place, name), revision

    async def part_delete(
        self, actor: Actor, place: Place, name: str, *, condition: Precondition, reason: str = ""
    ) -> Revision | None:
        """Removes one part. Raises as ``Configuration.entry_delete``."""

        def alter(whole: Content, parts: dict[str, Json]) -> Content:
            if name not in parts:
                raise NotFound(f"There is no such {NOUNS[place.kind]}.")
            self._demand(parts[name], condition, place, name)
            return _with(whole, place, {key: one for key, one in parts.items() if key != name})

        return await self._commit(actor, place, alter, reason)

    async def _commit(
        self,
        actor: Actor,
        place: Place,
        alter: Callable[[Content, dict[str, Json]], Content],
        reason: str,
    ) -> Revision | None:
        return await self._committing.commit(actor, Why("edit", reason), self._plan(actor, place, alter))

    def _plan(self, actor: Actor, place: Place, alter: Callable[[Content, dict[str, Json]], Content]) -> Plan:
        async def plan(connection: AsyncConnection) -> Sequence[Change]:
            entry = await self._configuration.writable(connection, actor, OF[place.kind], place.entry)
            if entry is None:
                raise NotFound(f"There is no such {'API' if OF[place.kind] == 'apis' else 'upstream'}.")
            change = _change(entry, alter(entry.content, _parts(entry.content, place)))
            return [dated(change, self._committing.clock())]

        return plan

    def _demand(self, present: Json, condition: Precondition, place: Place, name: str) -> None:
        if present is None:
            if condition.match:
                raise Stale("There is none any more.", diff=[])
            return
        digest = self._digest(present)
        if condition.absent:
            raise Stale("There is one already.", etag=digest, diff=[])
        if not condition.match:
            raise PreconditionMissing("Say which state is meant: If-Match with the ETag that was read.")
        if condition.match not in {"*", digest}:
            shown = Change(OF[place.kind], f"{place.entry}.{place.kind}.{name}", None, _mapping(present))
            found = [one.as_json() for one in differences(shown, self._committing.hashed)]
            raise Stale("It was changed since; this is what stands there now.", etag=digest, diff=found)

    def _digest(self, content: Json) -> str:
        shown = masked({"part": content})
        return self._committing.envelope.keyed_hash(canonical_json.encode(shown).encode(), "etag part")


def _mapping(content: Json) -> Content:
    return content if isinstance(content, dict) else {"value": content}


def _change(entry: Entry, content: Content) -> Change:
    return Change(entry.section, entry.name, entry.content, content, entry.team, entry.team)


def _holder(whole: Mapping[str, Json], place: Place) -> Mapping[str, Json]:
    """What the parts stand in: the entry, or one of its versions. Raises NotFound."""
    if not place.version:
        return whole
    versions = whole.get("versions")
    version = versions.get(place.version) if isinstance(versions, dict) else None
    if not isinstance(version, dict) or place.version in _RESERVED:
        raise NotFound("There is no such version.")
    return version


def _parts(whole: Mapping[str, Json], place: Place) -> dict[str, Json]:
    held = _holder(whole, place).get(place.kind)
    if place.kind == "versions":
        found = held if isinstance(held, dict) else {}
        return {name: one for name, one in found.items() if not (_by_header(found) and name in _RESERVED)}
    return {_name(place.kind, one, ""): one for one in held} if isinstance(held, list) else {}


def _by_header(versions: Mapping[str, Json]) -> bool:
    return isinstance(versions.get("by"), str)


def _name(kind: Kind, content: Json, otherwise: str) -> str:
    if kind == "routes":
        return route_name(str(content.get("match", "") if isinstance(content, dict) else ""))
    return target_name(content) if kind == "targets" else otherwise


def _with(whole: Content, place: Place, parts: Mapping[str, Json]) -> Content:
    if place.kind == "versions":
        held = whole.get("versions")
        kept = (
            {name: one for name, one in held.items() if name in _RESERVED}
            if isinstance(held, dict) and _by_header(held)
            else {}
        )
        return {**whole, "versions": {**kept, **parts}}
    listed: list[Json] = list(parts.values())
    if not place.version:
        return {**whole, place.kind: listed}
    versions = whole["versions"]
    assert isinstance(versions, dict)
    version = versions[place.version]
    assert isinstance(version, dict)
    return {**whole, "versions": {**versions, place.version: {**version, place.kind: listed}}}
