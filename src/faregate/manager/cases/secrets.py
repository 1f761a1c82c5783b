"""Keys of the house: data keys that seal what lies in the database, the master key that seals these, and the
peppers under which consumers' keys are kept.

Another data key seals from now on, and everything that lies sealed is sealed anew in the background, some
rows a transaction. Another master key touches no value. Another pepper is for keys that are made from now on:
a digest cannot be carried over without the key itself. Each is an audit leaf before it takes effect.
"""

import asyncio
import base64
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from faregate.kernel import api_keys
from faregate.kernel.secrets import Secret
from faregate.manager.cases import permits
from faregate.manager.cases.access import reading, writing
from faregate.manager.cases.committing import Committing
from faregate.manager.cases.credentials import Credentials
from faregate.manager.cases.domain import EVERYWHERE, Actor
from faregate.manager.cases.errors import Conflict, Forbidden, Invalid
from faregate.manager.cases.second_factor import demand_fresh
from faregate.manager.database import resealing
from faregate.manager.database.envelopes import (
    Envelopes,
    MasterKeyError,
    finish_master,
    master_id,
    open_envelopes,
    parse_master,
    rotate_data_key,
    rotate_master,
    stage_master,
)
from faregate.manager.database.tables import entries, envelopes, facts

PEPPERS: Final = "peppers"
"""The fact that holds the peppers, by age, the newest last."""
SPREAD_S: Final = 2.0
"""Until a new data key seals where machines share a database: by then each has seen it."""


@dataclass(frozen=True, slots=True)
class DataKey:
    """``retired_ms`` None: it seals."""

    id: str
    created_ms: int
    retired_ms: int | None


@dataclass(frozen=True, slots=True)
class Found:
    """``resealing``: values that a retired data key still seals."""

    master: str
    data_keys: Sequence[DataKey]
    peppers: list[str]
    resealing: int


class Secrets:
    """Use cases. ``master``: the present master key; ``configured``: it comes from the configuration."""

    def __init__(  # noqa: PLR0913 - it rotates what as many hold
        self,
        committing: Committing,
        envelope: Envelopes,
        credentials: Credentials,
        data: Path,
        master: Secret,
        *,
        configured: bool,
    ) -> None:
        self._committing = committing
        self._database = committing.database
        self._envelope = envelope
        self._credentials = credentials
        self._data = data
        self._master = master
        self._configured = configured
        self._resealing: asyncio.Task[None] | None = None

    async def secrets_get(self, actor: Actor) -> Found:
        """Which keys there are, by name. Raises Forbidden, Unavailable."""
        _demand(actor)
        async with reading(self._database) as connection:
            rows = await connection.execute(select(envelopes).order_by(envelopes.c.created_ms))
            keys = [DataKey(row.id, row.created_ms, row.retired_ms) for row in rows]
            peppers = list(await self._peppers(connection))
            return Found(
                master_id(self._master), keys, peppers, await resealing.left(connection, self._envelope)
            )

    async def rotate_data_key(self, actor: Actor) -> str:
        """Another data key seals from now on; its name. Raises Forbidden, Unavailable."""
        self._demand_act(actor)
        async with writing(self._database) as connection:
            await rotate_data_key(connection, self._master, self._committing.clock())
            fresh = await open_envelopes(connection, self._master, self._committing.clock())
            await self._told(actor, "data_key", fresh.present)
        if not self._database.embedded:
            await asyncio.sleep(SPREAD_S)
        self._envelope.take(fresh)
        self.reseal_soon()
        return fresh.present

    async def rotate_master(self, actor: Actor, given: str = "") -> str:
        """Another master key seals the data keys; its name. ``given``: 64 hexadecimal digits, where the
        configuration names the key. Raises Forbidden, Conflict, Invalid, Unavailable.
        """
        self._demand_act(actor)
        if self._configured != bool(given):
            raise Conflict(
                "The master key comes from gateway.manager.master_key: send the next one, and set it there "
                "before the next start."
                if self._configured
                else "The master key lies in the data folder and is made there: send none."
            )
        try:
            fresh = parse_master(given or secrets.token_hex(32))
        except MasterKeyError as error:
            raise Invalid(f"{error}.") from error
        if not self._configured:
            await asyncio.to_thread(stage_master, self._data, fresh)
        try:
            async with writing(self._database) as connection:
                await rotate_master(connection, self._master, fresh)
                await self._told(actor, "master_key", master_id(fresh))
        except MasterKeyError as error:
            raise Conflict(f"{error}.") from error
        self._master = fresh
        if not self._configured:
            await asyncio.to_thread(finish_master, self._data)
        return master_id(fresh)

    async def rotate_pepper(self, actor: Actor) -> str:
        """Keys are made under another pepper from now on; its name. Raises Forbidden, Conflict,
        Unavailable.
        """
        self._demand_act(actor)
        async with writing(self._database) as connection:
            kept = await self._peppers(connection)
            if len(kept) >= api_keys.PEPPERS_MAX:
                kept = await self._needed(connection, kept)
            if len(kept) >= api_keys.PEPPERS_MAX:
                oldest = next(iter(kept))
                raise Conflict(f"Keys are in use under each of the peppers: roll those under {oldest} first.")
            name = secrets.token_hex(4)
            kept[name] = base64.b64encode(api_keys.make_pepper().reveal()).decode()
            sealed = self._envelope.seal(msgspec.json.encode(kept), PEPPERS)
            await self._told(actor, "pepper", name)
            await connection.execute(update(facts).where(facts.c.name == PEPPERS).values(value=sealed))
        await self._lay_peppers()
        return name

    async def follow(self) -> None:
        """Takes over what other machines rotated. Raises Unavailable, MasterKeyError."""
        async with reading(self._database) as connection:
            fresh = await open_envelopes(connection, self._master, self._committing.clock())
            self._envelope.take(fresh)
            names = list(await self._peppers(connection))
        if names != self._credentials.peppers:
            await self._lay_peppers()

    def reseal_soon(self) -> None:
        """Begins to seal anew what is sealed by a retired data key, unless that is going on."""
        if self._resealing is None or self._resealing.done():
            self._resealing = asyncio.create_task(self._reseal())

    async def settle(self) -> None:
        """Waits until that is done."""
        if self._resealing is not None:
            await asyncio.gather(self._resealing, return_exceptions=True)

    async def close(self) -> None:
        if self._resealing is not None:
            self._resealing.cancel()
            await asyncio.gather(self._resealing, return_exceptions=True)

    async def _reseal(self) -> None:
        mark: resealing.Mark | None = resealing.Mark()
        while mark is not None:
            async with self._database.writing() as connection:
                mark, _ = await resealing.reseal(connection, self._envelope, mark)

    async def _lay_peppers(self) -> None:
        """Under the writer's lock: no key is made meanwhile that the compiler could not read."""
        async with self._committing.turn:
            await self._credentials.lay_peppers()
            self._committing.compiler.anew()

    async def _peppers(self, connection: AsyncConnection) -> dict[str, str]:
        sealed = (await connection.execute(select(facts.c.value).where(facts.c.name == PEPPERS))).scalar()
        return msgspec.json.decode(self._envelope.open(sealed or b"", PEPPERS), type=dict[str, str])

    @staticmethod
    async def _needed(connection: AsyncConnection, kept: dict[str, str]) -> dict[str, str]:
        """Those under which a key stands."""
        needed = {}
        for name, value in kept.items():
            used = await connection.execute(
                select(entries.c.id)
                .where(entries.c.section == "credentials", entries.c.until.is_(None))
                .where(entries.c.content.contains(f'"pepper":"{name}"', autoescape=True))
                .limit(1)
            )
            if used.first() is not None:
                needed[name] = value
        return needed

    def _demand_act(self, actor: Actor) -> None:
        _demand(actor)
        demand_fresh(actor, self._committing.clock())

    async def _told(self, actor: Actor, what: str, name: str) -> None:
        await self._committing.audit.append(
            "secrets.rotated",
            actor.person,
            f"secrets/{what}",
            {
                "id": name,
                "credential": actor.credential,
                "from": actor.address,
                "request_id": actor.request_id,
            },
        )


def _demand(actor: Actor) -> None:
    if not permits.may(actor, "own", (EVERYWHERE,)):
        raise Forbidden("This needs the role owner, for everything.")
