"""Reads and writes of entries and their states. Contents with a secret lie sealed."""

import base64
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, and_, insert, or_, select, update
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from faregate.kernel import canonical_json
from faregate.manager.cases.differences import has_secret
from faregate.manager.cases.domain import Change, Content, Entry, Json, Section
from faregate.manager.cases.ports import Envelope
from faregate.manager.database.tables import entries, revisions

_PURPOSE: Final = "entry"
_ROWS_TOGETHER: Final = 500
"""Rows of one statement: SQLite takes 32,766 values."""


class Entries:
    """The entries of one database; ``envelope`` seals those with secrets and keys their digests."""

    def __init__(self, envelope: Envelope) -> None:
        self._envelope = envelope

    def digest(self, content: Content, team: str) -> str:
        """What an ETag says of a state: equal for equal states, and tells nothing else."""
        text = canonical_json.encode({"content": content, "team": team})
        return self._envelope.keyed_hash(text.encode(), "etag")

    async def get(self, connection: AsyncConnection, section: Section, name: str) -> Entry | None:
        """The present state of an entry."""
        found = await connection.execute(
            select(entries).where(
                entries.c.section == section, entries.c.name == name, entries.c.until.is_(None)
            )
        )
        row = found.one_or_none()
        return None if row is None else self._entry(row)

    async def with_digest(
        self, connection: AsyncConnection, section: Section, name: str, digest: str
    ) -> Entry | None:
        """The newest state of an entry that had this digest."""
        rows = await connection.execute(
            select(entries)
            .where(entries.c.section == section, entries.c.name == name, entries.c.digest == digest)
            .order_by(entries.c.since.desc())
            .limit(1)
        )
        row = rows.one_or_none()
        return None if row is None else self._entry(row)

    async def page(  # noqa: PLR0913 - a list has a place, an end, and who looks
        self,
        connection: AsyncConnection,
        section: Section,
        *,
        after: str = "",
        size: int = 1_000_000_000,
        visible: "ColumnElement[bool] | None" = None,
        matching: "ColumnElement[bool] | None" = None,
    ) -> list[Entry]:
        """Present entries by name, those after ``after``, at most ``size``."""
        wanted = select(entries).where(entries.c.section == section, entries.c.until.is_(None))
        if after:
            wanted = wanted.where(entries.c.name > after)
        for condition in (visible, matching):
            if condition is not None:
                wanted = wanted.where(condition)
        rows = await connection.execute(wanted.order_by(entries.c.name).limit(size))
        return [self._entry(row) for row in rows]

    async def state_at(
        self, connection: AsyncConnection, section: Section, name: str, revision: int
    ) -> Entry | None:
        """An entry as it stood at ``revision``."""
        rows = await connection.execute(
            select(entries).where(
                entries.c.section == section,
                entries.c.name == name,
                entries.c.since <= revision,
                or_(entries.c.until.is_(None), entries.c.until > revision),
            )
        )
        row = rows.one_or_none()
        return None if row is None else self._entry(row)

    async def changed_after(
        self, connection: AsyncConnection, revision: int
    ) -> list[tuple[Section, str, Entry | None]]:
        """What was changed after ``revision``, each with its present state, None where there is none now."""
        rows = await connection.execute(
            select(entries.c.section, entries.c.name)
            .where(or_(entries.c.since > revision, entries.c.until > revision))
            .distinct()
        )
        touched = {(row.section, row.name) for row in rows}
        present: dict[tuple[str, str], Entry] = {}
        for group in _groups(sorted(touched)):
            pairs = [and_(entries.c.section == section, entries.c.name == name) for section, name in group]
            found = await connection.execute(select(entries).where(entries.c.until.is_(None), or_(*pairs)))
            present.update({(row.section, row.name): self._entry(row) for row in found})
        return [(section, name, present.get((section, name))) for section, name in sorted(touched)]

    async def former(
        self, connection: AsyncConnection, section: Section, since_ms: int, size: int
    ) -> list[tuple[str, Content]]:
        """States of ``section`` that ended at ``since_ms`` or later, the last one first, at most ``size``."""
        rows = await connection.execute(
            select(entries)
            .join(revisions, revisions.c.number == entries.c.until)
            .where(entries.c.section == section, revisions.c.at_ms >= since_ms)
            .order_by(entries.c.until.desc(), entries.c.name)
            .limit(size)
        )
        return [(row.name, self._entry(row).content) for row in rows]

    async def of_revision(self, connection: AsyncConnection, number: int) -> list[Change]:
        """What revision ``number`` changed."""
        began = await connection.execute(select(entries).where(entries.c.since == number))
        ended = await connection.execute(select(entries).where(entries.c.until == number))
        after = {(row.section, row.name): self._entry(row) for row in began}
        before = {(row.section, row.name): self._entry(row) for row in ended}
        changed = []
        for section, name in sorted(after.keys() | before.keys()):
            old, new = before.get((section, name)), after.get((section, name))
            changed.append(
                Change(
                    section,
                    name,
                    None if old is None else old.content,
                    None if new is None else new.content,
                    "" if new is None else new.team,
                    "" if old is None else old.team,
                )
            )
        return changed

    async def touched(
        self, connection: AsyncConnection, first: int, last: int, visible: "ColumnElement[bool]"
    ) -> set[int]:
        """The revisions from ``first`` to ``last`` that changed an entry which is ``visible``."""
        found: set[int] = set()
        for column in (entries.c.since, entries.c.until):
            wanted = select(column).where(column.between(first, last), visible).distinct()
            found.update((await connection.execute(wanted)).scalars())
        return found

    async def write(
        self, connection: AsyncConnection, revision: int, changes: Sequence[Change], origin: str
    ) -> None:
        """Ends the former states of what ``changes`` and begins the new ones, at ``revision``."""
        former = [(change.section, change.name) for change in changes if change.before is not None]
        for group in _groups(former):
            pairs = [and_(entries.c.section == section, entries.c.name == name) for section, name in group]
            await connection.execute(
                update(entries).where(entries.c.until.is_(None), or_(*pairs)).values(until=revision)
            )
        rows = [
            self._row(change.section, change.name, change.after, change.team, revision, origin)
            for change in changes
            if change.after is not None
        ]
        for start in range(0, len(rows), _ROWS_TOGETHER):
            await connection.execute(insert(entries), rows[start : start + _ROWS_TOGETHER])

    def _row(  # noqa: PLR0913, PLR0917 - a row has as many
        self, section: Section, name: str, content: Content, team: str, revision: int, origin: str
    ) -> dict[str, object]:
        text = canonical_json.encode(content)
        sealed = has_secret(content)
        if sealed:
            purpose = f"{_PURPOSE} {section} {name}"
            text = base64.b64encode(self._envelope.seal(text.encode(), purpose)).decode()
        return {
            "section": section,
            "name": name,
            "since": revision,
            "content": text,
            "sealed": int(sealed),
            "digest": self.digest(content, team),
            "team": team,
            "origin": origin,
        }

    def _entry(self, row: "Row[Any]") -> Entry:
        text = row.content
        if row.sealed:
            purpose = f"{_PURPOSE} {row.section} {row.name}"
            text = self._envelope.open(base64.b64decode(text), purpose).decode()
        content: dict[str, Json] = msgspec.json.decode(text)
        return Entry(row.section, row.name, content, "database", row.team, row.since, row.digest)


def _groups(pairs: Sequence[tuple[Section, str]]) -> Iterable[Sequence[tuple[Section, str]]]:
    for start in range(0, len(pairs), _ROWS_TOGETHER):
        yield pairs[start : start + _ROWS_TOGETHER]


def owned_by(consumer: str) -> "ColumnElement[bool]":
    """Which rows of credentials may be those of ``consumer``: its name stands in their canonical text."""
    return entries.c.content.contains(f'"consumer":{canonical_json.encode(consumer)}', autoescape=True)
