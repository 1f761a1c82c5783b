"""Places are counted over all workers, given back exactly once, and never outlive their worker."""

import pytest

from faregate.policies.concurrency.step import RETRY_NS, Concurrency
from tests.stores import table
from tests.stores.table import SECOND, WALL

NOW = 1_000 * SECOND


def places(counters, limit=3, name=b"acme"):
    return Concurrency(counters, counters.owner(name), limit)


def take(counter):
    if counter.check(NOW, WALL):
        return None
    counter.take()
    return counter.place()


def test_no_more_than_the_limit_at_once_and_a_place_given_back_is_free(counters):
    counter = places(counters)
    held = [take(counter) for _ in range(3)]
    assert None not in held
    assert counter.check(NOW, WALL) == RETRY_NS
    held[1]()
    assert take(counter) is not None
    assert take(counter) is None


def test_giving_a_place_back_twice_frees_one(counters):
    counter = places(counters)
    held = [take(counter) for _ in range(3)]
    held[0]()
    held[0]()
    assert take(counter) is not None
    assert take(counter) is None


@pytest.mark.parametrize("count", [2, 5, 64])
def test_places_count_over_all_workers(memory, count):
    workers = [table.join(memory, index, count) for index in range(count)]
    held = [take(places(worker, limit=count - 1)) for worker in workers]
    assert held[-1] is None
    assert None not in held[:-1]
    held[0]()
    assert take(places(workers[-1], limit=count - 1)) is not None
    for worker in workers:
        worker.close()


def test_a_worker_that_joins_later_is_counted(memory):
    early = table.join(memory, 0, 2)
    counter = places(early, limit=2)
    assert take(counter) is not None
    late = table.join(memory, 7, 2)
    assert take(places(late, limit=2)) is not None
    assert take(counter) is None
    early.close()
    late.close()


def test_a_place_given_back_after_the_worker_left_harms_nothing(memory):
    counters = table.join(memory)
    place = take(places(counters))
    counters.close()
    place()
    counters = table.join(memory)
    assert [take(places(counters)) is not None for _ in range(4)] == [True, True, True, False]
    counters.close()


def test_an_edited_limit_counts_the_calls_in_progress(counters):
    assert take(places(counters, limit=2)) is not None
    assert take(places(counters, limit=1)) is None
    assert take(places(counters, limit=2)) is not None
    assert take(places(counters, limit=2)) is None
