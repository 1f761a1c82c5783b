"""Quotas count calendar periods in UTC, and no step of the wall clock gives anyone a second one or locks anyone out."""

from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from faregate.policies.quota.step import Calendar, Quota
from tests.stores import table
from tests.stores.table import SECOND

NOW = 1_000 * SECOND
DAY = 86_400


def at(*parts):
    return datetime(*parts, tzinfo=UTC).timestamp()


def quota(counters, limit=10, period_ms=0, name=b"acme"):
    return Quota(counters, counters.owner(name), "quota", limit, Calendar(period_ms))


def admitted(counter, wall, tries=50):
    count = 0
    for _ in range(tries):
        if not counter.check(NOW, wall):
            counter.take()
            count += 1
    return count


def test_a_month_admits_its_quota_and_the_next_one_admits_again(counters):
    counter = quota(counters)
    assert admitted(counter, at(2026, 2, 3)) == 10
    assert admitted(counter, at(2026, 2, 28, 23, 59, 59)) == 0
    assert admitted(counter, at(2026, 3, 1)) == 10
    assert admitted(counter, at(2026, 12, 31, 23)) == 10
    assert admitted(counter, at(2027, 1, 1)) == 10


@pytest.mark.parametrize(
    ("period_ms", "last", "first"),
    [
        (86_400_000, at(2026, 3, 1, 23, 59, 59), at(2026, 3, 2)),
        (3_600_000, at(2026, 3, 1, 4, 59, 59), at(2026, 3, 1, 5)),
        (60_000, at(2026, 3, 1, 4, 5, 59), at(2026, 3, 1, 4, 6)),
        (1_000, at(2026, 3, 1, 4, 5, 6), at(2026, 3, 1, 4, 5, 7)),
    ],
)
def test_shorter_periods_turn_at_their_edge_in_utc(counters, period_ms, last, first):
    counter = quota(counters, period_ms=period_ms)
    assert admitted(counter, last) == 10
    assert admitted(counter, last + 0.5) == 0
    assert admitted(counter, first) == 10


def test_the_wait_ends_with_the_month_and_then_succeeds(counters):
    counter = quota(counters)
    wall = at(2028, 2, 10, 12)
    admitted(counter, wall)
    wait = counter.check(NOW, wall)
    assert wait == (at(2028, 3, 1) - wall) * SECOND
    assert counter.check(NOW, wall + wait / SECOND) == 0


def test_an_edited_quota_keeps_its_count(counters):
    wall = at(2026, 2, 3)
    assert admitted(quota(counters, 10), wall) == 10
    assert admitted(quota(counters, 5), wall) == 0
    assert admitted(quota(counters, 25), wall) == 15


@pytest.mark.parametrize("back", [1, 3600, DAY])
def test_a_clock_corrected_over_the_edge_of_a_month_gives_no_second_quota(counters, back):
    counter = quota(counters)
    edge = at(2026, 3, 1)
    assert admitted(counter, edge) == 10
    assert admitted(counter, edge - back) == 0
    assert counter.check(NOW, edge - back) == (at(2026, 4, 1) - edge + back) * SECOND, (
        "truthful: the later period's end"
    )
    assert admitted(counter, edge + 10) == 0
    assert admitted(counter, at(2026, 4, 1)) == 10


def test_a_clock_that_was_a_year_ahead_locks_nobody_out(counters):
    counter = quota(counters)
    assert admitted(counter, at(2027, 2, 10), tries=4) == 4
    assert admitted(counter, at(2026, 2, 10)) == 6, "no free pass"
    assert admitted(counter, at(2026, 3, 1)) == 10


def test_a_quota_used_up_by_a_clock_a_year_ahead_is_back_next_month(counters):
    counter = quota(counters)
    assert admitted(counter, at(2027, 2, 10)) == 10
    assert counter.check(NOW, at(2026, 2, 10)) == (at(2026, 3, 1) - at(2026, 2, 10)) * SECOND
    assert admitted(counter, at(2026, 3, 1)) == 10


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(st.tuples(st.integers(0, 20 * DAY), st.integers(1, 15)), max_size=30),
    limit=st.integers(1, 12),
)
def test_no_month_ever_holds_more_than_the_quota(counters, steps, limit):
    counter = quota(counters, limit, name=b"%d" % id(steps))
    counter.words[counter.word] = 0
    wall = at(2026, 1, 1)
    months = {}
    for gap, tries in steps:
        wall += gap
        date = datetime.fromtimestamp(wall, UTC)
        month = date.year, date.month
        months[month] = months.get(month, 0) + admitted(counter, wall, tries)
    assert all(count <= limit for count in months.values())


def test_killed_at_any_write_a_count_is_whole_or_not_made(counters):
    wall = at(2026, 2, 3)
    for writes in (0, 1):
        for _ in range(3):
            before = quota(counters, 1_000)
            before.check(NOW, wall)
            lifetime = table.Lifetime(writes)
            before.words = table.DyingMemory(counters.words, lifetime)
            try:
                before.take()
                lived = True
            except table.Killed:
                lived = False
            after = quota(counters, 1_000)
            after.check(NOW, wall)
            assert after.total == before.total + lived == before.total + writes
