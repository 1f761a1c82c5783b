"""The one way in which the configuration changes: judged, compiled, audited and committed, or not at all.

The order is what makes it so. Under the writer's lock the caller's ``plan`` reads what is and says what shall
be; the compiler takes it or names every error; rows are written; the audit leaf is durable; only then is
the transaction committed. What fails on the way undoes what came before it. The leaf is the one thing that
cannot be undone: ``Intent`` remembers its act on disk, and a start that finds an act which was never
committed adds a leaf that says so. Publishing follows by itself and is nobody's condition.
"""

import asyncio
import hashlib
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from faregate.kernel import canonical_json
from faregate.manager.cases.differences import differences
from faregate.manager.cases.domain import Actor, Change, Json, Revision, compiled_change
from faregate.manager.cases.errors import Conflict, Held, Invalid, Stale, Unavailable
from faregate.manager.cases.leaves import told_differences
from faregate.manager.cases.ports import Audit, Clock, Compiler, Diagnostic, Envelope, Publisher
from faregate.manager.cases.teams import Teams
from faregate.manager.database import revisions as revision_rows
from faregate.manager.database.engine import Database, DatabaseError
from faregate.manager.database.entries import Entries

REASON_CHARACTERS_MAX: Final = 1000
SETTLED_MAX: Final = 4
"""How often a commit is begun: what was found out ahead may be of a state that is gone."""

_T = TypeVar("_T")
Plan = Callable[[AsyncConnection], Awaitable[Sequence[Change]]]
Guard = Callable[[AsyncConnection, "Why", Sequence[Change]], Awaitable[None]]
"""Raises what must not be, or ``Ahead`` for what takes long to know."""
Gate = Callable[[AsyncConnection, Actor, "Why", Sequence[Change]], Awaitable[Held | None]]
"""Decides whether changes take effect now: None, or how they wait. Its own rows are committed either way."""
Also = Callable[[AsyncConnection, "Revision | Held | None"], Awaitable[None]]
"""Writes more in the same transaction: what came of it, None where nothing changes."""


class Intent:
    """The act that is being audited, in a small file: what a start must know of an end in between."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def begin(self, act: str) -> None:
        self._path.write_text(act, "ascii")

    def end(self) -> None:
        self._path.unlink(missing_ok=True)

    def left(self) -> str:
        """An act that may not have been committed, empty when there is none."""
        with suppress(OSError, UnicodeDecodeError):
            return self._path.read_text("ascii")
        return ""


class Ahead(Exception):  # noqa: N818 - no failure
    """Raised by a guard that must know something first, which is found without the writer's turn. ``settle``
    raises what must not be, and answers with what is known then, for ``Why.settled``.
    """

    def __init__(self, settle: Callable[[], Awaitable[frozenset[str]]]) -> None:
        super().__init__("to be settled ahead")
        self.settle = settle


@dataclass(frozen=True, slots=True)
class Why:
    """What stands behind a change. ``kind``: edit, apply, rollback, credential."""

    kind: str
    reason: str = ""
    rolled_back_to: int | None = None
    change_request: str | None = None
    origin: str = "api"
    force: bool = False
    """What guards callers is told to stand aside."""
    settled: frozenset[str] = frozenset()
    """What guards found out ahead (``Ahead``)."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What ``check`` finds: all errors, and what would change."""

    diagnostics: Sequence[Diagnostic]
    changes: Sequence[Change]

    @property
    def errors(self) -> list[Diagnostic]:
        return errors_of(self.diagnostics)


def errors_of(diagnostics: Sequence[Diagnostic]) -> list[Diagnostic]:
    return [one for one in diagnostics if one.get("level") == "error"]


class Committing:
    """Commits changes one after another. Its parts are shared with those who only read."""

    def __init__(  # noqa: PLR0913, PLR0917 - it ties together as many
        self,
        database: Database,
        entries: Entries,
        compiler: Compiler,
        publisher: Publisher,
        audit: Audit,
        envelope: Envelope,
        clock: Clock,
        intent: Intent,
        turn: asyncio.Lock,
    ) -> None:
        self.database = database
        self.entries = entries
        self.compiler = compiler
        self.publisher = publisher
        self.audit = audit
        self.envelope = envelope
        self.teams = Teams(entries, compiler)
        self.clock = clock
        self._intent = intent
        self.turn = turn
        """Held while compiler and database may differ."""
        self.guards: list[Guard] = []
        self.gate: Gate | None = None
        self._at_work: set[asyncio.Future[Revision | None]] = set()
        self._ended: list[Mapping[str, object]] = []
        self.seen = 0
        """The newest revision that compiler and publisher know."""
        self.least_number: Callable[[], int] = lambda: 0
        """Numbers up to this one are taken on this machine, by revisions of the file."""

    def hashed(self, value: str) -> str:
        """The keyed hash under which a secret appears in differences."""
        return self.envelope.keyed_hash(value.encode(), "difference")[:16]

    def digest_of(self, changes: Sequence[Change]) -> tuple[str, list[dict[str, Json]]]:
        """SHA-256 of all differences in canonical form, and the differences."""
        found = [one.as_json() for change in changes for one in differences(change, self.hashed)]
        told: Json = list(found)
        return hashlib.sha256(canonical_json.encode(told).encode()).hexdigest(), found

    async def commit(self, actor: Actor, why: Why, plan: Plan, also: Also | None = None) -> Revision | None:
        """Brings about what ``plan`` says; None when nothing changes. ``also`` writes more in the same
        transaction. Once begun it goes to its end, whoever asked for it leaves. Raises whatever ``plan``
        raises, Held, Invalid, Unavailable.
        """
        work = asyncio.ensure_future(
            self.settled(why, lambda settled: self._in_turn(actor, settled, plan, also))
        )
        self._at_work.add(work)
        work.add_done_callback(self._done)
        return await asyncio.shield(work)

    def _done(self, work: "asyncio.Future[Revision | None]") -> None:
        self._at_work.discard(work)
        if not work.cancelled():
            work.exception()  # whoever asked for it may have left

    async def settle(self) -> None:
        """Waits for what has begun."""
        await asyncio.gather(*self._at_work, return_exceptions=True)

    async def settled(self, why: Why, act: Callable[[Why], Awaitable[_T]]) -> _T:
        """Does ``act`` in the turn; what takes long is found out in between, while others commit. Raises
        Conflict, and as ``act``.
        """
        for _ in range(SETTLED_MAX):
            try:
                async with self.turn:
                    return await act(why)
            except Ahead as ahead:
                why = replace(why, settled=why.settled | await ahead.settle())
        raise Conflict("What this changes was changed by others each time it was looked at; try again.")

    async def _in_turn(self, actor: Actor, why: Why, plan: Plan, also: Also | None) -> Revision | None:
        taken: list[bool] = []
        try:
            revision, changes = await self._commit(actor, why, plan, also, taken)
        except DatabaseError as error:
            raise Unavailable(str(error)) from error
        finally:
            if taken:
                await self.compiler.undo()
        if revision is not None:
            after, self.seen = self.seen, revision.number
            told = [change.for_compiler() for change in changes]
            await self.publisher.committed(revision.number, told, after)
            self.compiler.kept()
        return revision

    async def _commit(
        self, actor: Actor, why: Why, plan: Plan, also: Also | None, taken: list[bool]
    ) -> tuple[Revision | None, Sequence[Change]]:
        """``taken`` is filled while the compiler holds what is not committed."""
        await self.recover()
        async with self.database.writing() as connection:
            await self.follow(connection)
            changes = [change for change in await plan(connection) if _alters(change)]
            if not changes:
                if also is not None:
                    await also(connection, None)
                return None, ()
            if why.change_request is None:  # else it was judged when it was filed, by who filed it
                refused = await self.teams.judge(connection, actor, changes)
                if refused:
                    raise Invalid(summary(refused), refused)
            for guard in self.guards:
                await guard(connection, why, changes)
            held = None if self.gate is None else await self.gate(connection, actor, why, changes)
            if held is not None and also is not None:
                await also(connection, held)
            revision = None
            if held is None:
                told = [change.for_compiler() for change in changes]
                wrong = errors_of(await self.compiler.apply(told))
                if wrong:
                    raise await self.refusal(connection, actor, changes, wrong)
                taken.append(True)
                revision = await self._write(connection, actor, why, changes, also)
        if held is not None:
            raise held
        taken.clear()
        self._intent.end()
        return revision, changes

    async def refusal(
        self,
        connection: AsyncConnection,
        actor: Actor,
        changes: Sequence[Change],
        wrong: Sequence[Diagnostic],
    ) -> Invalid:
        """``wrong`` as ``actor`` may be told it."""
        told = await self.teams.shown(connection, actor, changes, wrong)
        return Invalid(summary(told), told)

    async def look(self) -> None:
        """Follows what other machines committed, if anything. Raises Unavailable."""
        async with self.turn:
            try:
                async with self.database.reading() as connection:
                    await self.follow(connection)
            except DatabaseError as error:
                raise Unavailable(str(error)) from error

    async def follow(self, connection: AsyncConnection) -> None:
        """Takes over what managers of other machines committed. Raises Unavailable."""
        head = await revision_rows.head(connection)
        if head <= self.seen:
            return
        changed = [
            compiled_change(section, name, None if entry is None else entry.content)
            for section, name, entry in await self.entries.changed_after(connection, self.seen)
        ]
        wrong = errors_of(await self.compiler.apply(changed)) if changed else []
        if wrong:
            message = f"Revision {head} of another machine does not fit this one: {summary(wrong)}"
            await self._end_access(changed)
            await self.publisher.misfit(message)
            raise Unavailable("A revision of another machine does not fit this one: /status says why.")
        after, self.seen = self.seen, head
        await self.publisher.committed(head, changed, after)
        self.compiler.kept()
        await self.publisher.misfit("")

    async def _end_access(self, changed: Sequence[Mapping[str, object]]) -> None:
        """Of changes that do not fit as a whole, takes over alone what ends somebody's access: a revoked key
        must be dead here too, whatever else keeps this machine behind.
        """
        ending = [one for one in changed if _ends_access(one)]
        if not ending or ending == self._ended or errors_of(await self.compiler.apply(ending)):
            return
        self._ended = ending
        await self.publisher.committed(self.seen, ending, self.seen)
        self.compiler.kept()
        self.publisher.again()

    async def _write(
        self,
        connection: AsyncConnection,
        actor: Actor,
        why: Why,
        changes: Sequence[Change],
        also: Also | None,
    ) -> Revision:
        number = max(await revision_rows.head(connection), self.least_number()) + 1
        digest, found = self.digest_of(changes)
        revision = Revision(
            number,
            self.clock(),
            why.kind,
            actor.person,
            why.reason[:REASON_CHARACTERS_MAX],
            len(changes),
            digest,
            why.rolled_back_to,
            why.change_request,
        )
        act = secrets.token_hex(16)
        await revision_rows.add(connection, revision, act)
        await self.entries.write(connection, number, changes, why.origin)
        if also is not None:
            await also(connection, revision)
        told = told_differences(found)
        detail: dict[str, Json] = {
            "act": act,
            "credential": actor.credential,
            "from": actor.address,
            "request_id": actor.request_id,
            "kind": why.kind,
            "reason": revision.reason,
            "digest": digest,
            "changes": len(changes),
            "differences": told.shown,
        }
        if told.left_out:
            detail["differences_left_out"] = told.left_out
        if why.change_request is not None:
            detail["change_request"] = why.change_request
        self._intent.begin(act)
        seq = await self.audit.append("revision.committed", actor.person, f"revision/{number}", detail)
        await revision_rows.audited(connection, number, seq)
        return revision

    async def recover(self) -> None:
        """Tells the audit tree of an act that it may hold and that was never committed: at start, and after a
        commit that failed.
        """
        act = self._intent.left()
        if not act:
            return
        async with self.database.reading() as connection:
            committed = await revision_rows.has_act(connection, act)
        if not committed:
            await self.audit.append("revision.void", "manager", f"act/{act}", {"act": act})
        self._intent.end()

    async def check(self, plan: Plan, actor: Actor) -> Judgement:
        """What ``commit`` would do for ``actor``, and what is wrong with it; changes nothing. Raises as
        ``plan``, Conflict, Unavailable.
        """
        try:
            async with self.database.reading() as connection:
                changes = [change for change in await plan(connection) if _alters(change)]
                found = await self.teams.judge(connection, actor, changes)
                if changes and not found:  # what is another team's and what is missing look the same
                    told = await self.compiler.check([change.for_compiler() for change in changes])
                    found = await self.teams.shown(connection, actor, changes, told)
        except DatabaseError as error:
            raise Unavailable(str(error)) from error
        return Judgement(found, changes)


def _ends_access(change: Mapping[str, object]) -> bool:
    content = change["content"]
    if change["section"] == "credentials":
        return content is None
    return (
        change["section"] == "consumers" and isinstance(content, dict) and content.get("state") == "suspended"
    )


def _alters(change: Change) -> bool:
    if change.before is None or change.after is None:
        return change.before is not change.after
    return change.team != change.team_before or canonical_json.encode(change.before) != canonical_json.encode(
        change.after
    )


def summary(wrong: Sequence[Diagnostic]) -> str:
    first = f"{wrong[0].get('path', '')}: {wrong[0].get('message', '')}"
    more = len(wrong) - 1
    return f"{first}; and {more} more" if more else first


def on_base(base: int | None, plan: Plan) -> Plan:
    """``plan`` where ``base`` is the newest revision, or None; else Stale: it was made for another state."""
    if base is None:
        return plan

    async def based(connection: AsyncConnection) -> Sequence[Change]:
        head = await revision_rows.head(connection)
        if base != head:
            raise Stale(f"Revision {head} came since revision {base}; plan again.", revision=head)
        return await plan(connection)

    return based
