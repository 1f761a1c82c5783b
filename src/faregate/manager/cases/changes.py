"""Change requests: looked at, taken up, decided on by a second person, withdrawn, and brought about.

Nobody decides on what is theirs, by person and whatever they sign in with; neither does a token. Approved
requests are brought about at once, or at their hour within their window. One whose base is stale is judged
anew: when it would do the same it goes on, when not it is filed again and shown again. ``holding`` has the
last word on each.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from faregate.manager.cases import permits
from faregate.manager.cases.access import reading, writing
from faregate.manager.cases.authors import author_now, demand_author, demand_places
from faregate.manager.cases.committing import Committing, Why
from faregate.manager.cases.domain import Actor, Change, Json, Revision, Section
from faregate.manager.cases.errors import (
    CaseError,
    Conflict,
    FileOwned,
    Forbidden,
    NotFound,
    Stale,
    Unavailable,
)
from faregate.manager.cases.holding import Filed, Holding, places_of, unpersoned
from faregate.manager.cases.second_factor import demand_fresh
from faregate.manager.database import changes as rows
from faregate.manager.database import people as people_rows
from faregate.manager.database.changes import OPEN, ChangeState, Decision, Request

PAGE_MAX: Final = 200
_LOG: Final = logging.getLogger("faregate.manager")

ActForPeople = Callable[[AsyncConnection, Actor, Mapping[str, Json]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Shown:
    """A request as it is shown, and what was said of it."""

    request: Request
    differences: Sequence[dict[str, Json]]
    decisions: Sequence[Decision]


class Changes:
    """The use cases. ``for_people`` brings about what changes people."""

    def __init__(self, committing: Committing, holding: Holding, for_people: ActForPeople) -> None:
        self._committing = committing
        self._holding = holding
        self._for_people = for_people

    async def change_list(
        self, actor: Actor, *, state: str = "", before: str = "", size: int = 100
    ) -> tuple[list[Request], str]:
        """Requests that ``actor`` may see, the newest first, and the place to go on from."""
        permits.demand_anywhere(actor, "see")
        size = min(size, PAGE_MAX)
        found: list[Request] = []
        async with reading(self._committing.database) as connection:
            while len(found) <= size:
                page = await rows.page(connection, before=before, state=state, size=size + 1)
                found += [one for one in page if _sees(actor, one)]
                if len(page) <= size:
                    break
                before = page[-1].id
        return found[:size], found[size - 1].id if len(found) > size else ""

    async def change_get(self, actor: Actor, name: str) -> Shown:
        """Raises NotFound."""
        async with reading(self._committing.database) as connection:
            request = await self._seen(connection, actor, name)
            decisions = await rows.decided(connection, name)
        return Shown(request, msgspec.json.decode(request.diff), decisions)

    async def change_propose(self, actor: Actor, name: str) -> Shown:
        """A person makes a draft theirs, so that another may approve it. Raises NotFound, Forbidden,
        Conflict.
        """
        if unpersoned(actor):
            raise Forbidden("A person proposes: sign in.")
        async with writing(self._committing.database) as connection:
            request = await self._seen(connection, actor, name)
            for place in request.places:
                permits.demand(actor, "write", place, noun="change request")
            _demand_state(request, "draft")
            await self._holding.record("change.proposed", actor, replace(request, author=actor.person))
            await rows.put(connection, name, {"state": "proposed", "author": actor.person}, "draft")
        return await self.change_get(actor, name)

    async def change_decide(
        self,
        actor: Actor,
        name: str,
        verdict: Literal["approved", "rejected"],
        *,
        bound: str,
        reason: str = "",
    ) -> Shown:
        """Approves or rejects what has the hash ``bound``; the last approval brings it about, or sets it for
        its hour. Raises NotFound, Forbidden, SecondFactorNeeded, Stale, Conflict.
        """
        async with writing(self._committing.database) as connection:
            request = await self._seen(connection, actor, name)
            self._demand_decider(actor, request)
            _demand_state(request, "proposed")
            now = self._committing.clock()
            if request.expires_ms <= now:
                raise Conflict("It has expired; file it anew.")
            if bound != request.hash:
                raise Stale("This is not what was shown to you; look again.", hash=request.hash)
            decisions = list(await rows.decided(connection, name))
            if any(one.person == actor.person for one in decisions):
                raise Conflict("You have decided on it.")
            await self._holding.record(f"change.{verdict}", actor, request, comment=reason)
            decision = Decision(actor.person, verdict, bound, reason[:1000], now)
            await rows.decide(connection, name, decision)
            state: ChangeState = "proposed"
            if verdict == "rejected":
                state = "rejected"
            else:
                valid = await self._holding.valid_approvals(connection, request, [*decisions, decision])
                if valid >= max(request.approvals, 1):
                    state = "approved"
            if state != "proposed":
                await rows.put(connection, name, {"state": state}, "proposed")
        if state == "approved" and request.activate_ms <= now:
            await self._bring_about(name, actor)
        return await self.change_get(actor, name)

    async def change_withdraw(self, actor: Actor, name: str) -> Shown:
        """By its author, or an owner. Raises NotFound, Forbidden, Conflict."""
        async with writing(self._committing.database) as connection:
            request = await self._seen(connection, actor, name)
            if request.author != actor.person and not permits.may(actor, "own"):
                raise Forbidden("Its author withdraws it, or an owner.")
            _demand_state(request, *OPEN)
            await self._holding.record("change.withdrawn", actor, request)
            await rows.put(connection, name, {"state": "withdrawn"}, *OPEN)
        return await self.change_get(actor, name)

    async def run_due(self) -> None:
        """Brings about what is approved and due, and ends what has run out. Raises Unavailable."""
        now = self._committing.clock()
        async with reading(self._committing.database) as connection:
            found = await rows.due(connection, now)
        manager = Actor("manager", (), "manager")
        for name, over in found:
            if over:
                await self._end(name, manager, "")
            else:
                await self._bring_about(name, manager)

    async def _bring_about(self, name: str, actor: Actor) -> None:
        """Does what was approved, or notes why it cannot be done any more. Raises Unavailable."""
        try:
            await self._apply(name, actor)
        except Unavailable:
            raise
        except Stale as error:
            try:
                await self._file_again(name, actor, error.detail)
            except Conflict as refused:
                await self._end(name, actor, refused.detail, refused.code)
        except CaseError as error:
            await self._end(name, actor, error.detail, error.code)

    async def _apply(self, name: str, actor: Actor) -> None:
        async with reading(self._committing.database) as connection:
            request = await rows.get(connection, name)
            if request is None or request.state != "approved":
                return
            author = await author_now(connection, request, actor.address, actor.request_id)
        content = self._holding.opened(request)
        if request.subject == "people":
            await self._apply_people(request, author, content)
            return

        async def plan(connection: AsyncConnection) -> Sequence[Change]:
            present = await rows.get(connection, name)
            assert present is not None
            _demand_state(present, "approved")
            planned = await self._planned(connection, content)
            there = await author_now(connection, present)  # under the turn: as it is when it comes about
            await demand_author(self._committing, connection, there, present, planned)
            return planned

        async def also(connection: AsyncConnection, revision: object) -> None:
            number = revision.number if isinstance(revision, Revision) else None
            await rows.put(connection, name, {"state": "applied", "revision": number}, "approved")

        back = content.get("rolled_back_to")
        why = Why(
            request.kind,
            request.reason,
            back if isinstance(back, int) else None,
            name,
            str(content.get("origin", "api")),
            bool(content.get("force")),
        )
        await self._committing.commit(author, why, plan, also)

    async def _apply_people(self, request: Request, author: Actor, content: Mapping[str, Json]) -> None:
        async with writing(self._committing.database) as connection:
            present = await rows.get(connection, request.id)
            assert present is not None
            _demand_state(present, "approved")
            demand_places(await author_now(connection, present), present, "own")
            await self._holding.demand_approved(connection, present, 0)
            await self._holding.record("change.applied", author, request)
            await self._for_people(connection, author, content)
            await rows.put(connection, request.id, {"state": "applied"}, "approved")

    async def _planned(self, connection: AsyncConnection, content: Mapping[str, Json]) -> list[Change]:
        committing = self._committing
        listed = content["changes"]
        assert isinstance(listed, list)
        planned = []
        for one in listed:
            assert isinstance(one, dict)
            section: Section = one["section"]  # type: ignore[assignment]  # as it was filed
            name, after = str(one["name"]), one["after"]
            if name in await committing.compiler.file_names(section):
                raise FileOwned(f"{section}.{name} stands in the file that the gateway runs with by now.")
            entry = await committing.entries.get(connection, section, name)
            planned.append(
                Change(
                    section,
                    name,
                    None if entry is None else entry.content,
                    after if isinstance(after, dict) else None,
                    str(one["team"]),
                    "" if entry is None else entry.team,
                )
            )
        return planned

    async def _file_again(self, name: str, actor: Actor, cause: str) -> None:
        """Files anew what a change that went first made into something else."""
        async with writing(self._committing.database) as connection:
            request = await rows.get(connection, name)
            if request is None or request.state != "approved":
                return
            if not request.approvals:  # nobody has to look at it, and its author has not seen this
                raise Conflict(cause)
            content = self._holding.opened(request)
            planned = await self._planned(connection, content)
            _, found = self._committing.digest_of(planned)
            user = await people_rows.user_get(connection, request.author)
            again = Actor(
                request.author,
                (),
                f"change/{name}",
                user is not None and user.service,
                address=actor.address,
                request_id=actor.request_id,
                activate_ms=request.activate_ms if request.activate_ms > self._committing.clock() else 0,
                window_ms=request.window_ms,
            )
            kept = {key: one for key, one in content.items() if key not in {"activate_ms", "window_ms"}}
            risk = await self._holding.risk_now(connection, planned)
            needed = max(request.approvals, self._holding.needed(risk, request.kind))
            filed = Filed("config", request.kind, request.reason, risk, kept, found, places_of(planned))
            held = await self._holding.file(connection, again, filed, needed)
            values = {
                "state": "expired",
                "failure": cause,
                "failure_code": Stale.code,
                "replaced_by": held.request,
            }
            await self._holding.record("change.expired", actor, request, replaced_by=held.request)
            await rows.put(connection, name, values, "approved")

    async def _end(self, name: str, actor: Actor, failure: str, code: str = "") -> None:
        async with writing(self._committing.database) as connection:
            request = await rows.get(connection, name)
            if request is None or request.state not in OPEN:
                return
            await self._holding.record("change.expired", actor, request, failure=failure, code=code)
            values = {"state": "expired", "failure": failure[:1000], "failure_code": code}
            await rows.put(connection, name, values, *OPEN)
        if failure:
            _LOG.warning("change request %s could not be applied: %s", name, failure)

    def _demand_decider(self, actor: Actor, request: Request) -> None:
        if unpersoned(actor) or not actor.credential.startswith("session:"):
            raise Forbidden("A person decides, signed in; no token does.")
        if actor.person == request.author:
            raise Forbidden("A second person decides: this is yours.")
        if actor.break_glass:
            raise Forbidden("Nobody decides on others' changes while their own need no approval.")
        for place in request.places:
            permits.demand(actor, "decide", place, noun="change request")
        demand_fresh(actor, self._committing.clock())

    async def _seen(self, connection: AsyncConnection, actor: Actor, name: str) -> Request:
        request = await rows.get(connection, name)
        if request is None or not _sees(actor, request):
            raise NotFound("There is no such change request.")
        return request


def _sees(actor: Actor, request: Request) -> bool:
    if actor.person == request.author and not actor.service:
        return True
    return all(permits.may(actor, "see", place) for place in request.places)


def _demand_state(request: Request, *states: ChangeState) -> None:
    if request.state not in states:
        raise Conflict(f"It is {request.state}.", state=request.state)
