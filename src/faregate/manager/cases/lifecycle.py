"""The life of versions: draft, active, deprecated, retired; and what guards its callers.

Whichever way a change comes, by the state's own operation, a written entry, an applied file or a rollback, a
version that is still called is not retired or removed, and an active version's contract is not broken, unless
somebody says so by force. What is asked of usage is a week: merchants who settle on Fridays are seen.
"""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Literal, TypeAlias

from sqlalchemy.ext.asyncio import AsyncConnection

from faregate.manager.cases import contracts
from faregate.manager.cases.committing import Ahead, Committing, Why
from faregate.manager.cases.configuration import Configuration, Precondition
from faregate.manager.cases.deprecating import dated
from faregate.manager.cases.domain import Actor, Change, Content, Json, Revision
from faregate.manager.cases.errors import Conflict, NotFound, PreconditionMissing, Stale, StillUsed
from faregate.manager.cases.standing import HOUR_MS
from faregate.manager.cases.tools import folder_of_files
from faregate.manager.database.gateways import usage_since

State: TypeAlias = Literal["draft", "active", "deprecated", "retired"]

USED_HOURS: Final = 24 * 7
CALLERS_SHOWN_MAX: Final = 50
COMPARED_AT_ONCE: Final = 2
"""Comparisons of contracts, each a process."""
_NEXT: Final[Mapping[State, frozenset[State]]] = {
    "draft": frozenset({"active"}),
    "active": frozenset({"deprecated"}),
    "deprecated": frozenset({"active", "retired"}),
    "retired": frozenset({"deprecated"}),
}
"""What follows what; each step but the first can be taken back."""


class Lifecycle:
    """``guard`` belongs to every commit; the use case changes a version's state."""

    def __init__(self, configuration: Configuration, committing: Committing, data: Path) -> None:
        self._configuration = configuration
        self._committing = committing
        self._data = data
        self._comparing = asyncio.Semaphore(COMPARED_AT_ONCE)

    async def version_state(  # noqa: PLR0913 - a state has its dates
        self,
        actor: Actor,
        api: str,
        version: str,
        state: State,
        *,
        members: Mapping[str, Json],
        condition: Precondition,
        force: bool = False,
        reason: str = "",
    ) -> Revision | None:
        """Moves a version to ``state``; ``members``: deprecated_at, sunset_at, successor. Raises StillUsed,
        Conflict, NotFound, Stale.
        """

        async def plan(connection: AsyncConnection) -> Sequence[Change]:
            entry = await self._configuration.writable(connection, actor, "apis", api)
            if entry is None:
                raise NotFound("There is no such API.")
            if not condition.match:
                raise PreconditionMissing("Say which state is meant: If-Match with the API's ETag.")
            if condition.match not in {"*", entry.digest}:
                raise Stale(f"The API was changed by revision {entry.revision} since.", etag=entry.digest)
            versions = entry.content.get("versions")
            present = versions.get(version) if isinstance(versions, dict) else None
            if not isinstance(versions, dict) or not isinstance(present, dict):
                raise NotFound("There is no such version.")
            before = state_of(present)
            if state != before and state not in _NEXT[before] and not force:
                steps = " or ".join(sorted(_NEXT[before]))
                raise Conflict(f"A version that is {before} becomes {steps}; anything else needs force.")
            told = {
                **present,
                **{key: one for key, one in members.items() if one is not None},
                "state": state,
            }
            content: Content = {**entry.content, "versions": {**versions, version: told}}
            change = Change("apis", api, entry.content, content, entry.team, entry.team)
            return [dated(change, self._committing.clock())]

        return await self._committing.commit(actor, Why("edit", reason, force=force), plan)

    async def guard(self, connection: AsyncConnection, why: Why, changes: Sequence[Change]) -> None:
        """Raises StillUsed; Ahead for contracts that are to be compared, and that raises Breaking."""
        if why.force:
            return
        pairs: list[contracts.Pair] = []
        for change in changes:
            if change.section == "apis" and change.before is not None:
                pairs += await self._guard_api(connection, change.name, change.before, change.after or {})
        digests = frozenset(one.digest for one in pairs)
        if not digests <= why.settled:

            async def settle() -> frozenset[str]:
                folder = await asyncio.to_thread(folder_of_files, self._data)
                await contracts.demand_compatible(pairs, self._comparing, folder)
                return digests

            raise Ahead(settle)

    async def _guard_api(
        self, connection: AsyncConnection, api: str, before: Content, after: Content
    ) -> list[contracts.Pair]:
        """The contracts that are to be compared."""
        pairs: list[contracts.Pair] = []
        former, present = versions_of(before), versions_of(after)
        for name, version in former.items():
            state = state_of(version)
            ends = name not in present or (state_of(present[name]) == "retired")
            if ends and state in {"active", "deprecated"}:
                await self._demand_unused(connection, api, name)
            if state == "active" and name in present and state_of(present[name]) == "active":
                old = version.get("openapi", before.get("openapi"))
                new = present[name].get("openapi", after.get("openapi"))
                told = any(old is pair.old and new is pair.new for pair in pairs)
                if isinstance(old, dict | str) and isinstance(new, dict | str) and not told and old != new:
                    pairs.append(contracts.Pair(f"{api}/{name}", old, new))
        return pairs

    async def _demand_unused(self, connection: AsyncConnection, api: str, version: str) -> None:
        since = self._committing.clock() // HOUR_MS - USED_HOURS
        callers = await usage_since(connection, since, api=api, version=version, size=CALLERS_SHOWN_MAX)
        if callers:
            shown = [
                {
                    "consumer": one.consumer,
                    "credential": one.credential,
                    "calls": one.calls,
                    "last_ms": one.last_ms,
                }
                for one in callers
            ]
            raise StillUsed(
                f"{api}/{version} was called with {len(callers)} credential{'s' * (len(callers) != 1)} "
                "in the last week; force ends it all the same.",
                callers=shown,
            )


def versions_of(content: Content) -> dict[str, Content]:
    """The versions of an API, however they are chosen."""
    versions = content.get("versions")
    if not isinstance(versions, dict):
        return {}
    return {name: one for name, one in versions.items() if isinstance(one, dict)}


def state_of(version: Content) -> State:
    state = version.get("state", "active")
    return state if state in {"draft", "active", "deprecated", "retired"} else "active"  # type: ignore[return-value]  # one of them
