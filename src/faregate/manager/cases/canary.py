"""A change tried on some of the calls before it is made: watched, taken back by itself when it is worse, or
promoted.

A canary is what ``apply`` would make of a tree, compiled and not committed: its number is the one that the
revision gets when it is promoted, and no other revision ever has it. It lives in this process, which keeps
asking the gateway for it; without a manager the gateway ends it. Whatever else is committed meanwhile ends it
too, since it was made of what was there before; so does the end of the right by which it began. On this
machine only: others follow when it is promoted.
"""

import asyncio
import contextlib
import sys
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal, TypeAlias

from sqlalchemy.ext.asyncio import AsyncConnection

from faregate.manager.cases import permits
from faregate.manager.cases.access import reading
from faregate.manager.cases.applying import Applying
from faregate.manager.cases.committing import Committing, Plan, Why, errors_of, summary
from faregate.manager.cases.domain import EVERYWHERE, Actor, Change, Content, Json, Revision
from faregate.manager.cases.errors import CaseError, Conflict, Held, Invalid, NotFound, Stale, Unavailable
from faregate.manager.cases.judging import Judge, numbers, worse
from faregate.manager.cases.ports import Trial
from faregate.manager.database import people as people_rows
from faregate.manager.database import revisions as revision_rows
from faregate.manager.database.engine import DatabaseError
from faregate.manager.people.authenticator import narrowed

LEASE_S: Final = 30.0
KEEP_S: Final = 2.0
LOOK_S: Final = 0.5
FOR_S_MAX: Final = 24 * 3600.0
PERCENT_MAX: Final = 99
"""The rest is what it is compared with."""
CONSUMERS_MAX: Final = 100
_OVERTAKEN: Final = "The gateway has ended it: something else was put to work."

State: TypeAlias = Literal["running", "promoted", "stopped", "abandoned"]
PlanFor: TypeAlias = Callable[[Actor], Plan]
Holds: TypeAlias = Callable[[AsyncConnection, Actor, Why, Sequence[Change]], Coroutine[object, object, bool]]


@dataclass(frozen=True, slots=True)
class Wish:
    """Whose calls, for how many seconds, and whether it is promoted at their end when nothing speaks against
    it.
    """

    percent: int = 0
    consumers: tuple[str, ...] = ()
    for_s: float = 600.0
    promote: bool = False


@dataclass(slots=True)
class Run:
    """A canary, or what came of the last one. ``base``: the revision that it is made of. ``state`` stopped:
    because it was worse.
    """

    number: int
    base: int
    wish: Wish
    actor: Actor
    why: Why
    plan: PlanFor = field(repr=False)
    places: Sequence[frozenset[str]]
    digest: str
    began_ms: int
    began: float
    judge: Judge = field(default_factory=Judge)
    state: State = "running"
    reason: str = ""
    ended_ms: int = 0
    promoting: bool = False


class Canary:
    """The use cases. ``trial``: None where there is no gateway. ``holds``: whether a change would wait for a
    second person.
    """

    def __init__(
        self, committing: Committing, applying: Applying, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.trial: Trial | None = None
        self.holds: Holds | None = None
        self.taken = 0
        """Numbers up to this one are taken, by canaries."""
        self._committing = committing
        self._applying = applying
        self._monotonic = monotonic
        self._run: Run | None = None
        self._starting = asyncio.Lock()
        self._watch: asyncio.Task[None] | None = None

    async def start(  # noqa: PLR0913 - what apply takes, and the wish
        self,
        actor: Actor,
        tree: Mapping[str, Mapping[str, Content]],
        wish: Wish,
        *,
        team: str = "",
        reason: str = "",
        base: int | None = None,
        force: bool = False,
    ) -> Run:
        """Runs what ``apply`` would make of ``tree`` for the calls of ``wish``. Raises as ``apply``; Conflict
        when one runs already, when nothing would change, when it needs a second person, or when the gateway
        does not take it.
        """
        permits.demand_anywhere(actor, "write")
        _check(wish)
        trial = self._there()
        why = Why("apply", reason, origin="apply", force=force)
        async with self._starting:
            if self._run is not None and self._run.state == "running":
                raise Conflict(f"Canary {self._run.number} runs: promote or abandon it first.")

            def plan(by: Actor) -> Plan:
                return self._applying.applying(by, tree, team)

            run = await self._committing.settled(
                why, lambda settled: self._prepare(actor, settled, plan, wish, base)
            )
            try:
                number = await trial.begin(run.number, wish.percent, wish.consumers, LEASE_S)
            except CaseError as error:
                await self._ended(run, "abandoned", error.detail, "manager")
                raise
            self.taken = max(self.taken, number)
            run.number, run.began, run.began_ms = number, self._monotonic(), self._committing.clock()
            self._run = run
            self._watch = asyncio.create_task(self._watched(run))
        return run

    async def _prepare(self, actor: Actor, why: Why, plan: PlanFor, wish: Wish, base: int | None) -> Run:
        committing = self._committing
        assert self.trial is not None
        try:
            async with committing.database.reading() as connection:
                await committing.follow(connection)
                head = await revision_rows.head(connection)
                if base is not None and base != head:
                    raise Stale(f"Revision {head} came since revision {base}; plan again.", revision=head)
            judged = await committing.check(plan(actor), actor)
            if judged.errors:
                raise Invalid(summary(judged.errors), judged.errors)
            changes = judged.changes
            if not changes:
                raise Conflict("It would change nothing.")
            async with committing.database.reading() as connection:
                for guard in committing.guards:
                    await guard(connection, why, changes)
                if self.holds is not None and await self.holds(connection, actor, why, changes):
                    raise Conflict("It needs a second person's approval before calls meet it.")
        except DatabaseError as error:
            raise Unavailable(str(error)) from error
        number = max(head, committing.least_number()) + 1
        wrong = errors_of(await self.trial.prepare([change.for_compiler() for change in changes], number))
        if wrong:
            async with reading(committing.database) as connection:
                raise await committing.refusal(connection, actor, changes, wrong)
        digest, _ = committing.digest_of(changes)
        detail: dict[str, Json] = {
            "credential": actor.credential,
            "from": actor.address,
            "request_id": actor.request_id,
            "reason": why.reason,
            "digest": digest,
            "changes": len(changes),
            "percent": wish.percent,
            "consumers": list(wish.consumers),
        }
        await committing.audit.append("canary.started", actor.person, f"canary/{number}", detail)
        self.taken = max(self.taken, number)
        places = [
            permits.scopes_of(change.section, change.name, team)
            for change in changes
            for team in {change.team, change.team_before}
        ]
        return Run(number, head, wish, actor, why, plan, places, digest, 0, 0.0)

    def status(self, actor: Actor) -> Run:
        """The canary that runs, or the last one. Raises NotFound, Forbidden."""
        permits.demand_anywhere(actor, "see")
        run = self._run
        if run is None or not any(permits.may(actor, "see", places) for places in run.places):
            raise NotFound("There is no canary.")
        return run

    async def promote(self, actor: Actor, *, reason: str = "") -> Revision | None:
        """Commits what the canary runs, as ``actor`` may, and gives it all calls. Raises as ``apply``."""
        run = self._running(actor)
        return await self._promote(run, actor, reason or run.why.reason)

    async def abandon(self, actor: Actor, *, reason: str = "") -> Run:
        """Gives all calls to the running revision again. Raises NotFound, Forbidden."""
        run = self._running(actor)
        await self._end(run, "abandoned", reason or "It was called off.", actor.person)
        return run

    async def close(self) -> None:
        """This process ends, and with it the canary."""
        if self._run is not None and self._run.state == "running":
            await self._end(self._run, "abandoned", "The manager ends.", "manager")
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)

    def _running(self, actor: Actor) -> Run:
        permits.demand_anywhere(actor, "write")
        run = self.status(actor)
        if actor.person != run.actor.person:
            for places in run.places:
                permits.demand(actor, "write", places or (EVERYWHERE,), noun="canary")
        if run.state != "running":
            raise Conflict(f"Canary {run.number} has ended: {run.reason}")
        return run

    def _there(self) -> Trial:
        if self.trial is None:
            raise Unavailable("There is no gateway here that could run a canary.")
        return self.trial

    # while it runs

    async def _watched(self, run: Run) -> None:
        kept = self._monotonic()
        while run.state == "running":
            await asyncio.sleep(LOOK_S)
            if run.promoting or run.state != "running":
                continue
            now = self._monotonic()
            try:
                if now - kept >= KEEP_S:
                    if not await self._there().keep(run.number):
                        await self._end(run, "abandoned", _OVERTAKEN)
                        break
                    kept = now
            except (OSError, CaseError):
                if now - kept >= LEASE_S:
                    await self._end(run, "abandoned", "The gateway does not answer.")
                    break
            try:
                await self.look(run)
            except CaseError as error:
                await self._end(run, "abandoned", error.detail)

    async def look(self, run: Run) -> None:
        """Judges what has come by now, and does what follows."""
        if not self._watching(run):
            return
        seconds = self._monotonic() - run.began
        old, new = self._there().arms()
        run.judge.look(old, new, seconds)
        ground = run.judge.verdict()
        if ground:
            await self._end(run, "stopped", worse(run.judge, ground))
        elif self._committing.seen != run.base:
            await self._end(run, "abandoned", f"Revision {self._committing.seen} came meanwhile.")
        else:
            over = seconds >= run.wish.for_s
            lost, actor = await self._now(run, needed=over and run.wish.promote)
            if not self._watching(run):  # somebody was quicker
                return
            if lost:
                await self._end(run, "abandoned", lost)
            elif over and run.wish.promote:
                await self._promote(run, actor, run.why.reason)
            elif over:
                await self._end(run, "abandoned", "Its time is over, and nothing speaks against it.")

    @staticmethod
    def _watching(run: Run) -> bool:
        return run.state == "running" and not run.promoting

    async def _now(self, run: Run, *, needed: bool) -> tuple[str, Actor]:
        """Why who began it may not do so any more, empty where it holds; and who that is now: with the roles
        of now, and without break-glass. Raises Unavailable where it must be ``needed``.
        """
        actor = run.actor
        if actor.machine:
            return "", actor
        lost = ""
        kind, _, token = actor.credential.partition(" ")[0].partition(":")
        now = self._committing.clock()
        try:
            async with reading(self._committing.database) as connection:
                user = await people_rows.user_get(connection, actor.person)
                held = await people_rows.token_get(connection, token) if kind == "token" else None
                if actor.break_glass:
                    glass = await people_rows.glass_get(connection, actor.break_glass)
                    if glass is None or glass.until_ms <= now:
                        lost = "The break-glass under which it began has ended."
        except Unavailable:
            if needed or actor.break_glass:
                raise
            return "", actor
        if user is None or user.state != "active":
            return f"{actor.person}, who began it, is no user any more.", actor
        if kind == "token" and (held is None or held.expires_ms <= now):
            return "The token that began it has ended.", actor
        grants = narrowed(user.grants, held.roles) if held is not None and held.roles else user.grants
        return lost, replace(actor, grants=grants, credential=f"{kind}:{token}", break_glass="")

    async def _promote(self, run: Run, actor: Actor, reason: str) -> Revision | None:
        if run.promoting:
            raise Conflict(f"Canary {run.number} is being promoted.")
        run.promoting = True
        failed = "It could not be promoted."
        revision: Revision | None = None

        async def plan(connection: AsyncConnection) -> Sequence[Change]:
            head = await revision_rows.head(connection)
            if head != run.base or run.state != "running":
                raise Stale(f"Revision {head} came since canary {run.number} began.", revision=head)
            changes = await run.plan(actor)(connection)
            self.taken = run.number - 1  # its own number is what it gets
            return changes

        try:
            why = Why("apply", reason, origin="apply", force=run.why.force)
            revision = await self._committing.commit(actor, why, plan)
        except Held as held:
            failed = f"It waits for a second person as change request {held.request}."
            raise
        except CaseError as error:
            failed = f"It could not be promoted: {error.detail}"
            raise
        finally:
            self.taken = max(self.taken, run.number)
            run.promoting = False
            if revision is None:
                await self._end(run, "abandoned", failed)
            else:
                await self._ended(run, "promoted", f"It is revision {revision.number}.", actor.person)
        return revision

    async def _end(self, run: Run, state: State, reason: str, by: str = "manager") -> None:
        if run.state != "running":
            return
        run.state, run.reason = state, reason
        with contextlib.suppress(OSError):  # then its lease ends it
            await self._there().end(reason)
        await self._ended(run, state, reason, by)

    async def _ended(self, run: Run, state: State, reason: str, by: str) -> None:
        run.state, run.reason, run.ended_ms = state, reason, self._committing.clock()
        detail: dict[str, Json] = {"state": state, "reason": reason, "digest": run.digest}
        detail |= numbers(run.judge)
        try:
            await self._committing.audit.append("canary.ended", by, f"canary/{run.number}", detail)
        except CaseError as error:  # it has ended all the same: calls come before records of them
            said = f"the end of canary {run.number} is not recorded: {error}"
            print(f"faregate: manager: {said}", file=sys.stderr)  # noqa: T201


def _check(wish: Wish) -> None:
    if not 0 <= wish.percent <= PERCENT_MAX or not (wish.percent or wish.consumers):
        raise Invalid("A canary has 1 to 99 percent of calls, or the calls of named consumers.")
    if len(wish.consumers) > CONSUMERS_MAX:
        raise Invalid(f"More than {CONSUMERS_MAX} consumers are named.")
    if not 1.0 <= wish.for_s <= FOR_S_MAX:
        raise Invalid("A canary lasts from a second to a day.")
