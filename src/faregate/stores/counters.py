"""Counters that all workers of a machine share: one mapped memory, one lock a call, a few indexed writes.

A worker finds a caller's counters by a keyed digest, remembers where they lie, and checks the digest at every
use, since another worker may have reused a slot whose history had passed. What the numbers in a slot mean is
the business of the policies (``policies/*/step``); this module finds, claims, reuses and locks. Locks are
byte ranges held by open file description: the kernel frees them when a process dies, however it dies, and
they exclude each other inside one process too. A full neighbourhood never means "admit": such callers share
one overflow slot, which can only refuse too much. Every write here is ordered so that a process killed
between two of them leaves a slot that refuses too much or nothing, never one that admits too much.
"""

import mmap
import os
import sys
import time
from collections.abc import Callable, Iterator
from hashlib import blake2b
from typing import Final, NamedTuple

from faregate.stores import counters_layout as layout
from faregate.stores.counters_head import CountersError, read_head
from faregate.stores.counters_layout import Kind
from faregate.stores.counters_locks import CountersStats, Locks

_ZERO_SLOT: Final = memoryview(bytes(layout.SLOT_BYTES)).cast("Q")
_NO_TAG: Final = bytes(4)
_LOW_63: Final = (1 << 63) - 1


class Owner(NamedTuple):
    """A caller: the partition that holds its counters, what chose it, and its name for digests."""

    partition: int
    number: int
    name: bytes


class Counters:
    """One process's view of the memory. Not for use by several threads."""

    __slots__ = (
        "_description", "_map", "_partitions", "_view", "cells", "cells_used", "clock", "head", "locks",
        "stats", "tags", "words", "worker_index",
    )  # fmt: skip

    def __init__(
        self,
        memory: int,
        clock: Callable[[], int] = time.monotonic_ns,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """Maps what the descriptor ``memory`` refers to, without joining its workers; workers use ``open``.

        Opened anew, since processes that share one open file description share its locks. The descriptor
        stays the caller's. Raises OSError, CountersError.
        """
        self._description = os.open(f"/proc/self/fd/{memory}", os.O_RDWR | os.O_CLOEXEC)
        try:
            self.head = read_head(self._description)
            self._map = mmap.mmap(self._description, self.head.file_bytes)
        except BaseException:
            os.close(self._description)
            raise
        self._map.madvise(mmap.MADV_RANDOM)
        self._view = memoryview(self._map)
        self._partitions = self.head.consumer_partitions + self.head.address_partitions
        slots_at = layout.PAGE_BYTES + self._partitions * layout.TAGS_BYTES
        self.tags = self._view[layout.PAGE_BYTES : slots_at].cast("I")
        slots = self._view[slots_at:]
        self.words = slots.cast("Q")
        self.cells = slots.cast("I")
        slots.release()
        self.cells_used = self._view[layout.CELLS_USED_OFFSET : layout.CELLS_USED_OFFSET + 4].cast("I")
        self.clock = clock
        self.stats = CountersStats()
        self.locks = Locks(self._description, self._partitions, self.stats, clock, pause)
        self.worker_index = 0

    @classmethod
    def open(
        cls,
        memory: int,
        worker_index: int,
        workers: int,
        *,
        clock: Callable[[], int] = time.monotonic_ns,
        pause: Callable[[float], None] = time.sleep,
    ) -> "Counters":
        """Joins the workers of a memory that ``prepare`` made, and frees the places a dead predecessor held.

        ``worker_index``: 0 to 63, one living process each. ``workers``: how many there are; with one, calls
        take no lock. ``clock``: nanoseconds of CLOCK_MONOTONIC, read only where a caller's reading is in
        doubt. Raises CountersError when the memory is not usable or the index is held by a living process.
        """
        if not 0 <= worker_index < layout.WORKERS_MAX:
            raise CountersError(f"worker index {worker_index}: expected 0 to {layout.WORKERS_MAX - 1}")
        try:
            counters = cls(memory, clock, pause)
        except OSError as error:
            raise CountersError(f"the memory of counters: {error.strerror}") from error
        try:
            counters._join(worker_index, workers)
        except BaseException:
            counters.close()
            raise
        return counters

    def _join(self, worker_index: int, workers: int) -> None:
        if not self.locks.try_byte(layout.WORKER_LOCK + worker_index):
            raise CountersError(f"worker index {worker_index} is held by a living process")
        self.worker_index = worker_index
        self.clear_places(worker_index)
        self.locks.lock_byte(layout.HEAD_LOCK)
        self.cells_used[0] = max(self.cells_used[0], worker_index + 1)
        self.locks.unlock_byte(layout.HEAD_LOCK)
        self.locks.shared = workers > 1

    def close(self) -> None:
        """Leaves the memory and the index. Places still held are freed by whoever takes the index next."""
        for view in (self.words, self.cells, self.tags, self.cells_used, self._view):
            view.release()
        self._map.close()
        os.close(self._description)

    # finding and claiming slots

    def owner(self, name: bytes, *, address: bool = False) -> Owner:
        """Who a call counts for: a consumer's key or, with ``address``, an address. Costs one hash."""
        digest = blake2b(
            name, digest_size=8, key=self.head.hash_key, person=b"address" if address else b"consumer"
        )
        number = int.from_bytes(digest.digest(), "little") & _LOW_63
        if address:
            partition = self.head.consumer_partitions + number % self.head.address_partitions
            return Owner(partition, number | layout.OWNER_ADDRESS_BIT, name)
        return Owner(number % self.head.consumer_partitions, number, name)

    def digest(self, owner: Owner, scope: str, kind: Kind) -> tuple[int, int]:
        """The two words that name an owner's counter. Keyed, so that nobody chooses where it lands."""
        text = b"%d:%b%d:%b" % (len(owner.name), owner.name, kind, scope.encode())
        person = b"address" if owner.number & layout.OWNER_ADDRESS_BIT else b"consumer"
        digest = blake2b(text, digest_size=16, key=self.head.hash_key, person=person).digest()
        return int.from_bytes(digest[:8], "little") | 1, int.from_bytes(digest[8:], "little")

    def find(self, counter: "Counter", now: int, wall: float) -> int:
        """The slot of a counter, claimed when it has none; the kind's overflow slot when no slot is free.

        Under the partition's lock. ``now`` in ns and ``wall`` in s say whose history has passed.
        """
        slot, free = self._probe(counter)
        if slot >= 0:
            return slot
        overflow = counter.owner.partition * layout.PARTITION_SLOTS + counter.kind
        if free < 0:
            free = self._spent_neighbour(counter, now, wall)
        # Places in the overflow slot may be this counter's: it must see them, so it stays there until they
        # are gone.
        if free < 0 or (counter.kind == Kind.CONCURRENCY and not self.spent(overflow, now, wall)):
            self.stats.overflows += 1
            self._open_overflow(overflow, counter.kind)
            return overflow
        self._claim(free, counter, overflow, now, wall)
        return free

    def _probe(self, counter: "Counter") -> tuple[int, int]:
        """The counter's slot, and a free one if it has none; -1 for none."""
        words = self.words
        partition = counter.owner.partition
        start = layout.PAGE_BYTES + partition * layout.TAGS_BYTES
        tags = self._map[start : start + layout.TAGS_BYTES]
        first = partition * layout.PARTITION_SLOTS
        for number in _places(tags, layout.tag(counter.low).to_bytes(4, sys.byteorder)):
            word = (first + number) * layout.SLOT_WORDS
            if words[word] == counter.low and words[word + layout.HIGH] == counter.high:
                return first + number, -1
        free = next(_places(tags, _NO_TAG), -1)
        return -1, first + free if free >= 0 else -1

    def _spent_neighbour(self, counter: "Counter", now: int, wall: float) -> int:
        for slot in neighbours(counter.owner.partition, counter.high):
            # Never one of the same owner's: this very call may have checked it and be about to count in it.
            owner = self.words[slot * layout.SLOT_WORDS + layout.OWNER]
            if owner != counter.owner.number and self.spent(slot, now, wall):
                self.stats.reuses += 1
                return slot
        return -1

    def spent(self, slot: int, now: int, wall: float) -> bool:
        """Whether wiping loses nothing: free, wholly passed, refilled, or with no call in flight."""
        word = slot * layout.SLOT_WORDS
        words = self.words
        if not words[word]:
            return True
        if words[word + layout.KIND] == Kind.CONCURRENCY:
            cell = slot * layout.SLOT_CELLS + layout.BODY_CELL
            return not any(self.cells[cell : cell + layout.WORKERS_MAX])
        return layout.passed(words, word, now, wall)

    def _open_overflow(self, slot: int, kind: Kind) -> None:
        word = slot * layout.SLOT_WORDS
        if not self.words[word]:
            self.words[word + layout.KIND] = kind
            # No counter's own digest: who uses this slot looks for one of its own again at every call.
            self.words[word] = kind

    def _claim(self, slot: int, counter: "Counter", overflow: int, now: int, wall: float) -> None:
        """Makes a slot the counter's.

        It starts from the overflow slot's counts while these live: some may be its own. The digest is wiped
        first and written last: a slot half made is a free slot.
        """
        words, word = self.words, slot * layout.SLOT_WORDS
        words[word] = 0
        words[word : word + layout.SLOT_WORDS] = _ZERO_SLOT
        if not self.spent(overflow, now, wall):
            source = overflow * layout.SLOT_WORDS
            words[word + layout.FIRST : word + layout.SLOT_WORDS] = words[
                source + layout.FIRST : source + layout.SLOT_WORDS
            ]
        # Before the digest: a slot with a tag and no digest is lost until its turn to be reused; one with a
        # digest that no tag shows would lose counts.
        self.tags[slot] = layout.tag(counter.low)
        words[word + layout.HIGH] = counter.high
        words[word + layout.OWNER] = counter.owner.number
        words[word + layout.KIND] = counter.kind
        self._mark_place(slot, held=counter.kind == Kind.CONCURRENCY)
        words[word] = counter.low
        self.stats.claims += 1

    def _mark_place(self, slot: int, *, held: bool) -> None:
        partition, number = divmod(slot, layout.PARTITION_SLOTS)
        word = partition * layout.PARTITION_SLOTS * layout.SLOT_WORDS + layout.BODY_WORD + number // 64
        bit = 1 << number % 64
        self.words[word] = self.words[word] | bit if held else self.words[word] & ~bit

    # places of workers that are gone

    def clear_places(self, worker_index: int) -> int:
        """Frees every place the worker held; returns how many. Its index must be held here.

        Reads one bitmap a partition, so the cost does not grow with the slots: about 1 us a partition.
        """
        freed = 0
        for partition in range(self._partitions):
            slots = self._place_slots(partition)
            if slots:
                self.locks.lock_byte(layout.PARTITION_LOCK + partition)
                for slot in slots:
                    freed += self._clear_place(slot, worker_index)
                self.locks.unlock_byte(layout.PARTITION_LOCK + partition)
        return freed

    def _place_slots(self, partition: int) -> list[int]:
        first = partition * layout.PARTITION_SLOTS
        word = first * layout.SLOT_WORDS + layout.BODY_WORD
        slots = []
        for number, bits in enumerate(self.words[word : word + layout.PARTITION_SLOTS // 64]):
            while bits:
                bit = (bits & -bits).bit_length() - 1
                slots.append(first + number * 64 + bit)
                bits &= bits - 1  # noqa: PLW2901 - walks the set bits
        if self.words[(first + Kind.CONCURRENCY) * layout.SLOT_WORDS]:
            slots.append(first + Kind.CONCURRENCY)
        return slots

    def _clear_place(self, slot: int, worker_index: int) -> int:
        word = slot * layout.SLOT_WORDS
        if not self.words[word] or self.words[word + layout.KIND] != Kind.CONCURRENCY:
            return 0
        cell = slot * layout.SLOT_CELLS + layout.BODY_CELL + worker_index
        held = self.cells[cell]
        self.cells[cell] = 0
        return held


class Counter:
    """What all counters have in common: an owner, a digest, and where the slot lay at the last look.

    Each offers ``check(now, wall)``, which returns the ns to wait (0: there is room) and takes nothing, and
    ``take()``, which counts what the last ``check`` found room for. Both under the partition's lock, with
    nothing in between.
    """

    __slots__ = ("cell", "cells", "counters", "high", "kind", "low", "owner", "word", "words")

    def __init__(self, counters: Counters, owner: Owner, scope: str, kind: Kind) -> None:
        self.counters = counters
        self.words = counters.words
        self.cells = counters.cells
        self.owner = owner
        self.kind = kind
        self.low, self.high = counters.digest(owner, scope, kind)
        # Before the first look, any place in the partition that never holds a digest will do: its bitmap's
        # slot.
        self.word = owner.partition * layout.PARTITION_SLOTS * layout.SLOT_WORDS
        self.cell = 0

    def seek(self, now: int, wall: float) -> None:
        """Finds the slot again after ``words[word]`` was not ``low``."""
        slot = self.counters.find(self, now, wall)
        self.word = slot * layout.SLOT_WORDS
        self.cell = slot * layout.SLOT_CELLS + layout.BODY_CELL


def _places(tags: bytes, wanted: bytes) -> Iterator[int]:
    """The numbers of the slots, not reserved, whose tag is ``wanted``."""
    at = tags.find(wanted, layout.RESERVED_SLOTS * 4)
    while at >= 0:
        if not at % 4:
            yield at // 4
        at = tags.find(wanted, at + 1)


def neighbours(partition: int, high: int) -> list[int]:
    """The slots of a full partition that a key may take over: a run, wrapping inside the partition, that
    begins where its digest says.
    """
    usable = layout.PARTITION_SLOTS - layout.RESERVED_SLOTS
    first = partition * layout.PARTITION_SLOTS + layout.RESERVED_SLOTS
    start = high % usable
    return [first + (start + step) % usable for step in range(layout.PROBE_SLOTS)]
