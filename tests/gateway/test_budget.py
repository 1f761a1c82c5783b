"""The ceiling of memory: that it follows from the configuration, and what happens on the way to it (http-rules.md section 7)."""

import pytest

from faregate.gateway.admission import CALLS_MIN
from faregate.gateway.budget import (
    MIN_WATCHED_BYTES,
    READ_BYTES_MAX,
    UPSTREAM_HELD_BYTES_MAX,
    budget,
    machine_memory,
    mebibytes,
)
from faregate.gateway.http2.frames import STREAM_WINDOW_BYTES
from faregate.gateway.http2.stream import QUEUED_HIGH_BYTES
from faregate.gateway.overload import LOOK_EVERY_S, Overload, patience, resident_bytes
from faregate.gateway.upstream import WRITE_HIGH_BYTES
from faregate.snapshot.data import Gateway, GatewayLimits, Listener, ListenerTls
from tests.gateway.fakes import World

GIB = 1 << 30
GET = b"GET /v1/payments/p1 HTTP/1.1\r\nHost: a\r\n\r\n"


def gateway(tls: ListenerTls | None = None, **limits: int) -> Gateway:
    return Gateway((Listener("127.0.0.1", 1, tls),), None, 1, "", limits=GatewayLimits(**limits))


def test_more_connections_calls_and_head_bytes_need_more() -> None:
    least = budget(gateway(), 1, 0, 64 * GIB).fillable
    for more in (
        gateway(connections=9000),
        gateway(calls=2000),
        gateway(header_bytes=1 << 20),
        gateway(ListenerTls(())),
    ):
        assert budget(more, 1, 0, 64 * GIB).fillable > least
    assert budget(gateway(), 1, 1 << 20, 64 * GIB).fillable > least
    assert budget(gateway(), 1, 0, 64 * GIB, keeps=True).fillable > least


def test_workers_share_what_the_machine_or_the_operator_gives() -> None:
    assert budget(gateway(), 4, 0, 16 * GIB).watched == 3 * GIB
    assert budget(gateway(memory=2 * GIB), 4, 0, 16 * GIB).watched == GIB // 2
    assert budget(gateway(memory=64 << 20), 64, 0, 16 * GIB).watched == MIN_WATCHED_BYTES


def test_the_bound_is_the_lesser_of_both() -> None:
    small = gateway(connections=100, calls=50)
    assert budget(small, 1, 0, 64 * GIB).bound == budget(small, 1, 0, 64 * GIB).fillable
    assert budget(small, 1, 0, GIB // 4).bound == budget(small, 1, 0, GIB // 4).watched


def test_an_http_2_call_at_its_worst_is_within_what_is_counted_for_a_call() -> None:
    """What waits of its body, what its upstream has not taken, its answer's queue and a read behind it."""
    up = STREAM_WINDOW_BYTES + (WRITE_HIGH_BYTES + STREAM_WINDOW_BYTES)
    assert up + QUEUED_HIGH_BYTES + READ_BYTES_MAX <= UPSTREAM_HELD_BYTES_MAX + READ_BYTES_MAX


def test_what_the_machine_tells_is_used() -> None:
    assert machine_memory() > 128 << 20
    assert 1 << 20 < resident_bytes() < machine_memory()
    assert (mebibytes(5 << 20), mebibytes(int(4.2 * GIB))) == ("5 MiB", "4.2 GiB")


@pytest.mark.parametrize(("share", "part"), [(0.5, 1.0), (0.85, 1.0), (0.90, 0.55), (0.95, 0.1), (1.2, 0.1)])
def test_patience_shrinks_in_proportion(share: float, part: float) -> None:
    assert patience(share) == pytest.approx(part)


class Watched:
    """A world whose memory the test sets, as a share of its bound."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.share = 0.5
        self.trims = 0
        world.plane.overload = Overload(
            1000, world.time(), resident=lambda: int(self.share * 1000), trim=self._trim
        )

    def _trim(self) -> None:
        self.trims += 1

    def look(self, share: float) -> None:
        self.share = share
        self.world.time.now += LOOK_EVERY_S
        self.world.plane.overload.tick(self.world.plane, self.world.time.now, LOOK_EVERY_S)


def test_at_85_percent_timeouts_shrink_for_those_already_idle_too() -> None:
    with World() as world:
        watched = Watched(world)
        client = world.client()
        world.exchange_bytes(GET, client=client)
        watched.look(0.949)
        assert world.plane.idle_timeout < 8.0
        assert watched.trims == 1
        world.pass_time(10.0)
        assert client.closing, "not after sixty seconds"
        watched.look(0.5)
        assert world.plane.idle_timeout == 60.0


def test_at_92_percent_answers_end_their_connections() -> None:
    with World() as world:
        watched = Watched(world)
        watched.look(0.93)
        _, answer = world.exchange_bytes(GET)
        assert b"\r\nConnection: close\r\n" in answer
        watched.look(0.91)
        _, answer = world.exchange_bytes(GET)
        assert b"\r\nConnection: close\r\n" in answer, "a level once reached is left a little lower"
        watched.look(0.88)
        _, answer = world.exchange_bytes(GET)
        assert b"\r\nConnection: close\r\n" not in answer


def test_at_95_percent_all_but_a_few_calls_and_connections_are_refused() -> None:
    with World(max_connections=100) as world:
        watched = Watched(world)
        callers = [world.client() for _ in range(CALLS_MIN + 4)]
        watched.look(0.96)
        for caller in callers:
            caller.deliver(GET)
        refused = [call for call in world.calls if (call.status, call.reason) == (503, "memory")]
        assert len(refused) == 4
        assert world.client().is_closing()
        assert world.plane.doorkeeper.refused["memory"] == 1
        watched.look(0.5)
        late = world.client()
        late.deliver(GET)
        assert not late.take()
        assert world.plane.in_flight == CALLS_MIN + 1, "let in"


def test_a_drain_goes_on_whatever_memory_says() -> None:
    with World() as world:
        watched = Watched(world)
        world.plane.drain()
        watched.look(0.93)
        watched.look(0.5)
        assert world.plane.closes
