"""The manager's sums of who called: by hour, drained once, never lost by a database that is away, bounded."""

import tracemalloc

from faregate.manager.usage import HOURS_MAX, OTHER, Usage, UsageRow
from faregate.records.frames import UsageGrowth

HOUR = 497_000
AT = HOUR * 3600.0


def grown(
    credential: str = "key_1", calls: int = 1, errors: int = 0, seen: float = AT, status_class: int = 2
) -> UsageGrowth:
    return UsageGrowth("acme", credential, "payments", "v2", calls, errors, seen, status_class)


def row(
    calls: int,
    errors: int = 0,
    *,
    credential: str = "key_1",
    hour: int = HOUR,
    seen: float = AT,
    status: str = "2xx",
) -> UsageRow:
    return UsageRow(hour, "acme", credential, "payments", "v2", calls, errors, int(seen * 1000), status)


def test_a_drain_has_what_grew_and_holds_none_of_it() -> None:
    usage = Usage()
    usage.take([grown(calls=3), grown(calls=2, errors=1, seen=AT + 5.25, status_class=4), grown("key_2")])
    assert usage.drain() == [row(5, 1, seen=AT + 5.25, status="4xx"), row(1, credential="key_2")]
    assert len(usage) == 0
    assert usage.drain() == []
    usage.take([grown(calls=4, seen=AT + 7, status_class=0)])
    assert usage.drain() == [row(4, seen=AT + 7, status="none")]


def test_of_calls_that_are_told_late_the_last_one_counts() -> None:
    usage = Usage()
    usage.take([grown(seen=AT + 5.25, status_class=4), grown(seen=AT + 3)])
    assert usage.drain() == [row(2, seen=AT + 5.25, status="4xx")]


def test_a_call_that_was_not_answered_is_told_as_that() -> None:
    usage = Usage()
    usage.take([grown(status_class=0, errors=1)])
    assert usage.drain() == [row(1, 1, status="none")]


def test_hours_are_apart_and_go_when_they_are_drained() -> None:
    usage = Usage()
    usage.take([grown(seen=AT + 3599.9), grown(seen=AT + 3600)])
    assert len(usage) == 2
    assert [one.hour for one in usage.drain()] == [HOUR, HOUR + 1]
    assert len(usage) == 0


def test_rows_that_could_not_be_written_come_again() -> None:
    usage = Usage()
    usage.take([grown(calls=3, errors=1), grown("key_2", seen=AT + 3600)])
    failed = usage.drain()
    usage.put_back(failed)
    usage.take([grown(calls=2)])
    sums = {(one.hour, one.credential): (one.calls, one.errors) for one in usage.drain()}
    assert sums == {(HOUR, "key_1"): (5, 1), (HOUR + 1, "key_2"): (1, 0)}
    assert usage.drain() == []


def test_whoever_is_not_held_apart_by_one_name_is_by_another() -> None:
    usage = Usage()
    names = [
        ("a", "b", "c", "d"),
        ("a", "b", "c", "e"),
        ("a", "b", "e", "d"),
        ("a", "bc", "", "d"),
        ("ab", "", "c", "d"),
    ]
    usage.take([UsageGrowth(*four, 1, 0, AT, 2) for four in names])
    assert [(one.consumer, one.credential, one.api, one.version) for one in usage.drain()] == names


def test_a_row_that_waits_takes_a_quarter_of_a_kib() -> None:
    usage = Usage()
    tracemalloc.start()
    try:
        usage.take([grown(f"key-{number:06d}", seen=AT + number / 100) for number in range(20_000)])
        bytes_held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert bytes_held / 20_000 < 300


def test_beyond_the_bound_others_are_one_row_and_counted() -> None:
    usage = Usage(rows_max=2)
    usage.take([grown(f"key_{number}", calls=number + 1) for number in range(5)])
    assert usage.folded == 12
    assert len(usage) == 3
    usage.take([grown("key_1")])
    assert {one.credential: one.calls for one in usage.drain()} == {"key_0": 1, "key_1": 3, OTHER: 12}


def test_without_a_database_a_day_is_kept() -> None:
    usage = Usage()
    for hour in range(HOURS_MAX + 3):
        usage.take([grown(seen=AT + hour * 3600)])
    assert [one.hour for one in usage.drain()] == [HOUR + hour for hour in range(3, HOURS_MAX + 3)]
    assert len(usage) == 0


def test_a_drain_may_be_bounded_and_goes_on_where_it_was() -> None:
    usage = Usage()
    usage.take([grown(f"key_{number}", seen=AT + number % 2 * 3600) for number in range(10)])
    drained = []
    while rows := usage.drain(3):
        assert len(rows) <= 3
        drained += rows
    assert sorted(one.credential for one in drained) == sorted(f"key_{number}" for number in range(10))
    assert len(usage) == 0


def test_what_is_dropped_with_its_hour_does_not_come_again() -> None:
    usage = Usage()
    usage.take([grown(calls=3)])
    failed = usage.drain()
    for hour in range(HOURS_MAX + 1):
        usage.take([grown(seen=AT + hour * 3600)])
    usage.put_back(failed)
    hours = [one.hour for one in usage.drain()]
    assert hours == [HOUR + hour for hour in range(1, HOURS_MAX + 1)]
