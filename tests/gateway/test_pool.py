"""Connections to one target: never more than the cap, none kept too long, none lent that has ended, and every place accounted for."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Self

import pytest

from faregate.gateway.pool import Pool
from faregate.gateway.upstream import UpstreamConnection
from faregate.snapshot.data import Target, Upstream
from tests.gateway.fakes import FakePool, Time, World

GET = b"GET /v1/payments/p1 HTTP/1.1\r\nHost: a\r\n\r\n"


class Asker:
    """Keeps what it was told."""

    def __init__(self) -> None:
        self.connection: UpstreamConnection | None = None
        self.reason = ""

    def connected(self, connection: UpstreamConnection, now: float) -> None:
        self.connection = connection

    def connect_failed(self, reason: str, now: float) -> None:
        self.reason = reason


def upstream(**changes: object) -> Upstream:
    return Upstream("payments", (), **changes)  # type: ignore[arg-type]


def living(test: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    """Runs a test on a loop of its own."""

    @wraps(test)
    def run() -> None:
        asyncio.run(test())

    return run


async def settle() -> None:
    """Lets closes and losses arrive."""
    for _ in range(5):
        await asyncio.sleep(0)


class Server:
    """A listening target on 127.0.0.1 that says nothing."""

    async def __aenter__(self) -> Self:
        self.writers: list[asyncio.StreamWriter] = []
        self.arrived = asyncio.Event()
        self.server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        self.arrived.set()

    async def __aexit__(self, *_: object) -> None:
        for writer in self.writers:
            writer.close()
        self.server.close()
        await self.server.wait_closed()

    def pool(self, time: Time, host: str = "127.0.0.1", **changes: object) -> Pool:
        return Pool(Target("t", host, self.port), upstream(**changes), asyncio.get_running_loop(), time)


async def opened(pool: Pool) -> UpstreamConnection:
    asker = Asker()
    await pool.open(asker)
    assert asker.connection is not None, asker.reason
    return asker.connection


@living
async def test_a_connection_counts_from_its_opening_to_its_loss() -> None:
    async with Server() as server:
        pool = server.pool(Time(), max_connections=2)
        first, second = await opened(pool), await opened(pool)
        assert (pool.open_count, pool.can_open()) == (2, False)
        first.close()
        await settle()
        assert (pool.open_count, pool.can_open()) == (1, True)
        second.abort()
        await settle()
        assert pool.open_count == 0


@living
async def test_an_opening_counts_before_it_is_done() -> None:
    async with Server() as server:
        pool = server.pool(Time(), max_connections=1)
        task = pool.open(Asker())
        assert (pool.open_count, pool.can_open()) == (1, False)
        await task
        pool.close()


@living
async def test_a_refused_connect_frees_its_place_and_says_so() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        pool = Pool(
            Target("t", "127.0.0.1", unused.getsockname()[1]), upstream(), asyncio.get_running_loop(), Time()
        )
        asker = Asker()
        await pool.open(asker)
    assert (asker.reason, pool.open_count) == ("connect_refused", 0)


@living
async def test_a_connect_without_end_is_given_up_in_time_and_frees_its_place() -> None:
    loop = asyncio.get_running_loop()
    never: asyncio.Future[None] = loop.create_future()
    loop.sock_connect = lambda sock, address: never  # type: ignore[method-assign]
    pool = Pool(Target("t", "127.0.0.1", 9), upstream(connect_timeout=0.01), loop, Time())
    asker = Asker()
    await pool.open(asker)
    assert (asker.reason, pool.open_count) == ("connect_timeout", 0)


@living
async def test_a_cancelled_opening_frees_its_place_and_tells_nobody() -> None:
    loop = asyncio.get_running_loop()
    loop.sock_connect = lambda sock, address: loop.create_future()  # type: ignore[method-assign]
    pool = Pool(Target("t", "127.0.0.1", 9), upstream(), loop, Time())
    asker = Asker()
    task = pool.open(asker)
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert (asker.reason, asker.connection, pool.open_count) == ("", None, 0)


@living
async def test_a_name_that_cannot_even_be_asked_for_is_told_like_any_failure() -> None:
    pool = Pool(Target("t", "a" * 64 + ".test", 80), upstream(), asyncio.get_running_loop(), Time())
    asker = Asker()
    await asyncio.gather(pool.open(asker), return_exceptions=True)
    assert asker.reason != ""


@living
async def test_w07_a_connection_that_has_ended_unseen_is_discarded_at_checkout() -> None:
    async with Server() as server:
        time = Time()
        pool = server.pool(time)
        connection = await opened(pool)
        assert connection.transport is not None
        connection.transport.pause_reading()  # the loop shall not see the end before the pool looks
        pool.give_back(connection, time.now)
        await server.arrived.wait()
        assert pool.take(time.now + 1.0) is connection
        pool.give_back(connection, time.now)
        server.writers[0].close()
        await server.writers[0].wait_closed()
        assert pool.take(time.now + 1.0) is None
        await settle()
        assert pool.open_count == 0


def fake_pool(**changes: object) -> tuple[FakePool, Time, asyncio.AbstractEventLoop]:
    loop, time = asyncio.new_event_loop(), Time()
    return FakePool(Target("t", "127.0.0.1", 80), upstream(**changes), loop, time), time, loop


def connections(pool: FakePool, count: int) -> list[UpstreamConnection]:
    made: list[UpstreamConnection] = []
    for _ in range(count):
        pool.open_count += 1
        made.append(pool.new_connection().protocol)  # type: ignore[arg-type]
    return made


def turn(loop: asyncio.AbstractEventLoop) -> None:
    loop.call_soon(loop.stop)
    loop.run_forever()


def test_the_most_recently_used_comes_first_and_no_more_than_idle_are_kept() -> None:
    pool, time, loop = fake_pool(idle=2)
    first, second, third = connections(pool, 3)
    for connection in (first, second, third):
        pool.give_back(connection, time.now)
    turn(loop)
    assert (pool.idle_count, pool.open_count) == (2, 2)
    assert pool.take(time.now) is second
    assert pool.take(time.now) is first
    assert pool.take(time.now) is None
    loop.close()


def test_what_has_been_idle_too_long_is_reaped_oldest_first() -> None:
    pool, time, loop = fake_pool(idle=8, idle_timeout=30.0)
    early, late = connections(pool, 2)
    pool.give_back(early, time.now)
    pool.give_back(late, time.now + 20.0)
    pool.reap(time.now + 30.0)
    assert pool.idle_count == 2
    pool.reap(time.now + 31.0)
    turn(loop)
    assert (pool.idle_count, pool.open_count) == (1, 1)
    pool.reap(time.now + 51.0)
    turn(loop)
    assert pool.open_count == 0
    loop.close()


def test_a_closed_pool_keeps_nothing_that_comes_back() -> None:
    pool, time, loop = fake_pool()
    kept, lent = connections(pool, 2)
    pool.give_back(kept, time.now)
    pool.close()
    pool.give_back(lent, time.now)
    turn(loop)
    assert (pool.idle_count, pool.open_count) == (0, 0)
    loop.close()


def test_new_bounds_hold_for_connections_of_the_old_revision() -> None:
    pool, time, loop = fake_pool(idle=8, max_connections=8)
    first, second = connections(pool, 2)
    pool.reconfigure(upstream(idle=1, max_connections=2))
    assert not pool.can_open()
    pool.give_back(first, time.now)
    pool.give_back(second, time.now)
    turn(loop)
    assert pool.idle_count == 1
    loop.close()


@pytest.mark.parametrize("how", ["surplus bytes", "end", "loss"])
def test_w07_a_connection_that_ended_while_idle_is_never_lent_not_even_before_the_loop_has_said_so(
    how: str,
) -> None:
    with World() as world:
        client = world.client()
        world.exchange_bytes(GET, client=client)
        idle = world.pool.made[0]
        if how == "surplus bytes":
            idle.deliver(b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n")
        elif how == "end":
            idle.end()
        else:
            idle.lose(ConnectionResetError())
        client.deliver(GET)
        assert len(world.pool.asked) == 1, "the closing connection was lent"
        world.run()
        world.pool.connect().deliver(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        assert [call.outcome for call in world.calls] == ["answered", "answered"]


@living
async def test_a_payment_gets_no_connection_that_its_target_may_be_about_to_close() -> None:
    time = Time()
    async with Server() as server:
        pool = server.pool(time, idle_timeout=30.0)
        connection = await opened(pool)
        pool.give_back(connection, time())
        time.now += 26.9  # 30 s less a tenth
        assert pool.has_sure(time())
        assert pool.take_sure(time()) is connection
        pool.give_back(connection, time())
        time.now += 27.1
        assert not pool.has_sure(time())
        assert pool.take_sure(time()) is None
        assert pool.take(time()) is connection, "good enough for what may be repeated"
        connection.close()
        await settle()


@living
async def test_what_a_target_closed_while_idle_teaches_its_bound_until_it_is_doubted() -> None:
    time = Time()
    async with Server() as server:
        pool = server.pool(time, idle_timeout=30.0)
        one, other = await opened(pool), await opened(pool)
        pool.give_back(one, time())
        time.now += 5.0
        pool.give_back(other, time())
        one.eof_received()
        assert pool.take_sure(time() + 2.9) is other
        pool.give_back(other, time())
        assert pool.take_sure(time() + 3.1) is None, "5 s less 2"
        for _ in range(200):
            time.now += 0.001
            pool.reap(time())
        assert pool.take_sure(time() + 20.0) is other, "forgotten: it may have been a restart"
        one.close()
        other.close()
        await settle()


@living
async def test_at_the_cap_an_old_connection_makes_room_for_a_fresh_one() -> None:
    time = Time()
    async with Server() as server:
        pool = server.pool(time, idle_timeout=30.0, max_connections=1)
        pool.give_back(await opened(pool), time())
        time.now += 29.0
        assert pool.take_sure(time()) is None
        assert pool.can_open()
        fresh = await opened(pool)
        await settle()
        assert pool.open_count == 1, "the closed one is counted once"
        fresh.close()
        await settle()
        assert pool.open_count == 0


@living
async def test_room_is_not_made_of_a_connection_that_was_lost_already() -> None:
    time = Time()
    async with Server() as server:
        pool = server.pool(time, idle_timeout=30.0, max_connections=2)
        one, other = await opened(pool), await opened(pool)
        pool.give_back(one, time())
        pool.give_back(other, time())
        one.transport.abort()  # type: ignore[union-attr]
        await settle()
        assert pool.open_count == 1
        fresh = await opened(pool)
        assert pool.open_count == 2
        time.now += 29.0
        assert pool.take_sure(time()) is None
        assert pool.open_count == 1, "the living one made room, the lost one counts no more"
        await settle()
        assert pool.open_count == 1
        fresh.close()
        await settle()
        assert pool.open_count == 0
