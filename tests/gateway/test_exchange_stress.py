"""One call's life under load and age: drain, slow peers, back pressure, invalid answers, late connects."""

import itertools

import pytest

from faregate.snapshot.call import Call
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
        (b"HTTP/1.1 204 No Content\r\n\r\n", False),
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


def test_callers_beyond_the_cap_are_turned_away_and_counted(world: World) -> None:
    """http-rules.md section 7: open connections stay below half the descriptors."""
    world.plane.doorkeeper.take(GatewayLimits(), descriptors=2)
    first, second, third = world.client(), world.client(), world.client()
    assert (first.is_closing(), second.is_closing(), third.is_closing()) == (False, False, True)
    assert world.plane.doorkeeper.refused["connections"] == 1
    first.lose()
    assert not world.client().is_closing()
