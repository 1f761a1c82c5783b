"""What survives a stop, a crash, another size, another boot, a damaged file and a dead worker."""

import os
import stat
from contextlib import closing, contextmanager

import pytest

from faregate.policies.concurrency.step import Concurrency
from faregate.policies.quota.step import Calendar, Quota
from faregate.policies.rate_limit.step import Bucket, Window
from faregate.stores.counters import Counters
from faregate.stores.counters_head import CountersError
from faregate.stores.counters_prepare import PARTITIONS_MAX, Capacity, clear_worker, prepare
from faregate.stores.counters_saved import open_saved, save
from tests.stores import table
from tests.stores.table import SECOND, WALL

START = 1_000 * SECOND
SMALL = Capacity(0, 0)
LARGE = Capacity(40_000, 20_000)


@pytest.fixture
def saved(tmp_path):
    return tmp_path / "counters.bin"


@contextmanager
def again(saved, capacity=SMALL, boot_id="boot-1", wall=WALL):
    """The next start of a gateway."""
    done = prepare(saved, capacity, now=START, wall=wall, boot_id=boot_id)
    try:
        yield done
    finally:
        os.close(done.memory)


def counters_of(counters, number):
    owner = counters.owner(b"merchant-%d" % number, address=number % 2 == 1)
    return (
        Window(counters, owner, "plan", 5, 60_000),
        Bucket(counters, owner, "plan", 5, 60_000, burst=5),
        Quota(counters, owner, "quota", 5, Calendar(0)),
        Window(counters, owner, "plan", 5, 86_400_000),
        Bucket(counters, owner, "slow", 5, 86_400_000, burst=5),
    )


NAMES = ("window of a minute", "bucket of a minute", "quota of a month", "window of a day", "bucket of a day")


def admitted(counter, wall=WALL):
    count = 0
    while not counter.check(START, wall):
        counter.take()
        count += 1
    return count


def use(memory, take=3, callers=40):
    counters = table.join(memory)
    for number in range(callers):
        for counter in counters_of(counters, number):
            for _ in range(take):
                assert counter.check(START, WALL) == 0
                counter.take()
    counters.close()


def keep(memory, saved, *, everything=True, wall=WALL, **options):
    with closing(Counters(memory)) as counters:
        return save(counters, saved, now=START, wall=wall, everything=everything, **options)


def used_and_saved(saved, everything=True):
    with again(saved) as done:
        use(done.memory)
        return keep(done.memory, saved, everything=everything)


def left(done, callers=40, wall=WALL):
    """How many calls each caller has left of 5, by kind of limit."""
    counters = table.join(done.memory)
    found = {
        tuple(admitted(counter, wall) for counter in counters_of(counters, number))
        for number in range(callers)
    }
    counters.close()
    assert len(found) == 1
    return dict(zip(NAMES, found.pop(), strict=True))


ALL_KEPT = dict.fromkeys(NAMES, 2)
NOTHING_KEPT = dict.fromkeys(NAMES, 5)


def test_the_counters_lie_in_memory_that_takes_room_only_where_it_is_used(saved):
    with again(saved, LARGE) as done:
        status = os.fstat(done.memory)
        assert status.st_size == done.memory_bytes > 60_000 * 3 // 2 * 576
        assert status.st_blocks * 512 <= 8192
    assert not saved.exists()


def test_nobody_can_cut_the_memory_short_under_a_worker(memory):
    with pytest.raises(PermissionError):
        os.ftruncate(memory, 4096)


def test_a_start_after_a_stop_keeps_every_count(saved):
    assert used_and_saved(saved) == 200
    with again(saved) as done:
        assert (done.event, done.carried) == ("restored", 200)
        assert left(done) == ALL_KEPT


def test_a_start_after_a_crash_keeps_what_counts_an_hour_or_longer(saved):
    assert used_and_saved(saved, everything=False) == 120
    with again(saved) as done:
        assert left(done) == ALL_KEPT | {"window of a minute": 5, "bucket of a minute": 5}


@pytest.mark.parametrize(("before", "after"), [(SMALL, LARGE), (LARGE, SMALL)])
def test_a_configuration_of_another_size_keeps_every_count(saved, before, after):
    with again(saved, before) as done:
        use(done.memory)
        keep(done.memory, saved)
    with again(saved, after) as done:
        assert (done.event, done.carried) == ("restored", 200)
        assert left(done) == ALL_KEPT


def test_more_callers_than_the_configuration_foresees_double_the_memory_until_all_have_room(saved):
    with again(saved, Capacity(60_000, 60_000)) as done:
        use(done.memory, take=1, callers=8_000)
        kept = keep(done.memory, saved)
    with again(saved, SMALL) as done:
        assert done.carried == kept == 40_000
        assert done.memory_bytes > 40_000 * 576


def test_another_boot_keeps_quotas_and_nothing_else(saved):
    used_and_saved(saved)
    with again(saved, boot_id="boot-2") as done:
        assert (done.event, done.carried) == ("rebooted", 40)
        assert left(done) == NOTHING_KEPT | {"quota of a month": 2}
        keep(done.memory, saved)
    with again(saved, boot_id="boot-2") as done:
        assert done.event == "restored"


def test_another_boot_in_another_month_keeps_nothing(saved):
    used_and_saved(saved)
    wall = WALL + 31 * 86_400
    with again(saved, boot_id="boot-2", wall=wall) as done:
        assert done.carried == 0
        assert left(done, wall=wall) == NOTHING_KEPT


def test_what_is_saved_is_for_its_owner_alone_and_leaves_nothing_beside(saved):
    used_and_saved(saved)
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600
    assert [entry.name for entry in saved.parent.iterdir()] == ["counters.bin"]


def test_places_are_not_saved_since_their_calls_are_over(saved):
    with again(saved) as done:
        worker = table.join(done.memory)
        hold(worker, 3)
        worker.close()
        assert keep(done.memory, saved) == 0


def test_nothing_is_written_while_there_is_nothing_to_keep(saved):
    with again(saved) as done:
        assert keep(done.memory, saved, unless_empty=True) == 0
        assert not saved.exists()
        use(done.memory, callers=1)
        assert keep(done.memory, saved, unless_empty=True) == 5
        assert saved.exists()


def test_a_full_disk_leaves_what_was_saved_before(saved, monkeypatch):
    used_and_saved(saved)
    before = saved.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with again(saved) as done, pytest.raises(OSError, match="No space"):
        keep(done.memory, saved)
    assert saved.read_bytes() == before
    assert [entry.name for entry in saved.parent.iterdir()] == ["counters.bin"]


def damaged(saved):
    whole = saved.read_bytes()
    yield from (b"", b"FG", bytes(9_000), whole[:-1], whole[:-576], whole + b"x")
    for at in (0, 20, 60, 700, len(whole) - 1):
        yield whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]


def test_a_file_that_is_not_whole_is_set_aside_and_said(saved):
    used_and_saved(saved)
    for damage in list(damaged(saved)):
        saved.write_bytes(damage)
        with again(saved) as done:
            assert done.event == "unreadable", damage[:20]
            assert left(done) == NOTHING_KEPT
        assert saved.with_name("counters.bin.unreadable").read_bytes() == damage
        assert not saved.exists()


def test_a_link_in_its_place_is_not_followed(saved, tmp_path):
    used_and_saved(saved)
    saved.rename(tmp_path / "elsewhere")
    saved.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        prepare(saved, SMALL, now=START, wall=WALL, boot_id="boot-1")


class Changing:
    """Words of which one is read differently from its ``reads``-th reading on, as when a worker writes meanwhile."""

    def __init__(self, words, changed, reads):
        self.words, self.changed, self.left = words, changed, reads

    def __getitem__(self, key):
        if not isinstance(key, slice):
            self._read(key)
            return self.words[key]
        for at in range(key.start, key.stop):
            self._read(at)
        return self.words[key]

    def _read(self, at):
        if at in self.changed:
            self.left -= 1
            if not self.left:
                for word, value in self.changed.items():
                    self.words[word] = value


@pytest.mark.parametrize("reads", range(1, 12))
@pytest.mark.parametrize("wiped", [True, False])
def test_a_slot_that_changes_hands_while_it_is_read_is_saved_whole_or_not_at_all(memory, saved, reads, wiped):
    """A worker may wipe a slot, and make it another counter's, between any two readings; nothing raises."""
    with closing(Counters.open(memory, 0, 1)) as counters:
        quota = Quota(counters, counters.owner(b"acme"), "quota", 5, Calendar(0))
        assert quota.check(START, WALL) == 0
        quota.take()
        before = counters.words[quota.word : quota.word + 72].tobytes()
        low, high, owner, kind, first = range(quota.word, quota.word + 5)
        after = dict.fromkeys((low, high, owner, kind, first), 0)
        if not wiped:
            after = {low: 99, high: 98, owner: 97, kind: 2, first: START // 1_000_000}
        words, counters.words = counters.words, Changing(counters.words, after, reads)
        kept = save(counters, saved, now=START, wall=WALL, everything=True)
        counters.words = words
        with open_saved(saved) as found:
            assert bytes(found.slots) in {b"", before, words[quota.word : quota.word + 72].tobytes()}
            assert len(found.slots) == kept * 576


def test_what_a_killed_save_left_is_removed_at_the_next_start(saved):
    used_and_saved(saved)
    saved.with_name("counters.bin.4711.new").write_bytes(b"half")
    with again(saved) as done:
        assert left(done) == ALL_KEPT
    assert [entry.name for entry in saved.parent.iterdir()] == ["counters.bin"]


def test_capacity_has_a_ceiling():
    from faregate.stores.counters_prepare import _partitions

    assert _partitions(10**9) == PARTITIONS_MAX
    assert _partitions(500_000) == 745


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


def test_places_of_a_dead_worker_are_freed_and_those_of_others_are_not(memory):
    one, two = table.join(memory, 0, 2), table.join(memory, 1, 2)
    for name in (b"acme", b"globex"):
        hold(one, 3, name=name)
        hold(two, 4, name=name)
    with pytest.raises(CountersError, match="living"):
        clear_worker(memory, 1)
    two.close()
    assert free(one) == 3
    assert clear_worker(memory, 1) == 8
    assert (free(one), free(one, name=b"globex")) == (7, 7)
    assert clear_worker(memory, 1) == 0
    one.close()


def test_a_successor_frees_what_its_predecessor_held(memory):
    one, two = table.join(memory, 0, 2), table.join(memory, 1, 2)
    hold(two, 4)
    two.close()
    two = table.join(memory, 1, 2)
    assert free(one) == 10
    one.close()
    two.close()


def test_a_slot_that_no_longer_counts_places_loses_nothing_when_a_worker_is_cleared(memory):
    """The bitmap forgets a slot that is reused, so that clearing a worker cannot wipe another counter's cells."""
    one, two = table.join(memory, 0, 2), table.join(memory, 1, 2)
    counter = hold(one, 1)
    slot = counter.word // 72
    counter.place()()
    window = Window(one, one.owner(b"acme"), "plan", 5, 1_000)
    one._claim(slot, window, 1, START, WALL)
    assert admitted(window) == 5
    assert slot not in one._place_slots(slot // 1024)
    two.close()
    clear_worker(memory, 1)
    assert not admitted(window)
    one.close()
