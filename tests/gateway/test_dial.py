"""Connecting: every address has its chance, a silent one hides no other, and the last good answer outlives the resolver."""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from random import Random
from typing import Self

import pytest

from faregate.gateway import dial
from faregate.gateway.dial import (
    Address,
    Addresses,
    DialError,
    Dialler,
    first_of,
)
from faregate.gateway.pool import Pool
from faregate.snapshot.data import Target, Upstream
from tests.gateway.fakes import Time
from tests.gateway.test_pool import Asker

V4 = socket.AF_INET


def living(test: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    @wraps(test)
    def run() -> None:
        asyncio.run(test())

    return run


class Resolver:
    """Plays ``getaddrinfo``: ``answer`` is a list of addresses or an error; ``gate`` holds it back."""

    def __init__(self, *answer: tuple[str, int] | Exception) -> None:
        self.asked = 0
        self.answer: list[tuple[str, int]] | Exception = list(answer)  # type: ignore[arg-type]
        self.gate: asyncio.Event | None = None
        asyncio.get_running_loop().getaddrinfo = self.resolve  # type: ignore[method-assign]

    async def resolve(self, host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        self.asked += 1
        if self.gate is not None:
            await self.gate.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return [
            (socket.AF_INET6 if ":" in address[0] else V4, socket.SOCK_STREAM, 6, "", address)
            for address in self.answer
        ]


class Server:
    """A listening target on 127.0.0.1 that says nothing."""

    async def __aenter__(self) -> Self:
        self.writers: list[asyncio.StreamWriter] = []
        self.server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        self.address: Address = (V4, ("127.0.0.1", self.port))
        return self

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)

    async def __aexit__(self, *_: object) -> None:
        for writer in self.writers:
            writer.close()
        self.server.close()
        await self.server.wait_closed()


@contextmanager
def silent() -> Iterator[Address]:
    """An address that takes no connection and refuses none: its queue is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        full = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
            full.append(filler)
        time.sleep(0.05)
        yield (V4, listener.getsockname())
        for filler in full:
            filler.close()


@contextmanager
def refusing() -> Iterator[Address]:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield (V4, unused.getsockname())


def addresses_of(time_: Time, host: str = "bank.test") -> Addresses:
    return Addresses(host, 80, asyncio.get_running_loop(), time_, Random(1))


def told(into: list[tuple[Address, bool]]) -> Callable[..., None]:
    return lambda address, connected: into.append((address, connected))


# the race


@living
async def test_a_silent_first_address_does_not_hide_a_good_second_one() -> None:
    async with Server() as server:
        with silent() as dead:
            began = time.monotonic()
            sock, address = await first_of(asyncio.get_running_loop(), [dead, server.address], told([]))
            took_s = time.monotonic() - began
        assert address == server.address
        assert 0.2 <= took_s < 1.0
        sock.close()


@living
async def test_a_refusing_address_costs_no_waiting_and_is_told() -> None:
    async with Server() as server:
        heard: list[tuple[Address, bool]] = []
        with refusing() as dead:
            began = time.monotonic()
            sock, _ = await first_of(asyncio.get_running_loop(), [dead, server.address], told(heard))
            took_s = time.monotonic() - began
        assert took_s < 0.2
        assert heard == [(dead, False), (server.address, True)]
        sock.close()


@living
async def test_when_none_answers_the_last_failure_is_told() -> None:
    with refusing() as one, refusing() as other, pytest.raises(ConnectionRefusedError):
        await first_of(asyncio.get_running_loop(), [one, other], told([]))


@living
async def test_losers_of_the_race_are_closed() -> None:
    """Both connect: the sockets that are not returned must not stay open."""
    loop = asyncio.get_running_loop()
    made: list[socket.socket] = []
    real = loop.sock_connect

    async def slow_first(sock: socket.socket, address: object) -> None:
        made.append(sock)
        if len(made) == 1:
            await asyncio.sleep(0.03)
        await real(sock, address)  # type: ignore[arg-type]

    loop.sock_connect = slow_first  # type: ignore[method-assign]
    async with Server() as server:
        sock, _ = await first_of(loop, [server.address, server.address], told([]), stagger_s=0.01)
        await asyncio.sleep(0.05)
        assert [each.fileno() >= 0 for each in made] == [each is sock for each in made]
        sock.close()


@living
async def test_a_dial_that_is_cancelled_leaves_no_socket() -> None:
    loop = asyncio.get_running_loop()
    made: list[socket.socket] = []

    async def never(sock: socket.socket, address: object) -> None:
        made.append(sock)
        await loop.create_future()

    loop.sock_connect = never  # type: ignore[method-assign]
    task = loop.create_task(first_of(loop, [(V4, ("127.0.0.1", 9))] * 3, told([]), stagger_s=0.001))
    await asyncio.sleep(0.02)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await asyncio.sleep(0.01)
    assert len(made) == 3
    assert [each.fileno() for each in made] == [-1, -1, -1]


# the whole


@living
async def test_a_resolver_without_end_is_bounded_by_the_connect_timeout() -> None:
    resolver = Resolver()
    resolver.gate = asyncio.Event()
    dialler = Dialler(Target("t", "bank.test", 80), None, asyncio.get_running_loop(), Time())
    with pytest.raises(DialError, match="connect_timeout"):
        await dialler.dial(asyncio.Protocol(), 0.02)
    dialler.addresses.close()


@living
async def test_x9_a_resolver_that_never_answers_is_given_up_and_asked_again() -> None:
    resolver = Resolver()
    resolver.gate = asyncio.Event()
    addresses = addresses_of(Time())
    before, dial.RESOLVE_S = dial.RESOLVE_S, 0.01  # type: ignore[misc]
    try:
        for _ in range(2):
            with pytest.raises(DialError, match="name_timeout"):
                await addresses.wanted()
    finally:
        dial.RESOLVE_S = before  # type: ignore[misc]
    assert resolver.asked == 2


@living
async def test_each_failed_opening_is_counted_for_the_metrics() -> None:
    with refusing() as (_, (host, port)):
        pool = Pool(Target("t", host, port), Upstream("u", ()), asyncio.get_running_loop(), Time())
        for _ in range(3):
            asker = Asker()
            await pool.open(asker)
            assert asker.reason == "connect_refused"
    assert (pool.dial_failures, pool.open_count) == (3, 0)
