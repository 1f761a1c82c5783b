"""Files are given up without losing what is still true, by slices, within the bound."""

import os
import random
import time
import tracemalloc
from pathlib import Path

import pytest

from faregate.stores.ledger.embedded.disk import Disk
from faregate.stores.ledger.embedded.expiry import Expiry
from faregate.stores.ledger.embedded.index import read_index
from faregate.stores.ledger.protocol import COMPLETED, GRANTED, RELEASED, REPLAY, SENT, UNAVAILABLE, UNKNOWN
from tests.stores.ledger.embedded.material import MIB, FaultyDisk, World, attempt_of, key_of

SMALL = 64 << 10


def test_files_that_hold_nothing_live_are_deleted(tmp_path: Path) -> None:
    world = World(tmp_path / "ledger")
    world.book.log.segment_bytes = SMALL
    for number in range(1_000):
        world.put(number, COMPLETED, keep_s=60)
    assert len(world.book.log.order) > 4
    world.work()
    before = len(world.book.log.order)
    world.advance(90)
    world.work()
    world.check()
    assert len(world.book.log.order) <= 2 < before
    assert not world.standing()
    assert {path.name for path in world.folder.glob("*.log")} == {
        segment.path.name for segment in [*world.book.log.order, world.book.log.spare] if segment is not None
    }
    world.close()


def test_what_is_live_is_carried_and_found_by_the_next_start(tmp_path: Path) -> None:
    world = World(tmp_path / "ledger")
    world.book.log.segment_bytes = SMALL
    for number in range(3_000):
        state = (COMPLETED, COMPLETED, COMPLETED, RELEASED, UNKNOWN if number % 50 == 4 else COMPLETED)[
            number % 5
        ]
        world.put(number, state, keep_s=86_400 if number % 7 == 0 else 60)
    world.put(5_000, SENT)
    world.advance(120)
    expected = world.standing()
    assert len(expected) > 350
    world.work()
    world.check()
    used = sum(segment.used for segment in world.book.log.order)
    live = sum(segment.live for segment in world.book.log.order)
    assert used <= 2 * live + 3 * SMALL
    assert world.standing() == expected
    assert world.book.log.order[0].number > 1
    world.again()
    world.check()
    assert world.standing() == expected
    world.close()


@pytest.mark.parametrize("seed", range(10))
def test_the_power_cut_while_files_are_given_up_loses_nothing(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    disk = FaultyDisk()
    world = World(tmp_path / "ledger", disk=disk)
    world.book.log.segment_bytes = 8 << 10
    for number in range(200):
        world.put(number, chance.choice((COMPLETED, RELEASED, UNKNOWN)), keep_s=chance.choice((60, 86_400)))
    world.advance(90)
    expected = world.standing()
    for _ in range(6):
        world.book.log.segment_bytes = 8 << 10
        for number in range(300, 340):  # dead at once, so that there is always something to clean
            assert world.claim(key_of(number), attempt_of(number)) == GRANTED
            world.settle(key_of(number), attempt_of(number), RELEASED)
        for _ in range(chance.randrange(40)):
            world.cleaner.step()
            if chance.random() < 0.5:
                assert world.book.log.commit()
        disk.power_cut(chance)
        disk = world.disk = FaultyDisk()
        world.open()
        world.check()
        assert world.standing() == expected
    world.close()


def test_a_start_takes_the_index_and_does_without_one_that_is_broken(tmp_path: Path) -> None:
    world = World(tmp_path / "ledger")
    world.book.log.segment_bytes = SMALL
    for number in range(500):
        world.put(number, (COMPLETED, UNKNOWN, RELEASED)[number % 3])
    world.work()
    expected = world.standing()
    indexes = sorted(world.folder.glob("*.index"))
    assert len(indexes) == len(world.book.log.order) - 1
    assert all(read_index(segment) is not None for segment in world.book.log.order[:-1])
    world.again()
    assert len(world.book.log.sealed) == 1, "only the file that was written last had to be read"
    assert world.standing() == expected
    world.close()
    for index, path in enumerate(indexes):
        content = bytearray(path.read_bytes())
        content[(index * 37) % len(content)] ^= 1
        path.write_bytes(content[: len(content) - (index % 2)])
    indexes[0].write_bytes(b"")
    world.open()
    assert len(world.book.log.sealed) > len(indexes)
    assert world.standing() == expected
    world.check()
    world.close()


def test_within_the_bound_settlements_find_room_when_claims_do_not(tmp_path: Path) -> None:
    world = World(tmp_path / "ledger", bytes_max=64 * MIB)
    number = 0
    kind = GRANTED
    while kind == GRANTED:
        kind = world.claim(key_of(number), attempt_of(number), commit=False)
        if kind == GRANTED and number % 20:
            world.book.settle(key_of(number), attempt_of(number), COMPLETED, bytes(60_000))
        world.book.log.commit()
        world.book.log.prepare()
        number += 1
        assert number < 5_000
    assert kind == UNAVAILABLE
    assert world.book.told_reason == "ledger_full"
    in_flight = [record for part in world.book.opens for record in part.values()]
    assert len(in_flight) >= 40
    for record in in_flight:
        world.settle(record.key, record.attempt, COMPLETED, bytes(80 << 10))
        world.book.log.prepare()
    world.check()
    assert sum(path.stat().st_size for path in world.folder.glob("*.log")) <= 64 * MIB
    world.again()
    assert len(world.standing()) == number - 1
    assert world.book.claim(world.owner, key_of(1), attempt_of(9), b"f" * 32, 60, b"", True, True) == REPLAY
    world.advance(4_000)
    world.work()
    assert world.claim(key_of(number), attempt_of(number)) == GRANTED
    assert sum(path.stat().st_size for path in world.folder.glob("*.log")) < 4 * MIB
    world.close()


def test_long_kept_keys_do_not_fill_the_bound_while_short_lived_ones_come_and_go(tmp_path: Path) -> None:
    world = World(tmp_path / "ledger", bytes_max=64 * MIB)
    for number in range(150):
        world.put(number, COMPLETED, keep_s=10 * 86_400, answer=bytes(30_000))
    for number in range(1_000, 4_000):  # 90 MB go through
        world.put(number, COMPLETED, keep_s=60, answer=bytes(30_000))
        world.advance(0.5)
        world.cleaner.step()
        assert world.book.log.commit()
        world.book.log.prepare()
        assert world.book.log.sized <= 64 * MIB
    standing = world.standing()
    assert all(key_of(number) in standing for number in range(150))
    world.check()
    world.close()


def test_no_slice_takes_long(tmp_path: Path) -> None:
    world = World(tmp_path / "ledger", disk=None)
    world.book.log.segment_bytes = MIB
    for number in range(20_000):
        world.claim(key_of(number), attempt_of(number), keep_s=60, commit=False)
        world.book.settle(key_of(number), attempt_of(number), COMPLETED, b"x" * 200)
    assert world.book.log.commit()
    world.advance(120)
    spent = []
    while True:
        began = time.thread_time()
        more = world.cleaner.step()
        spent.append(time.thread_time() - began)
        assert world.book.log.commit()
        if not more:
            break
    assert world.book.kept_count == 0
    assert len(spent) > 50
    assert sorted(spent)[len(spent) * 9 // 10] < 0.005
    world.close()


def test_a_span_of_many_keys_is_never_copied_as_a_whole() -> None:
    expiry = Expiry()
    keys = {number.to_bytes(16, "big") for number in range(100_000)}
    for key in keys:
        expiry.add(key, 800, 20_000)
    tracemalloc.start()
    found: list[tuple[bytes, int]] = []
    most = 0
    while True:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        some = expiry.take(40_000, 400)
        most = max(most, tracemalloc.get_traced_memory()[1] - before)
        if not some:
            break
        assert len(some) <= 400
        found += some
    tracemalloc.stop()
    assert most < 200_000 < 20 * len(keys)
    assert len(found) == len(keys)
    assert {key for key, _ in found} == keys
    assert {length for _, length in found} == {800}
    assert not expiry.more


def test_the_room_of_a_removed_file_is_given_back_in_pieces(tmp_path: Path) -> None:
    freed: list[int] = []

    class Watched(Disk):
        def shrink(self, descriptor: int, size: int) -> None:
            before = self.size(descriptor)
            super().shrink(descriptor, size)
            freed.append(before - size)

        def close(self, descriptor: int) -> None:
            if os.fstat(descriptor).st_nlink == 0:
                freed.append(self.size(descriptor))
            super().close(descriptor)

    world = World(tmp_path / "ledger", disk=Watched())
    world.book.log.segment_bytes = 4 * MIB
    for number in range(150):
        world.put(number, COMPLETED, keep_s=60, answer=bytes(60_000))
    used = world.book.log.sized
    assert len(world.book.log.order) >= 3
    world.advance(90)
    for _ in range(10_000):
        more = world.cleaner.step()
        assert world.book.log.commit()
        if freed:
            break
    assert more
    assert world.book.log.sized == used - freed[0], "room that is not free yet counts"
    world.work()
    world.check()
    assert max(freed) <= MIB
    assert sum(freed) == used - world.book.log.sized > 4 * MIB
    world.close()


def held_without_a_name(folder: Path) -> int:
    """Files of the folder that are open although they were removed."""
    links = [str(path.readlink()) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    return sum(link.startswith(f"{folder}/") and link.endswith("(deleted)") for link in links)


def test_a_log_that_is_closed_amid_a_removal_lets_go_of_it(tmp_path: Path) -> None:
    world = World(tmp_path / "ledger", disk=Disk())
    world.book.log.segment_bytes = 4 * MIB
    for number in range(150):
        world.put(number, COMPLETED, keep_s=60, answer=bytes(60_000))
    world.advance(90)
    oldest = world.book.log.order[0]
    while world.book.log.order[0] is oldest:
        world.cleaner.step()
        assert world.book.log.commit()
    assert held_without_a_name(world.folder) == 1
    world.again()
    assert held_without_a_name(world.folder) == 0
    world.check()
    world.close()
