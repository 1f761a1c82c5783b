"""W14: tries elsewhere stay within 20 % of the calls plus 10 a second."""

import pytest

from faregate.gateway.balance.budget import RetryBudget


@pytest.mark.parametrize("calls_a_second", [0, 10, 100, 2000])
def test_over_any_long_time_no_more_than_the_share_and_the_rate(calls_a_second: int) -> None:
    """Every call wants a retry, and ten more a second besides, for a minute."""
    budget = RetryBudget(0.0)
    calls, taken = 0, 0
    step_s = 0.01
    for turn in range(6000):
        now = turn * step_s
        calls += calls_a_second // 100 + (1 if turn % 100 < calls_a_second % 100 else 0)
        for _ in range(calls_a_second // 100 + 1):
            taken += budget.take(now, calls)
    allowed = 60.0 * (10.0 + 0.2 * calls_a_second)
    assert taken <= allowed * 1.05 + 20
    assert taken >= allowed * 0.5, "and not much less either"


def test_the_first_calls_have_their_ten() -> None:
    budget = RetryBudget(0.0)
    assert sum(budget.take(0.0, 0) for _ in range(50)) == 10
    assert (budget.taken, budget.refused) == (10, 40)


def test_old_calls_grant_nothing() -> None:
    budget = RetryBudget(0.0)
    assert sum(budget.take(3600.0, 1_000_000) for _ in range(200)) <= 20


def test_a_burst_may_use_what_the_second_before_has_earned() -> None:
    budget = RetryBudget(0.0)
    for turn in range(11):  # the balancer turns it about every 100 ms
        budget.turn(turn * 0.1, turn * 100)
    budget.turn(1.05, 1050)
    assert 100 <= sum(budget.take(1.1, 1100) for _ in range(1000)) <= 300
