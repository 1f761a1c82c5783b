"""What survives a restart, another size, another boot, a damaged file and a dead worker."""

import os
import stat

import pytest

from faregate.policies.concurrency.step import Concurrency
from faregate.policies.quota.step import Calendar, Quota
from faregate.policies.rate_limit.step import Bucket, Window
from faregate.stores.counters_head import CountersError
from faregate.stores.counters_layout import PARTITION_BYTES
from faregate.stores.counters_prepare import PARTITIONS_MAX, Capacity, clear_worker, prepare
from tests.stores import table
from tests.stores.table import SECOND, WALL

START = 1_000 * SECOND
SMALL = Capacity(0, 0)
LARGE = Capacity(40_000, 20_000)


def again(path, capacity=SMALL, boot_id="boot-1", wall=WALL):
    return prepare(path, capacity, now=START, wall=wall, boot_id=boot_id)


def counters_of(counters, number):
    owner = counters.owner(b"merchant-%d" % number, address=number % 2 == 1)
    return (
        Window(counters, owner, "plan", 5, 60_000),
        Bucket(counters, owner, "plan", 5, 60_000, burst=5),
        Quota(counters, owner, "quota", 5, Calendar(0)),
    )


def admitted(counter, wall=WALL):
    count = 0
    while not counter.check(START, wall):
        counter.take()
        count += 1
    return count


def use(path, take=3, callers=40):
    counters = table.join(path)
    for number in range(callers):
        for counter in counters_of(counters, number):
            for _ in range(take):
                assert counter.check(START, WALL) == 0
                counter.take()
    counters.close()


def left(path, callers=40, wall=WALL):
    counters = table.join(path)
    found = {
        tuple(admitted(counter, wall) for counter in counters_of(counters, number))
        for number in range(callers)
    }
    counters.close()
    return found


def test_a_new_file_is_for_its_owner_only_and_takes_its_space_at_once(tmp_path):
    path = table.make(tmp_path)
    status = path.stat()
    assert stat.S_IMODE(status.st_mode) == 0o600
    assert status.st_size == 4096 + 32 * PARTITION_BYTES
    assert status.st_blocks * 512 >= status.st_size, (
        "a hole on a full disk would kill the worker that writes into it"
    )
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["counters.bin", "counters.bin.lock"]


def test_a_restart_keeps_every_count(path):
    use(path)
    assert again(path).event == "kept"
    assert left(path) == {(2, 2, 2)}


def test_a_larger_configuration_moves_every_count_into_a_larger_file(path):
    use(path)
    done = again(path, LARGE)
    assert (done.event, done.carried) == ("resized", 120)
    assert path.stat().st_size == done.file_bytes > 60_000 * 3 // 2 * 576
    assert left(path) == {(2, 2, 2)}


def test_a_much_smaller_configuration_gives_the_space_back(tmp_path):
    path = table.make(tmp_path, consumers=50_000)
    use(path)
    assert again(path, Capacity(20_000, 0)).event == "kept"
    assert again(path, SMALL).event == "resized"
    assert left(path) == {(2, 2, 2)}


def test_another_boot_keeps_quotas_and_nothing_else(path):
    use(path)
    done = again(path, boot_id="boot-2")
    assert (done.event, done.carried) == ("rebooted", 40)
    assert left(path) == {(5, 5, 2)}
    assert again(path, boot_id="boot-2").event == "kept"


def test_another_boot_in_another_month_keeps_nothing(path):
    use(path)
    month = 31 * 86_400
    assert again(path, boot_id="boot-2", wall=WALL + month).carried == 0
    assert left(path, wall=WALL + month) == {(5, 5, 5)}


def test_a_file_in_use_is_left_alone(path):
    worker = table.join(path, 0, 2)
    assert again(path, LARGE, boot_id="boot-2").event == "in_use"
    worker.close()
    assert again(path, LARGE).event == "resized"


@pytest.mark.parametrize("damage", [b"", b"FG", b"FGCOUNT\x01" + bytes(9000), b"FGCOUNT\x02" + bytes(9000)])
def test_an_unreadable_file_is_set_aside_and_said(path, damage):
    path.write_bytes(damage)
    assert again(path).event == "unreadable"
    assert path.with_name("counters.bin.unreadable").read_bytes() == damage
    assert left(path) == {(5, 5, 5)}


def test_capacity_has_a_ceiling(tmp_path):
    from faregate.stores.counters_prepare import _partitions

    assert _partitions(10**9) == PARTITIONS_MAX
    assert _partitions(500_000) == 745


def test_a_disk_without_room_is_an_error_at_the_start(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space"):
        table.make(tmp_path)
    assert not (tmp_path / "counters.bin").exists()


def test_one_prepare_at_a_time(tmp_path):
    import fcntl

    with (tmp_path / "counters.bin.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(CountersError, match="another process prepares"):
            table.make(tmp_path)


# places of workers that are gone


def hold(counters, calls, limit=10, name=b"acme"):
    counter = Concurrency(counters, counters.owner(name), limit)
    for _ in range(calls):
        assert counter.check(START, WALL) == 0
        counter.take()
    return counter


def free(counters, limit=10, name=b"acme"):
    counter = Concurrency(counters, counters.owner(name), limit)
    return (
        limit - sum(counters.cells[counter.cell : counter.cell + 64]) if not counter.check(START, WALL) else 0
    )


def test_places_of_a_dead_worker_are_freed_and_those_of_others_are_not(path):
    one, two = table.join(path, 0, 2), table.join(path, 1, 2)
    for name in (b"acme", b"globex"):
        hold(one, 3, name=name)
        hold(two, 4, name=name)
    with pytest.raises(CountersError, match="living"):
        clear_worker(path, 1)
    two.close()
    assert free(one) == 3
    assert clear_worker(path, 1) == 8
    assert (free(one), free(one, name=b"globex")) == (7, 7)
    assert clear_worker(path, 1) == 0
    one.close()


def test_a_successor_frees_what_its_predecessor_held(path):
    one, two = table.join(path, 0, 2), table.join(path, 1, 2)
    hold(two, 4)
    two.close()
    two = table.join(path, 1, 2)
    assert free(one) == 10
    one.close()
    two.close()


def test_a_restart_frees_all_places_whatever_number_of_workers_follows(path):
    workers = [table.join(path, index, 4) for index in range(4)]
    for worker in workers:
        hold(worker, 2)
    for worker in workers:
        worker.close()
    assert again(path).event == "kept"
    alone = table.join(path)
    assert free(alone) == 10
    assert alone.cells_used[0] == 1
    alone.close()


def test_a_slot_that_no_longer_counts_places_loses_nothing_when_a_worker_is_cleared(path):
    """The bitmap forgets a slot that is reused, so that clearing a worker cannot wipe another counter's cells."""
    one, two = table.join(path, 0, 2), table.join(path, 1, 2)
    counter = hold(one, 1)
    slot = counter.word // 72
    counter.place()()
    window = Window(one, one.owner(b"acme"), "plan", 5, 1_000)
    one._claim(slot, window, 1, START, WALL)
    assert admitted(window) == 5
    assert slot not in one._place_slots(slot // 1024)
    two.close()
    clear_worker(path, 1)
    assert not admitted(window)
    one.close()
