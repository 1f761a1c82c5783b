"""Locks between the processes that map the counters: single bytes past any end of file.

Open file description locks (``fcntl(2)``, F_OFD_SETLK): the kernel drops them when the process dies, they
exclude each other inside one process too, and closing another descriptor of the file does not drop them, as
POSIX locks would. Taken by non-blocking tries, because a wait must end: a holder may be stopped, not dead.
Measured: 1.9 us a pair.
"""

import fcntl
import os
import struct
from collections.abc import Callable
from typing import Final

from faregate.stores import counters_layout as layout
from faregate.stores.counters_head import LockHeldError

_FLOCK: Final = struct.Struct("hhqqi4x")
"""``struct flock`` of 64-bit Linux: type, whence, start, length, process id (0 for locks by description)."""

_WAITS: Final = (0.0,) * 8 + (50e-6,) * 40 + (500e-6,) * 80
"""Seconds between tries, together 50 ms: a holder is done in microseconds unless preempted."""

_WAITS_RARE: Final = (1e-3,) * 1000
"""The same off the path of calls."""


class CountersStats:
    """What one worker saw.

    ``overflows``: uses of a shared slot. ``timeouts``: calls refused for want of a lock. ``waits``: locks
    that another held at the first try. ``repairs``: totals restored after a worker died in the middle of a
    change. ``claims``: slots taken; ``reuses``: those of them whose former history had passed.
    """

    __slots__ = ("claims", "overflows", "repairs", "reuses", "timeouts", "waits")

    def __init__(self) -> None:
        self.claims = self.overflows = self.repairs = self.reuses = self.timeouts = self.waits = 0


class Locks:
    """The locks of one open file of counters. ``shared`` False: there is one worker, and calls take none."""

    __slots__ = ("_clock", "_description", "_impatient", "_locks", "_pause", "_stats", "_unlocks", "shared")

    def __init__(
        self,
        description: int,
        partitions: int,
        stats: CountersStats,
        clock: Callable[[], int],
        pause: Callable[[float], None],
    ) -> None:
        self._description = description
        self._locks = [_flock(fcntl.F_WRLCK, layout.PARTITION_LOCK + number) for number in range(partitions)]
        self._unlocks = [
            _flock(fcntl.F_UNLCK, layout.PARTITION_LOCK + number) for number in range(partitions)
        ]
        self._impatient: dict[int, int] = {}  # since when
        self._stats = stats
        self._clock = clock
        self._pause = pause
        self.shared = True

    def lock(self, partition: int, now: int) -> int:
        """Takes the partition; returns the ns to decide by: ``now``, or a newer reading after a wait.

        Waits at most about 50 ms, and not at all for a partition whose last wait was in vain, until a try
        succeeds: a stopped holder must not stop every other worker's event loop again and again. Returns -1
        when not taken.
        """
        if not self.shared:
            return now
        try:
            fcntl.fcntl(self._description, fcntl.F_OFD_SETLK, self._locks[partition])
        except OSError:
            return self._wait(partition, now)
        if self._impatient:
            self._impatient.pop(partition, None)
        return now

    def unlock(self, partition: int) -> None:
        """Gives the partition back."""
        if self.shared:
            fcntl.fcntl(self._description, fcntl.F_OFD_SETLK, self._unlocks[partition])

    def _wait(self, partition: int, now: int) -> int:
        self._stats.waits += 1
        if partition not in self._impatient:
            for pause in _WAITS:
                self._pause(pause)
                if self.try_byte(layout.PARTITION_LOCK + partition):
                    return max(now, self._clock())
            self._impatient[partition] = self._clock()
        self._stats.timeouts += 1
        return -1

    def stuck(self, now: int, for_ns: int) -> bool:
        """Whether a lock that a call waited for in vain has been held for ``for_ns`` and still is: by a
        process that is stopped, for others are done in microseconds. To be asked off the path of calls.
        """
        for partition, since in list(self._impatient.items()):
            if self.try_byte(layout.PARTITION_LOCK + partition):
                self.unlock_byte(layout.PARTITION_LOCK + partition)
                del self._impatient[partition]  # calls may wait for it again
            elif now - since >= for_ns:
                return True
        return False

    def try_byte(self, offset: int) -> bool:
        """Whether the one byte at ``offset`` could be locked at once."""
        try:
            fcntl.fcntl(self._description, fcntl.F_OFD_SETLK, _flock(fcntl.F_WRLCK, offset))
        except OSError:
            return False
        return True

    def lock_byte(self, offset: int) -> None:
        """Locks one byte off the path of calls; waits up to about a second, then raises LockHeldError."""
        for pause in _WAITS_RARE:
            if self.try_byte(offset):
                return
            self._pause(pause)
        raise LockHeldError("a process holds a lock of the counters and does not move; is it stopped?")

    def unlock_byte(self, offset: int) -> None:
        """Gives one byte back."""
        fcntl.fcntl(self._description, fcntl.F_OFD_SETLK, _flock(fcntl.F_UNLCK, offset))


def _flock(kind: int, offset: int) -> bytes:
    return _FLOCK.pack(kind, os.SEEK_SET, offset, 1, 0)
