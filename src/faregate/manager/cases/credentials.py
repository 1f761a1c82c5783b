"""Keys and other credentials of consumers: made, listed, rolled over, revoked.

A key is made here, shown once in the answer, and kept as an HMAC under a pepper that lies in the database,
sealed, and on each machine in ``<data>/peppers.json``. Rolling makes a new key and gives the old one an end;
revoking removes it. Each is a revision like any other change, so a revoked key is dead in every worker as
soon as that is published.
"""

import base64
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

import msgspec
from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from faregate.kernel import api_keys
from faregate.kernel.secrets import Secret
from faregate.manager.cases import permits
from faregate.manager.cases.committing import Also, Committing, Why
from faregate.manager.cases.configuration import Page
from faregate.manager.cases.domain import Actor, Change, Content, Entry, Json, Revision
from faregate.manager.cases.errors import Conflict, Held, Invalid, NotFound, Unavailable
from faregate.manager.database.engine import DatabaseError
from faregate.manager.database.entries import owned_by
from faregate.manager.database.tables import entries as rows
from faregate.manager.database.tables import facts
from faregate.snapshot.peppers import Pepper, PepperFault, read_peppers, write_peppers

_FACT: Final = "peppers"
NOTE_CHARACTERS_MAX: Final = 200
OVERLAP_MAX_S: Final = 90 * 86_400
LIFE_MIN_S: Final = 60
LIFE_MAX_S: Final = 10 * 366 * 86_400
LOOKS_MAX: Final = 20
"""Looks into the database for one page of a list."""
_LOOKED_AT: Final = 500


@dataclass(frozen=True, slots=True)
class Made:
    """A new credential. ``secret``: the whole key, never to be seen again."""

    entry: Entry
    secret: Secret = field(repr=False)
    revision: Revision | None = None


AlsoMade = Callable[[AsyncConnection, "Made | Held"], Awaitable[None]]
"""Writes more in the transaction that makes a credential, or files the request for one."""


class Credentials:
    """Use cases for the section ``credentials``."""

    def __init__(self, committing: Committing, data: Path) -> None:
        self._committing = committing
        self._entries = committing.entries
        self._data = data
        self._peppers: dict[str, Secret] = {}
        self._present = ""

    async def lay_peppers(self) -> None:
        """Opens the peppers, makes the first, and lays them where this machine's compiler reads them."""
        envelope = self._committing.envelope
        try:
            async with self._committing.database.writing() as connection:
                found = await connection.execute(select(facts.c.value).where(facts.c.name == _FACT))
                sealed = found.scalar()
                if sealed is None:
                    name = secrets.token_hex(4)
                    kept = {name: base64.b64encode(api_keys.make_pepper().reveal()).decode()}
                    sealed = envelope.seal(msgspec.json.encode(kept), _FACT)
                    await connection.execute(insert(facts).values(name=_FACT, value=sealed))
        except DatabaseError as error:
            raise Unavailable(str(error)) from error
        told = msgspec.json.decode(envelope.open(sealed, _FACT), type=dict[str, str])
        self._peppers = {name: Secret(base64.b64decode(value)) for name, value in told.items()}
        self._present = next(reversed(told))
        newest_first = tuple(Pepper(name, value.reveal()) for name, value in reversed(self._peppers.items()))
        try:
            if read_peppers(self._data) != newest_first:
                write_peppers(self._data, newest_first)
        except PepperFault:
            write_peppers(self._data, newest_first)

    @property
    def peppers(self) -> list[str]:
        """The names of the peppers, the newest last."""
        return list(self._peppers)

    async def credential_list(
        self, actor: Actor, *, consumer: str = "", after: str = "", size: int = 100
    ) -> Page:
        """Credentials by id, those of one consumer or of all that ``actor`` may see. Where many of others lie
        between, a page has fewer than ``size``, and goes on.
        """
        permits.demand_anywhere(actor, "see")
        found: list[Entry] = []
        try:
            async with self._committing.database.reading() as connection:
                for _ in range(LOOKS_MAX):
                    page = await self._entries.page(
                        connection,
                        "credentials",
                        after=after,
                        size=max(size + 1, _LOOKED_AT),
                        matching=None if not consumer else owned_by(consumer),
                    )
                    found += [one for one in await self._of_teams(connection, page) if _sees(actor, one)]
                    more = len(page) == max(size + 1, _LOOKED_AT)
                    after = page[-1].name if more else ""
                    if len(found) > size or not more:
                        break
        except DatabaseError as error:
            raise Unavailable(str(error)) from error
        kept = found[:size]
        return Page([_shown(one) for one in kept], kept[-1].name if len(found) > size else after)

    async def credential_get(self, actor: Actor, name: str) -> Entry:
        """One credential. Raises NotFound."""
        try:
            async with self._committing.database.reading() as connection:
                entry = await self._get(connection, name)
        except DatabaseError as error:
            raise Unavailable(str(error)) from error
        if entry is None or not _sees(actor, entry):
            raise NotFound("There is no such credential.")
        return _shown(entry)

    async def key_create(  # noqa: PLR0913 - what a key may be given
        self,
        actor: Actor,
        consumer: str,
        *,
        mode: Literal["live", "test"] = "live",
        life_s: int | None = None,
        note: str = "",
        reason: str = "",
        also: AlsoMade | None = None,
    ) -> Made:
        """A new API key of ``consumer``, which ends after ``life_s`` seconds. Raises NotFound, Invalid."""
        key = api_keys.make(mode)
        name = f"key_{secrets.token_hex(6)}"
        content = self._content(consumer, name, key, mode, life_s, note)
        team = ""

        async def plan(connection: AsyncConnection) -> Sequence[Change]:
            nonlocal team
            team = await self._team_of(connection, actor, consumer)
            return [Change("credentials", name, None, content, team)]

        def made(revision: Revision | None) -> Made:
            number = 0 if revision is None else revision.number
            entry = Entry("credentials", name, content, team=team, revision=number)
            return Made(_shown(entry), key, revision)

        why = Why("credential", reason)
        return made(await self._committing.commit(actor, why, plan, _telling(made, also)))

    async def key_roll(  # noqa: PLR0913 - likewise
        self,
        actor: Actor,
        name: str,
        *,
        overlap_s: int = 0,
        life_s: int | None = None,
        reason: str = "",
        also: AlsoMade | None = None,
    ) -> Made:
        """A new key in place of ``name``, which works on for ``overlap_s`` seconds. ``life_s`` None: it lives
        as long as the old one was given; 0: it does not end. Raises NotFound, Conflict, Invalid.
        """
        if not 0 <= overlap_s <= OVERLAP_MAX_S:
            raise Invalid(f"An overlap lasts from 0 to {OVERLAP_MAX_S} seconds.")
        fresh = f"key_{secrets.token_hex(6)}"
        made: list[Made] = []

        async def plan(connection: AsyncConnection) -> Sequence[Change]:
            former = await self._writable(connection, actor, name)
            told = former.content.get("api_key")
            if not isinstance(told, dict):
                raise Conflict("Only API keys are rolled; put a new certificate beside the old one.")
            if "replaced_by" in former.content:
                raise Conflict(f"It was rolled already: {former.content['replaced_by']} replaces it.")
            mode: Literal["live", "test"] = "test" if told.get("mode") == "test" else "live"
            key = api_keys.make(mode)
            consumer = str(former.content["consumer"])
            life = _life_of(former.content) if life_s is None else life_s or None
            content = self._content(consumer, fresh, key, mode, life, str(former.content.get("note", "")))
            made.append(Made(Entry("credentials", fresh, content, team=former.team), key))
            new = Change("credentials", fresh, None, content, former.team)
            if overlap_s == 0:
                return [new, _gone(former)]
            ends = self._committing.clock() // 1000 + overlap_s
            earlier = _seconds(told.get("expires"))
            ending: Content = {
                **former.content,
                "api_key": {**told, "expires": moment(min(ends, earlier) if earlier else ends)},
                "replaced_by": fresh,
            }
            return [new, Change("credentials", name, former.content, ending, former.team, former.team)]

        def whole(revision: Revision | None) -> Made:
            entry = replace(made[-1].entry, revision=0 if revision is None else revision.number)
            return Made(_shown(entry), made[-1].secret, revision)

        why = Why("credential", reason)
        return whole(await self._committing.commit(actor, why, plan, _telling(whole, also)))

    async def credential_put(  # noqa: PLR0913 - likewise
        self,
        actor: Actor,
        name: str,
        consumer: str,
        kind: Literal["mtls", "jwt"],
        form: Content,
        *,
        reason: str = "",
    ) -> tuple[Entry, Revision | None]:
        """Adds, or replaces, a certificate or a token's subject as a credential of ``consumer``."""
        content: Content = {"consumer": consumer, kind: form}
        team = ""

        async def plan(connection: AsyncConnection) -> Sequence[Change]:
            nonlocal team
            team = await self._team_of(connection, actor, consumer)
            present = await self._get(connection, name)
            if present is None:
                return [Change("credentials", name, None, content, team)]
            permits.demand_entry(actor, "write", present)
            if present.content.get("consumer") != consumer or "api_key" in present.content:
                raise Conflict("There is another credential of this name.")
            return [Change("credentials", name, present.content, content, team, present.team)]

        revision = await self._committing.commit(actor, Why("credential", reason), plan)
        return await self.credential_get(actor, name), revision

    async def credential_revoke(self, actor: Actor, name: str, *, reason: str = "") -> Revision | None:
        """Ends a credential for good. Raises NotFound."""

        async def plan(connection: AsyncConnection) -> Sequence[Change]:
            return [_gone(await self._writable(connection, actor, name))]

        return await self._committing.commit(actor, Why("credential", reason), plan)

    @staticmethod
    def form_of(mtls: Content | None, jwt: Content | None) -> tuple[Literal["mtls", "jwt"], Content]:
        """Which kind of credential is told, and it. Raises Invalid unless it is exactly one."""
        if mtls is not None and jwt is None:
            return "mtls", mtls
        if jwt is not None and mtls is None:
            return "jwt", jwt
        raise Invalid("A credential is one thing: exactly one of mtls and jwt.")

    def _content(  # noqa: PLR0913, PLR0917 - what a key is made of
        self,
        consumer: str,
        name: str,
        key: Secret,
        mode: Literal["live", "test"],
        life_s: int | None,
        note: str,
    ) -> Content:
        if life_s is not None and not LIFE_MIN_S <= life_s <= LIFE_MAX_S:
            raise Invalid(f"A key lives from {LIFE_MIN_S} to {LIFE_MAX_S} seconds.")
        now_s = self._committing.clock() // 1000
        digest = api_keys.digest(self._peppers[self._present].reveal(), key.reveal())
        told: dict[str, Json] = {
            "id": name,
            "hmac": {"pepper": self._present, "digest": digest.hex()},
            "mode": mode,
        }
        if life_s is not None:
            told["expires"] = moment(now_s + life_s)
        return {
            "consumer": consumer,
            "api_key": told,
            "shown": api_keys.shown(key.reveal()),
            "created": moment(now_s),
            **({"note": note[:NOTE_CHARACTERS_MAX]} if note else {}),
        }

    async def _team_of(self, connection: AsyncConnection, actor: Actor, consumer: str) -> str:
        """The team of a consumer, whose credentials are its team's. Raises NotFound, Forbidden."""
        team = ""
        if consumer not in await self._committing.compiler.file_names("consumers"):
            found = await self._entries.get(connection, "consumers", consumer)
            if found is None:
                raise NotFound("There is no such consumer.")
            team = found.team
        permits.demand(actor, "write", permits.scopes_of("consumers", consumer, team), noun="consumer")
        return team

    async def _get(self, connection: AsyncConnection, name: str) -> Entry | None:
        entry = await self._entries.get(connection, "credentials", name)
        return None if entry is None else (await self._of_teams(connection, [entry]))[0]

    async def _of_teams(self, connection: AsyncConnection, found: Sequence[Entry]) -> list[Entry]:
        """``found`` in the teams of their consumers as these are now, wherever they were made."""
        names = {str(one.content.get("consumer")) for one in found}
        consumers = await self._entries.page(connection, "consumers", matching=rows.c.name.in_(names))
        teams = {one.name: one.team for one in consumers}
        return [replace(one, team=teams.get(str(one.content.get("consumer")), "")) for one in found]

    async def _writable(self, connection: AsyncConnection, actor: Actor, name: str) -> Entry:
        entry = await self._get(connection, name)
        if entry is None:
            raise NotFound("There is no such credential.")
        permits.demand_entry(actor, "write", entry)
        return entry


def _telling(made: Callable[[Revision | None], Made], also: AlsoMade | None) -> Also:
    """Has whoever asked told the secret, also where it must wait, and ``also`` done."""

    async def act(connection: AsyncConnection, outcome: Revision | Held | None) -> None:
        if isinstance(outcome, Held):
            outcome.shown["secret"] = made(None).secret.reveal().decode()
        if also is not None:
            await also(connection, outcome if isinstance(outcome, Held) else made(outcome))

    return act


def moment(seconds: int) -> str:
    """RFC 3339 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def _seconds(text: Json) -> int:
    return int(datetime.fromisoformat(text).timestamp()) if isinstance(text, str) and "T" in text else 0


def _life_of(content: Content) -> int | None:
    """How long a key was made for, None for one that does not end."""
    told = content.get("api_key")
    ends = _seconds(told.get("expires")) if isinstance(told, dict) else 0
    return max(ends - _seconds(content.get("created")), LIFE_MIN_S) if ends else None


def _gone(entry: Entry) -> Change:
    return Change("credentials", entry.name, entry.content, None, "", entry.team)


def _sees(actor: Actor, entry: Entry) -> bool:
    return permits.may(actor, "see", permits.scopes_of("credentials", entry.name, entry.team))


def _shown(entry: Entry) -> Entry:
    """Without the digest: whoever has it and the pepper can try keys."""
    content = dict(entry.content)
    told = content.get("api_key")
    if isinstance(told, dict):
        content["api_key"] = {key: value for key, value in told.items() if key != "hmac"}
    return replace(entry, content=content)
