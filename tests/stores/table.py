"""Counters of a test's own, a clock that the test holds, and a worker that dies at a chosen write."""

import os
from pathlib import Path

from faregate.stores.counters import Counters
from faregate.stores.counters_prepare import Capacity, prepare

SECOND = 1_000_000_000
WALL = 1_772_000_000.0
"""2026-02-25T06:13:20Z."""


class HeldClock:
    """Nanoseconds that pass only when the test says so."""

    def __init__(self, now: int = 1_000 * SECOND) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


class Killed(Exception):  # noqa: N818 - an event, not an error
    """Stands for kill -9: whatever was not written stays unwritten."""


class Lifetime:
    """How many more writes a worker makes before it is killed."""

    def __init__(self, writes: int) -> None:
        self.writes = writes

    def spend(self) -> None:
        if self.writes <= 0:
            raise Killed
        self.writes -= 1


class DyingMemory:
    """Passes reads on and counts writes against a lifetime."""

    def __init__(self, memory, lifetime: Lifetime) -> None:
        self.memory = memory
        self.lifetime = lifetime

    def __getitem__(self, key):
        return self.memory[key]

    def __setitem__(self, key, value) -> None:
        if isinstance(key, slice):
            # A copy of many words has no order that one may rely on; backwards is the order nobody expects.
            for index in reversed(range(*key.indices(len(self.memory)))):
                self[index] = value[index - key.start]
            return
        self.lifetime.spend()
        self.memory[key] = value

    def __len__(self) -> int:
        return len(self.memory)

    def release(self) -> None:
        self.memory.release()


def make(folder: Path, *, consumers: int = 0, addresses: int = 0, boot_id: str = "boot-1") -> int:
    """The descriptor of new counters, which go on from what is saved in ``folder``; the caller closes it."""
    saved = folder / "counters.bin"
    capacity = Capacity(consumers, addresses)
    return prepare(saved, capacity, now=1_000 * SECOND, wall=WALL, boot_id=boot_id).memory


def join(memory: int, index: int = 0, workers: int = 1, clock: HeldClock | None = None) -> Counters:
    return Counters.open(memory, index, workers, clock=clock or HeldClock(), pause=lambda seconds: None)


def alone(folder: Path, *, consumers: int = 0) -> Counters:
    """New counters with one worker on them."""
    memory = make(folder, consumers=consumers)
    try:
        return join(memory)
    finally:
        os.close(memory)


def most_in_window(admitted: list[int], window: int) -> int:
    """The largest number of admissions in any half-open window of that length, however placed."""
    moments = sorted(admitted)
    most = first = 0
    for last, moment in enumerate(moments):
        while moment - moments[first] >= window:
            first += 1
        most = max(most, last - first + 1)
    return most
