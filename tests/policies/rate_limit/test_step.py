"""Rates keep their promise for every placement of the window, whatever the clock does and whoever dies when."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from faregate.policies.rate_limit.step import Bucket, Window
from tests.stores import table
from tests.stores.table import SECOND, WALL, most_in_window

START = 1_000 * SECOND
per_example = settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
fresh = iter(range(1 << 60))


def window(counters, limit=100, period_ms=1_000, name=None):
    return Window(counters, counters.owner(name or b"c%d" % next(fresh)), "plan", limit, period_ms)


def bucket(counters, count=100, burst=200, period_ms=1_000, name=None):
    return Bucket(
        counters, counters.owner(name or b"c%d" % next(fresh)), "plan", count, period_ms, burst=burst
    )


def admit(counter, now):
    """Whether a call at ``now`` passes; it is counted when it does."""
    if counter.check(now, WALL):
        return False
    counter.take()
    return True


gaps = st.lists(
    st.tuples(st.integers(1, 40), st.one_of(st.integers(0, 20_000_000), st.integers(0, 1_200_000_000))),
    min_size=1,
    max_size=60,
)


@per_example
@given(
    schedule=st.lists(
        st.tuples(st.integers(1, 40), st.none() | st.integers(0, 1_200_000_000)), min_size=1, max_size=60
    ),
    limit=st.integers(1, 60),
    offset=st.integers(0, SECOND),
)
def test_no_window_of_the_period_ever_holds_more_than_the_limit(counters, schedule, limit, offset):
    """No gap stands for the worst there is: a call in the first nanosecond in which it passes."""
    counter = window(counters, limit)
    now, admitted = START + offset, []
    for calls, gap in schedule:
        now += counter.check(now, WALL) if gap is None else gap
        admitted += [now for _ in range(calls) if admit(counter, now)]
    assert most_in_window(admitted, SECOND) <= limit
    assert most_in_window(admitted, 1_006 * SECOND // 1000) <= limit, "room for the jitter of whoever checks"


@per_example
@given(schedule=gaps, limit=st.integers(1, 60))
def test_a_call_is_refused_only_while_the_limit_is_used_in_the_last_1_014_periods(counters, schedule, limit):
    counter = window(counters, limit)
    now, admitted = START, []
    for calls, gap in schedule:
        now += gap
        for _ in range(calls):
            if admit(counter, now):
                admitted.append(now)
            else:
                assert sum(now - moment <= SECOND * 1_014 // 1_000 for moment in admitted) >= limit


@pytest.mark.parametrize("step_us", [137, 999, 5_003])
def test_at_saturation_a_window_gives_at_least_97_percent(counters, step_us):
    counter = window(counters, 100)
    moments = range(START, START + 20 * SECOND, step_us * 1000)
    admitted = [now for now in moments if admit(counter, now)]
    assert most_in_window(admitted, SECOND) == 100
    assert len([now for now in admitted if now >= START + SECOND]) >= 97 * 19


@pytest.mark.parametrize("period_ms", [1_000, 60_000, 3_600_000, 86_400_000])
def test_every_period_holds_over_its_edge(counters, period_ms):
    counter = window(counters, 10, period_ms)
    period = period_ms * 1_000_000
    moments = [START + part * period // 16 for part in range(64) for _ in range(10)]
    admitted = [now for now in moments if admit(counter, now)]
    assert most_in_window(admitted, period) == 10
    assert len(admitted) >= 30


@per_example
@given(schedule=gaps, limit=st.integers(1, 60))
def test_waiting_as_told_then_succeeds(counters, schedule, limit):
    counter = window(counters, limit)
    now = START
    for calls, gap in schedule:
        now += gap
        for _ in range(calls):
            wait = counter.check(now, WALL)
            if wait:
                assert not counter.check(now + wait, WALL)
                now += wait
            counter.take()


def test_a_refused_call_takes_nothing(counters):
    counter = window(counters, 3)
    assert [admit(counter, START + call) for call in range(1000)].count(True) == 3
    assert counter.remaining() == 0
    assert admit(counter, START + 1_015 * SECOND // 1000)


def test_an_edited_limit_keeps_its_history(counters):
    before, lower, higher = (window(counters, limit, name=b"acme") for limit in (100, 40, 120))
    assert sum(admit(before, START) for _ in range(60)) == 60
    assert not admit(lower, START + 1)
    assert sum(admit(higher, START + 2) for _ in range(200)) == 60


@per_example
@given(
    schedule=st.lists(
        st.tuples(st.integers(1, 20), st.integers(0, SECOND), st.integers(0, 400_000_000)), max_size=40
    )
)
def test_a_reading_older_than_the_slot_has_seen_neither_forgets_nor_admits(memory, schedule):
    clock = table.HeldClock(START)
    counters = table.join(memory, clock=clock)
    counter = window(counters, 10)
    admitted = []
    for calls, gap, stale in schedule:
        clock.now += gap
        # Decided at clock.now, by a reading that was taken ``stale`` ns before.
        newest = max([START, *admitted])
        for _ in range(calls):
            if admit(counter, max(clock.now - stale, newest - stale)):
                admitted.append(clock.now)
    counters.close()
    late = max((stale for _, _, stale in schedule), default=0)
    assert most_in_window(admitted, max(1, SECOND - late)) <= 10


@pytest.mark.parametrize("back", [SECOND // 50, SECOND // 2, SECOND, 3_600 * SECOND, 86_400 * SECOND])
@pytest.mark.parametrize("make", [lambda c: window(c, 10), lambda c: bucket(c, 10, 10)])
def test_a_clock_that_steps_back_gives_no_free_pass_and_no_lock_out(memory, make, back):
    clock = table.HeldClock(START + 100_000 * SECOND)
    counters = table.join(memory, clock=clock)
    counter = make(counters)
    assert sum(admit(counter, clock.now) for _ in range(50)) == 10
    clock.now -= back
    assert not admit(counter, clock.now)
    clock.now += 1_025 * SECOND // 1000
    assert sum(admit(counter, clock.now) for _ in range(50)) == 10
    counters.close()


@pytest.mark.parametrize("make", [lambda c: window(c, 10), lambda c: bucket(c, 10, 10)])
def test_a_stopped_worker_with_a_stale_reading_gives_nobody_a_second_share(memory, make):
    clock = table.HeldClock(START)
    counters = table.join(memory, clock=clock)
    counter = make(counters)
    stale = clock.now
    clock.now += 30 * SECOND
    assert sum(admit(counter, clock.now) for _ in range(50)) == 10
    assert not admit(counter, stale)
    assert not admit(counter, clock.now)
    counters.close()


def test_a_clock_step_forward_admits_one_limit_only(counters):
    counter = window(counters, 10)
    assert sum(admit(counter, START) for _ in range(50)) == 10
    assert sum(admit(counter, START + 3_600 * SECOND) for _ in range(50)) == 10


# buckets


@per_example
@given(schedule=gaps, count=st.integers(1, 300), burst=st.integers(1, 50))
def test_a_bucket_never_admits_more_than_burst_plus_refill(counters, schedule, count, burst):
    counter = bucket(counters, count, burst)
    now, admitted = START, []
    for calls, gap in schedule:
        now += gap
        admitted += [now for _ in range(calls) if admit(counter, now)]
    for first, start in enumerate(admitted):
        for last in range(first, len(admitted)):
            assert (last - first + 1 - burst) * SECOND <= count * (admitted[last] - start)


@per_example
@given(schedule=gaps, count=st.integers(1, 300), burst=st.integers(1, 50))
def test_a_bucket_waits_no_longer_than_needed_and_then_admits(counters, schedule, count, burst):
    counter = bucket(counters, count, burst)
    now = START
    for calls, gap in schedule:
        now += gap
        for _ in range(calls):
            wait = counter.check(now, WALL)
            assert wait <= SECOND // count + 1
            if wait:
                assert counter.check(now + wait - 1, WALL)
                assert not counter.check(now + wait, WALL)
                now += wait
            counter.take()


def test_a_bucket_at_saturation_gives_its_rate(counters):
    counter = bucket(counters, 100, 200)
    admitted = [now for now in range(START, START + 20 * SECOND, 500_000) if admit(counter, now)]
    assert len(admitted) == 200 + 1999


def test_a_bucket_shows_what_is_left(counters):
    counter = bucket(counters, 100, 200)
    assert [admit(counter, START) for _ in range(50)] == [True] * 50
    assert counter.check(START, WALL) == 0
    assert counter.remaining() == 150
    assert counter.check(START + SECOND // 4, WALL) == 0
    assert counter.remaining() == 175


@pytest.mark.parametrize(
    ("count", "burst", "left"), [(1, 200, 100), (10_000, 200, 100), (100, 120, 20), (100, 50, 0)]
)
def test_an_edited_bucket_keeps_how_many_calls_are_missing(counters, count, burst, left):
    before = bucket(counters, 100, 200, name=b"acme")
    assert sum(admit(before, START) for _ in range(100)) == 100
    after = bucket(counters, count, burst, name=b"acme")
    assert sum(admit(after, START) for _ in range(300)) == left


def test_a_bucket_of_absurd_depth_stays_inside_its_word(counters):
    counter = bucket(counters, 1, 1_000_000_000, 86_400_000)
    assert sum(admit(counter, START) for _ in range(1000)) == 1000


# death in the middle


def kill_at(counters, make, writes, now):
    """A worker that is killed at its n-th write during one call; True when it lived to admit the call."""
    lifetime = table.Lifetime(writes)
    counter = make(counters)
    words, cells = counters.words, counters.cells
    counters.words = counter.words = table.DyingMemory(words, lifetime)
    counters.cells = counter.cells = table.DyingMemory(cells, lifetime)
    try:
        return admit(counter, now), lifetime.writes
    except table.Killed:
        return False, -1
    finally:
        counters.words, counters.cells = words, cells


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    schedule=st.lists(st.tuples(st.integers(1, 8), st.integers(0, 700_000_000)), min_size=1, max_size=12),
    deaths=st.lists(st.integers(0, 12), min_size=1, max_size=12),
    limit=st.integers(1, 8),
)
def test_a_window_whose_worker_is_killed_at_any_write_never_admits_too_much(
    counters, schedule, deaths, limit
):
    name = b"c%d" % next(fresh)
    now, admitted = START, []
    for place, (calls, gap) in enumerate(schedule):
        now += gap
        lived, _ = kill_at(counters, lambda c: window(c, limit, name=name), deaths[place % len(deaths)], now)
        admitted += [now] if lived else []
        survivor = window(counters, limit, name=name)
        admitted += [now for _ in range(calls) if admit(survivor, now)]
    assert most_in_window(admitted, SECOND) <= limit
    survivor = window(counters, limit, name=name)
    later = now + 1_015 * SECOND // 1000
    assert sum(admit(survivor, later) for _ in range(20)) == limit, "nothing is lost for longer than a period"


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    schedule=st.lists(st.tuples(st.integers(1, 8), st.integers(0, 300_000_000)), min_size=1, max_size=12),
    deaths=st.lists(st.integers(0, 8), min_size=1, max_size=12),
    burst=st.integers(1, 8),
)
def test_a_bucket_whose_worker_is_killed_at_any_write_never_admits_too_much(
    counters, schedule, deaths, burst
):
    name = b"c%d" % next(fresh)
    now, admitted = START, []
    for place, (calls, gap) in enumerate(schedule):
        now += gap
        lived, _ = kill_at(
            counters, lambda c: bucket(c, 10, burst, name=name), deaths[place % len(deaths)], now
        )
        admitted += [now] if lived else []
        survivor = bucket(counters, 10, burst, name=name)
        admitted += [now for _ in range(calls) if admit(survivor, now)]
    for first, start in enumerate(admitted):
        for last in range(first, len(admitted)):
            assert (last - first + 1 - burst) * SECOND <= 10 * (admitted[last] - start)


@pytest.mark.parametrize("writes", range(6))
def test_a_step_back_cut_short_forgets_nothing(memory, writes):
    clock = table.HeldClock(START)
    counters = table.join(memory, clock=clock)
    counter = window(counters, 10, name=b"acme")
    for part in range(10):
        assert admit(counter, clock.now + part * SECOND // 20)
    clock.now -= 100 * SECOND
    kill_at(counters, lambda c: window(c, 10, name=b"acme"), writes, clock.now)
    assert not admit(window(counters, 10, name=b"acme"), clock.now)
    counters.close()


@pytest.mark.parametrize("writes", range(4))
@pytest.mark.parametrize(("count", "left"), [(10, 100), (1000, 100)])
def test_an_edit_of_a_bucket_cut_short_gives_nothing_back(counters, writes, count, left):
    before = bucket(counters, 100, 200, name=b"acme")
    assert sum(admit(before, START) for _ in range(100)) == 100
    kill_at(counters, lambda c: bucket(c, count, 200, name=b"acme"), writes, START)
    assert sum(admit(bucket(counters, count, 200, name=b"acme"), START) for _ in range(300)) <= left


def test_a_death_is_repaired_once_and_counted(counters):
    assert kill_at(counters, lambda c: window(c, 5, name=b"acme"), 100, START)[0]
    assert not kill_at(counters, lambda c: window(c, 5, name=b"acme"), 2, START)[0]
    survivor = window(counters, 5, name=b"acme")
    assert sum(admit(survivor, START) for _ in range(20)) in (3, 4)
    assert counters.stats.repairs == 1
