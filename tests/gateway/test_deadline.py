"""``X-Request-Deadline``: the upstream learns how long it has, a caller may only have less, and haste hurts no target."""

import pytest

from faregate.gateway.http1.values import milliseconds
from tests.gateway.fakes import OK, World
from tests.gateway.test_outbound import fields_of, one

GET = b"GET /v1/payments/p1 HTTP/1.1\r\nHost: a\r\n%b\r\n"
POST = b"POST /v1/payments HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n%b\r\nabcd"


def deadline_sent(world: World, extra: bytes = b"") -> bytes | None:
    head, _ = world.exchange_bytes(GET % extra)
    return one(head, b"x-request-deadline")


def last(world: World) -> tuple[str, int, str, str]:
    call = world.calls[-1]
    return call.outcome, call.status, call.refusal, call.reason


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"0", 0), (b"1", 1), (b"30000", 30000), (b"999999999", 999999999), (b"1000000000", -1), (b"", -1), (b"-1", -1), (b"+1", -1),
        (b"01", -1), (b"1.5", -1), (b"1_0", -1), (b" 1", -1), (b"5s", -1), (b"2026-11-23T06:00:00Z", -1), (b"\xd9\xa1", -1),
    ],
)  # fmt: skip
def test_what_is_a_span_of_milliseconds(value: bytes, expected: int) -> None:
    assert milliseconds(value) == expected


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        (b"", b"20000"),
        (b"X-Request-Deadline: 60000\r\n", b"20000"),
        (b"X-Request-Deadline: 1500\r\n", b"1500"),
        (b"x-request-deadline: 7\r\n", b"7"),
        (b"X-Request-Deadline: soon\r\n", b"20000"),
        (b"X-Request-Deadline: 5\r\nX-Request-Deadline: 9\r\n", b"20000"),
    ],
)
def test_the_earlier_of_the_callers_and_ours_is_passed_on_once(extra: bytes, expected: bytes) -> None:
    with World(total_timeout=20.0) as world:
        assert deadline_sent(world, extra) == expected
        assert deadline_sent(world) == b"20000", "and nothing of it stays with the connection"


def test_time_spent_on_connecting_is_told() -> None:
    with World(total_timeout=20.0) as world:
        world.client().deliver(GET % b"")
        world.time.now += 1.5
        server = world.pool.connect()
        assert dict(fields_of(bytes(server.written)))[b"x-request-deadline"] == b"18500"


def test_a_callers_deadline_ends_the_call_and_is_not_held_against_the_target() -> None:
    with World(total_timeout=20.0, first_byte_timeout=10.0) as world:
        for _ in range(50):
            world.client().deliver(GET % b"X-Request-Deadline: 100\r\n")
            world.run()
            if world.pool.asked:
                world.pool.connect()
            world.pass_time(0.3)
            assert last(world) == ("unknown", 504, "upstream_timeout", "total_timeout")
        target = world.balancer.targets[0]
        assert (target.faults, target.in_flight) == (0, 0)
        assert [status.state for status in world.balancer.states()] == ["up"]


def test_our_own_total_timeout_is_held_against_it() -> None:
    with World(total_timeout=1.0, first_byte_timeout=10.0) as world:
        world.client().deliver(GET % b"")
        world.pool.connect()
        world.pass_time(1.3)
        assert last(world) == ("unknown", 504, "upstream_timeout", "total_timeout")
        assert world.balancer.targets[0].faults == 1


@pytest.mark.parametrize("request_bytes", [GET, POST])
def test_a_deadline_that_passes_while_connecting_is_not_sent(request_bytes: bytes) -> None:
    with World(total_timeout=20.0) as world:
        client = world.client()
        client.deliver(request_bytes % b"X-Request-Deadline: 200\r\n")
        world.pass_time(0.5)
        assert last(world) == ("not_sent", 502, "upstream_unreachable", "total_timeout")
        assert b'"outcome":"not_sent"' in client.take()
        server = world.pool.connect()
        assert server.written == b"", "the connection that came late carries nothing"
        assert world.pool.idle_count == 1
        assert world.balancer.targets[0].in_flight == 0


def test_no_time_left_sends_nothing() -> None:
    with World() as world:
        world.client().deliver(GET % b"X-Request-Deadline: 0\r\n")
        assert last(world) == ("not_sent", 502, "upstream_unreachable", "deadline_passed")
        assert (world.pool.asked, world.balancer.targets[0].in_flight) == ([], 0)


def test_a_connection_list_that_names_it_is_refused() -> None:
    with World() as world:
        _, answer = world.exchange_bytes(GET % b"Connection: x-request-deadline\r\nX-Request-Deadline: 5\r\n")
        assert answer.startswith(b"HTTP/1.1 400 ")


def test_an_answer_in_time_is_just_an_answer() -> None:
    with World() as world:
        _, answer = world.exchange_bytes(GET % b"X-Request-Deadline: 5000\r\n", OK)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert last(world)[0] == "answered"
