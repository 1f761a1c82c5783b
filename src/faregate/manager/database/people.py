"""Reads and writes of users, their grants, tokens and sessions, and of break-glass."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import msgspec
from sqlalchemy import CursorResult, delete, func, insert, select, update
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from faregate.manager.cases.domain import Grant
from faregate.manager.database.tables import glass, grants, tokens, users

_DECIDING: Final = ("approver", "owner")


@dataclass(frozen=True, slots=True)
class User:
    """Who may sign in, or a service that has tokens. ``external``: issuer and subject, for who signs in by
    the provider.
    """

    name: str
    display: str
    email: str
    service: bool
    state: Literal["active", "disabled"]
    created_ms: int
    version: int
    password: str = field(repr=False)
    totp: bytes | None = field(repr=False)
    totp_next: bytes | None = field(repr=False)
    totp_step: int
    invite: str = field(repr=False)
    invite_ms: int
    grants: tuple[Grant, ...] = ()
    external: str = ""


@dataclass(frozen=True, slots=True)
class Token:
    """A token or a session. ``roles`` empty: those of its user."""

    id: str
    user: str
    kind: Literal["token", "session"]
    note: str
    roles: tuple[Grant, ...]
    created_ms: int
    used_ms: int
    expires_ms: int
    second_factor_ms: int
    from_address: str


@dataclass(frozen=True, slots=True)
class Glass:
    """One act of break-glass. ``reviewer`` empty: nobody has looked at it yet."""

    id: str
    person: str
    reason: str
    opened_ms: int
    until_ms: int
    address: str
    reviewer: str
    reviewed_ms: int
    finding: str


async def user_get(connection: AsyncConnection, name: str) -> User | None:
    row = (await connection.execute(select(users).where(users.c.name == name))).one_or_none()
    return None if row is None else _user(row, await grants_of(connection, name))


async def user_by_external(connection: AsyncConnection, external: str) -> User | None:
    row = (await connection.execute(select(users).where(users.c.external == external))).one_or_none()
    return None if row is None else _user(row, await grants_of(connection, row.name))


async def user_page(connection: AsyncConnection, after: str, size: int) -> list[User]:
    rows = (
        await connection.execute(select(users).where(users.c.name > after).order_by(users.c.name).limit(size))
    ).all()
    names = [row.name for row in rows]
    held: dict[str, list[Grant]] = {name: [] for name in names}
    for row in await connection.execute(select(grants).where(grants.c.user.in_(names))):
        held[row.user].append(Grant(row.role, row.scope))
    return [_user(row, _sorted(held[row.name])) for row in rows]


async def user_count(connection: AsyncConnection) -> int:
    return (await connection.execute(select(func.count()).select_from(users))).scalar() or 0


async def user_add(  # noqa: PLR0913 - a row has as many
    connection: AsyncConnection,
    name: str,
    *,
    display: str,
    email: str,
    service: bool,
    invite: str,
    invite_ms: int,
    now_ms: int,
    external: str = "",
) -> None:
    await connection.execute(
        insert(users).values(
            name=name,
            display=display,
            email=email,
            service=int(service),
            invite=invite,
            invite_ms=invite_ms,
            created_ms=now_ms,
            external=external or None,
        )
    )


async def user_update(connection: AsyncConnection, name: str, values: Mapping[str, object]) -> None:
    await connection.execute(
        update(users).where(users.c.name == name).values(**values, version=users.c.version + 1)
    )


async def step_use(connection: AsyncConnection, name: str, step: int) -> bool:
    """Uses up a step of the user's second factor; False when it, or a later one, was used before."""
    found = await connection.execute(
        update(users).where(users.c.name == name, users.c.totp_step < step).values(totp_step=step)
    )
    return _touched(found)


async def grants_of(connection: AsyncConnection, name: str) -> tuple[Grant, ...]:
    rows = await connection.execute(select(grants).where(grants.c.user == name))
    return _sorted([Grant(row.role, row.scope) for row in rows])


async def grants_set(connection: AsyncConnection, name: str, fresh: Sequence[Grant]) -> None:
    await connection.execute(delete(grants).where(grants.c.user == name))
    if fresh:
        await connection.execute(
            insert(grants), [{"user": name, "role": one.role, "scope": one.scope} for one in fresh]
        )
    await user_update(connection, name, {})


async def deciders(connection: AsyncConnection) -> int:
    """How many persons hold a role that decides, disabled ones too."""
    found = await connection.execute(
        select(func.count(func.distinct(grants.c.user)))
        .select_from(grants.join(users, grants.c.user == users.c.name))
        .where(grants.c.role.in_(_DECIDING), users.c.service == 0)
    )
    return found.scalar() or 0


async def token_by_digest(connection: AsyncConnection, digest: str) -> tuple[Token, User] | None:
    row = (await connection.execute(select(tokens).where(tokens.c.digest == digest))).one_or_none()
    user = await user_get(connection, "" if row is None else row.user)  # always: it takes as long
    return None if row is None or user is None else (_token(row), user)


async def token_get(connection: AsyncConnection, name: str) -> Token | None:
    row = (await connection.execute(select(tokens).where(tokens.c.id == name))).one_or_none()
    return None if row is None else _token(row)


async def tokens_of(connection: AsyncConnection, user: str, kind: str, now_ms: int) -> list[Token]:
    """Those that have not ended, the newest first."""
    rows = await connection.execute(
        select(tokens)
        .where(tokens.c.user == user, tokens.c.kind == kind, tokens.c.expires_ms > now_ms)
        .order_by(tokens.c.created_ms.desc(), tokens.c.id)
    )
    return [_token(row) for row in rows]


async def token_add(connection: AsyncConnection, token: Token, digest: str) -> None:
    roles = msgspec.json.encode([[one.role, one.scope] for one in token.roles]).decode()
    await connection.execute(
        insert(tokens).values(
            id=token.id,
            user=token.user,
            kind=token.kind,
            digest=digest,
            note=token.note,
            roles=roles,
            created_ms=token.created_ms,
            used_ms=token.used_ms,
            expires_ms=token.expires_ms,
            second_factor_ms=token.second_factor_ms,
            from_address=token.from_address,
        )
    )


async def token_update(connection: AsyncConnection, name: str, values: Mapping[str, object]) -> bool:
    return _touched(await connection.execute(update(tokens).where(tokens.c.id == name).values(**values)))


async def token_end(connection: AsyncConnection, name: str) -> bool:
    return _touched(await connection.execute(delete(tokens).where(tokens.c.id == name)))


async def tokens_end(
    connection: AsyncConnection, user: str, *, kind: str = "", but: Sequence[str] = ()
) -> int:
    """Ends all of a user's tokens, or those of ``kind``, except ``but``; how many."""
    wanted = delete(tokens).where(tokens.c.user == user)
    if kind:
        wanted = wanted.where(tokens.c.kind == kind)
    if but:
        wanted = wanted.where(tokens.c.id.not_in(but))
    found = await connection.execute(wanted)
    return found.rowcount


async def tokens_expire(connection: AsyncConnection, now_ms: int) -> None:
    await connection.execute(delete(tokens).where(tokens.c.expires_ms <= now_ms))


async def glass_add(connection: AsyncConnection, one: Glass) -> None:
    await connection.execute(
        insert(glass).values(
            id=one.id,
            person=one.person,
            reason=one.reason,
            opened_ms=one.opened_ms,
            until_ms=one.until_ms,
            address=one.address,
        )
    )


async def glass_get(connection: AsyncConnection, name: str) -> Glass | None:
    row = (await connection.execute(select(glass).where(glass.c.id == name))).one_or_none()
    return None if row is None else _glass(row)


async def glass_of(connection: AsyncConnection, person: str, now_ms: int) -> Glass | None:
    """The one that holds now."""
    rows = await connection.execute(
        select(glass)
        .where(glass.c.person == person, glass.c.until_ms > now_ms)
        .order_by(glass.c.until_ms.desc())
        .limit(1)
    )
    row = rows.one_or_none()
    return None if row is None else _glass(row)


async def glass_page(connection: AsyncConnection, *, unreviewed: bool, size: int) -> list[Glass]:
    wanted = select(glass).order_by(glass.c.opened_ms.desc(), glass.c.id).limit(size)
    if unreviewed:
        wanted = wanted.where(glass.c.reviewer == "")
    return [_glass(row) for row in await connection.execute(wanted)]


async def glass_update(connection: AsyncConnection, name: str, values: Mapping[str, object]) -> None:
    await connection.execute(update(glass).where(glass.c.id == name).values(**values))


def _touched(found: "CursorResult[Any]") -> bool:
    return found.rowcount == 1


def _sorted(found: Sequence[Grant]) -> tuple[Grant, ...]:
    return tuple(sorted(found, key=lambda one: (one.role, one.scope)))


def _user(row: "Row[Any]", held: tuple[Grant, ...]) -> User:
    return User(
        row.name,
        row.display,
        row.email,
        bool(row.service),
        row.state,
        row.created_ms,
        row.version,
        row.password,
        row.totp,
        row.totp_next,
        row.totp_step,
        row.invite,
        row.invite_ms,
        held,
        row.external or "",
    )


def _token(row: "Row[Any]") -> Token:
    roles = tuple(Grant(role, scope) for role, scope in msgspec.json.decode(row.roles))
    return Token(
        row.id,
        row.user,
        row.kind,
        row.note,
        roles,
        row.created_ms,
        row.used_ms,
        row.expires_ms,
        row.second_factor_ms,
        row.from_address,
    )


def _glass(row: "Row[Any]") -> Glass:
    return Glass(
        row.id,
        row.person,
        row.reason,
        row.opened_ms,
        row.until_ms,
        row.address,
        row.reviewer,
        row.reviewed_ms,
        row.finding,
    )
