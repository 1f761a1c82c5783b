"""The sequential tests of a canary: false alarms are as rare as is said however often one looks, and real ones quick."""

import bisect
import functools
import math
import random
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.gateway.canary import bucket_of
from faregate.manager.arms import LIVES_MAX, Arm, Arms
from faregate.manager.cases.judging import LEVEL, MARK_CALLS, Judge
from faregate.manager.cases.sequential import ODDS, Shares
from faregate.records.frames import ArmCounts

OLD, NEW = 450, 50
"""Calls of a second: 500 of which a tenth are the canary's."""


class Binomial:
    """How many of ``calls`` are hits, each with the chance ``share``."""

    def __init__(self, calls: int, share: float) -> None:
        chances = [
            math.comb(calls, hits) * share**hits * (1 - share) ** (calls - hits) for hits in range(calls + 1)
        ]
        self._sums = list(accumulate(chances))

    def draw(self, rng: random.Random) -> int:
        return min(bisect.bisect(self._sums, rng.random()), len(self._sums) - 1)


@functools.cache
def drawing(calls: int, share: float) -> Binomial:
    return Binomial(calls, share)


def seconds_until(rng: random.Random, old: float, news: list[float], blocks_a_second: int = 1) -> float:
    """When the new revision is found to be worse, ``news`` its share in each second; infinity when it is not."""
    test = Shares(LEVEL / 2)
    calls = OLD // blocks_a_second, NEW // blocks_a_second
    olds = drawing(calls[0], old)
    for second, share in enumerate(news):
        new = drawing(calls[1], share)
        for block in range(blocks_a_second):
            at = second + block / blocks_a_second
            test.add((calls[0], olds.draw(rng)), (calls[1], new.draw(rng)), at)
            if test.exceeded:
                return at + 1 / blocks_a_second
    return math.inf


def test_of_2000_canaries_that_are_no_worse_at_most_1_percent_stop() -> None:
    """Two tests share the level: each may stop half as many. A look a second, for a minute."""
    rng = random.Random(11)
    shares = (0.001, 0.01, 0.05, 0.3)
    stopped = sum(
        math.isfinite(seconds_until(rng, share, [share] * 60)) for share in shares for _ in range(500)
    )
    assert stopped <= 2000 * LEVEL / 2, stopped


@pytest.mark.parametrize(
    ("old", "new", "median_s", "most_s"),
    [(0.05, 0.15, 5.0, 10.0), (0.01, 0.05, 6.0, 14.0), (0.0, 0.02, 6.0, 15.0), (0.0, 1.0, 1.0, 1.0)],
)
def test_one_that_is_worse_is_found_within_seconds(
    old: float, new: float, median_s: float, most_s: float
) -> None:
    rng = random.Random(12)
    took = sorted(seconds_until(rng, old, [new] * 60, 2) for _ in range(100))
    assert took[50] <= median_s, took[50]
    assert took[94] <= most_s, took[94]


def test_one_that_becomes_worse_after_five_minutes_is_found_as_well() -> None:
    rng = random.Random(13)
    took = sorted(seconds_until(rng, 0.05, [0.05] * 300 + [0.15] * 60) - 300 for _ in range(20))
    assert took[0] > 0
    assert took[18] <= 25, took


@given(
    base=st.floats(0.0001, 0.9),
    known=st.tuples(st.integers(0, 500), st.integers(0, 500)),
    old_calls=st.integers(1, 6),
    new_calls=st.integers(1, 6),
    better=st.floats(0.0, 1.0),
)
def test_no_block_raises_the_expected_evidence_while_the_new_one_is_no_worse(
    base: float, known: tuple[int, int], old_calls: int, new_calls: int, better: float
) -> None:
    """Exactly, over every outcome of one block: that is what makes the bound hold at any time."""
    new_share = base * better
    expected = 0.0
    for old_hits in range(old_calls + 1):
        for new_hits in range(new_calls + 1):
            test = Shares(0.005)
            test._calls[0], test._hits[0] = max(known), min(known)
            test.add((old_calls, old_hits), (new_calls, new_hits), 0.0)
            chance = math.comb(old_calls, old_hits) * base**old_hits * (1 - base) ** (old_calls - old_hits)
            chance *= (
                math.comb(new_calls, new_hits)
                * new_share**new_hits
                * (1 - new_share) ** (new_calls - new_hits)
            )
            expected += chance * test.evidence
    assert expected <= 1 + 1e-9


def test_a_block_in_which_one_has_no_calls_waits_for_the_next() -> None:
    together, apart = Shares(0.005), Shares(0.005)
    together.add((100, 1), (10, 5), 0.0)
    apart.add((60, 1), (0, 0), 0.0)
    assert apart.evidence == 1.0
    apart.add((40, 0), (10, 5), 0.0)
    assert apart.evidence == together.evidence > 1.0
    assert len(ODDS) == 5


def arm(calls: int, failures: int = 0, **times: int) -> Arm:
    """``ms_5=3``: three took 5 ms."""
    return Arm(calls, failures, {bucket_of(int(name[3:]) / 1000): count for name, count in times.items()})


def test_what_is_slow_is_told_by_the_running_revision_before_it_is_tested() -> None:
    judge = Judge()
    judge.look(arm(500, ms_5=500), arm(50, ms_90=50), 1.0)
    assert (judge.mark_s, judge.slow_calls, judge.verdict()) == (0.0, None, "")
    judge.look(arm(MARK_CALLS, ms_5=MARK_CALLS - 5, ms_50=5), arm(100, ms_90=100), 2.0)
    assert 0.005 <= judge.mark_s < 0.0055
    assert judge.slow_calls is not None
    assert judge.slow_calls.new == (0, 0), "those that were there before are not in the test"
    judge.look(arm(2000, ms_5=1985, ms_50=15), arm(200, ms_90=200), 3.0)
    assert judge.slow_calls.old == (1000, 10)
    assert judge.slow_calls.new == (100, 100)
    assert judge.verdict() == "slow_calls"


def test_too_few_calls_are_no_verdict_and_better_is_none_either() -> None:
    judge = Judge()
    judge.look(arm(1000), arm(19, 19), 1.0)
    assert judge.failures.largest > judge.failures.bound
    assert judge.verdict() == ""
    judge.look(arm(1100), arm(20, 20), 2.0)
    assert judge.verdict() == "failures"
    better = Judge()
    for second in range(1, 60):
        better.look(arm(450 * second, 40 * second), arm(50 * second, 0), float(second))
    assert better.verdict() == ""
    assert better.failures.p_value == 1.0


def test_sums_are_over_all_workers_and_their_former_lives() -> None:
    arms = Arms()
    arms.take(0, "a", [ArmCounts(7, 5, 1, {}), ArmCounts(7, 1, 1, {})])
    assert arms.sums()[0].calls == 0, "nobody watches"
    arms.watch(7)
    first = [ArmCounts(7, 5, 1, {3: 5}), ArmCounts(7, 1, 1, {4: 1})]
    arms.take(0, "a", first)
    arms.take(0, "a", first)  # a report that comes again
    arms.take(1, "b", [ArmCounts(7, 2, 0, {3: 2}), ArmCounts(7, 0, 0, {})])
    arms.take(0, "c", [ArmCounts(7, 1, 0, {9: 1}), ArmCounts(7, 1, 0, {4: 1})])  # its successor
    arms.take(1, "b", [ArmCounts(6, 99, 0, {}), ArmCounts(6, 99, 0, {})])  # of a canary before
    old, new = arms.sums()
    assert (old.calls, old.failures, old.buckets) == (8, 1, {3: 7, 9: 1})
    assert (new.calls, new.failures, new.buckets) == (2, 1, {4: 2})
    for life in range(2 * LIVES_MAX):
        arms.take(0, f"life {life}", first)
    assert arms.sums()[0].calls < 5 * (LIVES_MAX + 1)
