"""Counts of several workers in one memory: added up by each, owned by one, gone with who counted."""

import os
import random
from collections import Counter
from collections.abc import Iterator
from typing import Self

import pytest

from faregate.stores import shared_counts
from faregate.stores.counters_layout import WORKERS_MAX
from faregate.stores.shared_counts import CONNECTIONS, TUNNELS, SharedCounts, create, taken_or_made

HERE, THERE = "192.0.2.1", "2001:db8::1"


@pytest.fixture
def memory() -> Iterator[int]:
    descriptor = create()
    yield descriptor
    os.close(descriptor)


class Crew(list[SharedCounts]):
    def __init__(self, memory: int, *indexes: int) -> None:
        super().__init__(SharedCounts(memory, index) for index in indexes)
        self.supervisor = SharedCounts(memory)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for one in (*self, self.supervisor):
            one.close()


def test_each_worker_sees_what_all_have(memory: int) -> None:
    with Crew(memory, 0, 1, WORKERS_MAX - 1) as (one, two, last):
        one.add(CONNECTIONS, HERE)
        one.add(CONNECTIONS, HERE)
        two.add(CONNECTIONS, THERE)
        last.add(CONNECTIONS, HERE)
        assert [each.total(CONNECTIONS) for each in (one, two, last)] == [4, 4, 4]
        assert [each.elsewhere(CONNECTIONS, HERE) for each in (one, two, last)] == [1, 3, 2]
        assert [each.elsewhere(CONNECTIONS, THERE) for each in (one, two, last)] == [1, 0, 1]
        one.remove(CONNECTIONS, HERE)
        assert (two.total(CONNECTIONS), two.elsewhere(CONNECTIONS, HERE)) == (3, 2)


def test_kinds_are_counted_apart(memory: int) -> None:
    with Crew(memory, 0, 1) as (one, two):
        one.add(TUNNELS, "acme")
        assert (two.total(CONNECTIONS), two.total(TUNNELS)) == (0, 1)
        assert (two.elsewhere(CONNECTIONS, "acme"), two.elsewhere(TUNNELS, "acme")) == (0, 1)


def test_a_worker_that_is_gone_is_forgotten_and_its_memory_given_back(memory: int) -> None:
    with Crew(memory, 0, 1) as crew:
        one, two = crew
        for number in range(5000):
            one.add(CONNECTIONS, f"{HERE}/{number}")
        two.add(CONNECTIONS, HERE)
        full = os.fstat(memory).st_blocks
        crew.supervisor.clear(0)
        assert (two.total(CONNECTIONS), two.elsewhere(CONNECTIONS, f"{HERE}/7")) == (1, 0)
        assert os.fstat(memory).st_blocks < full / 10
        with Crew(memory, 0) as (successor,):
            successor.add(CONNECTIONS, HERE)
            assert (two.total(CONNECTIONS), two.elsewhere(CONNECTIONS, HERE)) == (2, 1)


def test_counts_stay_right_through_any_order_of_coming_and_going(memory: int) -> None:
    chance = random.Random(7)
    held: list[tuple[int, str]] = []
    with Crew(memory, 0, 1, 2) as crew:
        for _ in range(20_000):
            if held and chance.random() < 0.48:
                worker, owner = held.pop(chance.randrange(len(held)))
                crew[worker].remove(CONNECTIONS, owner)
            else:
                worker, owner = chance.randrange(3), f"10.0.0.{chance.randrange(200)}"
                crew[worker].add(CONNECTIONS, owner)
                held.append((worker, owner))
        counted = Counter(held)
        assert crew[0].total(CONNECTIONS) == len(held)
        for owner in {owner for _, owner in held}:
            for worker in range(3):
                others = sum(counted[other, owner] for other in range(3) if other != worker)
                assert crew[worker].elsewhere(CONNECTIONS, owner) == others


def test_who_finds_no_slot_is_counted_in_all_and_alone(memory: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_counts, "BUCKETS", 1)
    with Crew(memory, 0, 1) as (one, two):
        for number in range(9):
            one.add(CONNECTIONS, str(number))
        assert two.total(CONNECTIONS) == 9
        assert [two.elsewhere(CONNECTIONS, str(number)) for number in range(9)] == [1] * 8 + [0]
        for number in range(9):
            one.remove(CONNECTIONS, str(number))
        assert two.total(CONNECTIONS) == 0


def test_memory_of_another_format_is_left(memory: int) -> None:
    assert taken_or_made(memory) == memory
    other = os.dup(memory)
    os.pwrite(other, b"FGCONN9\0", 0)
    made = taken_or_made(other)
    try:
        assert os.pread(made, 8, 0) == shared_counts.MAGIC
        assert os.fstat(made).st_ino != os.fstat(memory).st_ino
    finally:
        os.close(made)
    os.close(fresh := taken_or_made(-1))
    assert fresh >= 0


def test_places_in_the_memory_are_not_for_others_to_guess(memory: int) -> None:
    other = create()
    with Crew(memory, 0) as (one,), Crew(other, 0) as (two,):
        assert one._place("c x") != two._place("c x")
    os.close(other)


def test_workers_that_start_at_the_same_moment_both_count(memory: int) -> None:
    with Crew(memory, 0) as (one,):
        before = one._map[:4096]
        with Crew(memory, 1) as (two,):
            changed = [
                at for at, (old, new) in enumerate(zip(before, one._map[:4096], strict=True)) if old != new
            ]
            assert len(changed) == 1, "its own byte: nothing that another's start may overwrite"
            two.add(CONNECTIONS, HERE)
            assert (one.total(CONNECTIONS), one.elsewhere(CONNECTIONS, HERE)) == (1, 1)


def test_a_worker_begins_with_nothing_counted_whatever_its_predecessor_left(memory: int) -> None:
    with Crew(memory, 0, 1) as (dead, other):
        dead.add(CONNECTIONS, HERE)
        with Crew(memory, 0):
            assert (other.total(CONNECTIONS), other.elsewhere(CONNECTIONS, HERE)) == (0, 0)


def test_a_kernel_that_cannot_give_memory_back_clears_it(
    memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Crew(memory, 0, 1) as crew:
        crew[0].add(CONNECTIONS, HERE)
        monkeypatch.setattr(shared_counts.mmap, "MADV_REMOVE", 9999)  # EINVAL, as where it is not known
        crew.supervisor.clear(0)
        assert (crew[1].total(CONNECTIONS), crew[1].elsewhere(CONNECTIONS, HERE)) == (0, 0)
        region = crew[1]._map[shared_counts._HEAD_BYTES :][: shared_counts._REGION_BYTES]
        assert not any(region)
