"""The copy of the counters on disk: what outlives the gateway's processes, and the machine's.

The counters themselves lie in memory that only running processes hold (decision 0016), so this file is
written while the gateway runs, for whatever counts hours or longer, and once more, with everything, when it
stops. One head, then the slots as they lie in memory, then a digest over all of it: a file that is not whole
is told from one that is. It is replaced by renaming, so that a crash leaves the one before.
"""

import contextlib
import mmap
import os
import struct
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import Final, NamedTuple

from faregate.stores import counters_layout as layout
from faregate.stores.counters import Counters
from faregate.stores.counters_head import CountersError, Head
from faregate.stores.counters_layout import Kind

_MAGIC: Final = b"FGSAVED\x01"
_HEAD: Final = struct.Struct("8s36s4x16s")
"""Magic, boot id, hash key."""
_DIGEST_BYTES: Final = 16
_LONG_NS: Final = 3_600_000_000_000
_LONG: Final = frozenset(
    {Kind.WINDOW_HOUR, Kind.WINDOW_DAY, *(kind for kind in Kind if kind > Kind.CONCURRENCY)}
)
"""What is saved while the gateway runs: windows of an hour and longer, all calendars. A quota of a second
costs as little as finding out that it is one."""


class Saved(NamedTuple):
    """What lies on disk: the boot it was written in, the key of its digests, and its slots."""

    boot_id: str
    hash_key: bytes
    slots: memoryview

    def living(self, now: int, wall: float, *, calendars_only: bool) -> Iterator[bytes]:
        """The slots that still mean something. ``calendars_only``: of another boot, whose monotonic clock is
        gone.
        """
        words = self.slots.cast("Q")
        for word in range(0, len(words), layout.SLOT_WORDS):
            is_calendar = words[word + layout.KIND] >= Kind.CALENDAR_SECOND
            if (is_calendar or not calendars_only) and not layout.passed(words, word, now, wall):
                yield words[word : word + layout.SLOT_WORDS].tobytes()


class SavedError(CountersError):
    """What lies on disk is not whole, or of another format."""


def remove_unfinished(path: Path) -> None:
    """Removes what saves to ``path`` have begun and not ended: their process was killed."""
    for beside in path.parent.glob(f"{path.name}.*.new"):
        with contextlib.suppress(OSError):
            beside.unlink()


@contextlib.contextmanager
def open_saved(path: Path) -> Iterator[Saved]:
    """The file, mapped for as long as the context lasts. Raises FileNotFoundError, OSError, and SavedError
    when it is not whole.
    """
    description = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        size = os.fstat(description).st_size
        if size < _HEAD.size + _DIGEST_BYTES or (size - _HEAD.size - _DIGEST_BYTES) % layout.SLOT_BYTES:
            raise SavedError("the saved counters are not whole")
        content = mmap.mmap(description, size, prot=mmap.PROT_READ)
    finally:
        os.close(description)
    with content, memoryview(content) as whole, whole[:-_DIGEST_BYTES] as signed:
        if blake2b(signed, digest_size=_DIGEST_BYTES).digest() != bytes(whole[-_DIGEST_BYTES:]):
            raise SavedError("the saved counters are not whole")
        magic, boot_id, hash_key = _HEAD.unpack_from(signed)
        if magic != _MAGIC:
            raise SavedError("saved counters of another format")
        with signed[_HEAD.size :] as slots:
            yield Saved(boot_id.rstrip(b"\0").decode("ascii", "replace"), hash_key, slots)


def save(  # noqa: PLR0913 - both clocks are given
    counters: Counters, path: Path, *, now: int, wall: float, everything: bool, unless_empty: bool = False
) -> int:
    """Writes the living slots beside ``path`` and puts them in its place; returns how many. Raises OSError;
    then what lay there still lies there.

    ``everything``: all but places, which end with their calls; otherwise only what counts an hour or longer.
    ``unless_empty``: nothing is written when nothing lives. Reads without locks while workers count: each
    number is read whole, and of a slot that is being made another's nothing is taken.
    """
    slots = _living(counters, now, wall, everything=everything)
    if unless_empty:
        first = next(slots, None)
        if first is None:
            return 0
        slots = chain((first,), slots)
    beside = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        return _write(beside, path, counters.head, slots)
    except OSError:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise


def _write(beside: Path, path: Path, head: Head, slots: Iterable[bytes]) -> int:
    digest = blake2b(digest_size=_DIGEST_BYTES)
    count = 0
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    with open(os.open(beside, flags, 0o600), "wb", buffering=1 << 18) as file:  # noqa: PTH123 - a descriptor
        begin = _HEAD.pack(_MAGIC, head.boot_id.encode(), head.hash_key)
        digest.update(begin)
        file.write(begin)
        for slot in slots:
            digest.update(slot)
            file.write(slot)
            count += 1
        file.write(digest.digest())
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)  # the renaming too
    finally:
        os.close(folder)
    return count


def _living(counters: Counters, now: int, wall: float, *, everything: bool) -> Iterator[bytes]:
    """Overflow slots stay behind: whose counts they hold is unknown."""
    words = counters.words
    for slot, tag in enumerate(counters.tags):
        if not tag or slot % layout.PARTITION_SLOTS < layout.RESERVED_SLOTS:
            continue
        word = slot * layout.SLOT_WORDS
        low = words[word]
        content = words[word : word + layout.SLOT_WORDS].tobytes()
        copy = memoryview(content).cast("Q")
        # A worker may make the slot another counter's meanwhile: only what did not change hands is judged.
        if not low or copy[layout.LOW] != low or words[word] != low:
            continue
        kind = copy[layout.KIND]
        if kind == Kind.CONCURRENCY or layout.passed(copy, 0, now, wall):
            continue
        is_long = kind in _LONG or (kind == Kind.BUCKET and copy[layout.FIRST] - now >= _LONG_NS)
        if everything or is_long:
            yield content
