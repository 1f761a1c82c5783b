"""Ledger time: milliseconds that only go forward, whatever anybody does to the wall clock (invariant I7).

Within one boot of the machine they follow CLOCK_BOOTTIME exactly, also over restarts of the process and
while the machine sleeps. Over a boot only the wall clock can tell what passed; it is believed up to an hour
and never backwards, so that a wrong clock makes keys live longer, and shortens a life by an hour at most.
Marks of both clocks stand in the log.
"""

import time
from pathlib import Path
from typing import Final, NamedTuple

BOOT_MS_MAX: Final = 3_600_000
"""The most that a boot may add."""
_FIRST_MS: Final = 1_000
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class Reading(NamedTuple):
    """The machine's clocks at one moment. ``boot``: which boot, 16 bytes; ``boot_ms``: since then."""

    boot: bytes
    boot_ms: int
    wall_ms: int


class Mark(NamedTuple):
    """Ledger time beside the machine's clocks."""

    ledger_ms: int
    reading: Reading


class SystemClocks:
    """The machine's own."""

    def __init__(self) -> None:
        self._boot = bytes.fromhex(_BOOT_ID.read_text(encoding="ascii").strip().replace("-", ""))

    def read(self) -> Reading:
        boot_ms = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
        return Reading(self._boot, boot_ms, time.time_ns() // 1_000_000)


class LedgerClock:
    """``mark``: the last one written; ``latest_ms``, ``latest_wall_ms``: of the last record. Zeros: a new
    ledger.
    """

    def __init__(
        self, clocks: SystemClocks, mark: Mark | None = None, latest_ms: int = 0, latest_wall_ms: int = 0
    ) -> None:
        self._clocks = clocks
        now = clocks.read()
        self.now_ms = begin(now, mark, latest_ms, latest_wall_ms)
        self.wall_ms = now.wall_ms
        self._base_ms = self.now_ms - now.boot_ms

    def look(self) -> None:
        """Sets ``now_ms`` and ``wall_ms``."""
        now = self._clocks.read()
        self.now_ms = max(self.now_ms, self._base_ms + now.boot_ms)
        self.wall_ms = max(0, now.wall_ms)

    def mark(self) -> Mark:
        now = self._clocks.read()
        return Mark(max(self.now_ms, self._base_ms + now.boot_ms), now)


def begin(now: Reading, mark: Mark | None, latest_ms: int, latest_wall_ms: int) -> int:
    """The ledger time that it is, as far as that can be told."""
    if mark is None:
        return _FIRST_MS
    latest_ms = max(latest_ms, mark.ledger_ms)
    if mark.reading.boot == now.boot:
        return max(latest_ms, mark.ledger_ms + now.boot_ms - mark.reading.boot_ms)
    passed = now.wall_ms - (latest_wall_ms or mark.reading.wall_ms)
    return latest_ms + min(max(passed, 0), BOOT_MS_MAX)
