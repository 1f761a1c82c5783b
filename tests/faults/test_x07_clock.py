"""X7: clocks that jump by an hour or a day, or stand still. The clock is injected, never the system's.

What a rate window does with a clock that steps back stands in tests/policies/rate_limit/test_step.py, a token remembered over a jump in
tests/policies/jwt/test_memory.py. Here is what the wall clock may and may not decide.
"""

import pytest

from faregate.policies.limits import build
from tests.gateway.fakes import OK, World
from tests.policies.jwt.material import WALL, claims, reason_of, token
from tests.policies.rate_limit.test_limits import NOW, PLANS, consumer, passes, route
from tests.policies.rate_limit.test_limits import WALL as LIMITS_WALL
from tests.stores import table

HOUR, DAY = 3600, 86_400
JUMPS = [-DAY, -HOUR, HOUR, DAY]
GET = b"GET /v1/payments/p1 HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.mark.parametrize("jump", JUMPS)
def test_x7_a_wall_clock_that_jumps_gives_no_rate_away_and_takes_none(tmp_path, jump: int) -> None:
    """Windows count by the monotonic clock: what the wall says changes nothing."""
    counters = table.alone(tmp_path)
    try:
        step = build(route(), PLANS, counters)
        who = consumer()
        assert [passes(step, who) for _ in range(6)] == [True] * 5 + [False]
        assert not passes(step, who, wall=LIMITS_WALL + jump)
        assert passes(step, who, now=NOW + 1.1, wall=LIMITS_WALL + jump)
    finally:
        counters.close()


def test_x7_a_clock_that_stands_still_admits_one_limit_and_no_more(tmp_path) -> None:
    counters = table.alone(tmp_path)
    try:
        step = build(route(), PLANS, counters)
        who = consumer()
        assert sum(passes(step, who) for _ in range(500)) == 5
    finally:
        counters.close()


@pytest.mark.parametrize(
    ("jump", "expected"),
    [(-DAY, "not yet"), (-HOUR, "not yet"), (0, "accepted"), (HOUR, "expired"), (DAY, "expired")],
)
def test_x7_a_token_is_judged_by_the_wall_as_it_is_now(jump: int, expected: str) -> None:
    """Ten minutes long, issued just now: an hour off in either direction is outside, whatever was decided before."""
    fresh = token(claims(nbf=WALL - 10))
    assert reason_of(fresh, wall=WALL) == "accepted"
    told = reason_of(fresh, wall=WALL + jump)
    if expected == "not yet":
        assert told in {"not_yet_valid", "issued_in_future"}
    else:
        assert told == expected


@pytest.mark.parametrize("jump", JUMPS)
def test_x7_calls_in_flight_outlive_a_jump_of_the_wall_clock(jump: int) -> None:
    """Deadlines and durations are the monotonic clock's."""
    with World() as world:
        client = world.client()
        client.deliver(GET)
        server = world.pool.connect()
        world.time.now += 0.3
        world.plane.wall_offset += jump
        world.plane.wheel.turn(world.time.now)
        server.deliver(OK)
        world.run()
        (call,) = world.calls
        assert (call.outcome, call.status) == ("answered", 200)
        assert call.duration == pytest.approx(0.3, abs=0.01)


def test_x7_a_clock_that_stands_still_ends_no_call_and_answers_all() -> None:
    with World() as world:
        client = world.client()
        for _ in range(50):
            sent, answer = world.exchange_bytes(GET, client=client)
            assert sent.startswith(b"GET /v1/payments/p1 ")
            assert answer.startswith(b"HTTP/1.1 200 ")
        assert [call.outcome for call in world.calls] == ["answered"] * 50
