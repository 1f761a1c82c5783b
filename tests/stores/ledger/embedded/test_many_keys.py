"""Many keys cost no more a call than few, a bounded piece of disk, and a start that reads no file through.

The short form of ``python -m benchmarks.ledger_keys``, without processes; CPU of this thread, so that neighbours do not count.
"""

import os
import time

import pytest
from benchmarks.ledger_pairs import ABOUT, ANSWER

from faregate.stores.ledger.embedded.disk import Disk
from faregate.stores.ledger.protocol import COMPLETED, DONE, GRANTED
from tests.stores.ledger.embedded.material import MIB, World

BATCH = 64
MANY = 60_000


class Unsynced(Disk):
    """The sync's own cost is not what is measured."""

    def sync(self, descriptor: int) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> tuple[World, float, float]:
    """A world of many keys, and the CPU of a pair in seconds in a world of few and in this one.

    Measured in turn, the least of each: a neighbour on the core slows both, and no least.
    """
    worlds = [
        World(tmp_path_factory.mktemp(name) / "ledger", 1024 * MIB, Unsynced()) for name in ("few", "many")
    ]
    for world, count in zip(worlds, (1_000, MANY - 5_000), strict=True):
        add(world, count)
    rounds = [[add(world, 250) for world in worlds] for _ in range(20)]
    few, many = (min(costs) for costs in zip(*rounds, strict=True))
    return worlds[1], few, many


def add(world: World, count: int) -> float:
    """Seconds of CPU a pair."""
    book = world.book
    spent = 0.0
    for _ in range(count // BATCH):
        pairs = [(os.urandom(16), os.urandom(16)) for _ in range(BATCH)]
        began = time.thread_time()
        for key, attempt in pairs:
            assert book.claim(world.owner, key, attempt, b"f" * 32, 86_400, ABOUT, True, True) == GRANTED
        book.log.commit()
        for key, attempt in pairs:
            assert book.settle(key, attempt, COMPLETED, ANSWER) == DONE
        book.log.commit()
        spent += time.thread_time() - began
        book.log.prepare()
        world.cleaner.step()
    return spent / count


def test_a_pair_costs_the_same_however_many_keys_there_are(full: tuple[World, float, float]) -> None:
    _, few, many = full
    assert many < 1.5 * few


def test_a_key_takes_little_disk_and_memory(full: tuple[World, float, float]) -> None:
    world, _, _ = full
    used = sum(segment.used for segment in world.book.log.order)
    assert used / world.book.kept_count < 1_400


def test_a_start_reads_what_the_indexes_say(full: tuple[World, float, float]) -> None:
    world, _, _ = full
    while world.cleaner.step():
        world.book.log.commit()
    count = world.book.kept_count
    read: list[int] = []

    class Counting(Unsynced):
        def read(self, descriptor: int, size: int, at: int) -> bytes:
            read.append(size)
            return super().read(descriptor, size, at)

    world.disk = Counting()
    began = time.thread_time()
    world.again()
    assert time.thread_time() - began < 2.0
    assert world.book.kept_count == count
    assert sum(read) < 3 * world.book.log.segment_bytes, "only the newest file is read"
    world.close()
