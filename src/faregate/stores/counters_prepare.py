"""What the supervisor does to the memory of counters: make it, fill it, free a dead worker's places.

Done before workers start, so that no worker ever meets counters in change. The memory is anonymous and held
by the gateway's processes alone (decision 0016); what it begins with is what was saved on disk. Counts of
this boot are taken up as they lie; of another boot only calendar counts, because the monotonic clock began
anew. Its size follows the configuration; what nobody uses takes none.
"""

import fcntl
import mmap
import os
import secrets
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple

from faregate.stores import counters_layout as layout
from faregate.stores.counters import Counters
from faregate.stores.counters_head import CountersError, Head
from faregate.stores.counters_saved import SavedError, open_saved, remove_unfinished

_USABLE: Final = layout.PARTITION_SLOTS - layout.RESERVED_SLOTS
PARTITIONS_MIN: Final = 16
"""16,128 slots (9 MiB): what any configuration gets, for consumers and for addresses each."""

PARTITIONS_MAX: Final = 2048
"""2,064,384 slots (1.1 GiB): 1,370,000 counters at two thirds."""

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class Capacity(NamedTuple):
    """How many counters may be alive at once; there is room for half as many more, within floor and
    ceiling.
    """

    consumer_counters: int
    address_counters: int


class Prepared(NamedTuple):
    """What ``prepare`` did.

    ``memory``: the descriptor of the counters, the caller's to close. ``event``: ``created``, ``restored``,
    ``rebooted`` or ``unreadable``. ``carried``: slots taken from the disk. ``unreadable``: the saved file was
    set aside as ``<name>.unreadable`` and all counts, quotas too, begin anew; an operator should know.
    """

    memory: int
    event: str
    memory_bytes: int
    carried: int = 0


def prepare(
    saved: Path, capacity: Capacity, *, now: int, wall: float, boot_id: str | None = None
) -> Prepared:
    """Makes the counters for workers, with what was saved at ``saved``. Once, by the supervisor, before they
    start.

    ``now``: CLOCK_MONOTONIC in ns; ``wall``: seconds since the epoch; ``boot_id``: of this boot, read when
    None. Raises OSError (no memory, no permission) and CountersError (what was saved fits no memory).
    """
    boot_id = (boot_id or _BOOT_ID.read_text().strip())[:36]  # a UUID fills its field
    head = _new_head(capacity, boot_id)
    remove_unfinished(saved)
    try:
        with open_saved(saved) as found:
            rebooted = found.boot_id != boot_id

            def living() -> Iterator[bytes]:
                return found.living(now, wall, calendars_only=rebooted)

            event = "rebooted" if rebooted else "restored"
            return _create(head._replace(hash_key=found.hash_key), living, event)
    except FileNotFoundError:
        return _create(head, lambda: iter(()), "created")
    except SavedError:
        saved.replace(saved.with_name(saved.name + ".unreadable"))
        return _create(head, lambda: iter(()), "unreadable")


def clear_worker(memory: int, worker_index: int) -> int:
    """Frees the places of a dead worker; returns how many. ``Counters.open`` does the same for its own index.

    ``memory``: the descriptor of the counters. Raises CountersError while the worker lives: its index is
    locked.
    """
    with closing(Counters(memory)) as counters:
        if not counters.locks.try_byte(layout.WORKER_LOCK + worker_index):
            raise CountersError(f"worker index {worker_index} is held by a living process")
        return counters.clear_places(worker_index)


def _new_head(capacity: Capacity, boot_id: str) -> Head:
    return Head(
        boot_id,
        secrets.token_bytes(16),
        _partitions(capacity.consumer_counters),
        _partitions(capacity.address_counters),
    )


def _partitions(counters: int) -> int:
    return min(PARTITIONS_MAX, max(PARTITIONS_MIN, -(-counters * 3 // (2 * _USABLE))))


def _create(head: Head, slots: Callable[[], Iterator[bytes]], event: str) -> Prepared:
    """New memory that holds ``slots``; doubled until every one has a place."""
    while True:
        memory = _memory(head)
        try:
            carried = _place(memory, head, slots())
        except BaseException:
            os.close(memory)
            raise
        if carried >= 0:
            return Prepared(memory, event, head.file_bytes, carried)
        os.close(memory)
        head = head._replace(
            consumer_partitions=head.consumer_partitions * 2, address_partitions=head.address_partitions * 2
        )
        if min(head.consumer_partitions, head.address_partitions) > PARTITIONS_MAX:
            raise CountersError("the saved counters do not fit into the largest memory")


def _memory(head: Head) -> int:
    """Anonymous memory of the head's size, which nobody can cut short under a worker that has it mapped."""
    memory = os.memfd_create("faregate-counters", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(memory, head.file_bytes)
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        fcntl.fcntl(memory, fcntl.F_ADD_SEALS, seals)
        os.pwrite(memory, head.pack(), 0)
    except BaseException:
        os.close(memory)
        raise
    return memory


def _place(memory: int, head: Head, slots: Iterator[bytes]) -> int:
    """Puts each slot into its owner's partition; returns how many, or -1 when a partition is full."""
    slots_at = layout.PAGE_BYTES + (head.consumer_partitions + head.address_partitions) * layout.TAGS_BYTES
    placed: dict[int, int] = {}
    carried = 0
    with mmap.mmap(memory, head.file_bytes) as table:
        for content in slots:
            owner = _word(content, layout.OWNER)
            number = owner & ~layout.OWNER_ADDRESS_BIT
            partition = number % head.consumer_partitions
            if owner & layout.OWNER_ADDRESS_BIT:
                partition = head.consumer_partitions + number % head.address_partitions
            place = placed.get(partition, layout.RESERVED_SLOTS)
            if place == layout.PARTITION_SLOTS:
                return -1
            placed[partition] = place + 1
            slot = partition * layout.PARTITION_SLOTS + place
            start = slots_at + slot * layout.SLOT_BYTES
            table[start : start + layout.SLOT_BYTES] = content
            tag = layout.tag(_word(content, layout.LOW)).to_bytes(4, sys.byteorder)
            table[layout.PAGE_BYTES + slot * 4 : layout.PAGE_BYTES + slot * 4 + 4] = tag
            carried += 1
    return carried


def _word(content: bytes, index: int) -> int:
    return int.from_bytes(content[index * 8 : index * 8 + 8], sys.byteorder)
