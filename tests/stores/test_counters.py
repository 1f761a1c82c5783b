"""Counters are found again, reused only when nothing is lost, and never admit too much when the table is full."""

import pytest

from faregate.policies.concurrency.step import Concurrency
from faregate.policies.quota.step import Calendar, Quota
from faregate.policies.rate_limit.step import Bucket, Window
from faregate.stores import counters_layout as layout
from faregate.stores.counters import Owner
from faregate.stores.counters_layout import Kind
from tests.stores import table
from tests.stores.table import SECOND, WALL

START = 1_000 * SECOND
USABLE = layout.PARTITION_SLOTS - layout.RESERVED_SLOTS
FIRST_ADDRESSES = 16


def address(counters, number):
    """An address of the first partition for addresses, so that a test can fill that one."""
    return Owner(FIRST_ADDRESSES, number | layout.OWNER_ADDRESS_BIT, b"ip:%d" % number)


def window(counters, number, limit=5, period_ms=1_000):
    return Window(counters, address(counters, number), "route", limit, period_ms)


def bucket(counters, number):
    return Bucket(counters, address(counters, number), "route", 5, 1_000, burst=5)


def quota(counters, number):
    return Quota(counters, address(counters, number), "route", 5, Calendar(0))


def admit(counter, now=START, wall=WALL):
    if counter.check(now, wall):
        return False
    counter.take()
    return True


def fill(counters, make=window, now=START):
    """Uses keys of one partition until one of them finds no place; returns how many there are."""
    number = 0
    while not counters.stats.overflows:
        assert admit(make(counters, number), now)
        number += 1
    return number


def test_workers_find_the_same_slot_for_the_same_counter(memory):
    one, two = table.join(memory, 0, 2), table.join(memory, 1, 2)
    first, second = (Window(each, each.owner(b"acme"), "plan", 5, 1_000) for each in (one, two))
    assert [admit(first), admit(second), admit(first), admit(second), admit(first), admit(second)] == [
        True
    ] * 5 + [False]
    one.close()
    two.close()


def test_owner_scope_period_kind_and_region_each_make_another_counter(counters):
    owners = [counters.owner(b"acme"), counters.owner(b"acme2"), counters.owner(b"acme", address=True)]
    made = [
        Window(counters, owner, scope, 1, period)
        for owner in owners
        for scope in ("plan", "api a")
        for period in (1_000, 60_000)
    ]
    made += [
        Bucket(counters, owners[0], "plan", 1, 1_000, burst=1),
        Bucket(counters, owners[0], "plan", 1, 60_000, burst=1),
    ]
    assert [admit(counter) for counter in made] == [True] * 14


def test_names_and_scopes_do_not_run_together(counters):
    assert counters.digest(Owner(0, 1, b"ab"), "c", Kind.BUCKET) != counters.digest(
        Owner(0, 1, b"a"), "bc", Kind.BUCKET
    )


def test_another_file_places_the_same_names_elsewhere(tmp_path):
    placed = []
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        counters = table.alone(tmp_path / folder)
        placed.append(
            [counters.digest(counters.owner(b"%d" % name), "plan", Kind.BUCKET) for name in range(50)]
        )
        counters.close()
    assert not set(placed[0]) & set(placed[1]), "who calls cannot choose where its address lands"


def test_addresses_never_lie_in_the_partitions_of_consumers(counters):
    consumers = {counters.owner(b"%d" % name).partition for name in range(500)}
    addresses = {counters.owner(b"%d" % name, address=True).partition for name in range(500)}
    assert consumers == set(range(16))
    assert addresses == set(range(16, 32))


def test_at_the_planned_load_no_counter_goes_without_a_slot(tmp_path):
    counters = table.alone(tmp_path, consumers=20_000)
    for number in range(4_000):
        owner = counters.owner(b"merchant-%d" % number)
        for scope in ("plan", "api a", "route b"):
            Window(counters, owner, scope, 5, 1_000).check(START, WALL)
        Quota(counters, owner, "quota", 5, Calendar(0)).check(START, WALL)
        Concurrency(counters, owner, 5).check(START, WALL)
    assert counters.stats.claims == 20_000
    assert counters.stats.overflows == 0
    counters.close()


@pytest.mark.parametrize("make", [window, bucket])
def test_slots_whose_history_has_passed_are_used_again(counters, make):
    count = fill(counters, make)
    overflows = counters.stats.overflows
    later = START + 2 * SECOND
    for number in range(count, count + 300):
        assert admit(make(counters, number), later)
    assert counters.stats.overflows == overflows
    assert counters.stats.reuses > 0


def test_a_quota_is_kept_until_its_month_is_over(counters):
    without_slot = quota(counters, fill(counters, quota) - 1)
    for soon in (1, 2 * 86_400, 3 * 86_400):
        overflows = counters.stats.overflows
        without_slot.check(START + soon * SECOND, WALL + soon)
        assert counters.stats.overflows == overflows + 1
    claims = counters.stats.claims
    assert admit(without_slot, START + 5 * 86_400 * SECOND, WALL + 5 * 86_400)
    assert counters.stats.claims == claims + 1


def test_a_slot_that_another_caller_took_over_is_noticed(counters):
    early = window(counters, 0)
    assert admit(early)
    slot = early.word
    later = START + 2 * SECOND
    number = 1
    while counters.words[slot] == early.low:
        admit(window(counters, number), later)
        number += 1
        assert number < 20 * USABLE
    held = counters.cells[slot // 2 : slot // 2 + layout.SLOT_CELLS // 2].tolist()
    assert sum(admit(early, later) for _ in range(7)) <= 5
    assert early.word != slot
    assert counters.cells[slot // 2 : slot // 2 + layout.SLOT_CELLS // 2].tolist() == held


def test_a_call_never_reuses_a_slot_that_it_has_just_checked(counters):
    count = fill(counters)
    now = START + 2 * SECOND
    owner = address(counters, count)
    # More than can lie beside each other, all spent until they are taken: buckets never used, places not taken.
    scopes = [f"route {number}" for number in range(400)]
    made = [Bucket(counters, owner, scope, 5, 1_000, burst=5) for scope in scopes]
    for counter in made:
        counter.check(now, WALL)
    own = [counter for counter in made if counter.word >= (FIRST_ADDRESSES * 1024 + 16) * layout.SLOT_WORDS]
    assert len(own) > 300
    assert len({counter.word for counter in own}) == len(own)
    assert all(counters.words[counter.word] == counter.low for counter in own)


@pytest.mark.parametrize("make", [window, bucket, quota])
def test_callers_without_a_slot_share_one_and_are_never_admitted_too_much(counters, make):
    count = fill(counters, make)
    numbers = range(count, count + 400)
    admitted = dict.fromkeys(numbers, 0)
    for _ in range(6):
        for number in numbers:
            admitted[number] += admit(make(counters, number))
    assert max(admitted.values()) <= 5
    assert counters.stats.overflows > 0
    assert sum(admitted.values()) < 5 * len(numbers), "they share a slot, so some are refused early"


def test_a_caller_that_gets_a_slot_at_last_brings_along_what_it_may_have_used(counters):
    """Five from the shared slot, then a slot of its own in the same second: not five more."""
    wide = window(counters, 0)
    number = fill(counters)
    while True:
        counter = window(counters, number)
        overflows = counters.stats.overflows
        admit(counter)
        if counters.stats.overflows > overflows:
            break
        number += 1
    while admit(counter):
        pass
    # One of its neighbours becomes free.
    from faregate.stores.counters import neighbours

    slot = neighbours(FIRST_ADDRESSES, counter.high)[0]
    counters.words[slot * layout.SLOT_WORDS] = 0
    claims = counters.stats.claims
    assert not admit(counter)
    assert counters.stats.claims == claims + 1, "it has its own slot now"
    assert admit(counter, START + 2 * SECOND)
    assert wide.limit == 5


def test_two_limits_of_one_call_in_the_same_shared_slot_stay_consistent(counters):
    count = fill(counters)
    owner = address(counters, count)
    pairs = []
    for number in range(4000):
        pair = [Window(counters, owner, f"{part} {number}", 1_000_000, 1_000) for part in "ab"]
        overflows = counters.stats.overflows
        for counter in pair:
            counter.check(START, WALL)
        if counters.stats.overflows == overflows + 2:
            pairs.append(pair)
        if len(pairs) == 3:
            break
    for step in range(50):
        for pair in pairs:
            now = START + step * SECOND // 10
            assert [counter.check(now, WALL) for counter in pair] == [0, 0]
            for counter in pair:
                counter.take()
    slot = pairs[0][0].word
    cell = pairs[0][0].cell
    assert counters.words[slot + layout.SECOND] == sum(counters.cells[cell : cell + 128])


def test_places_in_a_shared_slot_still_count_when_a_slot_comes_free(counters):
    def places(number):
        return Concurrency(counters, address(counters, number), 2)

    held = []
    number = 0
    while not counters.stats.overflows:
        counter = places(number)
        assert admit(counter)
        held.append((counter, counter.place()))
        number += 1
    counter, _ = held[-1]
    assert admit(counter)
    second = counter.place()
    assert not admit(counter)
    held[0][1]()  # some neighbour may come free now; this one's places are still in the shared slot
    from faregate.stores.counters import neighbours

    free = neighbours(FIRST_ADDRESSES, counter.high)[0]
    counters.words[free * layout.SLOT_WORDS] = 0
    assert not admit(counter)
    held[-1][1]()
    second()
    assert admit(counter)
    assert counters.words[counter.word] == counter.low, "the shared slot is empty: it has its own now"


@pytest.mark.parametrize("writes", range(0, 84, 3))
def test_a_worker_killed_while_it_reuses_a_slot_leaves_its_former_counter_whole(counters, writes):
    former, latter = window(counters, 1), window(counters, 2)
    for _ in range(5):
        assert admit(former)
    later = START + 10 * SECOND
    words = counters.words
    lifetime, tags = table.Lifetime(writes), counters.tags
    counters.words = table.DyingMemory(words, lifetime)
    counters.tags = table.DyingMemory(tags, lifetime)
    try:
        slot = former.word // layout.SLOT_WORDS
        counters._claim(slot, latter, FIRST_ADDRESSES * layout.PARTITION_SLOTS + latter.kind, later, WALL)
    except table.Killed:
        pass
    finally:
        counters.words, counters.tags = words, tags
    for counter in (former, latter):
        assert [admit(counter, later) for _ in range(6)] == [True] * 5 + [False]
        assert [admit(counter, later + 2 * SECOND) for _ in range(6)] == [True] * 5 + [False]


def test_a_worker_killed_while_it_claims_a_slot_leaves_a_free_one(counters):
    for writes in range(0, 90, 3):
        lifetime = table.Lifetime(writes)
        words = counters.words
        counters.words = table.DyingMemory(words, lifetime)
        counter = window(counters, writes)
        counter.words = counters.words
        try:
            admit(counter)
        except table.Killed:
            pass
        finally:
            counters.words = words
        assert sum(admit(window(counters, writes)) for _ in range(9)) in (4, 5)
    assert counters.stats.overflows == 0
