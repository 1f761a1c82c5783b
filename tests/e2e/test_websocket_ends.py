"""How the gateway ends WebSockets: bounds of time, the credential's end, a reload that bars the caller."""

import asyncio
import time
from collections.abc import Iterator

import pytest

from tests.e2e.websockets import ACME, ECHO, OPEN, websockets
from tests.support.configuration import Tree, bearer, changed, consumer, key_line
from tests.support.gateway import GatewayProcess
from tests.support.upstream import RecordingUpstream
from tests.support.websocket import CLOSE, EchoServer, Frame, WsClient


@pytest.fixture(scope="module")
def echo() -> Iterator[EchoServer]:
    with EchoServer() as server:
        yield server


@pytest.fixture(scope="module")
def upstream() -> Iterator[RecordingUpstream]:
    with RecordingUpstream() as running:
        yield running


BRIEF = {"idle": "/idle/v1/echo", "lifetime": "/lifetime/v1/echo"}
"""Routes whose WebSockets are bounded to a second, one way or the other."""


@pytest.fixture(scope="module")
def shared(
    tmp_path_factory: pytest.TempPathFactory, echo: EchoServer, upstream: RecordingUpstream
) -> Iterator[GatewayProcess]:
    """The gateway of those that leave it as it was."""

    def make(port: int, manager_port: int) -> Tree:
        tree = websockets(port, manager_port, echo.url, upstream.url)
        for name in BRIEF:
            route: Tree = {"match": "GET /echo", "upgrade": {name: "1s"}, "require": "payments:read"}
            api: Tree = {
                "upstream": "echo",
                "authenticate": ["jwt", "api_key"],
                "versions": {"v1": {"path": f"/{name}/v1"}},
                "routes": [route],
            }
            tree = changed(tree, "apis", name, to=api)
        return tree

    with GatewayProcess(tmp_path_factory.mktemp("ends"), make) as gateway:
        yield gateway


def lasts(gateway: GatewayProcess, path: str, *lines: str) -> tuple[float, tuple[int, str]]:
    """How long a silent WebSocket stays open, in seconds, and the Close frame that ends it."""

    async def play() -> tuple[float, tuple[int, str]]:
        async with WsClient(gateway.address) as client:
            await client.open(path, *lines)
            began = time.monotonic()
            ended = await client.closed()
            return time.monotonic() - began, ended

    return asyncio.run(play())


def test_w13_a_silent_websocket_ends_and_a_talking_one_lives(shared: GatewayProcess) -> None:
    lasted, ended = lasts(shared, BRIEF["idle"], ACME, "X-Request-Id: idle-1")
    assert ended == (1001, "idle")
    assert 0.9 < lasted < 2.0
    assert shared.log.of("idle-1")["reason"] == "idle"

    async def play() -> None:
        async with WsClient(shared.address) as client:
            await client.open(BRIEF["idle"], ACME)
            for _ in range(6):
                await client.echo(b"still here")
                await asyncio.sleep(0.4)

    asyncio.run(play())


def test_w13_a_websocket_has_a_lifetime_however_much_it_talks(shared: GatewayProcess) -> None:

    async def play() -> tuple[float, Frame]:
        async with WsClient(shared.address) as client:
            await client.open(BRIEF["lifetime"], ACME)
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


def test_w13_a_websocket_ends_when_its_token_does(shared: GatewayProcess) -> None:
    # the issuer's leeway of 10 s belongs to the token's life
    ends = int(time.time()) - 8
    lasted, ended = lasts(shared, ECHO, bearer("acme", exp=ends, iat=ends - 60), "X-Request-Id: token-1")
    assert ended == (1008, "credential_expired")
    assert lasted < 4.0
    assert time.time() >= ends + 10
    assert shared.log.of("token-1")["reason"] == "credential_expired"


@pytest.mark.parametrize("case", ["suspended", "removed", "permission", "route", "plain route", "key"])
def test_w13_a_reload_ends_the_websockets_of_whom_it_bars_and_of_nobody_else(
    shared: GatewayProcess, case: str
) -> None:
    gateway, tree = shared, shared.tree
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

    try:
        assert asyncio.run(play()) == (1008, reasons[case])
    finally:
        gateway.reload_and_wait(tree)
