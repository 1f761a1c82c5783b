"""Locks exclude, end with their holder, and are never waited for without end."""

import pytest

from faregate.stores.counters import Counters
from faregate.stores.counters_head import CountersError, LockHeldError
from faregate.stores.counters_layout import HEAD_LOCK
from tests.stores import table


def test_one_partition_is_held_by_one_worker_at_a_time(memory):
    one, two = table.join(memory, 0, 2), table.join(memory, 1, 2)
    assert one.locks.lock(3, 7) == 7
    assert two.locks.lock(3, 7) == -1
    assert two.locks.lock(4, 7) == 7, "another partition is free"
    one.locks.unlock(3)
    assert two.locks.lock(3, 7) == 7
    one.close()
    two.close()


def test_a_lock_ends_with_its_holder(memory):
    one, two = table.join(memory, 0, 2), table.join(memory, 1, 2)
    assert one.locks.lock(3, 7) == 7
    one.close()
    assert two.locks.lock(3, 7) == 7
    two.close()


def test_a_wait_lasts_about_50_ms_and_the_next_one_does_not_wait(memory):
    pauses = []
    one = table.join(memory, 0, 2)
    two = Counters.open(memory, 1, 2, clock=table.HeldClock(), pause=pauses.append)
    one.locks.lock(3, 7)
    assert two.locks.lock(3, 7) == -1
    assert 0.04 < sum(pauses) < 0.06
    pauses.clear()
    assert two.locks.lock(3, 7) == -1
    assert not pauses, "a stopped holder stops this worker once, not at every call"
    assert two.stats.timeouts == 2
    one.locks.unlock(3)
    assert two.locks.lock(3, 7) == 7
    two.locks.unlock(3)
    one.locks.lock(3, 7)
    assert two.locks.lock(3, 7) == -1
    assert pauses, "patient again after a success"
    one.close()
    two.close()


def test_after_a_wait_the_time_is_read_anew(memory):
    clock = table.HeldClock(500)
    one = table.join(memory, 0, 2)

    def release_meanwhile(seconds):
        one.locks.unlock(3)
        clock.now = 900

    two = Counters.open(memory, 1, 2, clock=clock, pause=release_meanwhile)
    one.locks.lock(3, 7)
    assert two.locks.lock(3, 400) == 900
    assert (two.stats.waits, two.stats.timeouts) == (1, 0)
    one.close()
    two.close()


def test_one_worker_alone_takes_no_lock(memory):
    alone = table.join(memory, 0, 1)
    other = table.join(memory, 1, 2)
    assert alone.locks.lock(3, 7) == 7
    assert other.locks.lock(3, 7) == 7
    alone.close()
    other.close()


def test_an_index_has_one_living_worker(memory):
    one = table.join(memory, 0, 2)
    with pytest.raises(CountersError, match="held by a living process"):
        table.join(memory, 0, 2)
    one.close()
    table.join(memory, 0, 2).close()


@pytest.mark.parametrize("index", [-1, 64])
def test_an_index_outside_the_cells_is_refused(memory, index):
    with pytest.raises(CountersError, match="expected 0 to 63"):
        table.join(memory, index, 2)


def test_a_descriptor_that_is_not_open_is_an_error_of_the_counters(memory):
    with pytest.raises(CountersError, match="No such file"):
        Counters.open(memory + 1000, 0, 1)


def test_what_is_not_counters_is_refused(tmp_path):
    with (tmp_path / "other").open("wb+") as other:
        other.write(bytes(10_000))
        other.flush()
        with pytest.raises(CountersError, match="not counters"):
            Counters.open(other.fileno(), 0, 1)


def test_a_lock_that_does_not_move_is_told_from_one_that_did(memory):
    clock = table.HeldClock(0)
    one = table.join(memory, 0, 2)
    pauses = []
    two = Counters.open(memory, 1, 2, clock=clock, pause=pauses.append)
    assert not two.locks.stuck(9 * table.SECOND, table.SECOND), "nobody waited for it"
    one.locks.lock(3, 7)
    assert two.locks.lock(3, 7) == -1
    assert not two.locks.stuck(table.SECOND - 1, table.SECOND)
    assert two.locks.stuck(table.SECOND, table.SECOND)
    one.locks.unlock(3)
    assert not two.locks.stuck(9 * table.SECOND, table.SECOND)
    assert one.locks.lock(3, 7) == 7, "asking has not kept it"
    pauses.clear()
    assert two.locks.lock(3, 7) == -1
    assert pauses, "calls may wait for it again"
    one.close()
    two.close()


def test_a_start_that_meets_a_lock_that_does_not_move_says_which_error_that_is(memory):
    one = table.join(memory, 0, 2)
    two = table.join(memory, 1, 2)
    one.locks.try_byte(HEAD_LOCK)
    with pytest.raises(LockHeldError, match="stopped"):
        two.locks.lock_byte(HEAD_LOCK)
    one.close()
    two.close()
