"""A listener that asks for more than before: who came in by less does not go on as if nothing had happened."""

import http.client
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.configuration import Tree, base, changed
from tests.support.gateway import GatewayProcess, until
from tests.support.http2_client import Http2Caller
from tests.support.ports import free_ports
from tests.support.script import Gate, raw, sized
from tests.support.tls_client import TIMEOUT_S, TlsCaller, plain_context
from tests.support.upstream import RecordingUpstream
from tests.support.websocket import CLOSE, EchoServer, upgrade

SLOW = "/open/v1/slow"
CHANGES = {"in clear -> TLS": (None, "none"), "none -> required": ("none", "required")}


class PlainCaller(TlsCaller):
    """The same caller in clear."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), TIMEOUT_S)  # type: ignore[assignment]


class World:
    """A gateway of one worker whose listener speaks as ``tls`` says: a mode of client certificates, or in clear."""

    def __init__(self, folder: Path, stack: ExitStack, mode: str | None) -> None:
        self.upstream = stack.enter_context(RecordingUpstream())
        self.echo = stack.enter_context(EchoServer())
        self._authority = Authority("CN=callers")
        (folder / "certs").mkdir()
        (folder / "certs" / "callers.pem").write_bytes(self._authority.pem)
        Authority().issue("CN=server", dns=("api.test",), client=False).write(folder / "certs", "server")
        self._authority.issue("CN=caller", client=True).write(folder / "caller", "caller")
        self.files = (folder / "caller" / "caller.pem", folder / "caller" / "caller.key")
        self.mode = mode
        self.gateway = stack.enter_context(GatewayProcess(folder, self._make))

    def _make(self, port: int, manager_port: int) -> Tree:
        tree = base(port, manager_port, self.upstream.url)
        tree = changed(tree, "upstreams", "echo", to={"targets": [self.echo.url]})
        tree["apis"]["ws"] = {  # type: ignore[index,call-overload]
            "upstream": "echo",
            "authenticate": [],
            "versions": {"v1": {"path": "/ws/v1"}},
            "routes": [{"match": "GET /echo", "upgrade": {}}],
        }
        listener: Tree = {"address": f"127.0.0.1:{port}"}
        if self.mode is not None:
            listener["tls"] = {"certificates": [{"chain": "certs/server.pem", "key": "certs/server.key"}]}
            if self.mode != "none":
                listener["tls"]["client_certificates"] = {"mode": self.mode, "ca": "certs/callers.pem"}
        return changed(tree, "gateway", "listen", to=[listener])

    def turn(self, mode: str | None) -> None:
        self.mode = mode
        self.gateway.reload_and_wait(self._make(self.gateway.port, self.gateway.manager_port))

    def be(self, mode: str | None) -> "World":
        """Speaks as ``mode`` says, and its upstream has seen nothing: as one that has just started."""
        if self.mode != mode:
            self.turn(mode)
        self.upstream.clear()
        return self

    def caller(self) -> TlsCaller:
        """Who connects as the listener asks for, and shows no certificate."""
        return PlainCaller(self.gateway.port) if self.mode is None else TlsCaller(self.gateway.port)


Start = Callable[[str | None], World]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """For tests that leave it running; each brings it by a reload to where it begins."""
    with ExitStack() as stack:
        yield World(tmp_path_factory.mktemp("seams"), stack, None)


@pytest.fixture
def start(shared: World) -> Start:
    return shared.be


@pytest.mark.parametrize("change", CHANGES)
def test_who_would_not_be_let_in_any_more_ends_with_the_call_it_is_in(start: Start, change: str) -> None:
    before, after = CHANGES[change]
    world = start(before)
    gate = Gate()
    world.upstream.script(SLOW, raw(gate, *sized().actions))
    with (
        world.caller() as idle,
        world.caller() as busy,
        world.caller() as partial,
        world.caller() as tunnel,
    ):
        for caller in (idle, busy, partial):
            assert caller.ask("/open/v1/x").status == 200
        tunnel.sock.sendall(upgrade("/ws/v1/echo"))
        assert tunnel.sock.recv(65_536).startswith(b"HTTP/1.1 101 ")
        slow = f"GET {SLOW} HTTP/1.1\r\nHost: api.test\r\n\r\n".encode()
        busy.sock.sendall(slow + b"GET /open/v1/late HTTP/1.1\r\nHost: api.test\r\n\r\n")
        partial.sock.sendall(b"GET /open/v1/late HTTP/1.1\r\nHost: ")
        world.upstream.wait(lambda: bool(world.upstream.of_path(SLOW)), "the slow call")
        world.turn(after)
        for caller in (idle, partial):
            caller.sock.settimeout(1.5)  # at once, and not at the next look
            assert caller.ended()
        frame = tunnel.sock.recv(65_536)
        assert (frame[0] & 0x0F, int.from_bytes(frame[2:4], "big")) == (CLOSE, 1001)
        gate.open()
        answer = busy.reply()
        assert (answer.status, answer.headers["Connection"]) == (200, "close")
        assert busy.ended()
    assert not world.upstream.of_path("/open/v1/late")


def test_over_http_2_a_goaway_tells_and_what_is_in_progress_is_answered(start: Start) -> None:
    world = start("none")
    gate = Gate()
    world.upstream.script(SLOW, raw(gate, *sized().actions))
    with Http2Caller(world.gateway.port) as caller:
        stream = caller.begin(SLOW)
        world.upstream.wait(lambda: bool(world.upstream.of_path(SLOW)), "the slow call")
        world.turn("required")
        lasts, body = caller.see_out(stream, gate.open)
        assert lasts == [2**31 - 1, stream]
        assert body == b"{}"


@pytest.mark.parametrize(("before", "after"), [("none", "optional"), ("optional", "none"), ("none", None)])
def test_who_would_still_be_let_in_stays(start: Start, before: str, after: str | None) -> None:
    world = start(before)
    with world.caller() as caller:
        assert caller.ask("/open/v1/x").status == 200
        world.turn(after)
        assert caller.ask("/open/v1/x").status == 200


def test_a_caller_with_a_certificate_stays_when_it_comes_to_be_required(start: Start) -> None:
    world = start("optional")
    with TlsCaller(world.gateway.port, certificate=world.files) as caller:
        assert caller.ask("/open/v1/x").status == 200
        world.turn("required")
        assert caller.ask("/open/v1/x").status == 200


@pytest.mark.parametrize("change", CHANGES)
def test_who_was_connecting_while_the_listener_changed_is_not_let_in_by_the_old_rules(
    start: Start, change: str
) -> None:
    before, after = CHANGES[change]
    world = start(before)
    with socket.create_connection(("127.0.0.1", world.gateway.port), TIMEOUT_S) as early:
        with world.caller() as caller:  # behind it in the queue
            assert caller.ask("/open/v1/x").status == 200
        world.turn(after)
        with pytest.raises((OSError, http.client.HTTPException)):
            speak(early, secure=before is not None)
    assert len(world.upstream.of_path("/open/v1/x")) == 1


def speak(sock: socket.socket, *, secure: bool) -> None:
    if secure:
        sock = plain_context().wrap_socket(sock, server_hostname="api.test")
    with sock:
        sock.sendall(b"GET /open/v1/x HTTP/1.1\r\nHost: api.test\r\n\r\n")
        http.client.HTTPResponse(sock).begin()


IDLE_IS_OVER_S = 1.3
"""Longer than a drain lets idle connections live."""


@pytest.fixture
def draining(tmp_path: Path) -> Iterator[tuple[World, socket.socket]]:
    """A gateway that was told to stop, and a connection to it whose handshake has not begun."""
    with ExitStack() as stack:
        world = World(tmp_path, stack, "none")
        with socket.create_connection(("127.0.0.1", world.gateway.port), TIMEOUT_S) as early:
            with world.caller() as caller:  # behind it in the queue
                assert caller.ask("/open/v1/x").status == 200
            os.kill(world.gateway.pid, signal.SIGTERM)
            time.sleep(IDLE_IS_OVER_S)
            yield world, early
        assert world.gateway.wait_exit() == 0
        assert "Traceback" not in world.gateway.stderr
        world.gateway.kill()  # which forgets it: it has ended


@pytest.mark.parametrize("pause_s", [0.0, 0.7])
def test_a_handshake_that_ends_while_the_gateway_drains_is_good_for_one_call(
    draining: tuple[World, socket.socket], pause_s: float
) -> None:
    world, early = draining
    with TlsCaller(world.gateway.port, sock=early) as caller:
        time.sleep(pause_s)
        answer = caller.ask("/open/v1/x")
        assert (answer.status, answer.headers["Connection"]) == (200, "close")
        assert caller.ended()


def test_the_same_over_http_2(draining: tuple[World, socket.socket]) -> None:
    world, early = draining
    with Http2Caller(world.gateway.port, sock=early) as caller:
        stream = caller.begin("/open/v1/x")
        lasts, body = caller.see_out(stream, lambda: None)
        assert lasts == [2**31 - 1, stream]
        assert body


def test_who_ends_its_handshake_and_asks_nothing_is_seen_off_in_good_order(
    draining: tuple[World, socket.socket],
) -> None:
    world, early = draining
    with TlsCaller(world.gateway.port, sock=early) as caller:
        assert caller.sock.recv(1) == b""


def test_a_drain_does_not_wait_for_who_never_ends_its_handshake(
    draining: tuple[World, socket.socket],
) -> None:
    world, early = draining
    until(lambda: not world.gateway.worker_pids(), "the worker's end", 6.0)
    with pytest.raises((OSError, http.client.HTTPException)):
        speak(early, secure=True)


def test_a_handshake_at_a_listener_that_is_taken_away_is_good_for_one_call(start: Start) -> None:
    world = start("none")
    (port,) = free_ports(1)
    tree = world._make(world.gateway.port, world.gateway.manager_port)
    listener = tree["gateway"]["listen"][0]  # type: ignore[index,call-overload]
    both = [listener, {**listener, "address": f"127.0.0.1:{port}"}]
    world.gateway.reload_and_wait(changed(tree, "gateway", "listen", to=both))  # type: ignore[arg-type]
    with socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as early:
        with TlsCaller(port) as caller:
            assert caller.ask("/open/v1/x").status == 200
        world.gateway.reload_and_wait(tree)
        time.sleep(IDLE_IS_OVER_S)
        with TlsCaller(port, sock=early) as caller:
            assert caller.ask("/open/v1/x").status == 200
            assert caller.ended()
