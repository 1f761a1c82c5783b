"""WebSockets inside TLS, on both sides: a tunnel takes over whatever transport its connections have."""

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from tests.e2e.websockets import ACME, ECHO, websockets
from tests.support.configuration import Tree, changed
from tests.support.gateway import GatewayProcess, until
from tests.support.tls_client import TlsCaller
from tests.support.tls_front import Authority, TlsFront
from tests.support.websocket import ACCEPT, CLOSE, TEXT, EchoServer, closing, frame, said, upgrade

pytestmark = pytest.mark.apart


@dataclass
class Secured:
    gateway: GatewayProcess
    echo: EchoServer


@pytest.fixture
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("wss")
    authority = Authority(folder / "certs")
    with ExitStack() as stack:
        echo = stack.enter_context(EchoServer())
        server = authority.issue("server", "127.0.0.1")
        front = stack.enter_context(TlsFront(("127.0.0.1", echo.port), server))
        ours = authority.issue("ours", "api.test")

        def make(port: int, manager_port: int) -> Tree:
            tree = websockets(port, manager_port, front.url, echo.url)
            tree = changed(tree, "upstreams", "echo", "tls", to={"ca": str(authority.ca)})
            certificates = [{"chain": str(ours.chain), "key": str(ours.key)}]
            listener = {"address": f"127.0.0.1:{port}", "tls": {"certificates": certificates}}
            return changed(tree, "gateway", "listen", to=[listener])  # type: ignore[list-item]

        yield Secured(stack.enter_context(GatewayProcess(folder, make)), echo)


def opened(caller: TlsCaller, *lines: str) -> None:
    caller.sock.sendall(upgrade(ECHO, ACME, *lines))
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += caller.sock.recv(1)
    assert head.startswith(b"HTTP/1.1 101 ")
    assert ACCEPT.encode() in head


def heard(caller: TlsCaller, count: int) -> bytes:
    data = b""
    while len(data) < count and (piece := caller.sock.recv(count - len(data))):
        data += piece
    return data


def test_frames_pass_through_tls_on_both_sides(secured: Secured) -> None:
    with TlsCaller(secured.gateway.port) as caller:
        opened(caller, "X-Request-Id: wss-1")
        for payload in (b"hello", bytes(range(256)) * 512):
            caller.sock.sendall(said(2, payload))
            assert heard(caller, len(frame(2, payload))) == frame(2, payload)
        caller.sock.sendall(said(CLOSE, closing(1000)))
        assert heard(caller, 4) == frame(CLOSE, closing(1000))
        assert caller.ended()
    line = secured.gateway.log.of("wss-1")
    assert (line["status"], line["reason"], line["request_bytes"] > 131_072) == (101, "client_closed", True)
    assert line["tls"]
    until(lambda: not secured.echo.open_count, "the server's end")


@pytest.mark.parametrize("how", ["server", "caller"])
def test_a_death_inside_tls_is_seen_by_the_other_side(secured: Secured, how: str) -> None:
    with TlsCaller(secured.gateway.port) as caller:
        opened(caller, "X-Request-Id: wss-2")
        caller.sock.sendall(said(TEXT, b"here"))
        assert heard(caller, 6) == frame(TEXT, b"here")
        (visit,) = secured.echo.visits
        if how == "server":
            assert visit.wire is not None
            visit.wire.half_close()
            assert caller.ended()
        else:
            caller.sock.unwrap().close()
    until(lambda: not visit.open, "the server's end")
    assert secured.gateway.log.of("wss-2")["outcome"] == "answered"
    until(lambda: secured.gateway.metric("faregate_tunnels") == 0, "the tunnel's end")


def test_drain_says_1001_through_tls(secured: Secured) -> None:
    with TlsCaller(secured.gateway.port) as caller:
        opened(caller)
        os.kill(secured.gateway.pid, signal.SIGTERM)
        expected = frame(CLOSE, closing(1001, "draining"))
        assert heard(caller, len(expected)) == expected
        caller.sock.sendall(said(CLOSE, closing(1001)))
        assert caller.ended()
    assert secured.gateway.wait_exit() == 0
    assert secured.echo.visits[0].frames[-1].code == 1001
    secured.gateway.process = None
