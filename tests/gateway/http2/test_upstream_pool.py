"""The one HTTP/2 connection to a target: when the next call gets another, and that whoever waits for it is told."""

import asyncio
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from faregate.gateway.balance import TargetState
from faregate.gateway.dial import DialError
from faregate.gateway.http2.upstream_pool import Http2Pool
from faregate.gateway.pool import Pool
from faregate.gateway.upstream import UpstreamConnection
from faregate.snapshot.data import PassiveHealth, Target, Upstream
from tests.gateway.fakes import FakeTransport, Time, World
from tests.gateway.http2.peer import GOAWAY, frame, settings, u32

MAX_STREAMS = 3
HEAD = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
UPSTREAM = Upstream("payments", (Target("target.test:1", "target.test", 1),), protocol="h2")


class Addresses:
    known = True

    def knows(self, _: object) -> bool:
        return self.known

    def keep_fresh(self, _: float) -> None: ...


class FakeDialler:
    """Connects at once, or to nothing."""

    tls = None

    def __init__(self, loop: asyncio.AbstractEventLoop, *, fails: bool) -> None:
        self.addresses = Addresses()
        self._loop = loop
        self._fails = fails

    async def dial(self, protocol: asyncio.Protocol, _: float) -> tuple[object, None, object]:
        if self._fails:
            raise DialError("connect_refused")
        FakeTransport(self._loop, protocol)
        return protocol, None, (socket.AF_INET, ("10.0.0.1", 1))


class Asker:
    """Sends as soon as it can, as a call does."""

    def __init__(self, then: Callable[[], object] = lambda: None) -> None:
        self.connection: Any = None
        self.reason = ""
        self._then = then

    def connected(self, connection: UpstreamConnection, now: float) -> None:
        self.connection = connection
        connection.transport.write(HEAD)  # type: ignore[union-attr]

    def connect_failed(self, reason: str, now: float) -> None:
        self.reason = reason
        self._then()


class Place:
    """A pool over a played dialler, with its loop and time."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.time = Time()
        self.pool = self.make(fails=False)

    def make(self, *, fails: bool) -> Http2Pool:
        pool = Http2Pool(UPSTREAM.targets[0], UPSTREAM, self.loop, self.time)
        pool.dialler = FakeDialler(self.loop, fails=fails)  # type: ignore[assignment]
        return pool

    def run(self, seconds: float = 0.0) -> None:
        self.loop.run_until_complete(asyncio.sleep(seconds))
        self.loop.run_until_complete(asyncio.sleep(0))

    def connect(self) -> Asker:
        asker = Asker()
        self.pool.open(asker)
        self.run(0.01)
        return asker


@pytest.fixture
def place() -> Iterator[Place]:
    made = Place()
    yield made
    made.loop.close()


def test_a_target_that_is_out_is_met_by_a_fresh_connect(place: Place) -> None:
    asker = place.connect()
    place.pool.let_go()
    assert place.pool.take(place.time()) is None
    assert place.pool.can_open()
    assert not asker.connection.is_closing()  # its call goes on


def test_a_connection_leads_where_the_name_still_leads(place: Place) -> None:
    place.connect()
    place.pool.dialler.addresses.known = False  # type: ignore[attr-defined]
    place.pool.reap(place.time())
    assert place.pool.take(place.time()) is None


def test_a_connection_on_which_nothing_is_heard_gets_no_calls_for_ever(place: Place) -> None:
    asker = place.connect()
    connection = asker.connection
    for _ in range(3):
        assert place.pool.take(place.time()) is not None
        place.time.now += 2.0
        connection.abort()  # as a call does whose time is over
        connection = place.pool.take(place.time())
        if connection is None:
            break
        connection.transport.write(HEAD)  # type: ignore[union-attr]
    assert place.pool.take(place.time()) is None
    assert place.pool.can_open()


def test_who_waits_when_the_pool_is_closed_is_still_served(place: Place) -> None:
    asker = Asker()
    place.pool.open(asker)
    place.pool.close()
    place.run(0.01)
    assert asker.connection.id == 1
    assert place.pool.take(place.time()) is None


def test_who_asks_in_the_turn_in_which_a_connect_failed_is_told_as_well(place: Place) -> None:
    """As the next of pipelined requests does."""
    pool = place.make(fails=True)
    second = Asker()
    first = Asker(lambda: place.loop.call_soon(pool.open, second))
    pool.open(first)
    place.run(0.01)
    assert (first.reason, second.reason) == ("connect_refused", "connect_refused")
    assert pool.open_count == 0


@pytest.mark.parametrize("kind", [Pool, Http2Pool])
def test_a_pool_that_is_closed_while_a_name_is_looked_up_tells_whoever_waits(
    place: Place, kind: type[Pool]
) -> None:
    async def slow(*_: object, **__: object) -> object:
        await asyncio.sleep(0.02)
        raise OSError

    place.loop.getaddrinfo = slow  # type: ignore[assignment,method-assign]
    pool = kind(UPSTREAM.targets[0], UPSTREAM, place.loop, time.monotonic)
    asker = Asker()
    pool.open(asker)
    place.run(0.005)
    pool.close()
    place.run(0.05)
    assert asker.reason == "name_not_resolved"
    assert pool.open_count == 0


def played(world: World, state: TargetState, dialler: type[FakeDialler]) -> None:
    """Puts a played dialler and the world's time under the pool of one of its targets."""
    pool = state.pool
    assert isinstance(pool, Http2Pool)
    pool.dialler = dialler(world.loop, fails=False)  # type: ignore[assignment]
    pool._monotonic = world.time


class Greeting(FakeDialler):
    """Its targets take two streams at once, and say so before a call can begin."""

    async def dial(self, protocol: asyncio.Protocol, _: float) -> tuple[object, None, object]:
        made = FakeTransport(self._loop, protocol)
        made.deliver(settings((MAX_STREAMS, 2)))
        return protocol, None, (socket.AF_INET, ("10.0.0.1", 1))


def test_calls_beyond_a_connection_s_streams_are_refused_and_no_failures_of_the_target() -> None:
    with World(protocol="h2", passive=PassiveHealth(failures=1), breaker=None) as world:
        (state,) = world.balancer.targets
        played(world, state, Greeting)
        callers = [world.client() for _ in range(5)]
        for caller in callers:
            caller.deliver(b"GET /v1/payments/p1 HTTP/1.1\r\nHost: a\r\n\r\n")
        world.loop.run_until_complete(asyncio.sleep(0.01))
        world.run()
        refused = [(call.reason, call.outcome, call.attempts) for call in world.calls]
        assert refused == [("upstream_connections", "not_sent", 0)] * 3
        assert (state.faults, state.silences, state.in_flight) == (0, 0, 2)
        assert state.pool.open_count == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("ends", [False, True])
def test_a_connection_that_ends_before_its_first_call_is_told_apart_by_how_it_ends(ends: bool) -> None:
    """GOAWAY is good order; without a word it is a failure, or a target that takes nothing would look well."""

    class Short(FakeDialler):
        async def dial(self, protocol: asyncio.Protocol, _: float) -> tuple[object, None, object]:
            made = FakeTransport(self._loop, protocol)
            made.deliver(settings())
            if ends:
                made.deliver(frame(GOAWAY, 0, 0, u32(2**31 - 1) + u32(0)))
            made.lose()
            return protocol, None, (socket.AF_INET, ("10.0.0.1", 1))

    with World(protocol="h2", breaker=None) as world:
        (state,) = world.balancer.targets
        played(world, state, Short)
        world.client().deliver(b"GET /v1/payments/p1 HTTP/1.1\r\nHost: a\r\n\r\n")
        world.loop.run_until_complete(asyncio.sleep(0.01))
        world.run()
        (call,) = world.calls
        assert call.outcome == "not_sent"
        assert (call.reason, call.attempts) == (("goaway", 5) if ends else ("closed_before_use", 1))
        assert state.faults == (0 if ends else 1)
