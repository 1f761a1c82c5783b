"""Whether a tree is what was signed, and if not, which record is the first that is not.

Every line is read once: its form, its number, its link to the one before, and at each checkpoint the root.
Where a link does not fit, what follows tells which of its two ends was changed. A tree that was rewritten
with all its links only its checkpoints betray: then the fault lies between the last one that holds and the
first that does not.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from faregate.records.audit import leaf
from faregate.records.audit.leaf import NO_PREV, LeafError
from faregate.records.audit.merkle import Frontier, leaf_hash
from faregate.records.audit.note import NoteError, Verifier
from faregate.records.audit.places import segments_in
from faregate.records.audit.reading import Line, Signed, checkpoints_of, lines_of
from faregate.records.audit.tree import durable_mark


class Fault(NamedTuple):
    """What is wrong. ``kind``: altered, dropped, inserted, reordered, truncated, rewritten or checkpoint.
    ``record``: the number of the first one concerned; ``until``: the first that is not, where no more than
    that is known.
    """

    kind: str
    record: int
    message: str
    until: int = 0


class Verified(NamedTuple):
    """``size``, ``root``: of the records that were read. ``checkpoints``: how many hold; ``signed``: the size
    of the last of them, ``signed_at``: where it stands. ``torn``: bytes at the end that are no record yet.
    """

    size: int
    root: bytes
    checkpoints: int
    signed: int
    signed_at: str
    torn: int
    fault: Fault | None


def verify(folder: Path, verifier: Verifier, published: Path | None = None) -> Verified:
    """Reads the whole tree in ``folder``. ``published``: a checkpoint, a file of them, or the folder they
    were copied to. Raises ``reading.ReadError`` where there is nothing to read.
    """
    return _Check(folder, verifier, published).run()


class _Check:
    def __init__(self, folder: Path, verifier: Verifier, published: Path | None) -> None:
        self._folder = folder
        self._signed = checkpoints_of(folder, verifier, published)
        self._next: Signed | None = None
        self._frontier = Frontier()
        self._hash = b""
        self._count = 0
        self._good = 0
        self._good_at = ""
        self._torn = 0
        self._durable = durable_mark(folder)  # before the records, which may become more meanwhile

    def run(self) -> Verified:
        fault = self._forward() or self._checked()
        lines = lines_of(self._folder)
        ahead = next(lines, None)
        while fault is None and ahead is not None:
            line, ahead = ahead, next(lines, None)
            if not line.whole and ahead is None:
                self._torn = len(line.content)
                break
            fault = self._take(line, ahead)
        fault = fault or self._end()
        return Verified(
            self._frontier.size,
            self._frontier.root(),
            self._count,
            self._good,
            self._good_at,
            self._torn,
            fault,
        )

    def _take(self, line: Line, ahead: Line | None) -> Fault | None:
        index = self._frontier.size
        try:
            found = leaf.read(line.content)
        except LeafError as error:
            return Fault("altered", index, f"{line.at} is no record: {error}")
        if found.seq != index:
            return self._out_of_place(found, line, ahead)
        if found.prev != self._prev:
            return self._unlinked(line, ahead)
        self._hash = leaf_hash(line.content)
        self._frontier.append(self._hash)
        return self._checked()

    @property
    def _prev(self) -> str:
        return self._hash.hex() or NO_PREV

    def _out_of_place(self, found: leaf.Leaf, line: Line, ahead: Line | None) -> Fault:
        """A line with another number than its place has."""
        index, seq = self._frontier.size, found.seq
        if seq < index:
            if seq == index - 1 and found.prev != self._prev:
                message = f"{line.at} and the line before it both are record {seq}"
                return Fault("inserted", seq, message)
            return Fault("inserted", index, f"{line.at} is record {seq} again, in the place of {index}")
        following = _seq_of(ahead)
        if following is not None and index <= following < seq:
            return Fault("reordered", index, f"{line.at} is record {seq}, in the place of {index}")
        if following == index + 1:
            return Fault("altered", index, f"{line.at} says that it is record {seq}, in the place of {index}")
        return Fault("dropped", index, f"{line.at} is record {seq}: {index} to {seq - 1} are gone", seq)

    def _unlinked(self, line: Line, ahead: Line | None) -> Fault:
        """A line that names another predecessor than it has: one of the two was changed."""
        index = self._frontier.size
        message = f"{line.at} does not follow from the record before it"
        if _seq_of(ahead) == index:
            return Fault("inserted", index, f"{line.at} and the line behind it both are record {index}")
        if ahead is not None and _prev_of(ahead) == leaf_hash(line.content).hex():
            return Fault("altered", max(0, index - 1), message)
        mended = leaf_hash(leaf.taken_apart(line.content).at(index, self._prev))
        if ahead is not None:
            return Fault("altered", index if _prev_of(ahead) == mended.hex() else max(0, index - 1), message)
        frontier = self._frontier.copy()
        frontier.append(mended)
        if self._next is not None and self._next.checkpoint == self._next.checkpoint._replace(
            size=index + 1, root=frontier.root()
        ):
            return Fault("altered", index, message)
        return Fault("altered", max(0, index - 1), message)

    def _checked(self) -> Fault | None:
        """Compares with the checkpoints of this size."""
        size = self._frontier.size
        root = self._frontier.root() if self._next and self._next.checkpoint.size == size else b""
        while self._next is not None and self._next.checkpoint.size == size:
            signed = self._next
            if signed.checkpoint.root != root:
                return self._rewritten(signed)
            self._count += 1
            self._good, self._good_at = size, signed.place
            fault = self._forward()
            if fault is not None:
                return fault
        return None

    def _rewritten(self, signed: Signed) -> Fault:
        """All links hold, and the root is another one."""
        size = self._frontier.size
        begin = self._good
        if signed.leaf and signed.leaf != self._hash.hex():
            begin = size - 1 if self._is_last_alone(signed) else begin
        message = f"the first {size} records are not those that were signed ({signed.place})"
        return Fault("altered" if begin == size - 1 else "rewritten", begin, message, size)

    def _is_last_alone(self, signed: Signed) -> bool:
        """Whether the tree with the last record as the checkpoint's line tells it is the one signed."""
        try:
            told = bytes.fromhex(signed.leaf)
            frontier = self._before_last
            frontier.append(told)
        except ValueError:
            return False
        return frontier.root() == signed.checkpoint.root

    @property
    def _before_last(self) -> Frontier:
        """The tree without its last record, read again."""
        frontier = Frontier()
        for line in lines_of(self._folder):
            if frontier.size == self._frontier.size - 1:
                break
            frontier.append(leaf_hash(line.content))
        return frontier

    def _forward(self) -> Fault | None:
        """Takes the next checkpoint."""
        try:
            self._next = next(self._signed, None)
        except NoteError as error:
            self._next = None
            return Fault("checkpoint", self._frontier.size, str(error))
        return None

    def _end(self) -> Fault | None:
        size = self._frontier.size
        largest = self._next
        if largest is not None:
            wanted = largest.checkpoint.size
            for later in self._remaining():
                wanted = max(wanted, later)
            message = f"the tree ends with record {size - 1}; {wanted} records were signed ({largest.place})"
            return Fault("truncated", size, message, wanted)
        segments = segments_in(self._folder)
        first, path = segments[-1] if segments else (0, None)
        length = 0 if path is None else path.stat().st_size
        if (first, length) < self._durable:
            return Fault("truncated", size, f"records behind {size - 1} are gone that were acknowledged")
        return None

    def _remaining(self) -> Iterator[int]:
        try:
            for one in self._signed:
                yield one.checkpoint.size
        except NoteError:
            return


def _seq_of(line: Line | None) -> int | None:
    if line is None:
        return None
    try:
        return leaf.read(line.content).seq
    except LeafError:
        return None


def _prev_of(line: Line) -> str:
    try:
        return leaf.read(line.content).prev
    except LeafError:
        return ""
