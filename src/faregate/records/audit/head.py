"""Whether the newest part of a tree is what was signed, looked at from outside and soon, whatever its size.

Read are the last checkpoint and the segments that a start would read; nothing is changed, and the writer may
go on meanwhile. What lies before them only ``verifying`` looks at.
"""

import os
from pathlib import Path
from typing import NamedTuple

import msgspec

from faregate.records.audit import leaf
from faregate.records.audit.checkpoints import Kept, read_line
from faregate.records.audit.leaf import LEAF_BYTES_MAX, LeafError
from faregate.records.audit.merkle import leaf_hash
from faregate.records.audit.note import Checkpoint, NoteError, Verifier
from faregate.records.audit.opening import begin_at
from faregate.records.audit.places import CHECKPOINTS, segments_in
from faregate.records.audit.tree import Tree, durable_mark

_TAIL_BYTES = 64 << 10


class Head(NamedTuple):
    """``size``: records; ``signed``: of them by the last checkpoint, at ``signed_at``; ``waits_since``: the
    time of the first record behind it, empty for none. ``fault``: what does not hold, empty for nothing.
    """

    size: int
    signed: int
    signed_at: str
    waits_since: str
    fault: str


def read_head(folder: Path, verifier: Verifier) -> Head:
    """Raises OSError."""
    try:
        last, signed_at = _last(folder, verifier)
    except NoteError as error:
        return Head(0, 0, "", "", f"its last checkpoint: {error}")
    durable = durable_mark(folder)  # before the records, which may become more meanwhile
    segments = segments_in(folder)
    signed = 0 if last is None else last.size
    if not segments:
        return Head(0, signed, signed_at, "", f"its records are gone; {signed} were signed" if signed else "")
    return _read(folder, segments, last, signed_at, durable)


def _read(
    folder: Path,
    segments: list[tuple[int, Path]],
    last: Checkpoint | None,
    signed_at: str,
    durable: tuple[int, int],
) -> Head:
    tree = Tree(folder)
    signed = 0 if last is None else last.size
    waits, fault, at, end = "", "", (0, 0), 0
    for first, path in segments[begin_at(tree, segments, signed) :]:
        if first != tree.size:
            fault = f"{path.name} does not begin with record {tree.size}"
            break
        fault, end, since = _segment(tree, path, last)
        waits, at = waits or since, (first, end)
        if fault:
            break
    if not fault and tree.size < signed:
        fault = f"it ends with {tree.size} records; {signed} were signed"
    if not fault and at < durable:
        fault = f"records behind number {tree.size - 1} are gone that had been acknowledged"
    return Head(tree.size, signed, signed_at, waits, fault)


def _segment(tree: Tree, path: Path, last: Checkpoint | None) -> tuple[str, int, str]:
    """Takes the records of a segment: what is wrong, where its bytes end, and the time of the first that no
    checkpoint signs.
    """
    signed, end, since = 0 if last is None else last.size, 0, ""
    with path.open("rb") as file:
        while line := file.readline(LEAF_BYTES_MAX + 1):
            if not line.endswith(b"\n") and len(line) <= LEAF_BYTES_MAX:
                break  # half written, or a crash's mark
            try:
                found = leaf.read(line[:-1])
            except LeafError as error:
                return f"record {tree.size} ({path.name}, byte {end}): {error}", end, since
            if (found.seq, found.prev) != (tree.size, tree.prev):
                return (
                    f"record {tree.size} ({path.name}, byte {end}) does not follow from the one before",
                    end,
                    since,
                )
            digest = leaf_hash(line[:-1])
            tree.frontier.append(digest)
            tree.prev = digest.hex()
            end += len(line)
            if last is not None and tree.size == signed and tree.frontier.root() != last.root:
                return f"its first {signed} records are not those that were signed", end, since
            if tree.size == signed + 1:
                since = found.time
    return "", end, since


def _last(folder: Path, verifier: Verifier) -> tuple[Checkpoint | None, str]:
    """The last checkpoint and when it was signed, None for none. Raises NoteError, OSError."""
    try:
        with (folder / CHECKPOINTS).open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL_BYTES))
            tail = file.read()
    except FileNotFoundError:
        return None, ""
    lines = tail[: tail.rfind(b"\n") + 1].splitlines()
    if not lines:
        return None, ""
    checkpoint = read_line(lines[-1], verifier)
    return checkpoint, msgspec.json.decode(lines[-1], type=Kept).time
