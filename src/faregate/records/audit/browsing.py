"""The newest records of an audit tree, page by page, for whoever looks at it while it grows.

A page looks at a bounded part of the tree: where few records fit, it ends early and says from where to go on.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from faregate.records.audit import leaf
from faregate.records.audit.leaf import Leaf, LeafError
from faregate.records.audit.merkle import leaf_hash
from faregate.records.audit.places import segments_in
from faregate.records.backwards import Back, Budget, lines_back

BYTES_MAX: Final = 32 << 20
"""Of the tree for one page: some 60,000 records."""
_PLACE: Final = re.compile(r"([0-9]{1,15})\.([0-9]{1,15})")


class Record(NamedTuple):
    """A record, and the hash of its leaf."""

    leaf: Leaf
    hash: bytes


class Page(NamedTuple):
    """``next``: where the following page begins; empty at the end of the tree."""

    records: list[Record]
    next: str


class PlaceError(ValueError):
    """What was given is no place of this tree."""


class Wanted(NamedTuple):
    """What records are looked for; empty: any. ``kind``: a type, or those below it: ``revision``."""

    kind: str = ""
    actor: str = ""
    object: str = ""

    def fits(self, record: Leaf) -> bool:
        if self.kind and record.type != self.kind and not record.type.startswith(f"{self.kind}."):
            return False
        return record.actor == (self.actor or record.actor) and record.object == (
            self.object or record.object
        )

    @property
    def words(self) -> list[bytes]:
        """What the line of each such record holds."""
        parts = [b'"actor":%b' % leaf.canonical(self.actor)] if self.actor else []
        parts += [b'"object":%b' % leaf.canonical(self.object)] if self.object else []
        return [*parts, b'"type":"%b' % self.kind.encode()] if self.kind else parts


def newest(folder: Path, wanted: Wanted, *, place: str = "", size: int, bytes_max: int = BYTES_MAX) -> Page:
    """The ``size`` newest records before ``place`` (empty: of all). Raises ``PlaceError``, OSError."""
    budget = Budget(bytes_max)
    words = wanted.words
    found: list[Record] = []
    last = ""
    for first, line in _lines(folder, place, budget):
        last = f"{first}.{line.at}"
        if any(word not in line.content for word in words):
            continue
        try:
            record = leaf.read(line.content)
        except LeafError:
            continue
        if wanted.fits(record):
            found.append(Record(record, leaf_hash(line.content)))
            if len(found) == size:
                break
    else:
        last = last if budget.spent else ""
    return Page(found, "" if last == "0.0" else last)


def record_at(folder: Path, seq: int) -> Record | None:
    """Record ``seq``, as far as its segment is. Raises OSError."""
    for first, path in reversed(segments_in(folder)):
        if first > seq:
            continue
        with path.open("rb") as file:
            for index, line in enumerate(file):
                if first + index == seq and line.endswith(b"\n"):
                    try:
                        return Record(leaf.read(line[:-1]), leaf_hash(line[:-1]))
                    except LeafError:
                        return None
        break
    return None


def _lines(folder: Path, place: str, budget: Budget) -> Iterator[tuple[int, Back]]:
    segments = segments_in(folder)
    end = -1
    if place:
        match = _PLACE.fullmatch(place)
        begun = int(match[1]) if match else -1
        if match is None or begun not in {first for first, _ in segments}:
            raise PlaceError(f"{place[:40]!r} is no place of this tree")
        segments, end = [one for one in segments if one[0] <= begun], int(match[2])
    for first, path in reversed(segments):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            size = os.fstat(descriptor).st_size
            for line in lines_back(descriptor, size if end < 0 else min(end, size), budget):
                yield first, line
        finally:
            os.close(descriptor)
        end = -1
