"""One worker sits, another takes over when it dies or is silent, and nobody sits twice."""

from contextlib import ExitStack

import pytest

from faregate.stores.health import HealthTable
from faregate.stores.health_layout import SEAT_LOCK, SEATS, TERM
from faregate.stores.health_seat import SILENT_MS, Seat

NOW = 5_000_000


@pytest.fixture
def tables(tmp_path):
    with ExitStack() as stack:

        def make() -> HealthTable:
            table = HealthTable(tmp_path / "health.bin", NOW, boot_id="boot-1", pause=lambda _: None)
            stack.callback(table.close)
            return table

        yield [make() for _ in range(3)]


@pytest.fixture
def seats(tables):
    return [Seat(table) for table in tables]


def sitting(seats: list[Seat], now: int) -> list[bool]:
    return [seat.sit(now) for seat in seats]


def test_one_sits_at_a_time_and_stays(seats) -> None:
    assert sitting(seats, NOW) == [True, False, False]
    assert sitting(seats[::-1], NOW + 50) == [False, False, True]
    assert sitting(seats, NOW + 100) == [True, False, False]


def test_who_rises_makes_room_at_once(seats) -> None:
    assert seats[0].sit(NOW)
    seats[0].rise()
    assert seats[1].sit(NOW)
    assert not seats[0].sit(NOW)


def test_a_dead_one_makes_room_at_once(tables, seats) -> None:
    assert sitting(seats, NOW) == [True, False, False]
    tables[0].locks.give(SEAT_LOCK)  # as the kernel does when a process dies
    assert seats[1].sit(NOW + 1)
    assert not seats[2].sit(NOW + 1)


def test_a_silent_one_is_succeeded_and_finds_its_term_over(tables, seats) -> None:
    assert sitting(seats, NOW) == [True, False, False]
    silent, *others = seats
    late = NOW + SILENT_MS
    assert sitting(others, late) == [False, False], "not a moment too soon"
    assert sitting(others, late + 1) == [False, True], "one moves on, and the next one sits"
    assert tables[0].words[TERM] == 1
    others[0]._next_term(0, late + 1)
    assert tables[0].words[TERM] == 1, "who found it silent at the same moment finds the term over"
    assert sitting(others, late + 50) == [False, True]
    assert not silent.sit(late + 60)
    assert sitting(seats, late + 100) == [False, False, True]


@pytest.mark.parametrize("step", [-3_600_000, 3_600_000])
def test_a_clock_that_jumps_costs_a_term_and_no_more(seats, step) -> None:
    assert sitting(seats, NOW) == [True, False, False]
    moved = NOW + step
    for _ in range(3):
        held = sitting(seats, moved)
    assert sum(held) == 1


def test_all_locks_taken_by_silent_ones_still_ends(tables, seats) -> None:
    assert seats[0].sit(NOW)
    tables[1].words[TERM] = SEATS  # the first one's lock again
    now = NOW + SILENT_MS + 1
    assert not seats[1].sit(now)
    assert seats[1].sit(now), "the lock after that is free"
