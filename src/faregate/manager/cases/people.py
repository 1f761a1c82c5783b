"""Users: made, changed, disabled, given roles, and helped back in by an owner.

An owner never knows a password: who is new, or locked out, gets a code that sets one once. A user is disabled
and never removed, so that a name in the audit tree means one person for ever. With a second person asked for,
roles, recovery and enabling wait for two others; the machine's token may make the first two who decide.
"""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from sqlalchemy.ext.asyncio import AsyncConnection

from faregate.kernel.secrets import Secret
from faregate.manager.cases import permits
from faregate.manager.cases.access import reading, writing
from faregate.manager.cases.configuration import Precondition
from faregate.manager.cases.domain import LOCAL, ROLES, Actor, Grant, Json
from faregate.manager.cases.errors import (
    Conflict,
    Forbidden,
    Held,
    Invalid,
    NotFound,
    PreconditionMissing,
    Stale,
)
from faregate.manager.cases.holding import ALL_PLACES, Filed, Holding
from faregate.manager.cases.ports import Audit, Clock
from faregate.manager.cases.risk import APPROVALS
from faregate.manager.cases.second_factor import demand_fresh
from faregate.manager.database import people as rows
from faregate.manager.database.engine import Database
from faregate.manager.database.people import User
from faregate.manager.people.machine import make_token
from faregate.manager.people.tokens import Peppered

INVITE_PREFIX: Final = "fgi_"
INVITE_MS: Final = 72 * 3_600_000
USERS_MAX: Final = 10_000
GRANTS_MAX: Final = 100
PAGE_MAX: Final = 1000
NAME: Final = re.compile(r"[a-z0-9][a-z0-9._@-]{0,62}")
_SCOPE: Final = re.compile(r"\*|team:[a-z0-9][a-z0-9-]{0,62}|api:[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
RESERVED: Final = frozenset({LOCAL, "manager", "system"})


@dataclass(frozen=True, slots=True)
class Invited:
    """``code``: sets the user's password once; empty for a service."""

    user: User
    code: Secret | None = field(default=None, repr=False)


class People:
    """Use cases for owners."""

    def __init__(
        self, database: Database, audit: Audit, clock: Clock, peppered: Peppered, holding: Holding
    ) -> None:
        self._database = database
        self._audit = audit
        self._clock = clock
        self._peppered = peppered
        self._holding = holding

    async def user_list(self, actor: Actor, *, after: str = "", size: int = 100) -> tuple[list[User], str]:
        """Users by name, and the place to go on from; for owners and auditors. Raises Forbidden."""
        if not permits.may(actor, "audit"):
            raise Forbidden("This needs the role owner or auditor.")
        size = min(size, PAGE_MAX)
        async with reading(self._database) as connection:
            found = await rows.user_page(connection, after, size + 1)
        return found[:size], found[size - 1].name if len(found) > size else ""

    async def user_get(self, actor: Actor, name: str) -> User:
        """Oneself, or for an owner or auditor anybody. Raises Forbidden, NotFound."""
        if actor.person != name and not permits.may(actor, "audit"):
            raise Forbidden("This needs the role owner or auditor.")
        async with reading(self._database) as connection:
            return await _user(connection, name)

    async def user_create(  # noqa: PLR0913 - what a user is
        self,
        actor: Actor,
        name: str,
        *,
        display: str = "",
        email: str = "",
        service: bool = False,
        also: Callable[[AsyncConnection, Invited], Awaitable[None]] | None = None,
    ) -> Invited:
        """A user without any role. Raises Forbidden, Invalid, Conflict."""
        demand_owner(actor)
        if not NAME.fullmatch(name) or name in RESERVED:
            raise Invalid("A user's name is lower-case letters, digits and . _ @ -, and none of ours.")
        now = self._clock()
        code = None if service else make_token(INVITE_PREFIX)
        async with writing(self._database) as connection:
            if await rows.user_get(connection, name) is not None:
                raise Conflict("There is a user of this name; names are never used twice.")
            if await rows.user_count(connection) >= USERS_MAX:
                raise Conflict(f"There are {USERS_MAX} users already.")
            await self.record("user.created", actor, name, service=service)
            await rows.user_add(
                connection,
                name,
                display=display,
                email=email,
                service=service,
                invite="" if code is None else self._peppered.digest("invite", code.reveal()),
                invite_ms=0 if code is None else now + INVITE_MS,
                now_ms=now,
            )
            made = Invited(await _user(connection, name), code)
            if also is not None:
                await also(connection, made)
            return made

    async def user_update(  # noqa: PLR0913 - what a user is
        self,
        actor: Actor,
        name: str,
        *,
        condition: Precondition,
        display: str | None = None,
        email: str | None = None,
        state: Literal["active", "disabled"] | None = None,
    ) -> User:
        """Disabling ends the user's sessions and tokens at once. Raises Forbidden, NotFound, Stale, Held."""
        demand_owner(actor)
        held = None
        async with writing(self._database) as connection:
            user = await _user(connection, name)
            _demand_match(user, condition)
            told = {"display": display, "email": email}
            values: dict[str, object] = {key: one for key, one in told.items() if one is not None}
            enables = state == "active" and user.state == "disabled"
            if enables:
                demand_fresh(actor, self._clock())
                held = await self._hold(connection, actor, name, {"act": "enable"}, "disabled", "active")
            if state is not None and held is None:
                values["state"] = state
            changed = sorted(key for key, one in values.items() if getattr(user, key) != one)
            if changed:
                await self.record("user.changed", actor, name, fields=[*changed], state=state)
                await rows.user_update(connection, name, values)
            if state == "disabled":
                await rows.tokens_end(connection, name)
            found = await _user(connection, name)
        if held is not None:
            raise held
        return found

    async def grants_put(
        self, actor: Actor, name: str, grants: Sequence[Grant], *, condition: Precondition
    ) -> User:
        """The roles of a user from now on; their sessions end, so that no old one has them. Raises Forbidden,
        SecondFactorNeeded, Invalid, NotFound, Stale, Held; Conflict for who signs in by the provider.
        """
        demand_owner(actor)
        demand_fresh(actor, self._clock())
        fresh = sorted(set(grants), key=lambda one: (one.role, one.scope))
        check_grants(fresh)
        async with writing(self._database) as connection:
            user = await _user(connection, name)
            _demand_match(user, condition)
            if user.external:
                raise Conflict(
                    "The provider's groups give this person's roles: gateway.manager.sign_in.grants."
                )
            held = None
            if tuple(fresh) != user.grants:
                act: dict[str, Json] = {"act": "grants", "grants": _told(fresh), "before": _told(user.grants)}
                held = await self._hold(connection, actor, name, act, act["before"], act["grants"])
                if held is None:
                    await self.set_grants(connection, actor, user, fresh)
            found = await _user(connection, name)
        if held is not None:
            raise held
        return found

    async def user_recover(self, actor: Actor, name: str) -> Invited:
        """Lets a user in again who lost password or second factor: both end, with all sessions and tokens,
        and the code sets a new password once; who signs in by the provider needs no code. Raises Forbidden,
        SecondFactorNeeded, NotFound, Held.
        """
        demand_owner(actor)
        demand_fresh(actor, self._clock())
        if actor.person == name:
            raise Forbidden("Another owner helps you back in.")
        async with writing(self._database) as connection:
            user = await _user(connection, name)
            if user.service:
                raise Conflict("A service has no password.")
            code = None if user.external else make_token(INVITE_PREFIX)
            digest = "" if code is None else self._peppered.digest("invite", code.reveal())
            act: dict[str, Json] = {"act": "recover", "invite": digest}
            held = await self._hold(connection, actor, name, act, None, "a new password and second factor")
            if held is None:
                await self._recover(connection, actor, name, digest)
            found = await _user(connection, name)
        if held is not None:
            if code is not None:
                held.shown["code"] = code.reveal().decode()
            raise held
        return Invited(found, code)

    async def bring_about(self, connection: AsyncConnection, actor: Actor, act: Mapping[str, Json]) -> None:
        """Does what two others approved. Raises Conflict."""
        name = str(act["user"])
        user = await _user(connection, name)
        if act["act"] == "grants":
            listed = act["grants"]
            assert isinstance(listed, list)
            if _told(user.grants) != act["before"]:
                raise Conflict("The roles were changed since; propose it anew.")
            fresh = [_grant(one) for one in listed]
            await self.set_grants(connection, actor, user, fresh)
        elif act["act"] == "recover":
            await self._recover(connection, actor, name, str(act["invite"]))
        else:
            await self.record("user.changed", actor, name, fields=["state"], state="active")
            await rows.user_update(connection, name, {"state": "active"})

    async def record(self, kind: str, actor: Actor, name: str, **detail: Json) -> None:
        """The audit leaf of an act on a user. Raises Unavailable: the act must not happen."""
        told: dict[str, Json] = {
            "credential": actor.credential,
            "from": actor.address,
            "request_id": actor.request_id,
            **detail,
        }
        await self._audit.append(kind, actor.person, f"user/{name}", told)

    async def set_grants(
        self, connection: AsyncConnection, actor: Actor, user: User, fresh: Sequence[Grant]
    ) -> None:
        """Puts the roles in force; the user's sessions end."""
        await self.record("user.granted", actor, user.name, before=_told(user.grants), after=_told(fresh))
        await rows.grants_set(connection, user.name, fresh)
        await rows.tokens_end(connection, user.name, kind="session")

    async def _recover(self, connection: AsyncConnection, actor: Actor, name: str, digest: str) -> None:
        await self.record("user.recovered", actor, name)
        values = {
            "password": "",
            "totp": None,
            "totp_next": None,
            "invite": digest,
            "invite_ms": self._clock() + INVITE_MS if digest else 0,
        }
        await rows.user_update(connection, name, values)
        await rows.tokens_end(connection, name)

    async def _hold(  # noqa: PLR0913, PLR0917 - what waits, and how it is shown
        self,
        connection: AsyncConnection,
        actor: Actor,
        name: str,
        act: Mapping[str, Json],
        before: Json,
        after: Json,
    ) -> Held | None:
        """None: it is done now."""
        if not self._holding.on:
            return None
        if actor.machine and await rows.deciders(connection) < APPROVALS["grave"]:
            return None  # there must be somebody before there can be a second
        shown: list[dict[str, Json]] = [
            {"path": f"users.{name}.{act['act']}", "before": before, "after": after}
        ]
        filed = Filed("people", "people", "", "grave", {**act, "user": name}, shown, ALL_PLACES)
        return await self._holding.file(connection, actor, filed, APPROVALS["grave"])


def demand_owner(actor: Actor) -> None:
    """Raises Forbidden."""
    if not permits.may(actor, "own"):
        raise Forbidden("This needs the role owner.")
    if actor.break_glass:
        raise Forbidden("Break-glass opens the configuration, not people: end it first.")


def check_grants(grants: Sequence[Grant]) -> None:
    """Raises Invalid."""
    if len(grants) > GRANTS_MAX:
        raise Invalid(f"At most {GRANTS_MAX} roles.")
    for grant in grants:
        if grant.role not in ROLES or not _SCOPE.fullmatch(grant.scope):
            raise Invalid(
                "A role is viewer, operator, approver, owner or auditor, in *, team:NAME or api:NAME."
            )


def _demand_match(user: User, condition: Precondition) -> None:
    if not condition.match:
        raise PreconditionMissing("Say which state is meant: If-Match with the ETag that was read.")
    if condition.match not in {"*", str(user.version)}:
        raise Stale("The user was changed since.", etag=str(user.version))


def _told(grants: Sequence[Grant]) -> list[Json]:
    return [{"role": one.role, "scope": one.scope} for one in grants]


def _grant(told: Json) -> Grant:
    assert isinstance(told, dict)
    return Grant(told["role"], str(told["scope"]))  # type: ignore[arg-type]  # as it was checked


async def _user(connection: AsyncConnection, name: str) -> User:
    user = await rows.user_get(connection, name)
    if user is None:
        raise NotFound("There is no such user.")
    return user
