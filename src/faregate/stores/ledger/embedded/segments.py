"""The log: numbered files that are appended to, synced a batch at a time, and deleted from the oldest on.

What is appended stands in memory until ``commit`` has written and synced it. Room is taken ahead, so that a
full disk shows while a claim can still be refused, and the next file is there before it is needed. Only the
oldest file is ever given up: whatever is still true of it was appended again before, so that no record
outlives the one that overtook it. A place is a file's slot and an offset in one number.
"""

import errno
from pathlib import Path
from typing import Final

from faregate.stores.ledger.embedded import records
from faregate.stores.ledger.embedded.clock import Mark
from faregate.stores.ledger.embedded.disk import Disk
from faregate.stores.ledger.embedded.records import DamagedError, Record

MIB: Final = 1 << 20
BYTES_MAX_LEAST: Final = 64 * MIB
BYTES_MAX_MOST: Final = 512 << 30
BYTES_MAX_DEFAULT: Final = 8 << 30
_SEGMENT_MOST: Final = 32 * MIB
_FILE_MOST: Final = 64 * MIB
"""What a place can name. A file that cannot be followed by another grows towards it."""
_FILES_OF_BOUND: Final = 64
OFFSET_BITS: Final = 23
PLACE_BITS: Final = 37
_OFFSET_MASK: Final = (1 << OFFSET_BITS) - 1
_SLOTS: Final = 1 << (PLACE_BITS - OFFSET_BITS)
_FIRST_READ: Final = 4096
_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def segment_bytes_for(bytes_max: int) -> int:
    """A 64th of the bound, by whole MiB, 1 to 32."""
    return min(max(bytes_max // _FILES_OF_BOUND // MIB, 1) * MIB, _SEGMENT_MOST)


RELEASED_BYTES: Final = 1 << 20
"""How much room of a removed file is given back at once: a whole file takes a file system milliseconds."""
AHEAD_BYTES: Final = 512 << 10
"""How much room is written at once: one sync in some hundreds takes a few milliseconds more."""


class Segment:
    """One file. ``size``: of the file; ``used``: how much of it is records; ``live``: bytes of records that
    are still true. ``zeroed``: how far its room was written, not only taken. ``ours``: this process made it.
    """

    __slots__ = ("descriptor", "live", "number", "ours", "path", "size", "slot", "used", "zeroed")

    def __init__(self, number: int, path: Path, descriptor: int, size: int, used: int) -> None:
        self.number = number
        self.path = path
        self.descriptor = descriptor
        self.size = size
        self.used = used
        self.slot = -1
        self.live = 0
        self.ours = False
        self.zeroed = used


class Log:
    """The files in ``folder``, at most ``bytes_max`` together.

    ``active``: the one that is appended to. ``full``: the disk has no room for more. ``failed``: why nothing
    may be believed any more, empty while all is well.
    """

    def __init__(self, folder: Path, bytes_max: int, disk: Disk) -> None:
        self.folder = folder
        self.disk = disk
        self.bytes_max = bytes_max = min(max(bytes_max, BYTES_MAX_LEAST), BYTES_MAX_MOST)
        self.segment_bytes = segment_bytes_for(bytes_max)
        self.slots: list[Segment | None] = []
        self.order: list[Segment] = []  # oldest first; the active one is last
        self.active: Segment | None = None
        self.spare: Segment | None = None
        self.full = False
        self.failed = ""
        self.mark: Mark | None = None  # what the next file begins with
        self.next_number = 1
        self.sized = 0  # bytes of all files
        self.sealed: list[Segment] = []  # what nobody has made an index of yet
        self._leaving: Segment | None = None  # without a name, and its room is given back in pieces
        self._pending: list[bytes] = []
        self._pending_at = 0  # where in the active file what is pending begins
        self._pending_bytes = 0
        self._durable = 0

    def bound(self, bytes_max: int) -> None:
        """Another bound for all files together; their size follows as they are made."""
        self.bytes_max = min(max(bytes_max, BYTES_MAX_LEAST), BYTES_MAX_MOST)
        if self.spare is None:  # else the next file has the size that was made for it
            self.segment_bytes = segment_bytes_for(self.bytes_max)

    # files

    def adopt(self, segment: Segment) -> None:
        """Takes in a file younger than all that are there."""
        self._seat(segment)
        self.order.append(segment)
        self.sized += segment.size
        self.next_number = max(self.next_number, segment.number + 1)

    def _seat(self, segment: Segment) -> None:
        for slot, held in enumerate(self.slots):
            if held is None:
                segment.slot = slot
                self.slots[slot] = segment
                return
        segment.slot = len(self.slots)
        self.slots.append(segment)

    def begin(self, mark: Mark) -> None:
        """Opens a new file to append to. Raises OSError."""
        self.mark = mark
        self._make_spare()
        self._activate()
        self.commit()

    def prepare(self) -> None:
        """Makes the next file where it will soon be needed; sets ``full`` where there is no room for it."""
        active = self.active
        if active is None or self.failed:
            return
        if self.spare is not None:
            self.full = self.full and bool(self._pending)
            return
        if not self.full and active.used < self.segment_bytes // 2:
            return
        if self.sized + self.segment_bytes > self.bytes_max or len(self.order) >= _SLOTS:
            return
        try:
            self._make_spare()
            self.full = False
        except OSError:  # no room, no descriptor: claims are refused until there is
            self.full = True

    def _make_spare(self) -> None:
        number = self.next_number
        path = self.folder / f"{number:08d}.log"
        descriptor = self.disk.create(path, self.segment_bytes)
        try:
            self.disk.sync_folder(self.folder)
        except OSError:
            self.disk.close(descriptor)
            self.disk.remove(path)
            raise
        self.spare = Segment(number, path, descriptor, self.segment_bytes, 0)
        self.spare.ours = True
        self.next_number = number + 1
        self.sized += self.segment_bytes

    def _activate(self) -> None:
        """Goes on in the spare file; the one before ends where it ends."""
        before, spare, mark = self.active, self.spare, self.mark
        assert spare is not None
        assert mark is not None
        if before is not None:
            self.commit()
            if self.failed or self._pending:
                return
            try:
                self.disk.cut(before.descriptor, before.used)
            except OSError as error:
                self.failed = f"{before.path.name} cannot be cut: {error.strerror}"
                return
            self.sized += before.used - before.size
            before.size = before.used
            self.sealed.append(before)
        self.spare = None
        self._seat(spare)
        self.order.append(spare)
        self.active = spare
        self._durable = 0
        self._pending_at = 0
        self._add(spare, records.marked(mark, spare.number, 0, 0))

    def remove_oldest(self) -> None:
        """Gives up the oldest file, of which nothing is live; ``release`` gives back its room. Raises
        OSError.
        """
        oldest = self.order[0]
        assert oldest is not self.active
        assert self._leaving is None
        self.disk.remove(oldest.path.with_suffix(".index"))
        self.disk.remove(oldest.path)
        self.disk.sync_folder(self.folder)
        self._leaving = oldest
        self.order.pop(0)
        self.slots[oldest.slot] = None
        if oldest in self.sealed:
            self.sealed.remove(oldest)

    def release(self) -> bool:
        """Gives back a piece of a removed file's room; False: there is none. Raises OSError."""
        leaving = self._leaving
        if leaving is None:
            return False
        size = max(0, leaving.size - RELEASED_BYTES)
        self.disk.shrink(leaving.descriptor, size)
        self.sized -= leaving.size - size
        leaving.size = size
        if size == 0:
            self._leaving = None
            self.disk.close(leaving.descriptor)
        return True

    def close(self) -> None:
        if self._leaving is not None:
            self.disk.close(self._leaving.descriptor)
            self._leaving = None
        for segment in [*self.order, *([self.spare] if self.spare is not None else [])]:
            self.disk.close(segment.descriptor)
        if self.spare is not None:
            self.disk.remove(self.spare.path)
        self.order.clear()
        self.active = self.spare = None

    # room

    def headroom(self) -> int:
        """Bytes that can still be appended within the bound, as far as the disk has shown to have them."""
        active = self.active
        if active is None or self.failed:
            return 0
        left = max(0, self.segment_bytes - active.used)
        if self.spare is not None:
            left += self.segment_bytes
        if not self.full:
            left += max(0, self.bytes_max - self.sized) // self.segment_bytes * self.segment_bytes
        return left

    def fits(self, length: int) -> bool:
        """Whether a record of that length can be taken at all."""
        active = self.active
        if active is None or self.failed:
            return False
        return self.spare is not None or active.used + length <= _FILE_MOST

    # records

    def append(self, record: Record) -> None:
        """Takes the record in; it is durable after the next ``commit``. Sets its place and length, and counts
        it as live. Only after ``fits``.
        """
        active = self.active
        assert active is not None
        longest = (
            records.HEAD_BYTES + len(record.about) + len(record.by) + len(record.note) + len(record.answer)
        )
        if active.used + longest + 8 > self.segment_bytes:
            if self.spare is None:
                self.prepare()
            if self.spare is not None:
                self._activate()
                active = self.active
                assert active is not None
        offset = active.used
        data = records.encoded(record, active.number, offset, self._durable)
        record.place = (active.slot << OFFSET_BITS) | (offset >> 3)
        record.length = len(data)
        active.live += len(data)
        self._add(active, data)

    def _add(self, active: Segment, data: bytes) -> None:
        self._pending.append(data)
        self._pending_bytes += len(data)
        active.used += len(data)
        if active.used > active.size:
            self.sized += active.used - active.size
            active.size = active.used

    @property
    def pending_bytes(self) -> int:
        return self._pending_bytes

    def commit(self) -> bool:
        """Writes and syncs what was appended; whether all of it is durable. Not so: the disk is full, what is
        pending stays so and is tried again with the next commit; or ``failed`` is set.
        """
        if self.failed:
            return False
        if not self._pending:
            return True
        active = self.active
        assert active is not None
        data = b"".join(self._pending)
        try:
            self.disk.write(active.descriptor, data, self._pending_at)
            self._write_ahead(active, self._pending_at + len(data))
        except OSError as error:
            if error.errno in _FULL:
                self.full = True
                self._pending = [data]
            else:
                self.failed = f"{active.path.name} cannot be written: {error.strerror}"
            return False
        try:
            self.disk.sync(active.descriptor)
        except OSError as error:
            if (
                error.errno in _FULL
            ):  # delayed allocation: nothing says that the pages are kept, so write again
                self.full = True
                self._pending = [data]
            else:
                self.failed = f"{active.path.name} cannot be synced: {error.strerror}"
            return False
        self._pending = []
        self._pending_bytes = 0
        self._pending_at = self._durable = active.used
        if self.spare is not None:
            self.full = False
        return True

    def _write_ahead(self, active: Segment, end: int) -> None:
        """Room that was only taken costs the file system a change of the file's own data with each sync; room
        that was written once costs none: half the processor time of a sync, a third of its time.
        """
        if end > active.zeroed:
            ahead = min(end + AHEAD_BYTES, active.size)
            if ahead > end:
                self.disk.write(active.descriptor, bytes(ahead - end), end)
            active.zeroed = max(ahead, end)

    def read(self, place: int) -> Record:
        """The record at ``place``. Raises ``DamagedError``, OSError."""
        segment = self.slots[place >> OFFSET_BITS]
        offset = (place & _OFFSET_MASK) << 3
        if segment is None:
            raise DamagedError("a file that is gone")
        if segment is self.active and offset >= self._pending_at:
            data = b"".join(self._pending)
            at = offset - self._pending_at
            record = records.decoded(data, at)
        else:
            data = self.disk.read(segment.descriptor, _FIRST_READ, offset)
            if len(data) >= records.HEAD_BYTES:
                length = records.claimed_length(data, 0)
                if len(data) < length <= records.RECORD_BYTES_MAX:
                    data = self.disk.read(segment.descriptor, length, offset)
            if not records.length_at(data, 0, segment.number, offset):
                raise DamagedError(f"{segment.path.name} is damaged at byte {offset}")
            record = records.decoded(data, 0)
        record.place = place
        return record

    def dead(self, place: int, length: int) -> None:
        """The record at ``place`` is not true any more."""
        segment = self.slots[place >> OFFSET_BITS]
        if segment is not None:
            segment.live -= length
