"""Checkpoints: signed, kept in ``checkpoints.jsonl``, and copied to a second place that the gateway's machine
does not rule.

One is signed only for records that are durable, and is itself durable before it leaves the machine; so a tree
that is shorter than its last checkpoint, or another, was tampered with or lost. The copying is a thread's
work: a file server that hangs holds up no record.
"""

import contextlib
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from faregate.records.audit.note import Checkpoint, NoteError, Signer, Verifier, read_checkpoint
from faregate.records.audit.places import CHECKPOINT, CHECKPOINTS, replace_durably
from faregate.records.audit.tree import Tree

_TAIL_BYTES: Final = 64 << 10
_RETRY_S: Final = 5.0


class Kept(msgspec.Struct):
    """A line of ``checkpoints.jsonl``. ``time``: when it was signed, and ``leaf``: the hash of the last
    record in hex, both by the machine's own word: what is signed is the ``note``.
    """

    note: str
    size: int
    time: str
    leaf: str = ""


class CheckpointFile:
    """``checkpoints.jsonl`` of a tree, and the last ``checkpoint`` beside it."""

    def __init__(self, folder: Path, signer: Signer) -> None:
        self._folder = folder
        self._signer = signer
        self._path = folder / CHECKPOINTS
        self.last: Checkpoint | None = None

    def load(self) -> None:
        """Finds the last one and cuts off what a crash left half written. Raises ``NoteError`` where the
        last one is not signed by our key, OSError.
        """
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            size = os.fstat(descriptor).st_size
            begin = max(0, size - _TAIL_BYTES)
            tail = os.pread(descriptor, _TAIL_BYTES, begin)
            end = tail.rfind(b"\n") + 1
            if end < len(tail):
                os.ftruncate(descriptor, begin + end)
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        lines = tail[:end].splitlines()
        if lines:
            self.last = read_line(lines[-1], self._signer.verifier)

    def sign(self, tree: Tree, time: str) -> Kept:
        """Signs the tree as it is; the note is durable when this returns. Raises OSError."""
        checkpoint = Checkpoint(self._signer.verifier.name, tree.size, tree.frontier.root())
        note = self._signer.signed(checkpoint.text)
        kept = Kept(note, checkpoint.size, time, tree.prev)
        append_line(self._path, kept)
        replace_durably(self._folder / CHECKPOINT, note.encode(), 0o644)
        self.last = checkpoint
        return kept


def append_line(path: Path, kept: Kept) -> None:
    """Adds a note to a file of them, durably. Raises OSError with the file as it was, if it can be."""
    data = msgspec.json.encode(kept, order="sorted") + b"\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        end = os.fstat(descriptor).st_size
        try:
            done = os.pwrite(descriptor, data, end)
            while done < len(data):
                done += os.pwrite(descriptor, data[done:], end + done)
            os.fdatasync(descriptor)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, end)
            raise
    finally:
        os.close(descriptor)


def read_line(line: bytes, verifier: Verifier) -> Checkpoint:
    """The checkpoint in a line of such a file. Raises ``NoteError``."""
    try:
        kept = msgspec.json.decode(line, type=Kept)
    except (msgspec.MsgspecError, ValueError):
        raise NoteError("a line that holds no checkpoint") from None
    return read_checkpoint(kept.note, verifier)


class Publisher:
    """Copies checkpoints into ``folder``: ``checkpoint-<key id>``, the last one, and
    ``checkpoints-<key id>.jsonl``, those that were copied.

    While the folder cannot be written the newest one waits. ``complain``: takes a line for the operator.
    """

    def __init__(self, folder: Path, verifier: Verifier, complain: Callable[[str], None]) -> None:
        self._folder = folder
        self._verifier = verifier
        self._complain = complain
        self._newest: Kept | None = None
        self._changed = threading.Condition()
        self._closing = False
        self._failing = False
        self._thread = threading.Thread(target=self._run, name="publish", daemon=True)
        self._thread.start()

    def publish(self, kept: Kept) -> None:
        """Takes the newest one. Never waits."""
        with self._changed:
            self._newest = kept
            self._changed.notify()

    def close(self, timeout_s: float) -> None:
        """Copies what waits."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while True:
            with self._changed:
                while self._newest is None and not self._closing:
                    self._changed.wait()
                newest, self._newest = self._newest, None
            if newest is None:
                return
            try:
                self._copy(newest)
            except OSError as error:
                self._failed(newest, error)
            else:
                if self._failing:
                    self._failing = False
                    self._complain(f"checkpoints are published to {self._folder} again")

    def _failed(self, newest: Kept, error: OSError) -> None:
        if not self._failing:
            self._failing = True
            self._complain(f"cannot publish checkpoints to {self._folder}: {error.strerror or error}")
        with self._changed:
            if self._closing:
                return
            self._newest = self._newest or newest
            self._changed.wait(_RETRY_S)

    def _copy(self, kept: Kept) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        identifier = self._verifier.id.hex()
        append_line(self._folder / f"checkpoints-{identifier}.jsonl", kept)
        replace_durably(self._folder / f"{CHECKPOINT}-{identifier}", kept.note.encode(), 0o644)
