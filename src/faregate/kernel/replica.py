"""``<data>/managed.jsonl``: the entries of the manager's database as this machine last saw them.

A gateway starts and reloads from it, with the configuration file and without database or manager. One line a
change, added behind the others and synced; the lines of one revision count together or not at all, so that a
reader after a crash at any point finds the state before or after a revision. When twice what is needed has
gathered, the file is written anew and takes the place of the former in one step.
"""

import contextlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from faregate.kernel.changes import Change

NAME: Final = "managed.jsonl"
FORMAT: Final = 1
SECTIONS: Final = ("issuers", "upstreams", "plans", "groups", "consumers", "apis", "credentials")
"""What the database may hold: the sections of a configuration but ``gateway``, and credentials beside their
consumers.
"""
SLACK_BYTES: Final = 1 << 20
"""A replica grows by this and by its own size before it is written anew."""

Entries = dict[str, dict[str, object]]
"""By section and name, in the order in which they came."""


class ReplicaError(Exception):
    """The file is not a replica of ours, or broken in the middle; the text is for the operator."""


class Contents(NamedTuple):
    """What a replica holds, the last whole revision in it, and the length of the file up to its end."""

    revision: int
    entries: Entries
    length: int = 0


class _Head(msgspec.Struct):
    format: int
    revision: int


class _Line(msgspec.Struct, omit_defaults=True):
    """``more``: how many further lines belong to the same revision."""

    section: str
    name: str
    revision: int
    content: object = None
    more: int = 0


_head: Final = msgspec.json.Decoder(_Head)
_line: Final = msgspec.json.Decoder(_Line)


def read(path: Path) -> Contents:
    """What the replica at ``path`` holds; nothing where there is none. A last revision that is not there as
    a whole does not count. Raises ``ReplicaError``, OSError.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return Contents(0, {})
    return _parse(data, path)


def _parse(data: bytes, path: Path) -> Contents:
    lines = data.split(b"\n")
    torn = lines.pop()  # what stands behind the last end of line: nothing, or a part of a line
    if not lines:
        if data:
            raise ReplicaError(f"{path} is not a list of managed entries: take it away, or start the manager")
        return Contents(0, {})
    try:
        head = _head.decode(lines[0])
    except msgspec.MsgspecError:
        raise ReplicaError(
            f"{path} is not a list of managed entries: take it away, or start the manager"
        ) from None
    if head.format != FORMAT:
        raise ReplicaError(f"{path} has format {head.format}, this version reads {FORMAT}")
    revision, length = head.revision, len(lines[0]) + 1
    entries: Entries = {}
    waiting: list[_Line] = []
    end = length
    for number, text in enumerate(lines[1:], 2):
        try:
            line = _line.decode(text)
        except msgspec.MsgspecError as error:
            if number == len(lines) and not torn:
                break  # the end of the file was being written
            raise ReplicaError(f"{path}:{number}: not an entry: {error}") from None
        end += len(text) + 1
        waiting.append(line)
        if line.more:
            continue
        for one in waiting:
            put(entries, Change(one.section, one.name, one.content))
        waiting = []
        revision, length = max(revision, line.revision), end
    return Contents(revision, entries, length)


def put(entries: Entries, change: Change) -> None:
    """Makes ``change`` in ``entries``; what is new comes last. Raises ``ReplicaError`` on a section that is
    none.
    """
    if change.section not in SECTIONS:
        raise ReplicaError(f"`{change.section}` is no section of managed entries")
    section = entries.setdefault(change.section, {})
    if change.content is None:
        section.pop(change.name, None)
    else:
        section[change.name] = change.content


class Replica:
    """The replica as the one process has it that writes it. ``revision``: the last whole one in it."""

    def __init__(self, path: Path) -> None:
        """Raises ``ReplicaError``, OSError."""
        contents = read(path)
        self._path = path
        self.revision = contents.revision
        self._length = contents.length
        self._compacted = contents.length

    def append(self, changes: Sequence[Change], revision: int) -> None:
        """Adds the changes of ``revision``, all or none, and syncs. Now and then that takes a second: not for
        an event loop. Raises ``ReplicaError``, OSError; then nothing was added.
        """
        if not self._length:
            self.replace((), 0)
        last = len(changes) - 1
        lines = [
            _Line(change.section, change.name, revision, change.content, last - number)
            for number, change in enumerate(changes)
        ]
        for change in changes:
            put({}, change)  # no section of another name gets in
        text = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.ftruncate(descriptor, self._length)  # a torn end would swallow what follows
            try:
                written = 0
                while written < len(text):
                    written += os.pwrite(descriptor, text[written:], self._length + written)
                os.fdatasync(descriptor)
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(descriptor, self._length)
                raise
        finally:
            os.close(descriptor)
        self._length += len(text)
        self.revision = max(self.revision, revision)
        if self._length > 2 * self._compacted + SLACK_BYTES:
            self._compact()

    def replace(self, changes: Iterable[Change], revision: int) -> None:
        """Writes the whole anew: entries as they are at ``revision``. Raises OSError."""
        fresh = self._path.with_suffix(".new")
        length = 0
        try:
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                length += file.write(msgspec.json.encode(_Head(FORMAT, revision)) + b"\n")
                for change in changes:
                    line = _Line(change.section, change.name, revision, change.content)
                    length += file.write(msgspec.json.encode(line) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._path)
        except OSError:
            fresh.unlink(missing_ok=True)
            raise
        _sync_folder(self._path.parent)
        self.revision = revision
        self._length = self._compacted = length

    def _compact(self) -> None:
        contents = read(self._path)
        self.replace(
            (
                Change(section, name, content)
                for section, entries in contents.entries.items()
                for name, content in entries.items()
            ),
            contents.revision,
        )


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
