"""WebSockets and the gateway's own changes: reloads leave them alone, drain and stop end them, a thousand take little memory."""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.websockets import ACME, ECHO, SCRIPTED, SWITCH, websockets
from tests.support.configuration import changed, key_line
from tests.support.gateway import GatewayProcess, until
from tests.support.script import Stall, raw
from tests.support.upstream import RecordingUpstream
from tests.support.websocket import TEXT, Crowd, EchoServer, WsClient, frame, said

pytestmark = pytest.mark.apart
KIB = 1024


@pytest.fixture(scope="module")
def echo() -> Iterator[EchoServer]:
    with EchoServer() as server:
        yield server


@pytest.fixture(scope="module")
def upstream() -> Iterator[RecordingUpstream]:
    with RecordingUpstream() as running:
        yield running


@pytest.fixture
def start(
    tmp_path: Path, echo: EchoServer, upstream: RecordingUpstream
) -> Iterator[Callable[..., GatewayProcess]]:
    """Starts a gateway with so many workers and these settings of its WebSocket routes."""
    with ExitStack() as stack:

        def begin(workers: int = 1, **settings: object) -> GatewayProcess:
            gateway = GatewayProcess(
                tmp_path,
                lambda port, manager: changed(
                    websockets(port, manager, echo.url, upstream.url, **settings),
                    "gateway", "workers", to=workers,
                ),
            )  # fmt: skip
            return stack.enter_context(gateway)

        yield begin


def test_reloads_leave_websockets_alone_and_hold_no_old_configuration(
    start: Callable[..., GatewayProcess],
) -> None:
    gateway = start(workers=2)

    async def play() -> Crowd:
        crowd = Crowd(gateway.address, ECHO, 20, (ACME,))
        running = asyncio.create_task(crowd.run(30))
        await asyncio.to_thread(until, lambda: gateway.metric("faregate_tunnels") == 20, "the crowd")
        for _ in range(5):
            await asyncio.to_thread(gateway.reload_and_wait)
        crowd.stop()
        await running
        return crowd

    crowd = asyncio.run(play())
    assert crowd.faults == []
    assert len(crowd.talks) == 20, "a WebSocket was opened anew"
    assert crowd.echoed > 100


@pytest.mark.parametrize("workers", [1, 2])
def test_drain_says_1001_to_both_sides_and_the_process_ends_well(
    start: Callable[..., GatewayProcess], echo: EchoServer, workers: int
) -> None:
    gateway = start(workers)
    before = len(echo.visits)

    async def one(number: int) -> tuple[int, str]:
        async with WsClient(gateway.address) as client:
            await client.open(ECHO, ACME, f"X-Request-Id: drain-{number}")
            await client.echo(b"here")
            opened.append(number)
            return await client.closed(10)

    opened: list[int] = []

    async def play() -> list[tuple[int, str]]:
        tasks = [asyncio.create_task(one(number)) for number in range(20)]
        await asyncio.to_thread(until, lambda: len(opened) == 20, "all of them")
        os.kill(gateway.pid, signal.SIGTERM)
        return await asyncio.gather(*tasks)

    began = time.monotonic()
    assert set(asyncio.run(play())) == {(1001, "draining")}
    assert gateway.wait_exit() == 0
    assert time.monotonic() - began < 8, "who answers Close holds nobody up"
    for number in range(20):
        line = gateway.log.of(f"drain-{number}")
        assert (line["status"], line["outcome"], line["reason"]) == (101, "answered", "draining")
    for visit in echo.visits[before:]:
        assert visit.frames[-1].code == 1001
    gateway.process = None


def test_drain_waits_for_the_end_of_a_frame_and_no_longer_than_5_s(
    start: Callable[..., GatewayProcess], upstream: RecordingUpstream
) -> None:
    """The upstream's frame is half out: Close comes behind its other half; the caller's own half frame never ends."""
    whole = frame(TEXT, b"x" * 300)
    gateway = start()
    upstream.clear()
    upstream.script(SCRIPTED, raw(SWITCH, whole[:100], Stall()))

    async def play() -> None:
        async with WsClient(gateway.address) as client:
            await client.open(SCRIPTED, ACME, "X-Request-Id: half-1")
            await client.send(said(TEXT, b"y" * 300)[:150])
            (seen,) = upstream.requests
            received = upstream.connection(seen).received
            await upstream.awaits(lambda: received.endswith(said(TEXT, b"y" * 300)[:150]), "half a frame")
            os.kill(gateway.pid, signal.SIGTERM)
            began = time.monotonic()
            assert await client.hear(9) is None, "a frame inside another"
            assert 4 < time.monotonic() - began < 7.5
            assert bytes(received).endswith(said(TEXT, b"y" * 300)[:150]), "a Close frame inside a frame"

    asyncio.run(play())
    assert gateway.wait_exit() == 0
    assert gateway.log.of("half-1")["reason"] == "draining"
    gateway.process = None


@pytest.mark.proof
@pytest.mark.paired
def test_p6_a_thousand_websockets_in_little_memory(
    start: Callable[..., GatewayProcess], echo: EchoServer
) -> None:
    gateway = start(connections=2000)

    async def play() -> tuple[int, int]:
        clients: list[WsClient] = []
        try:
            for _ in range(50):
                clients.append(await WsClient(gateway.address).__aenter__())
                await clients[-1].open(ECHO, ACME)
            before = gateway.rss_bytes()
            for _ in range(1000):
                clients.append(await WsClient(gateway.address).__aenter__())
                await clients[-1].open(ECHO, key_line("reader"))
                await clients[-1].echo(b"hello")
            grown = gateway.rss_bytes() - before
            await asyncio.to_thread(until, lambda: gateway.metric("faregate_tunnels") == 1050, "all of them")
            began = time.monotonic()
            await asyncio.to_thread(gateway.reload_and_wait)
            for client in clients:
                await client.echo(b"after a reload")
            print(f"reload and 1050 echoes: {time.monotonic() - began:.2f} s")
            return grown, len(clients)
        finally:
            for client in clients:
                await client.__aexit__()

    grown, count = asyncio.run(play())
    print(f"{count} WebSockets: {grown / KIB / 1000:.1f} KiB each")
    assert grown < 1000 * 64 * KIB
    until(lambda: gateway.metric("faregate_tunnels") == 0, "their end")
    until(
        lambda: gateway.metric("faregate_connections", side="upstream") <= 64, "upstream connections to close"
    )
    assert echo.open_count == 0
