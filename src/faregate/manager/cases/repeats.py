"""Writes that are sent again: an ``Idempotency-Key`` makes what creates something safe to repeat.

The answer is kept, sealed, in the transaction of the act itself, so that after any end in between either both
are there or neither. It is kept for a day, for the credential that asked; another request under the same key
is refused. What becomes of a repeat is the answer of the first, secrets included.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec
from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from faregate.manager.cases.access import reading
from faregate.manager.cases.domain import Actor
from faregate.manager.cases.errors import Conflict, KeyReused
from faregate.manager.cases.ports import Clock, Envelope
from faregate.manager.database.engine import Database
from faregate.manager.database.tables import repeats

KEPT_MS: Final = 24 * 3_600_000
_PURPOSE: Final = "answer to a repeated write"


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered. ``body``: JSON."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


class Repeats:
    """Keeps answers of the last day."""

    def __init__(self, database: Database, envelope: Envelope, clock: Clock) -> None:
        self._database = database
        self._envelope = envelope
        self._clock = clock

    def fingerprint(self, method: str, target: str, body: bytes) -> str:
        """What tells one request from another."""
        told = b"%b %b\n%b" % (method.encode(), target.encode("utf-8", "surrogateescape"), body)
        return self._envelope.keyed_hash(told, "request")

    async def find(self, actor: Actor, key: str, fingerprint: str) -> Answer | None:
        """The answer to an earlier request of ``actor`` under ``key``. Raises KeyReused, Unavailable."""
        async with reading(self._database) as connection:
            rows = await connection.execute(
                select(repeats).where(repeats.c.actor == _name(actor), repeats.c.key == key)
            )
            row = rows.one_or_none()
        if row is None or row.at_ms <= self._clock() - KEPT_MS:
            return None
        if row.fingerprint != fingerprint:
            raise KeyReused("This Idempotency-Key was used for another request within the last day.")
        body = self._envelope.open(row.body, f"{_PURPOSE} {key}")
        return Answer(row.status, msgspec.json.decode(row.headers, type=dict[str, str]), body)

    async def keep(
        self, connection: AsyncConnection, actor: Actor, key: str, fingerprint: str, answer: Answer
    ) -> None:
        """Keeps ``answer`` in the transaction of ``connection``. Raises Conflict when the same request was
        answered meanwhile.
        """
        now = self._clock()
        await connection.execute(delete(repeats).where(repeats.c.at_ms <= now - KEPT_MS))
        found = await connection.execute(
            select(repeats.c.at_ms).where(repeats.c.actor == _name(actor), repeats.c.key == key)
        )
        if found.first() is not None:
            raise Conflict("A request with this Idempotency-Key was answered this moment: repeat it.")
        await connection.execute(
            insert(repeats).values(
                actor=_name(actor),
                key=key,
                fingerprint=fingerprint,
                status=answer.status,
                headers=msgspec.json.encode(answer.headers).decode(),
                body=self._envelope.seal(answer.body, f"{_PURPOSE} {key}"),
                at_ms=now,
            )
        )


def _name(actor: Actor) -> str:
    """Another token of the same person may have fewer roles, and is not shown what this one was."""
    return f"{actor.person} {actor.credential}"
