"""Signing in: password and second factor, sessions, and what people change of their own.

A failed sign-in is one answer, whatever was wrong, after the same work. A session's id is new at sign-in,
when the second factor is shown again and when roles change; a new password or second factor ends all others.
"""

import secrets
from dataclasses import dataclass, field, replace
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from faregate.kernel.secrets import Secret
from faregate.manager.cases.access import reading, writing
from faregate.manager.cases.domain import Actor, Json
from faregate.manager.cases.errors import Conflict, Forbidden, NotFound, Unauthenticated
from faregate.manager.cases.ports import Audit, Clock, Envelope
from faregate.manager.cases.second_factor import FRESH_MS, demand_fresh
from faregate.manager.database import people as rows
from faregate.manager.database.engine import Database
from faregate.manager.database.people import Token, User
from faregate.manager.people import totp
from faregate.manager.people.attempts import Attempts, Devices
from faregate.manager.people.machine import make_token
from faregate.manager.people.passwords import Passwords
from faregate.manager.people.tokens import SESSION_PREFIX, Peppered, same

LIFE_MS: Final = 12 * 3_600_000
"""A session ends, however busy."""
SESSIONS_MAX: Final = 20
"""Of one user; the oldest end first."""
_NO: Final = "User, password or code is wrong."
_NOBODYS_SEED: Final = b"nobody's second factor"


@dataclass(frozen=True, slots=True)
class Opened:
    """A session that was opened, or has a new id. ``cookie`` is shown here and never again; ``csrf`` goes
    into the header ``X-Faregate-Csrf``; ``device``: by which the browser is known from now on.
    """

    cookie: Secret = field(repr=False)
    csrf: str = field(repr=False)
    id: str
    expires_ms: int
    device: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Seed:
    """A second factor to be confirmed. ``address``: ``otpauth://``."""

    text: str = field(repr=False)
    address: str = field(repr=False)


class SignIn:
    """Use cases for everybody, each for oneself."""

    def __init__(  # noqa: PLR0913, PLR0917 - it ties together as many
        self,
        database: Database,
        audit: Audit,
        envelope: Envelope,
        clock: Clock,
        peppered: Peppered,
        passwords: Passwords,
    ) -> None:
        self._database = database
        self._audit = audit
        self._envelope = envelope
        self._clock = clock
        self._peppered = peppered
        self._passwords = passwords
        self._attempts = Attempts()
        self._devices = Devices(peppered)

    async def session_create(  # noqa: PLR0913 - what is shown, and where it comes from
        self, name: str, password: str, code: str, *, address: str, request_id: str, device: str = ""
    ) -> Opened:
        """Signs in. ``device``: what the browser kept of an earlier time. Raises Unauthenticated, TooMany."""
        now = self._clock()
        browser = self._devices.known(name, device, now)
        self._attempts.begin(name, address, now, browser)
        async with reading(self._database) as connection:
            user = await rows.user_get(connection, name)
        known = await self._passwords.verify("" if user is None else user.password, password)
        step = self._matching(user, code, now)
        if user is None or not known or step is None or user.state != "active" or user.service:
            nobody = Actor("nobody" if user is None else name, (), "", address=address, request_id=request_id)
            await self.record("session.refused", nobody, "unknown" if user is None else name)
            raise Unauthenticated(_NO)
        person = Actor(name, (), "password", address=address, request_id=request_id)
        async with writing(self._database) as connection:
            present = await rows.user_get(connection, name)
            if present is None or present.version != user.version:
                raise Unauthenticated(_NO)
            if step and not await rows.step_use(connection, name, step):
                raise Unauthenticated(_NO)
            opened = await self.open_session(connection, person, now, now if step else 0)
        self._attempts.succeeded(name, address, browser)
        return replace(opened, device=self._devices.make(name, now))

    async def open_session(
        self, connection: AsyncConnection, person: Actor, now: int, second_ms: int, **detail: Json
    ) -> Opened:
        """A new session of who was proven; ``second_ms``: when by a second factor, 0 for not."""
        name = person.person
        opened, token, digest = self._open(name, now, second_ms, person.address)
        await self.record(
            "session.opened", person, name, session=token.id, second_factor=bool(second_ms), **detail
        )
        await rows.tokens_expire(connection, now)
        held = await rows.tokens_of(connection, name, "session", now)
        for one in held[SESSIONS_MAX - 1 :]:
            await rows.token_end(connection, one.id)
        await rows.token_add(connection, token, digest)
        return opened

    async def session_get(self, actor: Actor) -> Token | None:
        """The session of ``actor``, None for a token."""
        async with reading(self._database) as connection:
            return await rows.token_get(connection, session_of(actor)) if session_of(actor) else None

    async def session_list(self, actor: Actor) -> list[Token]:
        """One's own sessions, the newest first."""
        async with reading(self._database) as connection:
            return await rows.tokens_of(connection, actor.person, "session", self._clock())

    async def session_end(self, actor: Actor, name: str) -> None:
        """Ends one of one's own sessions. Raises NotFound."""
        async with writing(self._database) as connection:
            token = await rows.token_get(connection, name)
            if token is None or token.user != actor.person or token.kind != "session":
                raise NotFound("There is no such session.")
            await self.record("session.ended", actor, actor.person, session=name)
            await rows.token_end(connection, name)

    async def session_end_others(self, actor: Actor) -> int:
        """Ends all of one's sessions but this one; how many."""
        async with writing(self._database) as connection:
            await self.record("session.others_ended", actor, actor.person)
            kept = (session_of(actor),)
            return await rows.tokens_end(connection, actor.person, kind="session", but=kept)

    async def second_factor(self, actor: Actor, code: str) -> Opened:
        """Shows the second factor again; the session has a new id. Raises Forbidden, TooMany,
        Unauthenticated.
        """
        name = _session(actor)
        now = self._clock()
        self._attempts.begin_own(actor.person, now)
        async with writing(self._database) as connection:
            user = await self._self(connection, actor)
            if user.totp is None:
                raise Conflict("Set up a second factor first: POST /session/totp.")
            step = self._matching(user, code, now)
            if step is not None and await rows.step_use(connection, user.name, step):
                await self.record("session.second_factor", actor, user.name, session=name)
                opened = await self.renew(connection, name, now, {"second_factor_ms": now})
            else:
                opened = None
        if opened is None:
            await self.record("session.second_factor_refused", actor, actor.person, session=name)
            raise Unauthenticated("The code is wrong, or was used before.")
        self._attempts.succeeded_own(actor.person)
        return opened

    async def renew(
        self, connection: AsyncConnection, name: str, now: int, values: dict[str, object]
    ) -> Opened:
        """A new id for session ``name``, which had another until now."""
        token = await rows.token_get(connection, name)
        if token is None:
            raise NotFound("There is no such session.")
        cookie = make_token(SESSION_PREFIX)
        digest = self._peppered.digest("session", cookie.reveal())
        await rows.token_update(connection, name, {"digest": digest, "used_ms": now, **values})
        return Opened(cookie, self._peppered.csrf(cookie.reveal()), name, token.expires_ms)

    async def enrol(self, name: str, code: str, password: str, *, address: str, request_id: str) -> None:
        """Sets the password of who was invited, once. Raises Unauthenticated, Invalid, TooMany."""
        now = self._clock()
        self._attempts.begin(name, address, now)
        hashed = await self._passwords.hash(password)
        digest = self._peppered.digest("invite", code.encode())
        person = Actor(name, (), "invite", address=address, request_id=request_id)
        async with writing(self._database) as connection:
            user = await rows.user_get(connection, name)
            fits = same((user.invite if user is not None else "").encode(), digest.encode())
            taken = user is not None and fits and now < user.invite_ms and user.state == "active"
            if taken:
                await self.record("user.enrolled", person, name)
                values = {"password": hashed, "invite": "", "invite_ms": 0}
                await rows.user_update(connection, name, values)
                await rows.tokens_end(connection, name)
        if not taken:
            nobody = Actor("nobody", (), "", address=address, request_id=request_id)
            await self.record("user.enrolment_refused", nobody, "unknown" if user is None else name)
            raise Unauthenticated("User or code is wrong, or the code has ended: ask an owner for another.")
        self._attempts.succeeded(name, address)

    async def password_change(self, actor: Actor, former: str, fresh: str) -> None:
        """Ends all other sessions. Raises Conflict for who signs in by the provider; Forbidden,
        Unauthenticated, Invalid, TooMany.
        """
        user = await self._proven(actor, former)
        if user.external:
            raise Conflict("The provider signs you in: you have no password here.")
        hashed = await self._passwords.hash(fresh)
        async with writing(self._database) as connection:
            await self._unchanged(connection, user)
            await self.record("user.password_changed", actor, user.name)
            await rows.user_update(connection, user.name, {"password": hashed})
            await rows.tokens_end(connection, user.name, kind="session", but=(session_of(actor),))

    async def totp_begin(self, actor: Actor, password: str) -> Seed:
        """A new second factor, in force once it is confirmed; to replace one, show it first. Raises
        Forbidden, SecondFactorNeeded, Unauthenticated, TooMany.
        """
        user = await self._proven(actor, password)
        if user.totp is not None:
            demand_fresh(actor, self._clock())
        seed = totp.make_seed()
        sealed = self._envelope.seal(seed, _purpose(user.name))
        async with writing(self._database) as connection:
            await self._unchanged(connection, user)
            await self.record("user.second_factor_begun", actor, user.name)
            await rows.user_update(connection, user.name, {"totp_next": sealed})
        return Seed(totp.seed_text(seed), totp.address_of(seed, user.name))

    async def totp_confirm(self, actor: Actor, code: str) -> Opened:
        """Puts the new second factor in force; the session has a new id, and the others end. Raises
        Conflict, Unauthenticated, TooMany.
        """
        name = _session(actor)
        now = self._clock()
        self._attempts.begin_own(actor.person, now)
        async with writing(self._database) as connection:
            user = await self._self(connection, actor)
            if user.totp_next is None:
                raise Conflict("Begin with POST /session/totp.")
            seed = self._envelope.open(user.totp_next, _purpose(user.name))
            step = totp.matching_step(seed, code, now, 0)
            if step is None:
                raise Unauthenticated("The code is wrong: is the clock of your device right?")
            if user.totp is not None:
                demand_fresh(actor, now)
            await self.record("user.second_factor_set", actor, user.name)
            values = {"totp": user.totp_next, "totp_next": None, "totp_step": step}
            await rows.user_update(connection, user.name, values)
            await rows.tokens_end(connection, user.name, kind="session", but=(name,))
            opened = await self.renew(connection, name, now, {"second_factor_ms": now})
        self._attempts.succeeded_own(actor.person)
        return opened

    def _matching(self, user: User | None, code: str, now: int) -> int | None:
        """The step of ``code``; 0 when the user has no second factor; None when it is wrong."""
        if user is None or user.totp is None:
            totp.matching_step(_NOBODYS_SEED, code, now, 0)
            return 0
        seed = self._envelope.open(user.totp, _purpose(user.name))
        return totp.matching_step(seed, code, now, user.totp_step)

    def _open(self, name: str, now: int, second_ms: int, address: str) -> tuple[Opened, Token, str]:
        cookie = make_token(SESSION_PREFIX)
        token = Token(
            f"ses_{secrets.token_hex(8)}",
            name,
            "session",
            "",
            (),
            now,
            now,
            now + LIFE_MS,
            second_ms,
            address,
        )
        opened = Opened(cookie, self._peppered.csrf(cookie.reveal()), token.id, token.expires_ms)
        return opened, token, self._peppered.digest("session", cookie.reveal())

    async def _proven(self, actor: Actor, password: str) -> User:
        """Who asks, after the password, or a sign-in by the provider just now. Raises Forbidden,
        Unauthenticated, TooMany.
        """
        name = _session(actor)
        self._attempts.begin_own(actor.person, self._clock())
        async with reading(self._database) as connection:
            user = await self._self(connection, actor)
            session = await rows.token_get(connection, name)
        if user.external:
            if session is None or self._clock() - session.created_ms > FRESH_MS:
                raise Unauthenticated("Sign in by the provider again: GET /sign-in/oidc?fresh=true.")
            self._attempts.succeeded_own(actor.person)
            return user
        if not await self._passwords.verify(user.password, password):
            await self.record("user.password_refused", actor, user.name)
            raise Unauthenticated("The password is wrong.")
        self._attempts.succeeded_own(actor.person)
        return user

    @staticmethod
    async def _self(connection: AsyncConnection, actor: Actor) -> User:
        user = await rows.user_get(connection, actor.person)
        if user is None or user.service:
            raise Forbidden("This is for people who are signed in.")
        return user

    @staticmethod
    async def _unchanged(connection: AsyncConnection, user: User) -> None:
        present = await rows.user_get(connection, user.name)
        if present is None or present.version != user.version:
            raise Conflict("It was changed at this moment; try again.")

    async def record(self, kind: str, actor: Actor, name: str, **detail: Json) -> None:
        """The audit leaf of an act on a user. Raises Unavailable: the act must not happen."""
        told: dict[str, Json] = {
            "credential": actor.credential,
            "from": actor.address,
            "request_id": actor.request_id,
            **detail,
        }
        await self._audit.append(kind, actor.person, f"user/{name}", told)


def session_of(actor: Actor) -> str:
    """The id of the session that ``actor`` asks with, empty for another credential."""
    kind, _, name = actor.credential.partition(":")
    return name.partition(" ")[0] if kind == "session" else ""


def _session(actor: Actor) -> str:
    name = session_of(actor)
    if not name:
        raise Forbidden("This is for people who are signed in.")
    return name


def _purpose(name: str) -> str:
    return f"second factor of {name}"
