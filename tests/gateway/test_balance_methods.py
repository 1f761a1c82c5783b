"""Every method honours weights, ``tried`` and slow start, and each keeps its own promise."""

from collections import Counter
from itertools import groupby
from random import Random

import pytest

from faregate.gateway.balance import Balancer, TargetState, make_balancer
from faregate.gateway.balance.make import METHODS
from faregate.gateway.balance.pairs import pair_table
from faregate.snapshot.data import ActiveHealth, PassiveHealth, Target, Upstream


def balancer_of(
    method: str, *weights: int, previous: Balancer | None = None, now: float = 0.0, seed: int = 1
) -> Balancer:
    targets = tuple(
        Target(name=f"s{n}", host="127.0.0.1", port=9000 + n, weight=w) for n, w in enumerate(weights)
    )
    upstream = Upstream(
        name="payments",
        targets=targets,
        balance=method,
        active=ActiveHealth(path="/"),
        passive=PassiveHealth(),
    )
    return make_balancer(upstream, previous, now, Random(seed))


def picks(balancer: Balancer, number: int, now: float = 0.0, key: bytes | None = None) -> list[str]:
    """Names of ``number`` picks, each given back at once; keys are all different unless one is given."""
    names = []
    for turn in range(number):
        target = balancer.pick(now, b"key-%d" % turn if key is None else key, ())
        assert target is not None
        names.append(target.name)
        balancer.released(target)
    return names


@pytest.mark.parametrize("weights", [(1, 1), (1, 2), (5, 1, 1), (1, 2, 3, 4), (100, 200), (1,) * 20])
@pytest.mark.parametrize("method", METHODS)
def test_calls_fall_in_proportion_to_weights(method: str, weights: tuple[int, ...]) -> None:
    counts = Counter(picks(balancer_of(method, *weights), 20_000))
    for index, weight in enumerate(weights):
        assert counts[f"s{index}"] / 20_000 == pytest.approx(weight / sum(weights), rel=0.12)


@pytest.mark.parametrize("method", METHODS)
def test_a_target_that_was_tried_is_not_picked_again_and_when_all_were_there_is_none(method: str) -> None:
    balancer = balancer_of(method, 1, 1, 2)
    for _ in range(50):
        tried: tuple[TargetState, ...] = ()
        for _ in balancer.targets:
            target = balancer.pick(0.0, b"key", tried)
            assert target is not None
            assert target not in tried
            tried += (target,)
        assert balancer.pick(0.0, b"key", tried) is None
        for target in tried:
            balancer.released(target)
    assert [target.in_flight for target in balancer.targets] == [0, 0, 0]


@pytest.mark.parametrize("key", [b"", b"key"])
@pytest.mark.parametrize("method", METHODS)
def test_only_healthy_targets_are_picked_and_none_when_active_checks_deny_all(
    method: str, key: bytes
) -> None:
    balancer = balancer_of(method, 1, 1, 1)
    first, second, third = balancer.targets
    balancer.set_active_health(first, False, 0.0)
    balancer.set_active_health(third, False, 0.0)
    assert set(picks(balancer, 50, key=key)) == {"s1"}
    balancer.set_active_health(second, False, 0.0)
    assert balancer.pick(0.0, key, ()) is None
    balancer.set_active_health(third, True, 0.0)
    assert set(picks(balancer, 50, key=key)) == {"s2"}


@pytest.mark.parametrize("key", [b"", b"key"])
@pytest.mark.parametrize("method", METHODS)
def test_one_target_takes_every_call(method: str, key: bytes) -> None:
    assert set(picks(balancer_of(method, 3), 20, key=key)) == {"s0"}


@pytest.mark.parametrize("method", [method for method in METHODS if method != "hash"])
def test_a_returning_target_starts_at_a_tenth_and_has_its_share_after_10_seconds(method: str) -> None:
    balancer = balancer_of(method, 1, 1)
    returning = balancer.targets[1]
    balancer.set_active_health(returning, False, 0.0)
    balancer.set_active_health(returning, True, 5.0)
    shares = [picks(balancer, 4000, now).count("s1") / 4000 for now in (5.0, 10.0, 15.1)]
    assert shares == pytest.approx([0.1 / 1.1, 0.55 / 1.55, 0.5], abs=0.03)


def test_hash_does_not_start_slowly_because_keys_would_move_twice() -> None:
    balancer = balancer_of("hash", 1, 1)
    before = picks(balancer, 500)
    balancer.set_active_health(balancer.targets[1], False, 0.0)
    assert set(picks(balancer, 500)) == {"s0"}
    balancer.set_active_health(balancer.targets[1], True, 0.0)
    assert picks(balancer, 500) == before


# round_robin


def test_round_robin_counts_are_exact_over_whole_rounds() -> None:
    assert Counter(picks(balancer_of("round_robin", 5, 1, 1), 700)) == {"s0": 500, "s1": 100, "s2": 100}


@pytest.mark.parametrize("seed", range(5))
def test_round_robin_interleaves(seed: int) -> None:
    names = picks(balancer_of("round_robin", 3, 3, 1, seed=seed), 700)
    assert max(len(list(run)) for _, run in groupby(names)) <= 2


def test_round_robin_workers_begin_at_different_targets() -> None:
    assert len({picks(balancer_of("round_robin", 1, 1, 1, seed=seed), 1)[0] for seed in range(20)}) == 3


def test_round_robin_does_not_repay_turns_missed_while_out() -> None:
    balancer = balancer_of("round_robin", 1, 1)
    out = balancer.targets[1]
    balancer.set_active_health(out, False, 0.0)
    picks(balancer, 1000)
    balancer.set_active_health(out, True, 0.0)
    picks(balancer, 1, now=60.0)
    assert picks(balancer, 100, now=60.0).count("s1") in {49, 50, 51}


# least_requests


def test_least_requests_picks_the_fewest_in_flight_per_weight() -> None:
    balancer = balancer_of("least_requests", 1, 1, 3)
    for target, in_flight in zip(balancer.targets, (2, 1, 4), strict=True):
        target.in_flight = in_flight
    # per weight: 2, 1, 4/3
    assert picks(balancer, 1) == ["s1"]
    balancer.targets[1].in_flight = 2
    assert picks(balancer, 1) == ["s2"]


def test_least_requests_keeps_queues_level() -> None:
    balancer = balancer_of("least_requests", 1, 1, 2)
    for _ in range(400):
        balancer.pick(0.0, b"", ())
    assert [target.in_flight for target in balancer.targets] == [100, 100, 200]


def test_least_requests_of_many_targets_compares_a_sample_and_still_keeps_queues_nearly_level() -> None:
    balancer = balancer_of("least_requests", *[1] * 100)
    for _ in range(5000):
        balancer.pick(0.0, b"", ())
    in_flight = [target.in_flight for target in balancer.targets]
    assert sum(in_flight) == 5000
    assert max(in_flight) <= 53


# hash


def test_hash_sends_a_key_to_one_target_in_every_worker() -> None:
    assert picks(balancer_of("hash", 1, 1, 1, seed=1), 300) == picks(
        balancer_of("hash", 1, 1, 1, seed=2), 300
    )


def test_hash_is_the_same_on_every_machine_and_version() -> None:
    """Recorded once: a change here would move every merchant to another server at the upgrade."""
    assert "".join(name[1] for name in picks(balancer_of("hash", 1, 1, 1), 24)) == RECORDED


RECORDED = "102212202102000000212022"


@pytest.mark.parametrize("gone", [0, 3])
def test_hash_moves_only_the_keys_of_a_target_that_goes(gone: int) -> None:
    balancer = balancer_of("hash", 1, 1, 1, 1)
    before = picks(balancer, 5000)
    balancer.set_active_health(balancer.targets[gone], False, 0.0)
    after = picks(balancer, 5000)
    moved = [old for old, new in zip(before, after, strict=True) if old != new]
    assert set(moved) == {f"s{gone}"}
    assert len(moved) / 5000 == pytest.approx(0.25, abs=0.03)
    heirs = Counter(new for old, new in zip(before, after, strict=True) if old != new)
    assert min(heirs.values()) / len(moved) > 0.25, "its keys are spread over the others"


def test_hash_moves_only_a_new_targets_share_to_it() -> None:
    small = balancer_of("hash", 1, 1, 1)
    before = picks(small, 5000)
    after = picks(balancer_of("hash", 1, 1, 1, 2, previous=small), 5000)
    moved_to = [new for old, new in zip(before, after, strict=True) if old != new]
    assert set(moved_to) == {"s3"}
    assert len(moved_to) / 5000 == pytest.approx(2 / 5, abs=0.03)


def test_hash_of_a_tried_target_is_the_next_in_the_order_which_is_where_keys_go_when_it_is_out() -> None:
    balancer = balancer_of("hash", 1, 1, 1)
    chosen = balancer.pick(0.0, b"acme", ())
    assert chosen is not None
    retry = balancer.pick(0.0, b"acme", (chosen,))
    balancer.set_active_health(chosen, False, 0.0)
    assert balancer.pick(0.0, b"acme", ()) is retry


def test_hash_without_a_key_spreads_at_random() -> None:
    assert set(picks(balancer_of("hash", 1, 1, 1), 100, key=b"")) == {"s0", "s1", "s2"}


# the table of adaptive


@pytest.mark.parametrize("number", [2, 3, 5, 8, 17, 32])
def test_pair_table_of_equal_shares_holds_every_pair_equally_often(number: int) -> None:
    pairs = Counter(pair_table([1.0] * number))
    assert set(pairs) == {(a, b) for a in range(number) for b in range(number) if a != b}
    assert len(set(pairs.values())) == 1


@pytest.mark.parametrize("shares", [[1.0] * 500, [0.1] * 8 + [1000.0], [1.0, 1e6], [0.1, *[1.0] * 99]])
def test_pair_table_is_bounded_and_leaves_nobody_out(shares: list[float]) -> None:
    pairs = pair_table(shares)
    assert len(pairs) <= max(512, 32 * len(shares))
    assert {first for first, _ in pairs} == set(range(len(shares)))
    assert all(first != second for first, second in pairs)


def test_pair_table_of_none_and_one() -> None:
    assert pair_table([]) == []
    assert pair_table([2.0]) == [(0, 0)]
