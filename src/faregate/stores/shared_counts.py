"""How many connections and WebSockets all workers of a machine have together, in all and of each owner.

A piece of shared memory without a name: the supervisor makes it, workers and a successor inherit it, and it
is gone with the last of them, so that no count outlives its processes. Each worker writes in a region of its
own and reads everybody's. There is no lock: who takes a place first counts it, then adds up what all have
counted, and takes it back if that is too much. So a cap is never passed; two who ask for the last place at
the same moment may both be refused. Of a worker that dies the supervisor frees the region.

An owner (an address, a consumer) has a slot among eight, found by a keyed digest: nobody outside can choose
owners that meet there. Where all eight are taken (2 of 1,000 owners when one worker has 100,000) the owner is
counted by its worker alone.
"""

import mmap
import os
import secrets
from hashlib import blake2b
from typing import Final

from faregate.stores.counters_layout import WORKERS_MAX

MAGIC: Final = b"FGCONN2\0"
"""The last digit is the format's number."""
CONNECTIONS, TUNNELS = range(2)
_KINDS: Final = ("c ", "t ")
_SECRET_AT: Final = 16
_SECRET_BYTES: Final = 16
_USED_AT: Final = 32
"""One byte for each index, set by the first worker that has it: two that start together write apart."""
_TOTALS_WORD: Final = 64
_HEAD_BYTES: Final = 4096
_WORD_BYTES: Final = 8
_WAYS: Final = 8
BUCKETS: Final = 1 << 15
_REGION_WORDS: Final = BUCKETS * _WAYS
_REGION_BYTES: Final = _REGION_WORDS * _WORD_BYTES
FILE_BYTES: Final = _HEAD_BYTES + WORKERS_MAX * _REGION_BYTES
"""128 MiB of addresses; memory is what is touched, 2 MiB a worker at most."""
_BUCKET_BYTES: Final = _WAYS * _WORD_BYTES
_COUNT_BITS: Final = 24
_TAG_AT: Final = _COUNT_BITS // 8
"""A word holds the count in its lower three bytes and the owner's tag in its upper five."""
_TAG_BYTES: Final = _WORD_BYTES - _TAG_AT
_COUNT_MASK: Final = (1 << _COUNT_BITS) - 1
_NOWHERE: Final = -1


def create() -> int:
    """Makes the memory; returns its descriptor, which is not inherited by itself. Raises OSError."""
    descriptor = os.memfd_create("faregate-connections", os.MFD_CLOEXEC)
    try:
        os.ftruncate(descriptor, FILE_BYTES)
        os.pwrite(descriptor, secrets.token_bytes(_SECRET_BYTES), _SECRET_AT)
        os.pwrite(descriptor, MAGIC, 0)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def taken_or_made(inherited: int) -> int:
    """The descriptor of the memory that a former version's workers still count in; or of one made now, where
    there is none (-1) or it is of another format: then the two generations count apart for as long as both
    live. Raises OSError.
    """
    if inherited < 0:
        return create()
    if os.fstat(inherited).st_size == FILE_BYTES and os.pread(inherited, len(MAGIC), 0) == MAGIC:
        return inherited
    os.close(inherited)
    return create()


class SharedCounts:
    """One process's view. ``index``: the worker whose region is written; the supervisor has none and only
    clears. Not for use by several threads.
    """

    __slots__ = ("_index", "_map", "_own", "_region", "_secret", "_slots", "_words")

    def __init__(self, descriptor: int, index: int = _NOWHERE) -> None:
        """Maps the memory at ``descriptor``, which may be closed after. A worker begins with nothing counted:
        ``index`` is its own by then. Raises OSError.
        """
        self._map = mmap.mmap(descriptor, FILE_BYTES)
        self._words = memoryview(self._map).cast("Q")
        self._secret = self._map[_SECRET_AT : _SECRET_AT + _SECRET_BYTES]
        self._index = index
        self._region = _HEAD_BYTES // _WORD_BYTES + index * _REGION_WORDS
        self._slots: dict[str, list[int]] = {}  # of each owner: where its word is, and the word
        self._own = [0 for _ in _KINDS]
        if index != _NOWHERE:
            self._map[_USED_AT + index] = 1
            self.clear(index)

    def add(self, kind: int, owner: str) -> None:
        """Counts one more of ``owner`` in this worker."""
        words = self._words
        self._own[kind] += 1
        words[self._total_at(kind)] = self._own[kind]
        key = _KINDS[kind] + owner
        slot = self._slots.get(key)
        if slot is not None:
            slot[1] += 1
            words[slot[0]] = slot[1]
            return
        bucket, tag = self._place(key)
        first = self._region + bucket
        for at in range(first, first + _WAYS):
            if not words[at] & _COUNT_MASK:
                words[at] = tag << _COUNT_BITS | 1
                self._slots[key] = [at, tag << _COUNT_BITS | 1]
                return

    def remove(self, kind: int, owner: str) -> None:
        """Takes back what ``add`` counted."""
        words = self._words
        self._own[kind] -= 1
        words[self._total_at(kind)] = self._own[kind]
        key = _KINDS[kind] + owner
        slot = self._slots.get(key)
        if slot is not None:
            slot[1] -= 1
            words[slot[0]] = slot[1]
            if not slot[1] & _COUNT_MASK:
                del self._slots[key]

    def total(self, kind: int) -> int:
        """How many there are in all workers. A microsecond."""
        first = _TOTALS_WORD + kind * WORKERS_MAX
        return sum(self._words[first : first + self._used()].tolist())

    def elsewhere(self, kind: int, owner: str) -> int:
        """How many of ``owner`` there are in the other workers. About a microsecond for each that has any."""
        words = self._words
        first = _TOTALS_WORD + kind * WORKERS_MAX
        own = self._index
        others = [
            index
            for index, total in enumerate(words[first : first + self._used()].tolist())
            if total and index != own
        ]
        if not others:
            return 0
        key = _KINDS[kind] + owner
        slot = self._slots.get(key)
        if slot is None:
            bucket, tag = self._place(key)
        else:  # as always when its own is counted first
            bucket, tag = (slot[0] - self._region) // _WAYS * _WAYS, slot[1] >> _COUNT_BITS
        wanted = tag.to_bytes(_TAG_BYTES, "little")
        at = _HEAD_BYTES + bucket * _WORD_BYTES
        return sum(self._counted(at + index * _REGION_BYTES, wanted) for index in others)

    def _counted(self, at: int, wanted: bytes) -> int:
        """What the bucket at a byte says of an owner's tag."""
        bucket = self._map[at : at + _BUCKET_BYTES]
        found = bucket.find(wanted)
        while found >= 0:
            if found % _WORD_BYTES == _TAG_AT:
                return int.from_bytes(bucket[found - _TAG_AT : found], "little")
            found = bucket.find(wanted, found + 1)
        return 0

    def clear(self, index: int) -> None:
        """Frees what a worker that is gone has counted."""
        at = _HEAD_BYTES + index * _REGION_BYTES
        try:
            self._map.madvise(mmap.MADV_REMOVE, at, _REGION_BYTES)
        except OSError:  # a kernel that cannot give memory back
            self._map[at : at + _REGION_BYTES] = bytes(_REGION_BYTES)
        for kind in range(len(_KINDS)):
            self._words[_TOTALS_WORD + kind * WORKERS_MAX + index] = 0

    def close(self) -> None:
        self._words.release()
        self._map.close()

    def _used(self) -> int:
        """One more than the highest index that was ever used."""
        last = self._map.rfind(b"\1", _USED_AT, _USED_AT + WORKERS_MAX)
        return 0 if last < 0 else last + 1 - _USED_AT

    def _total_at(self, kind: int) -> int:
        return _TOTALS_WORD + kind * WORKERS_MAX + self._index

    def _place(self, key: str) -> tuple[int, int]:
        """The first word of the bucket, from its region's begin; and what stands in an owner's word."""
        digest = int.from_bytes(blake2b(key.encode(), digest_size=8, key=self._secret).digest(), "little")
        return digest % BUCKETS * _WAYS, digest >> _COUNT_BITS
