"""What the supervisor does to the file of counters: make it, fit it, free a dead worker's places.

Done before workers start, so that no worker ever meets a file in change. A file of the right size from this
boot is kept as it lies; from another boot only calendar counts are carried over, because the monotonic clock
began anew and every call ended. A larger configuration gets a larger file, into which every living slot
moves. Disk space is reserved at once: a write into a hole of a sparse file on a full disk would kill the
worker that made it.
"""

import fcntl
import mmap
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

from faregate.stores import counters_layout as layout
from faregate.stores.counters import Counters
from faregate.stores.counters_head import CountersError, Head
from faregate.stores.counters_layout import Kind

_USABLE: Final = layout.PARTITION_SLOTS - layout.RESERVED_SLOTS
PARTITIONS_MIN: Final = 16
"""16,128 slots (9 MiB): what any configuration gets, for consumers and for addresses each."""

PARTITIONS_MAX: Final = 2048
"""2,064,384 slots (1.1 GiB): 1,370,000 counters at two thirds."""

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class Capacity(NamedTuple):
    """How many counters may be alive at once; the file gets half as many slots more, within floor and
    ceiling.
    """

    consumer_counters: int
    address_counters: int


class Prepared(NamedTuple):
    """What ``prepare`` did.

    ``event``: ``created``, ``kept``, ``resized``, ``rebooted``, ``in_use`` or ``unreadable``. ``carried``:
    slots moved into a new file. ``unreadable``: the old file was set aside as ``<name>.unreadable`` and all
    counts, quotas too, begin anew; an operator should know.
    """

    event: str
    file_bytes: int
    carried: int = 0


def prepare(path: Path, capacity: Capacity, *, now: int, wall: float, boot_id: str | None = None) -> Prepared:
    """Makes the file of counters ready for workers. Once, by the supervisor, before they start.

    ``now``: CLOCK_MONOTONIC in ns; ``wall``: seconds since the epoch; ``boot_id``: of this boot, read when
    None. While other workers still use the file it stays as it is (``in_use``): larger needs wait for the
    next start. Raises OSError (no space, no permission) and CountersError (another process prepares and does
    not end).
    """
    boot_id = (boot_id or _BOOT_ID.read_text().strip())[:36]  # a UUID fills its field
    with _prepare_lock(path):
        try:
            old = Counters(path)
        except FileNotFoundError:
            old = None
        except CountersError:
            path.replace(path.with_name(path.name + ".unreadable"))
            return Prepared("unreadable", _create(path, _new_head(capacity, boot_id), ()).file_bytes)
        if old is None:
            return Prepared("created", _create(path, _new_head(capacity, boot_id), ()).file_bytes)
        try:
            return _fit(path, old, capacity, boot_id, (now, wall))
        finally:
            old.close()


def clear_worker(path: Path, worker_index: int) -> int:
    """Frees the places of a dead worker; returns how many. ``Counters.open`` does the same for its own index.

    Raises CountersError while the worker lives: its index is locked.
    """
    counters = Counters(path)
    try:
        if not counters.locks.try_byte(layout.WORKER_LOCK + worker_index):
            raise CountersError(f"worker index {worker_index} is held by a living process")
        return counters.clear_places(worker_index)
    finally:
        counters.close()


def _fit(path: Path, old: Counters, capacity: Capacity, boot_id: str, times: tuple[int, float]) -> Prepared:
    head = old.head
    if not all(old.locks.try_byte(layout.WORKER_LOCK + index) for index in range(layout.WORKERS_MAX)):
        return Prepared("in_use", head.file_bytes)
    rebooted = head.boot_id != boot_id
    wanted = _new_head(capacity, boot_id)
    fits = _fits(head.consumer_partitions, wanted.consumer_partitions) and _fits(
        head.address_partitions, wanted.address_partitions
    )
    if fits and not rebooted:
        for index in range(old.cells_used[0]):
            old.clear_places(index)
        old.cells_used[0] = 0
        return Prepared("kept", head.file_bytes)
    wanted = wanted._replace(hash_key=head.hash_key)
    slots = tuple(_living(old, times, calendars_only=rebooted))
    made = _create(path, wanted, slots)
    return Prepared("rebooted" if rebooted else "resized", made.file_bytes, len(slots))


def _fits(partitions: int, wanted: int) -> bool:
    """Large enough, and not so large that its disk space is worth a move."""
    return wanted <= partitions <= wanted * 4


def _new_head(capacity: Capacity, boot_id: str) -> Head:
    return Head(
        boot_id,
        secrets.token_bytes(16),
        _partitions(capacity.consumer_counters),
        _partitions(capacity.address_counters),
    )


def _partitions(counters: int) -> int:
    return min(PARTITIONS_MAX, max(PARTITIONS_MIN, -(-counters * 3 // (2 * _USABLE))))


def _living(old: Counters, times: tuple[int, float], *, calendars_only: bool) -> Iterator[bytes]:
    """The slots that still mean something. Overflow slots stay behind: whose counts they hold is unknown."""
    for slot in range(len(old.words) // layout.SLOT_WORDS):
        word = slot * layout.SLOT_WORDS
        if not old.words[word] or slot % layout.PARTITION_SLOTS < layout.RESERVED_SLOTS:
            continue
        kind = old.words[word + layout.KIND]
        if kind == Kind.CONCURRENCY or (calendars_only and kind < Kind.CALENDAR_SECOND):
            continue
        if not old.spent(slot, *times):
            yield old.words[word : word + layout.SLOT_WORDS].tobytes()


def _create(path: Path, head: Head, slots: tuple[bytes, ...]) -> Head:
    """Writes a new file and renames it over ``path``; doubles it until every slot has a place."""
    beside = path.with_name(path.name + ".new")
    while True:
        with suppress(FileNotFoundError):
            beside.unlink()
        description = os.open(
            beside, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
        )
        try:
            os.posix_fallocate(description, 0, head.file_bytes)
            os.pwrite(description, head.pack(), 0)
            placed = _place(description, head, slots)
            os.fsync(description)
        finally:
            os.close(description)
        if placed:
            beside.replace(path)
            return head
        head = head._replace(
            consumer_partitions=head.consumer_partitions * 2, address_partitions=head.address_partitions * 2
        )
        if min(head.consumer_partitions, head.address_partitions) > PARTITIONS_MAX:
            raise CountersError("the counters in use do not fit into the largest file")


def _place(description: int, head: Head, slots: tuple[bytes, ...]) -> bool:
    """Puts each slot into its owner's partition; False when one of them is full."""
    slots_at = layout.PAGE_BYTES + (head.consumer_partitions + head.address_partitions) * layout.TAGS_BYTES
    placed: dict[int, int] = {}
    with mmap.mmap(description, head.file_bytes) as table:
        for content in slots:
            owner = _word(content, layout.OWNER)
            number = owner & ~layout.OWNER_ADDRESS_BIT
            partition = number % head.consumer_partitions
            if owner & layout.OWNER_ADDRESS_BIT:
                partition = head.consumer_partitions + number % head.address_partitions
            place = placed.get(partition, layout.RESERVED_SLOTS)
            if place == layout.PARTITION_SLOTS:
                return False
            placed[partition] = place + 1
            slot = partition * layout.PARTITION_SLOTS + place
            start = slots_at + slot * layout.SLOT_BYTES
            table[start : start + layout.SLOT_BYTES] = content
            tag = layout.tag(_word(content, layout.LOW)).to_bytes(4, sys.byteorder)
            table[layout.PAGE_BYTES + slot * 4 : layout.PAGE_BYTES + slot * 4 + 4] = tag
    return True


def _word(content: bytes, index: int) -> int:
    return int.from_bytes(content[index * 8 : index * 8 + 8], sys.byteorder)


@contextmanager
def _prepare_lock(path: Path) -> Iterator[None]:
    """One ``prepare`` at a time; the file itself is replaced by renaming and so cannot carry this lock."""
    description = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(description, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise CountersError("another process prepares the counters") from error
        yield
    finally:
        os.close(description)
