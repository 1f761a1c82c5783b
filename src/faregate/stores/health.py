"""Health of targets, as all workers of a machine see it: one small mapped file in the data folder.

A target has a slot, found by a digest of its key, and in it one word that says everything; a change is one
store of that word, so a reader never waits and a process killed at any moment leaves what was or what is.
Changes are numbered and their slots noted in a ring: who looks every 50 ms reads one word and then only what
is new. The lock between writers (a byte range by open file description, which the kernel frees at death)
keeps two decisions apart; it is waited for 2 ms at most, because health is a comfort: without the lock a
change is written all the same. What a word means for a balancer is the business of
``gateway.health_sharing``; who runs active checks is settled by ``stores.health_seat``.
"""

import contextlib
import fcntl
import mmap
import os
import time
from collections.abc import Callable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Final, NamedTuple

from faregate.stores import health_layout as layout
from faregate.stores.byte_locks import ByteLocks

STALE_MS: Final = 10_000
"""What was said before nobody used the file for so long says nothing about now."""
_CLOCK_SLACK_MS: Final = 1_000
_OPEN_TRIES: Final = 500
_OPEN_PAUSE_S: Final = 1e-3
_WAITS: Final = (0.0,) * 8 + (50e-6,) * 40
"""Seconds between tries for the lock, together 2 ms: a holder is done in microseconds."""
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_ZERO_PAGE: Final = bytes(layout.PAGE_BYTES)
_ORDER: Final = "little"


class HealthError(Exception):
    """The file cannot be shared now: another process holds it and does not move."""


class Place(NamedTuple):
    """Where a target's word lies: its slot, and the half of its digest that must stand there."""

    slot: int
    low: int


class HealthTable:
    """One worker's view of the file. Times are ms of CLOCK_MONOTONIC. Not for use by several threads."""

    __slots__ = ("_description", "_impatient", "_map", "_pause", "_view", "locks", "words")

    def __init__(
        self,
        path: Path,
        now_ms: int,
        *,
        boot_id: str | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """Maps the file, which is made when it is missing, of another format or from another boot.

        What nobody has used for ``STALE_MS`` is forgotten: a gateway that starts knows nothing yet. Raises
        OSError (no space, no permission) and HealthError.
        """
        boot = (boot_id or _BOOT_ID.read_text()).strip().encode()[: layout.BOOT_ID_BYTES]
        self._pause = pause
        self._impatient = False
        with _one_at_a_time(path, pause):
            self._description = _open(path, layout.MAGIC + boot.ljust(layout.BOOT_ID_BYTES, b"\0"))
            try:
                self._map = mmap.mmap(self._description, layout.FILE_BYTES)
            except BaseException:
                os.close(self._description)
                raise
            self._view = memoryview(self._map)
            self.words = self._view.cast("Q")
            self.locks = ByteLocks(self._description)
            alive = self.words[layout.ALIVE_MS]
            if alive and not now_ms - STALE_MS <= alive <= now_ms + _CLOCK_SLACK_MS:
                self._forget_all()
            self.words[layout.ALIVE_MS] = now_ms

    def close(self) -> None:
        """Leaves the file; locks held are free."""
        self.words.release()
        self._view.release()
        self._map.close()
        os.close(self._description)

    def _forget_all(self) -> None:
        """Empties every slot in place: others may have the file mapped, and find their slots anew."""
        for at in range(layout.PAGE_BYTES, layout.FILE_BYTES, layout.PAGE_BYTES):
            if self._map[at : at + layout.PAGE_BYTES] != _ZERO_PAGE:
                self._map[at : at + layout.PAGE_BYTES] = _ZERO_PAGE
        self.words[layout.SEATED_MS] = 0
        self.words[layout.SEQUENCE] += layout.RING + 1  # so that everybody looks at everything

    # slots

    def claim(self, key: bytes, now_ms: int) -> Place | None:
        """The place of ``key``, taken when it has none; None when all around it are in use."""
        digest = blake2b(key, digest_size=16, person=b"health").digest()
        low, high = int.from_bytes(digest[:8], _ORDER) | 1, int.from_bytes(digest[8:], _ORDER)
        slot, _ = self._probe(low, high, now_ms)
        if slot < 0:
            locked = self.lock()
            try:
                slot, free = self._probe(low, high, now_ms)
                if slot < 0 and free >= 0:
                    slot = self._take(free, low, high, now_ms)
            finally:
                if locked:
                    self.unlock()
        return Place(slot, low) if slot >= 0 else None

    def _probe(self, low: int, high: int, now_ms: int) -> tuple[int, int]:
        """The slot that is the digest's, and one that may be taken if it has none; -1 for none."""
        words = self.words
        free = -1
        for number in range(high, high + layout.PROBES):
            slot = number % layout.SLOTS
            word = _word(slot)
            found = words[word + layout.LOW]
            if found == low and words[word + layout.HIGH] == high:
                return slot, -1
            unused = not found
            if free < 0 and (unused or words[word + layout.SEEN_MS] + layout.UNSEEN_MS < now_ms):
                free = slot
            if unused:
                break  # slots are never emptied one by one, so nothing of ours lies behind
        return -1, free

    def _take(self, slot: int, low: int, high: int, now_ms: int) -> int:
        """The half that readers compare is written last: until then the slot is its former target's."""
        word = _word(slot)
        self.words[word + layout.STATE] = 0
        self.words[word + layout.HIGH] = high
        self.words[word + layout.SEEN_MS] = now_ms
        self.words[word + layout.LOW] = low
        return slot

    def read(self, place: Place) -> int:
        """The word of a target; -1 when its place is another's now."""
        word = _word(place.slot)
        return self.words[word + layout.STATE] if self.words[word + layout.LOW] == place.low else -1

    def seen(self, place: Place, now_ms: int) -> None:
        """Keeps a place from being given to another target. Written at most once a minute."""
        word = _word(place.slot) + layout.SEEN_MS
        if not self.words[word] <= now_ms < self.words[word] + layout.UNSEEN_MS // 10:
            self.words[word] = now_ms

    def write(self, place: Place, state: int) -> None:
        """Says what is the case from now on; under the lock where it was to be had."""
        words = self.words
        words[_word(place.slot) + layout.STATE] = state
        number = words[layout.SEQUENCE]
        words[layout.RING_WORD + number % layout.RING] = place.slot
        words[layout.SEQUENCE] = number + 1

    # news

    @property
    def sequence(self) -> int:
        """The number of changes so far."""
        return self.words[layout.SEQUENCE]

    def changed_since(self, sequence: int) -> list[int] | None:
        """The slots that changed since ``sequence`` was read; None: too many, look at all."""
        news = self.words[layout.SEQUENCE] - sequence
        if not 0 <= news <= layout.RING:
            return None
        return [
            self.words[layout.RING_WORD + number % layout.RING] for number in range(sequence, sequence + news)
        ]

    def beat(self, now_ms: int) -> None:
        """Says that somebody uses the file."""
        self.words[layout.ALIVE_MS] = now_ms

    # the lock between writers

    def lock(self) -> bool:
        """Whether the lock was to be had within 2 ms, or at once where the last wait was in vain: a stopped
        holder must not hold up every event loop again and again.
        """
        if self.locks.take(layout.TABLE_LOCK):
            self._impatient = False
            return True
        if not self._impatient:
            for pause in _WAITS:
                self._pause(pause)
                if self.locks.take(layout.TABLE_LOCK):
                    return True
            self._impatient = True
        return False

    def unlock(self) -> None:
        self.locks.give(layout.TABLE_LOCK)


def _word(slot: int) -> int:
    return layout.PAGE_BYTES // 8 + slot * layout.SLOT_WORDS


def _open(path: Path, head: bytes) -> int:
    """A descriptor of a whole file that begins with ``head``; a new one replaces any other.

    Who has the other one mapped, of another version of the program, keeps it and is not disturbed.
    """
    with contextlib.suppress(FileNotFoundError):
        description = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        if os.fstat(description).st_size == layout.FILE_BYTES and os.pread(description, len(head), 0) == head:
            return description
        os.close(description)
    beside = path.with_name(path.name + ".new")
    beside.unlink(missing_ok=True)
    description = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        # A write into a hole of a sparse file on a full disk would kill the worker that made it.
        os.posix_fallocate(description, 0, layout.FILE_BYTES)
        os.pwrite(description, head, 0)
        beside.replace(path)
    except BaseException:
        os.close(description)
        raise
    return description


@contextlib.contextmanager
def _one_at_a_time(path: Path, pause: Callable[[float], None]) -> Iterator[None]:
    description = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        for _ in range(_OPEN_TRIES):
            try:
                fcntl.flock(description, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                pause(_OPEN_PAUSE_S)
            else:
                break
        else:
            raise HealthError(f"{path} is being opened by a process that does not move")
        yield
    finally:
        os.close(description)
