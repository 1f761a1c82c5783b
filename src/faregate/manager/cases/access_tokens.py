"""API tokens: a person's own, or those an owner makes for a service. A token is shown once and ends in a year
at the latest; it may have fewer roles than its user, and never more.
"""

import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from faregate.kernel.secrets import Secret
from faregate.manager.cases import permits
from faregate.manager.cases.access import reading, writing
from faregate.manager.cases.domain import Actor, Grant, Json
from faregate.manager.cases.errors import Conflict, Forbidden, Invalid, NotFound
from faregate.manager.cases.people import check_grants, demand_owner
from faregate.manager.cases.ports import Audit, Clock
from faregate.manager.cases.second_factor import demand_fresh
from faregate.manager.database import people as rows
from faregate.manager.database.engine import Database
from faregate.manager.database.people import Token
from faregate.manager.people.authenticator import narrowed
from faregate.manager.people.machine import make_token
from faregate.manager.people.tokens import Peppered

LIFE_MIN_S: Final = 60
LIFE_MAX_S: Final = 366 * 86_400
LIFE_PROVIDER_S: Final = 12 * 3600
"""Of a person whose roles the provider gives: it is asked for them at each sign-in, and never in between."""
TOKENS_MAX: Final = 50
"""Of one user."""


@dataclass(frozen=True, slots=True)
class MadeToken:
    """``secret``: the whole token, never to be seen again."""

    token: Token
    secret: Secret = field(repr=False)


class AccessTokens:
    """Use cases."""

    def __init__(self, database: Database, audit: Audit, clock: Clock, peppered: Peppered) -> None:
        self._database = database
        self._audit = audit
        self._clock = clock
        self._peppered = peppered

    async def token_create(  # noqa: PLR0913 - what a token may be given
        self,
        actor: Actor,
        user: str,
        *,
        note: str = "",
        life_s: int,
        roles: Sequence[Grant] = (),
        also: Callable[[AsyncConnection, MadeToken], Awaitable[None]] | None = None,
    ) -> MadeToken:
        """A token of ``user``, oneself or a service. Raises Forbidden, SecondFactorNeeded, Invalid,
        NotFound, Conflict.
        """
        if actor.person != user or actor.machine:
            demand_owner(actor)
        demand_fresh(actor, self._clock())
        if not LIFE_MIN_S <= life_s <= LIFE_MAX_S:
            raise Invalid(f"A token lives from {LIFE_MIN_S} to {LIFE_MAX_S} seconds.")
        check_grants(roles)
        now = self._clock()
        secret = make_token()
        async with writing(self._database) as connection:
            found = await rows.user_get(connection, user)
            if found is None:
                raise NotFound("There is no such user.")
            if actor.person != user and not found.service:
                raise Forbidden("People make their tokens themselves.")
            if found.external and life_s > LIFE_PROVIDER_S:
                raise Invalid(
                    f"The provider gives your roles: your tokens live {LIFE_PROVIDER_S} seconds at most."
                )
            if found.state != "active":
                raise Conflict("The user is disabled.")
            if len(await rows.tokens_of(connection, user, "token", now)) >= TOKENS_MAX:
                raise Conflict(f"A user has {TOKENS_MAX} tokens at most: revoke some.")
            if roles and len(narrowed(found.grants, roles)) < len(roles):
                raise Invalid("A token has no role that its user has not.")
            token = Token(
                f"tok_{secrets.token_hex(6)}",
                user,
                "token",
                note,
                tuple(roles),
                now,
                0,
                now + life_s * 1000,
                0,
                actor.address,
            )
            await self._record("token.created", actor, token.id, user=user, expires_ms=token.expires_ms)
            await rows.token_add(connection, token, self._peppered.digest("token", secret.reveal()))
            if also is not None:
                await also(connection, MadeToken(token, secret))
        return MadeToken(token, secret)

    async def token_list(self, actor: Actor, user: str) -> list[Token]:
        """Raises Forbidden."""
        if actor.person != user:
            demand_owner(actor)
        async with reading(self._database) as connection:
            return await rows.tokens_of(connection, user, "token", self._clock())

    async def token_revoke(self, actor: Actor, name: str) -> None:
        """One's own, or for an owner anybody's. Raises NotFound."""
        async with writing(self._database) as connection:
            token = await rows.token_get(connection, name)
            own = token is not None and token.user == actor.person
            if token is None or token.kind != "token" or not (own or permits.may(actor, "own")):
                raise NotFound("There is no such token.")
            await self._record("token.revoked", actor, name, user=token.user)
            await rows.token_end(connection, name)

    async def _record(self, kind: str, actor: Actor, name: str, **detail: Json) -> None:
        told: dict[str, Json] = {
            "credential": actor.credential,
            "from": actor.address,
            "request_id": actor.request_id,
            **detail,
        }
        await self._audit.append(kind, actor.person, f"token/{name}", told)
