"""One call's life, event by event: what each end is called, what it leaves open, and what a deadline means in each phase."""

import asyncio

import pytest

from faregate.kernel.problems import Refusal
from faregate.snapshot.call import Call, ReadyRoute
from faregate.snapshot.data import GatewayLimits
from tests.gateway.fakes import OK, FakeTransport, FakeUpstreamConnection, World, make_route

GET = b"GET /v1/payments/p1 HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /v1/payments HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n"


@pytest.fixture
def world():
    with World(attempts=1, max_connections=2) as made:
        yield made


def last(world: World) -> tuple[str, int, str, str]:
    call = world.calls[-1]
    return call.outcome, call.status, call.refusal, call.reason


def sent_call(world: World, request: bytes = GET) -> tuple[FakeTransport, FakeTransport]:
    """A caller whose request has gone upstream, and the upstream's connection."""
    client = world.client()
    client.deliver(request)
    return client, world.pool.connect()


def test_an_answer_in_one_piece_is_one_write_and_one_record(world: World) -> None:
    client, server = sent_call(world)
    server.deliver(OK)
    assert client.take().endswith(b"\r\n\r\n{}")
    call = world.calls[0]
    assert (call.outcome, call.status, call.response_bytes, call.attempts, call.target_name) == (
        "answered",
        200,
        2,
        1,
        "10.0.0.1:80",
    )
    assert world.pool.idle_count == 1


@pytest.mark.parametrize(
    ("request_bytes", "answer", "seconds", "expected"),
    [
        (GET, b"", 10.2, ("unknown", 504, "upstream_timeout", "first_byte_timeout")),
        (POST + b"abcd", b"", 10.2, ("unknown", 504, "upstream_timeout", "first_byte_timeout")),
        (POST, b"", 5.2, ("refused", 400, "malformed_request", "body_too_slow")),
        (
            GET,
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab",
            5.2,
            ("unknown", 200, "upstream_timeout", "idle_timeout"),
        ),
    ],
)
def test_a_deadline_means_what_the_phase_makes_of_it(
    request_bytes: bytes, answer: bytes, seconds: float, expected: tuple[str, int, str, str]
) -> None:
    with World(limits=GatewayLimits(body_timeout=20.0), idle_timeout=5.0) as world:
        client, server = sent_call(world, request_bytes)
        if answer:
            server.deliver(answer)
        world.pass_time(seconds - 0.3)
        assert world.calls == []
        world.pass_time(0.3)
        assert last(world) == expected
        assert server.aborted, "what was cut must not look whole"
        assert client.aborted == bool(answer), "an answer that broke off must show"


def test_the_total_time_bounds_an_answer_that_keeps_coming() -> None:
    with World(total_timeout=3.0, idle_timeout=2.0) as world:
        client, server = sent_call(world)
        server.deliver(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n")
        for _ in range(40):
            if not server.delivers:
                break
            server.deliver(b"a")
            world.pass_time(0.1)
        assert last(world)[2] == "upstream_timeout"
        assert world.time.now < 1003.2
        assert client.aborted


def test_w14_a_failed_connect_tries_another_target_and_no_more_than_declared() -> None:
    with World(targets=3, attempts=1) as world:
        world.client().deliver(GET)
        for _ in range(2):
            next(pool for pool in world.pools if pool.asked).fail()
        assert last(world) == ("not_sent", 502, "upstream_unreachable", "connect_refused")
        assert world.calls[0].attempts == 2
        assert [state.in_flight for state in world.balancer.targets] == [0, 0, 0]


def test_no_room_is_overloaded_and_frees_nothing_that_is_in_use() -> None:
    with World(max_connections=1) as world:
        sent_call(world)
        world.client().deliver(GET)
        assert last(world) == ("not_sent", 503, "overloaded", "upstream_connections")
        assert world.balancer.targets[0].in_flight == 1


def test_w08_a_lost_caller_cancels_a_read_but_not_a_sent_change(world: World) -> None:
    client, server = sent_call(world)
    client.lose()
    assert last(world)[0] == "client_gone"
    assert server.aborted
    client, server = sent_call(world, POST + b"abcd")
    client.lose()
    assert len(world.calls) == 1
    server.deliver(OK)
    assert last(world)[:2] == ("client_gone", 200)
    assert not server.aborted


def test_w08_a_half_closed_caller_still_gets_its_answer(world: World) -> None:
    client, server = sent_call(world, POST + b"abcd")
    client.end()
    server.deliver(OK)
    world.run()
    assert last(world)[0] == "answered"
    assert client.take().endswith(b"{}")
    assert client.closing
    assert not client.aborted


def test_f25_a_body_cut_by_its_caller_cuts_the_request(world: World) -> None:
    client, server = sent_call(world, POST + b"ab")
    client.end()
    world.run()
    assert last(world) == ("refused", 400, "malformed_request", "body_cut")
    assert server.aborted


def test_w06_an_early_answer_goes_out_at_once_and_ends_both_connections(world: World) -> None:
    client, server = sent_call(world, POST + b"ab")
    server.deliver(OK)
    answer = client.take()
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"Connection: close\r\n" in answer
    assert server.aborted
    assert client.ended


def test_f31_pipelined_requests_run_one_at_a_time_in_order(world: World) -> None:
    client = world.client()
    client.deliver(
        GET.replace(b"p1", b"one") + GET.replace(b"p1", b"two") + GET.replace(b"p1", b"three")[:20]
    )
    server = world.pool.connect()
    assert b"/one " in server.take()
    client.deliver(GET.replace(b"p1", b"three")[20:])
    assert world.plane.begun == 1
    for name in (b"/two ", b"/three "):
        server.deliver(OK)
        world.run()
        assert name in server.take()
    server.deliver(OK)
    assert client.take().count(b"HTTP/1.1 200") == 3
    assert [call.outcome for call in world.calls] == ["answered"] * 3


def test_f31_bytes_that_come_while_held_ones_wait_their_turn_stay_behind_them(world: World) -> None:
    client, server = sent_call(world)
    client.deliver(GET.replace(b"p1", b"two"))
    server.deliver(OK)
    client.deliver(GET.replace(b"p1", b"three"))  # before the loop has taken up what was held
    world.run()
    assert b"/two " in server.take()[-400:]
    server.deliver(OK)
    world.run()
    assert b"/three " in server.take()


def test_pipelined_bytes_are_bounded_by_a_pause(world: World) -> None:
    client, server = sent_call(world)
    while client.reading:
        client.deliver(b"x" * 10_000)
        assert len(client.protocol._buffer) <= (64 << 10) + 10_000
    server.deliver(OK)
    world.run()
    assert client.reading or client.closing


def test_a_refused_calls_small_body_is_skipped_so_that_the_connection_goes_on(world: World) -> None:
    client = world.client()
    client.deliver(b"POST /nowhere HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n01234")
    assert last(world)[2] == "no_route"
    world.run()
    client.deliver(b"56789" + GET)
    world.pool.connect()
    assert world.plane.begun == 2
    assert b"Connection: close" not in client.take()


def waiting_world(futures: list[asyncio.Future[Refusal | None]], steps: list[str]) -> World:
    def routes(upstream: object) -> list[ReadyRoute]:
        def wait(call: Call) -> asyncio.Future[Refusal | None]:
            steps.append(f"wait at {call.now:.0f}")
            futures.append(world.loop.create_future())
            return futures[-1]

        def after(call: Call) -> None:
            steps.append(f"after at {call.now:.0f}")

        return [make_route(method, "/v1/payments", upstream, wait, after) for method in ("GET", "POST")]

    world = World(routes)
    return world


def test_a_step_that_waits_parks_the_call_and_the_next_steps_see_the_time_it_is_then() -> None:
    futures: list[asyncio.Future[Refusal | None]] = []
    steps: list[str] = []
    with waiting_world(futures, steps) as world:
        client = world.client()
        client.deliver(POST + b"ab")
        assert not client.reading
        world.time.now += 7
        futures[0].set_result(None)
        world.run()
        assert steps == ["wait at 1000", "after at 1007"]
        server = world.pool.connect()
        client.deliver(b"cd")
        server.deliver(OK)
        call = world.calls[0]
        assert call.outcome == "answered"
        assert call.duration == pytest.approx(7.0)


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (
            Refusal("credential_invalid", reason="token_expired"),
            ("refused", 401, "credential_invalid", "token_expired"),
        ),
        (RuntimeError("the store broke"), ("refused", 500, "internal_error", "RuntimeError")),
    ],
)
def test_a_step_that_waited_may_refuse_or_break(
    result: Refusal | RuntimeError, expected: tuple[str, int, str, str], caplog: pytest.LogCaptureFixture
) -> None:
    futures: list[asyncio.Future[Refusal | None]] = []
    with waiting_world(futures, []) as world:
        client = world.client()
        client.deliver(GET.replace(b"/p1", b""))
        if isinstance(result, Refusal):
            futures[0].set_result(result)
        else:
            futures[0].set_exception(result)
        world.run()
        assert last(world) == expected
        assert b"the store broke" not in client.take()


def test_a_caller_lost_while_a_step_waits_cancels_the_wait() -> None:
    futures: list[asyncio.Future[Refusal | None]] = []
    with waiting_world(futures, []) as world:
        client = world.client()
        client.deliver(GET.replace(b"/p1", b""))
        world.run()
        client.lose()
        world.run()
        assert futures[0].cancelled()
        assert last(world)[0] == "client_gone"


class Narrow(FakeTransport):
    """Its other end takes nothing after the first 100,000 bytes."""

    def write(self, data: bytes) -> None:
        super().write(data)
        if not self.stuck and len(self.written) > 100_000:
            self.stick()


def test_a_body_is_not_read_while_the_upstream_has_not_taken_what_was_held_of_it(world: World) -> None:
    client = world.client()
    client.deliver(
        b"POST /v1/payments HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" + bytes(200_000)
    )
    server = Narrow(world.loop, FakeUpstreamConnection(world.pool, 128))
    world.pool.asked.pop().connected(server.protocol, world.time())  # type: ignore[arg-type]
    assert not client.reading
    server.drain()
    assert client.reading
