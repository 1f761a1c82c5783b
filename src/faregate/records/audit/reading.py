"""An audit tree as its files have it, for whoever looks at it from outside: a folder, or a copy of its files.

Nothing is taken for true here, and nothing is changed. Lines come one at a time, so that a tree of any size
takes the same memory.
"""

from collections.abc import Iterator
from heapq import merge
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from faregate.records.audit.checkpoints import Kept
from faregate.records.audit.leaf import LEAF_BYTES_MAX
from faregate.records.audit.note import Checkpoint, NoteError, Verifier, read_checkpoint
from faregate.records.audit.places import CHECKPOINT, CHECKPOINTS, LOG, segments_in

_LINE_BYTES_MAX: Final = 64 << 10


class Line(NamedTuple):
    """A line of a segment without its end. ``whole``: it has one. ``at``: the segment's name and the line's
    number in it, from 1.
    """

    content: bytes
    whole: bool
    at: str


class Signed(NamedTuple):
    """A checkpoint and where it was found. ``leaf``: hash of its last record, if it was told; unsigned."""

    checkpoint: Checkpoint
    place: str
    note: str
    leaf: str = ""


class ReadError(Exception):
    """There is nothing here to look at. The message says why."""


def tree_folder(folder: Path) -> Path:
    """The tree's own folder, where ``folder`` is that, or the data folder around it. Raises ``ReadError``."""
    for one in (folder, folder / "audit"):
        if (one / LOG).is_dir():
            return one
    raise ReadError(f"{folder} holds no audit tree: no folder `{LOG}` is in it")


def lines_of(folder: Path) -> Iterator[Line]:
    """All lines of all segments in order, those that come meanwhile too. Raises ``ReadError``."""
    for path in _segments(folder):
        try:
            with path.open("rb") as file:
                number = 0
                while content := file.readline(LEAF_BYTES_MAX + 1):
                    number += 1
                    whole = content.endswith(b"\n")
                    yield Line(content[:-1] if whole else content, whole, f"{path.name}:{number}")
        except OSError as error:
            raise ReadError(f"{path}: {error.strerror}") from None


def _segments(folder: Path) -> Iterator[Path]:
    """Files of the segments; looked for again behind the last one, for a tree may grow while it is read."""
    read = -1
    while fresh := [(first, path) for first, path in segments_in(folder) if first > read]:
        for first, path in fresh:
            read = first
            yield path


def checkpoints_of(folder: Path, verifier: Verifier, published: Path | None) -> Iterator[Signed]:
    """The tree's own checkpoints and those that were ``published``, by size. Raises ``NoteError`` for one
    that is not signed as it must be, ``ReadError``.
    """
    files = [folder / CHECKPOINTS] if (folder / CHECKPOINTS).exists() else []
    if published is not None:
        files += _published_files(published, verifier)
    return merge(*[_in_file(path, verifier) for path in files], key=lambda one: one.checkpoint.size)


def _published_files(published: Path, verifier: Verifier) -> list[Path]:
    if not published.exists():
        raise ReadError(f"{published}: no such file or folder")
    if published.is_file():
        return [published]
    names = {
        f"{CHECKPOINT}-{verifier.id.hex()}",
        f"checkpoints-{verifier.id.hex()}.jsonl",
        CHECKPOINT,
        CHECKPOINTS,
    }
    found = [published / name for name in sorted(names) if (published / name).is_file()]
    if not found:
        raise ReadError(f"{published} holds no checkpoints by the key {verifier.id.hex()}")
    return found


def _in_file(path: Path, verifier: Verifier) -> Iterator[Signed]:
    """The checkpoints of a file of them, or the one of a note."""
    try:
        with path.open("rb") as file:
            begin = file.read(1)
            file.seek(0)
            if not begin and path.suffix == ".jsonl":
                return  # made a moment ago, for its first line
            if begin != b"{":
                note = file.read(_LINE_BYTES_MAX).decode("utf-8", "replace")
                yield Signed(_checked(note, verifier, path.name), path.name, note)
                return
            number = size = 0
            while content := file.readline(_LINE_BYTES_MAX):
                number += 1
                place = f"{path.name}:{number}"
                if not content.endswith(b"\n"):
                    return  # half written
                found = _in_line(content, verifier, place)
                if found.checkpoint.size < size:
                    raise NoteError(f"{place}: a checkpoint of a smaller tree than the one before")
                size = found.checkpoint.size
                yield found
    except OSError as error:
        raise ReadError(f"{path}: {error.strerror}") from None


def _in_line(content: bytes, verifier: Verifier, place: str) -> Signed:
    try:
        kept = msgspec.json.decode(content, type=Kept)
    except (msgspec.MsgspecError, ValueError):
        raise NoteError(f"{place}: no checkpoint") from None
    return Signed(_checked(kept.note, verifier, place), place, kept.note, kept.leaf)


def _checked(note: str, verifier: Verifier, place: str) -> Checkpoint:
    try:
        return read_checkpoint(note, verifier)
    except NoteError as error:
        raise NoteError(f"{place}: {error}") from None


def read_note(path: Path, verifier: Verifier) -> Signed:
    """The checkpoint in the file ``path``; the last one where it holds several. Raises ``NoteError``,
    ``ReadError``.
    """
    found = list(_in_file(path, verifier))
    if not found:
        raise NoteError(f"{path}: no checkpoint")
    return found[-1]
