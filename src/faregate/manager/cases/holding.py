"""The one place where it is decided whether a change takes effect now or waits for a second person.

Every commit asks ``Holding.gate`` (``Committing.gate``): it lets pass what needs nobody else, files the rest
as a change request in the same transaction, and, when a request is brought about, holds it against what was
approved. An approval binds the hash over base, content and differences; the content is hashed with a key, so
that the hash tells nothing of a secret. What has no person behind it, a service's token or the machine's, is
filed as a draft: a person makes it theirs before another may approve it.
"""

import asyncio
import base64
import hashlib
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from faregate.kernel import canonical_json
from faregate.manager.cases import permits
from faregate.manager.cases.committing import Committing, Why, errors_of
from faregate.manager.cases.domain import EVERYWHERE, LOCAL, Actor, Change, Content, Json
from faregate.manager.cases.errors import ApprovalsMissing, Conflict, Held, Invalid, Stale
from faregate.manager.cases.risk import (
    APPROVALS,
    CREDENTIAL_KINDS,
    Risk,
    is_money,
    kinds_of,
    risk_of,
    upstreams_of,
    weakens,
)
from faregate.manager.cases.whole_risk import FORMER_MAX, REMEMBERED_MS, Whole
from faregate.manager.database import changes as rows
from faregate.manager.database import people as people_rows
from faregate.manager.database import revisions as revision_rows
from faregate.manager.database.changes import ChangeState, Decision, Request
from faregate.manager.database.tables import entries as entry_rows

Approval: TypeAlias = Literal["off", "guarded", "all"]

LIFE_MS: Final = 7 * 86_400_000
"""How long a request waits for its approvals."""
WINDOW_MS: Final = 3_600_000
AHEAD_MAX_MS: Final = 90 * 86_400_000
OPEN_MAX: Final = 1_000


@dataclass(frozen=True, slots=True)
class Filed:
    """What is filed: what it is, what it puts at stake, where it lies."""

    subject: Literal["config", "people"]
    kind: str
    reason: str
    risk: Risk
    content: Mapping[str, Json]
    differences: Sequence[dict[str, Json]]
    places: Iterable[frozenset[str]]


class Holding:
    """``approval``: the gateway's setting, as it is at this moment."""

    def __init__(self, committing: Committing, approval: Callable[[], str]) -> None:
        self._committing = committing
        self._approval = approval
        committing.gate = self.gate

    @property
    def on(self) -> bool:
        return self._approval() in {"guarded", "all"}

    def needed(self, risk: Risk, kind: str) -> int:
        """How many others must approve. A rollback, the way back in an hour of need, takes one."""
        mode = self._approval()
        if mode not in {"guarded", "all"} or (mode == "guarded" and risk == "plain"):
            return 0
        return 1 if kind == "rollback" else APPROVALS[risk]

    async def gate(
        self, connection: AsyncConnection, actor: Actor, why: Why, changes: Sequence[Change]
    ) -> Held | None:
        """None: it may be done now. Raises Conflict, Stale, Invalid."""
        risk = await self.risk_now(connection, changes)
        needed = self.needed(risk, why.kind)
        if why.change_request is not None:
            await self._verify(connection, why.change_request, changes, needed)
        else:
            needed = 0 if actor.break_glass else max(needed, int(actor.propose))
            if needed or actor.activate_ms:
                return await self._hold(connection, actor, why, changes, risk, needed)
        if why.kind == "rollback" and why.rolled_back_to is not None:
            await rows.rolled_back(connection, why.rolled_back_to)
        return None

    async def would_hold(
        self, connection: AsyncConnection, actor: Actor, why: Why, changes: Sequence[Change]
    ) -> bool:
        """Whether ``gate`` would file the changes; files nothing."""
        needed = self.needed(await self.risk_now(connection, changes), why.kind)
        return not actor.break_glass and bool(needed or actor.propose or actor.activate_ms)

    async def file(
        self, connection: AsyncConnection, actor: Actor, filed: Filed, needed: int, **shown: object
    ) -> Held:
        """Files a request in the transaction of ``connection``, its audit leaf first. Raises Conflict,
        Invalid.
        """
        now = self._committing.clock()
        if await rows.count_open(connection) >= OPEN_MAX:
            raise Conflict(f"{OPEN_MAX} change requests are open: decide on some, or withdraw them.")
        activate, window = actor.activate_ms, 0
        if activate:
            if not now < activate <= now + AHEAD_MAX_MS:
                raise Invalid("It is activated at a time to come, within 90 days.")
            window = actor.window_ms or WINDOW_MS
        expires = activate + window if activate else now + LIFE_MS
        name = f"chg_{now:011x}{secrets.token_hex(6)}"
        base = await revision_rows.head(connection)
        state: ChangeState = "approved" if not needed else "draft" if unpersoned(actor) else "proposed"
        bound: dict[str, Json] = {**filed.content, "activate_ms": activate, "window_ms": window}
        plain = canonical_json.encode(bound)
        told: Json = list(filed.differences)
        diff = canonical_json.encode(told)
        sealed = self._committing.envelope.seal(plain.encode(), purpose(name))
        request = Request(
            name,
            actor.person,
            filed.reason[:1000],
            filed.risk,
            filed.kind,
            state,
            base,
            base64.b64encode(sealed).decode(),
            diff,
            self.hash_of(base, plain, diff),
            now,
            expires,
            activate,
            window,
            filed.subject,
            tuple(sorted(set(filed.places), key=sorted)),
            needed,
        )
        await rows.add(connection, request)
        await self.record("change.drafted" if state == "draft" else "change.proposed", actor, request)
        members = {
            "change_request": name,
            "state": state,
            "risk": filed.risk,
            "hash": request.hash,
            "approvals_needed": needed,
            "activate_ms": activate,
            "expires_ms": expires,
            **shown,
        }
        return Held(name, members)

    async def record(self, kind: str, actor: Actor, request: Request, **detail: Json) -> None:
        """The audit leaf of a step of ``request``. Raises Unavailable: the step must not happen."""
        told: dict[str, Json] = {
            "credential": actor.credential,
            "from": actor.address,
            "request_id": actor.request_id,
            "author": request.author,
            "risk": request.risk,
            "hash": request.hash,
            "reason": request.reason,
            **detail,
        }
        await self._committing.audit.append(kind, actor.person, f"change/{request.id}", told)

    def opened(self, request: Request) -> dict[str, Json]:
        """What a request would do. Raises Conflict when it is not what was filed."""
        try:
            plain = self._committing.envelope.open(base64.b64decode(request.content), purpose(request.id))
        except ValueError as error:
            raise Conflict("What was filed cannot be read any more; file it anew.") from error
        if self.hash_of(request.base, plain.decode(), request.diff) != request.hash:
            raise Conflict("What was filed is not what was approved; file it anew.")
        found: dict[str, Json] = msgspec.json.decode(plain)
        return found

    def hash_of(self, base: int, content: str, diff: str) -> str:
        """What an approval binds: SHA-256 over base, keyed hash of the content, and differences."""
        keyed = self._committing.envelope.keyed_hash(content.encode(), "change request")
        bound = canonical_json.encode({"base": base, "content": keyed, "diff": diff})
        return hashlib.sha256(bound.encode()).hexdigest()

    async def valid_approvals(
        self, connection: AsyncConnection, request: Request, decisions: Sequence[Decision]
    ) -> int:
        """How many persons besides the author approved just this, and may do so still."""
        count = 0
        for one in decisions:
            if one.verdict != "approved" or one.hash != request.hash or one.person == request.author:
                continue
            user = await people_rows.user_get(connection, one.person)
            if user is None or user.service or user.state != "active":
                continue
            there = Actor(user.name, user.grants)
            count += all(permits.may(there, "decide", place) for place in request.places)
        return count

    async def _hold(  # noqa: PLR0913, PLR0917 - what is filed, and why it is
        self,
        connection: AsyncConnection,
        actor: Actor,
        why: Why,
        changes: Sequence[Change],
        risk: Risk,
        needed: int,
    ) -> Held:
        committing = self._committing
        wrong = errors_of(await committing.compiler.check([change.for_compiler() for change in changes]))
        if wrong:
            raise await committing.refusal(connection, actor, changes, wrong)
        listed: list[Json] = [
            {"section": one.section, "name": one.name, "after": one.after, "team": one.team}
            for one in changes
        ]
        content: Content = {
            "changes": listed,
            "origin": why.origin,
            "force": why.force,
            "rolled_back_to": why.rolled_back_to,
        }
        _, found = committing.digest_of(changes)
        filed = Filed("config", why.kind, why.reason, risk, content, found, places_of(changes))
        return await self.file(connection, actor, filed, needed)

    async def _verify(
        self, connection: AsyncConnection, name: str, changes: Sequence[Change], needed: int
    ) -> None:
        request = await rows.get(connection, name)
        if request is None or request.state != "approved" or request.subject != "config":
            raise Conflict("There is no approved change request of this name.")
        listed = self.opened(request)["changes"]
        filed = {
            (one["section"], one["name"]): (canonical_json.encode(one["after"]), one["team"])
            for one in (listed if isinstance(listed, list) else [])
            if isinstance(one, dict)
        }
        for change in changes:
            told = (canonical_json.encode(change.after), change.team)
            if filed.get((change.section, change.name)) != told:
                raise Conflict("This is not what was approved.")
        _, found = self._committing.digest_of(changes)
        shown: Json = list(found)
        if canonical_json.encode(shown) != request.diff:
            raise Stale(
                "Another change went first: what this one would do is not what was approved.", diff=found
            )
        await self.demand_approved(connection, request, needed)

    async def demand_approved(self, connection: AsyncConnection, request: Request, needed: int) -> None:
        """Raises ApprovalsMissing when too few of those who approved may still."""
        decisions = await rows.decided(connection, request.id)
        valid = await self.valid_approvals(connection, request, decisions)
        wanted = max(needed, request.approvals)
        if valid < wanted:
            raise ApprovalsMissing(f"It needs {wanted} approvals of who may decide, and has {valid}.")

    async def risk_now(self, connection: AsyncConnection, changes: Sequence[Change]) -> Risk:
        """What ``changes`` put at stake as things stand."""
        risk = risk_of(changes)
        if risk == "grave" or not self.on:
            return risk
        if risk == "guarded" and await self._another_kind(connection, changes):
            return "grave"
        if await self._laxer(connection, changes):
            return "grave"
        if risk != "plain" or self._approval() != "guarded":
            return risk
        return risk_of(changes, await self._money_upstreams(connection))

    async def _laxer(self, connection: AsyncConnection, changes: Sequence[Change]) -> bool:
        """Whether some call gets less than it did, by whichever API."""
        changed = [one for one in changes if one.section == "apis"]
        if not changed:
            return False
        before = await self._apis(connection)
        after = {**before, **{one.name: one.after for one in changed if one.after is not None}}
        for one in changed:
            if one.after is None:
                after.pop(one.name, None)
        # In threads: with a thousand APIs it is a second of work, and others are served meanwhile.
        whole = await asyncio.to_thread(Whole, before, after)
        if await asyncio.to_thread(whole.weakens, weakens):
            return True
        if not whole.grows:
            return False
        since = self._committing.clock() - REMEMBERED_MS
        former = await self._committing.entries.former(connection, "apis", since, FORMER_MAX + 1)
        if len(former) > FORMER_MAX:
            return True
        return await asyncio.to_thread(whole.weakens_former, former, weakens)

    async def _apis(self, connection: AsyncConnection) -> dict[str, Content]:
        """All APIs as they stand, the database's and the file's."""
        committing = self._committing
        found = {one.name: one.content for one in await committing.entries.page(connection, "apis")}
        for name in await committing.compiler.file_names("apis"):
            content = await committing.compiler.file_entry("apis", name)
            if content is not None:
                found[name] = content
        return found

    async def _another_kind(self, connection: AsyncConnection, changes: Sequence[Change]) -> bool:
        """Whether a consumer gets a credential of a kind that it has none of, beside others."""
        committing = self._committing
        for change in changes:
            fresh = change.after if change.section == "credentials" and change.before is None else None
            if fresh is None:
                continue
            consumer = str(fresh.get("consumer"))
            entry = await committing.entries.get(connection, "consumers", consumer)
            content = (
                entry.content
                if entry is not None
                else await committing.compiler.file_entry("consumers", consumer)
            )
            held = set(kinds_of((content or {}).get("credentials")))
            told = f'"consumer":{msgspec.json.encode(consumer).decode()}'
            matching = entry_rows.c.content.contains(told, autoescape=True)
            for one in await committing.entries.page(connection, "credentials", matching=matching):
                held |= CREDENTIAL_KINDS & one.content.keys()
            if held and not CREDENTIAL_KINDS & fresh.keys() <= held:
                return True
        return False

    async def _money_upstreams(self, connection: AsyncConnection) -> frozenset[str]:
        found: set[str] = set()
        for content in (await self._apis(connection)).values():
            if is_money(content):
                found |= upstreams_of(content)
        return frozenset(found)


def purpose(name: str) -> str:
    """What the content of a request is sealed for."""
    return f"change {name}"


def unpersoned(actor: Actor) -> bool:
    """Whether no person answers for what ``actor`` asks."""
    return actor.service or actor.machine or actor.person == LOCAL


def places_of(changes: Sequence[Change]) -> list[frozenset[str]]:
    """The scopes that each change lies in, before and after it."""
    found = []
    for change in changes:
        teams = {change.team} if change.before is None else {change.team, change.team_before}
        if change.after is None:
            teams = {change.team_before}
        found += [permits.scopes_of(change.section, change.name, team) for team in teams]
    return found


ALL_PLACES: Final = (frozenset({EVERYWHERE}),)
