"""Listening sockets that go: nobody is reset who has connected before."""

import asyncio
import socket
from typing import cast

import pytest
import uvloop

from faregate.gateway.listening import key_of
from faregate.gateway.plane import Plane
from faregate.gateway.serving import Serving
from faregate.snapshot.data import Listener


class _Plane:
    """No caller's connection is known here."""

    clients: tuple[()] = ()


class _Echo(asyncio.Protocol):
    """Sends back what comes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)
        self.transport.close()


def callers_of(address: tuple[str, int], count: int) -> list[socket.socket]:
    """So many that the kernel has let in; the loop, which runs not meanwhile, has not."""
    callers = [socket.create_connection(address, timeout=5) for _ in range(count)]
    for caller in callers:
        caller.sendall(b"hello")
    return callers


async def answers(callers: list[socket.socket]) -> list[bytes]:
    """What each gets, read beside the loop."""
    told = [await asyncio.to_thread(caller.recv, 100) for caller in callers]
    for caller in callers:
        caller.close()
    return told


@pytest.mark.parametrize("how", ["the worker drains", "its listener is taken away"])
def test_who_has_connected_before_a_listener_closes_is_answered(how: str) -> None:
    async def play() -> None:
        sock = socket.create_server(("127.0.0.1", 0), backlog=500)
        address = sock.getsockname()
        listener = Listener("127.0.0.1", address[1])
        serving = Serving(asyncio.get_running_loop(), cast("Plane", _Plane()), lambda _: _Echo)
        await serving.follow([listener], {key_of(listener): sock})
        callers = callers_of(address, 300)
        if how == "the worker drains":
            await serving.finish()
        else:
            await serving.follow([], {})
        assert set(await answers(callers)) == {b"hello"}
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address, timeout=5)
        serving.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(play())


def test_a_drain_and_a_listener_that_goes_at_once_harm_each_other_not() -> None:
    async def play() -> None:
        sockets = [socket.create_server(("127.0.0.1", 0), backlog=500) for _ in range(2)]
        listeners = [Listener("127.0.0.1", sock.getsockname()[1]) for sock in sockets]
        addresses = [sock.getsockname() for sock in sockets]
        serving = Serving(asyncio.get_running_loop(), cast("Plane", _Plane()), lambda _: _Echo)
        await serving.follow(listeners, dict(zip(map(key_of, listeners), sockets, strict=True)))
        callers = callers_of(addresses[0], 20)
        await asyncio.gather(serving.follow([], {}), serving.finish())
        assert set(await answers(callers)) == {b"hello"}
        for address in addresses:
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(address, timeout=5)
        serving.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(play())


def test_a_listener_that_goes_is_closed_though_its_reload_is_cut_short() -> None:
    async def play() -> None:
        sock = socket.create_server(("127.0.0.1", 0), backlog=500)
        address = sock.getsockname()
        listener = Listener("127.0.0.1", address[1])
        serving = Serving(asyncio.get_running_loop(), cast("Plane", _Plane()), lambda _: _Echo)
        await serving.follow([listener], {key_of(listener): sock})
        callers = callers_of(address, 20)
        task = asyncio.ensure_future(serving.follow([], {}))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        await asyncio.sleep(0)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address, timeout=5)
        for caller in callers:
            caller.close()
        serving.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(play())
