"""The gateway of the WebSocket tests: an echo server and a scripted upstream behind routes that take upgrades."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.client import Answer, RawClient
from tests.support.configuration import Tree, base, changed, key_line, with_payments
from tests.support.gateway import GatewayProcess
from tests.support.script import head
from tests.support.upstream import RecordingUpstream
from tests.support.websocket import ACCEPT, EchoServer, WsClient

SWITCH = head(101, "Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Accept: {ACCEPT}")
ECHO, SCRIPTED, OPEN = "/ws/v1/echo", "/ws/v1/scripted", "/public/v1/echo"
ACME = key_line("acme")


@dataclass
class Chain:
    gateway: GatewayProcess
    echo: EchoServer
    upstream: RecordingUpstream


def websockets(port: int, manager_port: int, echo: str, scripted: str, **settings: object) -> Tree:
    """WebSocket routes for proven callers, for the public, and plain ones beside them."""
    tree = with_payments(base(port, manager_port, scripted))
    tree = changed(tree, "upstreams", "echo", to={"targets": [echo], "connections": {"max": 2000}})
    some: Tree = {"origins": ["https://app.example"], "connections": 50, **settings}  # type: ignore[dict-item]
    routes: list[object] = [
        {"match": "GET /scripted", "upgrade": some, "require": "payments:read"},
        {"match": "GET /plain"},
        {"match": "POST /scripted"},
    ]
    api: Tree = {"authenticate": ["jwt", "api_key"], "versions": {"v1": {"path": "/ws"}}}
    scripted_api = {**api, "upstream": "main", "versions": {"v1": {"path": "/ws/v1"}}, "routes": routes}
    tree = changed(tree, "apis", "scripted", to=scripted_api)  # type: ignore[arg-type]
    echo_api = {
        **api,
        "upstream": "echo",
        "versions": {"v1": {"path": "/ws/v1/echo"}},
        "routes": [
            {"match": "GET /", "upgrade": some, "require": "payments:read"},
            {"match": "GET /few", "upgrade": {"connections": 2}},
        ],
    }
    tree = changed(tree, "apis", "echo", to=echo_api)  # type: ignore[arg-type]
    public = {
        "upstream": "echo",
        "authenticate": [],
        "versions": {"v1": {"path": "/public/v1"}},
        "routes": [{"match": "GET /echo", "upgrade": "websocket"}],
    }
    return changed(tree, "apis", "public", to=public)  # type: ignore[arg-type]


@contextmanager
def running(folder: Path) -> Iterator[Chain]:
    """The whole chain, one worker."""
    with ExitStack() as stack:
        echo = stack.enter_context(EchoServer())
        upstream = stack.enter_context(RecordingUpstream())
        gateway = stack.enter_context(
            GatewayProcess(folder, lambda port, manager: websockets(port, manager, echo.url, upstream.url))
        )
        yield Chain(gateway, echo, upstream)


def ws(chain: Chain, **more: float) -> WsClient:
    return WsClient(chain.gateway.address, **more)


def ask_once(chain: Chain, *requests: bytes) -> list[Answer]:
    """The answers to requests on one connection."""

    async def play() -> list[Answer]:
        async with RawClient(chain.gateway.address) as client:
            return [await client.ask(data) for data in requests]

    return asyncio.run(play())
