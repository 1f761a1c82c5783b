"""The tree as its writer grows it: segments of one record a line, appended by whole batches, synced, told.

Whatever goes wrong with a batch, nothing of it stays: the file is cut back to what was durable, so that what
was refused is not there and what was acknowledged is. ``durable`` beside the log says how far it was synced,
so that a later start knows a crash's mark from damage. Files grow no longer than ``SEGMENT_BYTES``, and none
is ever removed.
"""

import json
import os
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from faregate.records.audit.leaf import NO_PREV, Entry
from faregate.records.audit.merkle import Frontier, leaf_hash
from faregate.records.audit.places import LOG, replace_durably, segment_name, sync_folder

SEGMENT_BYTES: Final = 32 << 20
"""A segment this long is the last one no more; a batch may make it longer once."""
RECENT_MAX: Final = 65_536
"""Events that are known again: more than all workers can have on their way."""
_DURABLE: Final = "durable"
_DURABLE_LENGTH: Final = 40


class Disk:
    """What the tree does to its files; tests stand between."""

    def append(self, descriptor: int, data: bytes, at: int) -> None:
        """All of it, or OSError."""
        done = os.pwrite(descriptor, data, at)
        while done < len(data):
            done += os.pwrite(descriptor, data[done:], at + done)

    def sync(self, descriptor: int) -> None:
        os.fdatasync(descriptor)

    def cut(self, descriptor: int, size: int) -> None:
        os.ftruncate(descriptor, size)
        os.fsync(descriptor)


class Tree:
    """The tree in ``folder``, whose lock is held. Made by ``opening.open_tree``.

    ``first`` and ``end``: of the last segment, the number of its first record and its length. ``failed``: why
    nothing can be appended until the folder is opened anew.
    """

    def __init__(self, folder: Path, disk: Disk | None = None) -> None:
        self.folder = folder
        self.disk = disk or Disk()
        self.frontier = Frontier()
        self.prev = NO_PREV
        self.first = 0
        self.end = 0
        self.failed = ""
        self._descriptor = -1
        self._durable = -1
        self._recent: OrderedDict[int, tuple[int, bytes]] = OrderedDict()

    @property
    def size(self) -> int:
        return self.frontier.size

    def open_segment(self, first: int, end: int) -> None:
        """Appends to the segment that begins with record ``first`` from byte ``end``. Raises OSError."""
        log = self.folder / LOG
        path = log / segment_name(first)
        fresh = not path.exists()
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if fresh:
                os.fsync(descriptor)
                sync_folder(log)
            if self._durable < 0:
                mark = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
                self._durable = os.open(self.folder / _DURABLE, mark, 0o600)
        except OSError:
            os.close(descriptor)
            raise
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor, self.first, self.end = descriptor, first, end

    def known(self, mark: int) -> tuple[int, bytes] | None:
        """Place and hash of the record of an event that was appended of late."""
        return self._recent.get(mark)

    def remember(self, mark: int, seq: int, leaf: bytes) -> None:
        recent = self._recent
        recent[mark] = (seq, leaf)
        if len(recent) > RECENT_MAX:
            recent.popitem(last=False)

    def append(self, entries: Sequence[Entry]) -> list[tuple[int, bytes]]:
        """Appends records; they are durable when this returns, with place and hash of each. Raises OSError
        with nothing changed.
        """
        if self.failed:
            raise OSError(self.failed)
        frontier, prev = self.frontier.copy(), self.prev
        lines: list[bytes] = []
        kept: list[tuple[int, bytes]] = []
        for entry in entries:
            seq = frontier.size
            line = entry.at(seq, prev)
            leaf = leaf_hash(line)
            frontier.append(leaf)
            prev = leaf.hex()
            lines.append(line)
            kept.append((seq, leaf))
        lines.append(b"")
        data = b"\n".join(lines)
        try:
            self.disk.append(self._descriptor, data, self.end)
            self.disk.sync(self._descriptor)
        except OSError:
            self._cut_back()
            raise
        self.end += len(data)
        self.frontier, self.prev = frontier, prev
        for entry, (seq, leaf) in zip(entries, kept, strict=True):
            self.remember(entry.mark, seq, leaf)
        self._mark()
        return kept

    def _cut_back(self) -> None:
        """What was half written must not be found by a later start, nor be followed by anything."""
        try:
            self.disk.cut(self._descriptor, self.end)
        except OSError as error:
            self.failed = f"cannot cut back what was half written: {error.strerror or error}"

    def _mark(self) -> None:
        """How far the log is durable; not synced itself, so it may lie behind, and never ahead."""
        text = f"{self.first} {self.end}".ljust(_DURABLE_LENGTH - 1) + "\n"
        try:
            os.pwrite(self._durable, text.encode(), 0)
        except OSError:
            return  # a start then takes what is whole

    @property
    def is_long(self) -> bool:
        return self.end >= SEGMENT_BYTES

    def rotate(self) -> None:
        """Begins another segment. Raises OSError with nothing changed."""
        frontier = self.frontier
        facts = {"size": self.size, "prev": self.prev, "nodes": [node.hex() for node in frontier.nodes]}
        replace_durably(
            (self.folder / LOG / segment_name(self.size)).with_suffix(".tree"),
            json.dumps(facts).encode() + b"\n",
        )
        self.open_segment(self.size, 0)
        self._mark()

    def close(self) -> None:
        for descriptor in (self._descriptor, self._durable):
            if descriptor >= 0:
                os.close(descriptor)
        self._descriptor = self._durable = -1


def durable_mark(folder: Path) -> tuple[int, int]:
    """First record and byte of the segment up to which the log was synced for certain."""
    try:
        first, end = (folder / _DURABLE).read_text("ascii").split()
        return int(first), int(end)
    except (OSError, ValueError):
        return 0, 0
