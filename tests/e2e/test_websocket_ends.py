"""How the gateway ends WebSockets: bounds of time, the credential's end, a reload that bars the caller, drain and stop."""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.websockets import ACME, ECHO, OPEN, SCRIPTED, SWITCH, websockets
from tests.support.configuration import bearer, changed, consumer, key_line
from tests.support.gateway import GatewayProcess, until
from tests.support.script import Stall, raw
from tests.support.upstream import RecordingUpstream
from tests.support.websocket import CLOSE, TEXT, Crowd, EchoServer, Frame, WsClient, frame, said

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


def lasts(gateway: GatewayProcess, path: str, *lines: str) -> tuple[float, tuple[int, str]]:
    """How long a silent WebSocket stays open, in seconds, and the Close frame that ends it."""

    async def play() -> tuple[float, tuple[int, str]]:
        async with WsClient(gateway.address) as client:
            await client.open(path, *lines)
            began = time.monotonic()
            ended = await client.closed()
            return time.monotonic() - began, ended

    return asyncio.run(play())


def test_w13_a_silent_websocket_ends_and_a_talking_one_lives(start: Callable[..., GatewayProcess]) -> None:
    gateway = start(idle="1s")
    lasted, ended = lasts(gateway, ECHO, ACME, "X-Request-Id: idle-1")
    assert ended == (1001, "idle")
    assert 0.9 < lasted < 2.0
    assert gateway.log.of("idle-1")["reason"] == "idle"

    async def play() -> None:
        async with WsClient(gateway.address) as client:
            await client.open(ECHO, ACME)
            for _ in range(6):
                await client.echo(b"still here")
                await asyncio.sleep(0.4)

    asyncio.run(play())


def test_w13_a_websocket_has_a_lifetime_however_much_it_talks(start: Callable[..., GatewayProcess]) -> None:
    gateway = start(lifetime="1s")

    async def play() -> tuple[float, Frame]:
        async with WsClient(gateway.address) as client:
            await client.open(ECHO, ACME)
            began = time.monotonic()
            while True:
                await client.say(b"talk")
                heard = await client.hear()
                assert heard is not None
                if heard.opcode == CLOSE:
                    return time.monotonic() - began, heard
                await asyncio.sleep(0.05)

    lasted, heard = asyncio.run(play())
    assert (heard.code, heard.reason) == (1001, "lifetime")
    assert 0.9 < lasted < 2.0


def test_w13_a_websocket_ends_when_its_token_does(start: Callable[..., GatewayProcess]) -> None:
    gateway = start()
    # the issuer's leeway of 10 s belongs to the token's life
    ends = int(time.time()) - 8
    lasted, ended = lasts(gateway, ECHO, bearer("acme", exp=ends, iat=ends - 60), "X-Request-Id: token-1")
    assert ended == (1008, "credential_expired")
    assert lasted < 4.0
    assert time.time() >= ends + 10
    assert gateway.log.of("token-1")["reason"] == "credential_expired"


@pytest.mark.parametrize("case", ["suspended", "removed", "permission", "route", "plain route", "key"])
def test_w13_a_reload_ends_the_websockets_of_whom_it_bars_and_of_nobody_else(
    start: Callable[..., GatewayProcess], case: str
) -> None:
    gateway = start()
    tree = gateway.tree
    both = ("payments:read", "payments:write")
    after = {
        "suspended": changed(tree, "consumers", "acme", to=consumer("acme", *both, state="suspended")),
        "removed": changed(
            tree, "consumers", to={k: v for k, v in tree["consumers"].items() if k != "acme"}  # type: ignore[union-attr]
        ),
        "permission": changed(tree, "consumers", "acme", to=consumer("acme", "payments:write", plan="roomy")),
        "route": changed(tree, "apis", "echo", "versions", "v1", "path", to="/elsewhere"),
        "plain route": changed(tree, "apis", "echo", "routes", to=[{"match": "GET /"}]),
        "key": changed(tree, "consumers", "acme", "credentials", to=[{"jwt": {"issuer": "acme-id", "subject": "acme"}}]),
    }[case]  # fmt: skip
    reasons = {
        "suspended": "consumer_suspended", "removed": "credential_invalid", "permission": "permission_denied",
        "route": "route_gone", "plain route": "route_gone", "key": "credential_invalid",
    }  # fmt: skip
    stays = OPEN if "route" in case else ECHO

    async def play() -> tuple[int, str]:
        async with WsClient(gateway.address) as barred, WsClient(gateway.address) as other:
            await barred.open(ECHO, ACME)
            await other.open(stays, key_line("reader"))
            await barred.echo(b"before")
            await asyncio.to_thread(gateway.reload_and_wait, after)
            await other.echo(b"still here")
            ended = await barred.closed(3)
            await other.echo(b"and still")
            assert await other.part() == 1000
            return ended

    assert asyncio.run(play()) == (1008, reasons[case])


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
