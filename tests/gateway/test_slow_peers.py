"""http-rules.md section 3 with time in hand: what a slow caller is granted, to the second, and what gains it nothing."""

import pytest

from faregate.gateway.lingering import TAKEN_BYTES_PER_S
from faregate.snapshot.data import GatewayLimits
from tests.gateway.fakes import OK, FakeTransport, World

GET = b"GET /v1/payments/p1 HTTP/1.1\r\nHost: a\r\n\r\n"
HEAD = b"POST /v1/payments HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"
LATE_S = 1.0


def drip(world: World, transport: FakeTransport, piece: bytes, every_s: float, for_s: float) -> float:
    """Sends ``piece`` again and again until the gateway ends the connection; the seconds it lasted."""
    begun = world.time.now
    while world.time.now - begun < for_s and transport.delivers and not transport.ended:
        transport.deliver(piece)
        world.pass_time(every_s)
    return world.time.now - begun


@pytest.mark.parametrize(
    ("piece", "every_s", "lasts_s"),
    [(b"a", 0.5, 5.0), (b"a" * 100, 0.5, 6.25), (b"", 0.5, 5.0)],
    ids=["a byte", "200 bytes a second", "nothing"],
)
def test_a_body_below_the_least_rate_ends_when_its_grace_is_used_up(
    piece: bytes, every_s: float, lasts_s: float
) -> None:
    with World(total_timeout=60.0) as world:
        client = world.client()
        client.deliver(HEAD)
        world.pool.connect()
        took_s = drip(world, client, piece, every_s, 30)
        call = world.calls[-1]
        assert (call.status, call.refusal, call.reason) == (400, "malformed_request", "body_too_slow")
        assert lasts_s <= took_s <= lasts_s + LATE_S


def test_a_body_at_the_least_rate_is_taken_to_its_end() -> None:
    with World(total_timeout=200.0, limits=GatewayLimits(body_timeout=200.0)) as world:
        client = world.client()
        client.deliver(HEAD)
        server = world.pool.connect()
        for _ in range(100):
            client.deliver(b"a" * 1000)
            world.pass_time(1000 / 1024)
        server.deliver(OK)
        assert world.calls[-1].status == 200
        assert world.calls[-1].request_bytes == 100_000


def test_a_body_at_any_rate_ends_by_the_whole_phases_deadline() -> None:
    with World(total_timeout=200.0, limits=GatewayLimits(body_timeout=9.0)) as world:
        client = world.client()
        client.deliver(HEAD)
        world.pool.connect()
        took_s = drip(world, client, b"a" * 1100, 1.0, 30)
        assert world.calls[-1].reason == "body_timeout"
        assert 9.0 <= took_s <= 9.0 + LATE_S


def test_time_in_which_the_upstream_does_not_read_is_not_the_callers() -> None:
    with World(total_timeout=200.0) as world:
        client = world.client()
        client.deliver(HEAD)
        server = world.pool.connect()
        server.stick()
        assert not client.delivers, "back pressure"
        world.pass_time(20.0)
        assert world.calls == []
        server.drain()
        world.pass_time(4.8)
        assert world.calls == []
        world.pass_time(1.0)
        assert world.calls[-1].reason == "body_too_slow"


def slow_reader(world: World) -> tuple[FakeTransport, FakeTransport]:
    """A caller in the middle of an answer that takes no more of it, with 64 KiB unsent."""
    client = world.client()
    client.deliver(GET)
    server = world.pool.connect()
    server.deliver(b"HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\nab")
    client.stuck = True
    server.deliver(b"a" * (64 << 10))
    client.stick()
    return client, server


def test_a_caller_who_takes_nothing_is_given_up_after_thirty_seconds() -> None:
    with World(total_timeout=300.0, idle_timeout=5.0) as world:
        client, server = slow_reader(world)
        assert not server.delivers, "back pressure"
        world.pass_time(29.5)
        assert world.calls == []
        world.pass_time(1.5)
        assert (world.calls[-1].outcome, world.calls[-1].reason) == ("unknown", "stalled_reader")
        assert client.aborted


@pytest.mark.parametrize(("per_s", "lasts_s"), [(1, 30.0), (512, 60.0), (TAKEN_BYTES_PER_S, 1000.0)])
def test_a_caller_who_reads_in_drips_gains_by_what_it_takes_only(per_s: int, lasts_s: float) -> None:
    with World(total_timeout=300.0, idle_timeout=5.0) as world:
        client, _ = slow_reader(world)
        begun = world.time.now
        while not world.calls and world.time.now - begun < 62:
            client._unsent -= per_s
            world.pass_time(1.0)
        if lasts_s > 62:
            assert world.calls == []
        else:
            assert lasts_s <= world.time.now - begun <= lasts_s + LATE_S


def test_an_answer_complete_but_unread_is_held_no_longer_than_one_that_goes_on() -> None:
    with World() as world:
        client = world.client()
        client.deliver(GET)
        server = world.pool.connect()
        client.stuck = True
        server.deliver(b"HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n" + b"a" * 70_000)
        client.stick()
        assert world.calls[-1].outcome == "answered"
        world.pass_time(29.5)
        assert not client.aborted
        world.pass_time(2.0)
        assert client.aborted


def test_a_caller_who_reads_again_has_its_idle_time() -> None:
    with World(limits=GatewayLimits(idle_timeout=60.0)) as world:
        client = world.client()
        client.deliver(GET)
        server = world.pool.connect()
        client.stuck = True
        server.deliver(b"HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n" + b"a" * 70_000)
        client.stick()
        world.pass_time(10.0)
        client.drain()
        world.pass_time(59.0)
        assert not client.closing
        world.pass_time(2.0)
        assert client.closing


def test_a_half_head_behind_an_unread_answer_keeps_its_own_deadline() -> None:
    with World(limits=GatewayLimits(header_timeout=10.0)) as world:
        client = world.client()
        client.deliver(GET)
        world.pool.connect().deliver(OK)
        client.deliver(GET[:10])
        client.stick()
        world.pass_time(9.0)
        assert len(world.calls) == 1
        world.pass_time(2.0)
        assert world.calls[-1].reason == "header_timeout"
