"""Seals anew, some rows at a time, what a retired data key sealed.

What each column's values are sealed for stands here beside whoever seals them; a test seals one of each and
finds none left. Answers to repeated writes are not among them: they end within a day.
"""

import base64
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from sqlalchemy import Column, ColumnElement, Table, and_, select, update
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from faregate.manager.database.envelopes import Envelopes
from faregate.manager.database.tables import changes, entries, facts, users

ROWS_TOGETHER: Final = 200
"""Of one transaction: other writers wait for no more."""


class Place(NamedTuple):
    """A sealed column. ``key``: what names a row; ``purpose``: what its value is sealed for; ``text``: it is
    kept as base64.
    """

    table: Table
    key: "Column[Any]"
    column: "Column[Any]"
    purpose: Callable[["Row[Any]"], str]
    text: bool = False
    only: "ColumnElement[bool] | None" = None
    named_by: tuple["Column[Any]", ...] = ()


PLACES: Final = (
    Place(
        entries, entries.c.id, entries.c.content, lambda row: f"entry {row.section} {row.name}",
        text=True, only=entries.c.sealed.is_(True), named_by=(entries.c.section, entries.c.name),
    ),
    Place(facts, facts.c.name, facts.c.value, lambda row: str(row.name)),
    Place(users, users.c.name, users.c.totp, lambda row: f"second factor of {row.name}"),
    Place(users, users.c.name, users.c.totp_next, lambda row: f"second factor of {row.name}"),
    Place(changes, changes.c.id, changes.c.content, lambda row: f"change {row.id}", text=True),
)  # fmt: skip


class Mark(NamedTuple):
    """How far it has come: a place, and the last key of it that was looked at."""

    place: int = 0
    after: object = None


async def reseal(connection: AsyncConnection, envelope: Envelopes, mark: Mark) -> tuple[Mark | None, int]:
    """One step from ``mark``: the next mark, None at the end, and how many values were sealed anew."""
    place = PLACES[mark.place]
    rows = await _rows(connection, place, mark.after)
    done = 0
    for row in rows:
        kept = getattr(row, place.column.name)
        sealed = base64.b64decode(kept) if place.text else kept
        if envelope.is_present(sealed):
            continue
        purpose = place.purpose(row)
        fresh = envelope.seal(envelope.open(sealed, purpose), purpose)
        await connection.execute(
            update(place.table)
            .where(place.key == getattr(row, place.key.name))
            .values({place.column.name: base64.b64encode(fresh).decode() if place.text else fresh})
        )
        done += 1
    if len(rows) == ROWS_TOGETHER:
        return Mark(mark.place, getattr(rows[-1], place.key.name)), done
    return (Mark(mark.place + 1) if mark.place + 1 < len(PLACES) else None), done


async def left(connection: AsyncConnection, envelope: Envelopes) -> int:
    """How many values a retired data key still seals."""
    count = 0
    for place in PLACES:
        after: object = None
        while True:
            rows = await _rows(connection, place, after)
            for row in rows:
                kept = getattr(row, place.column.name)
                count += not envelope.is_present(base64.b64decode(kept) if place.text else kept)
            if len(rows) < ROWS_TOGETHER:
                break
            after = getattr(rows[-1], place.key.name)
    return count


async def _rows(connection: AsyncConnection, place: Place, after: object) -> "list[Row[Any]]":
    columns = {place.key, place.column, *place.named_by}
    wanted = select(*sorted(columns, key=lambda column: column.name))
    conditions: list[ColumnElement[bool]] = [place.column.is_not(None)]
    if place.only is not None:
        conditions.append(place.only)
    if after is not None:
        conditions.append(place.key > after)
    found = await connection.execute(wanted.where(and_(*conditions)).order_by(place.key).limit(ROWS_TOGETHER))
    return list(found)
