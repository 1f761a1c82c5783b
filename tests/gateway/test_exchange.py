"""One call's life, event by event: what each end is called, what it leaves open, and what a deadline means in each phase."""

import asyncio
import itertools

import pytest

from faregate.kernel.problems import Refusal
from faregate.snapshot.call import Call, ReadyRoute
from faregate.snapshot.data import GatewayLimits
from tests.gateway.fakes import OK, FakeTransport, World, make_route

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
        (POST, b"", 20.2, ("refused", 400, "malformed_request", "body_timeout")),
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


def test_draining_ends_idle_connections_now_and_busy_ones_with_their_answer(world: World) -> None:
    idle = world.client()
    busy, server = sent_call(world)
    world.plane.drain()
    assert idle.closing
    server.deliver(OK)
    assert b"Connection: close\r\n" in busy.take()
    assert busy.ended


def test_a_head_that_never_ends_and_an_idle_connection_are_given_up_in_time(world: World) -> None:
    slow, idle = world.client(), world.client()
    slow.deliver(b"GET /v1/pay")
    world.pass_time(9.8)
    assert not slow.ended
    assert not idle.closing
    world.pass_time(0.4)
    assert slow.take().startswith(b"HTTP/1.1 400")
    assert idle.closing
    assert last(world) == ("refused", 400, "malformed_request", "header_timeout")


def test_a_deadline_after_a_slow_connect_still_fires(world: World) -> None:
    """Once lost: the wheel looked while the call was connecting and forgot the connection for good."""
    client = world.client()
    client.deliver(GET)
    world.pass_time(5.0)
    world.pool.connect()
    world.pass_time(10.2)
    assert last(world) == ("unknown", 504, "upstream_timeout", "first_byte_timeout")
    assert client.take().startswith(b"HTTP/1.1 504")


def test_w06_a_slow_reader_gets_the_whole_of_a_last_answer(world: World) -> None:
    """LINGER_S bounds reading from a caller after its last answer; it must not bound the caller's own reading of that answer."""
    client, server = sent_call(world, GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    client.stuck = True  # less than the high-water mark: nobody is told to pause
    server.deliver(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"a" * 200_000)
    assert last(world)[0] == "answered"
    world.pass_time(1.5)
    assert client.unsent_at_abort == 0


def test_a_caller_that_reads_nothing_is_given_up_in_the_end(world: World) -> None:
    client, server = sent_call(world)
    server.deliver(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"a" * 1000)
    client.stick()
    world.pass_time(29.0, step=0.5)
    assert world.calls == []
    world.pass_time(2.0)
    assert last(world)[2:] == ("upstream_timeout", "stalled_reader")
    assert client.aborted
    assert world.plane.in_flight == 0


def test_backpressure_stops_the_upstream_and_lets_it_go_on(world: World) -> None:
    client, server = sent_call(world)
    server.deliver(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nab")
    client.stick()
    assert not server.reading
    client.drain()
    assert server.reading
    server.deliver(b"cdef")
    assert last(world)[0] == "answered"


def test_a_full_upstream_stops_the_caller_and_lets_it_go_on(world: World) -> None:
    client, server = sent_call(world, POST + b"a")
    server.stick()
    assert not client.reading
    server.drain()
    assert client.reading
    client.deliver(b"bcd")
    server.deliver(OK)
    assert last(world)[0] == "answered"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "switching_not_asked"),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n" * 9, "too_many_interim"),
        (b"HTTP/1.1 103 Early Hints\r\nContent-Length: 0\r\n\r\n", "interim_with_body"),
        (b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * 70_000, "head_too_large"),
        (b"SSH-2.0\r\n\r\n", "status_line"),
    ],
)
def test_w09_w10_invalid_answers_are_502_with_their_reason(world: World, answer: bytes, reason: str) -> None:
    client, server = sent_call(world)
    server.deliver(answer)
    assert last(world) == ("unknown", 502, "upstream_invalid_response", reason)
    assert server.aborted
    assert client.take().split(b"\r\n\r\n", 20)[-2].startswith(b"HTTP/1.1 502")


def test_interim_answers_pass_to_1_1_callers_except_100(world: World) -> None:
    client, server = sent_call(world)
    server.deliver(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK)
    wire = client.take()
    assert wire.startswith(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK")
    old = world.client()
    old.deliver(GET.replace(b"HTTP/1.1", b"HTTP/1.0"))
    server.deliver(b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK)
    assert old.take().startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize("cuts", [(1,), (10,), (38,), (60, 61, 62, 63), (66,)])
def test_an_answer_in_pieces_reads_as_in_one(world: World, cuts: tuple[int, ...]) -> None:
    client, server = sent_call(world)
    points = (0, *cuts, len(OK))
    for start, end in itertools.pairwise(points):
        server.deliver(OK[start:end])
    assert last(world)[:2] == ("answered", 200)
    assert client.take().endswith(b"\r\n\r\n{}")


def test_internal_errors_tell_the_log_the_trace_and_the_caller_nothing(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(call: Call) -> None:
        raise ValueError("secret detail")

    with World(lambda upstream: [make_route("GET", "/v1/payments/{id}", upstream, broken)]) as other:
        client = other.client()
        client.deliver(GET)
        assert last(other) == ("refused", 500, "internal_error", "ValueError")
        assert b"secret detail" not in client.take()
        assert client.ended
    assert "secret detail" in caplog.text


@pytest.mark.parametrize(
    ("answer", "kept"),
    [
        (OK, True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", False),
        (OK + b"surplus", False),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n{}", False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nsurplus", False),
    ],
)
def test_w07_only_a_cleanly_ended_connection_is_kept(world: World, answer: bytes, kept: bool) -> None:
    _, server = sent_call(world)
    server.deliver(answer)
    world.run()
    assert last(world)[0] == "answered"
    assert (world.pool.idle_count, world.pool.open_count, server.closing) == (int(kept), int(kept), not kept)


def test_a_call_whose_total_time_went_by_while_connecting_is_not_sent() -> None:
    """Sent now it could only end as unknown; with ``connect`` above ``total`` this is within reach."""
    with World(total_timeout=1.0, connect_timeout=5.0) as world:
        world.client().deliver(POST + b"abcd")
        world.pass_time(2.0)
        server = world.pool.connect()
        world.pass_time(0.2)
        assert (bytes(server.written), world.calls[0].outcome) == (b"", "not_sent")
