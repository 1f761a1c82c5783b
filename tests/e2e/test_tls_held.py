"""Certificate files that do not fit when a worker starts, and certificates out of time that come in place of good ones."""

import http.client
import os
import signal
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from tests.support.certificates import Authority, Issued, replace
from tests.support.configuration import Tree, base
from tests.support.gateway import GatewayProcess, until
from tests.support.ports import free_ports
from tests.support.tls_client import TlsCaller, refused
from tests.support.upstream import RecordingUpstream

pytestmark = pytest.mark.apart

HOST = "api.test"
REFUSED = "faregate_certificate_files_refused"


class World:
    """A TLS listener, and a clear one beside it."""

    def __init__(self, folder: Path, upstream: RecordingUpstream) -> None:
        self.folder, self.upstream = folder, upstream
        self.authority = Authority("CN=one")
        self.server = self.issue()
        self.server.write(folder / "certs", "server")
        (self.clear,) = free_ports(1)
        self.gateway = GatewayProcess(folder, self.make)

    def issue(self, *, days: tuple[float, float] = (-1, 200)) -> Issued:
        return self.authority.issue("CN=server", dns=(HOST,), client=False, days=days)

    def make(self, port: int, manager_port: int) -> Tree:
        tree = base(port, manager_port, self.upstream.url, workers=2)
        pair = {"chain": "certs/server.pem", "key": "certs/server.key"}
        tree["gateway"]["listen"] = [  # type: ignore[index,call-overload]
            {"address": f"127.0.0.1:{port}", "tls": {"certificates": [pair]}},
            {"address": f"127.0.0.1:{self.clear}"},
        ]
        return tree

    def served(self) -> bytes:
        with TlsCaller(self.gateway.port, HOST) as caller:
            return caller.served

    def clear_serves(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.clear, timeout=8)
        connection.request("GET", "/open/v1/x")
        status = connection.getresponse().status
        connection.close()
        return status == 200

    def gets_nothing_in_clear(self) -> bool:
        before = len(self.upstream.requests)
        with socket.create_connection(("127.0.0.1", self.gateway.port), 8) as sock:
            try:
                sock.sendall(b"GET /open/v1/x HTTP/1.1\r\nHost: api.test\r\n\r\n")
                answer = sock.recv(100)
            except ConnectionError:
                answer = b""
        return not answer.startswith(b"HTTP") and len(self.upstream.requests) == before

    def refused_files(self) -> float:
        return self.gateway.metric(REFUSED)

    def new_workers(self) -> None:
        """Kills both workers and waits for their successors."""
        before = self.workers()
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        until(lambda: len(self.workers()) == 2 and not self.workers() & before, "two new workers")
        self.gateway.wait_ready()

    def workers(self) -> set[int]:
        return set(self.gateway.worker_pids())


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with RecordingUpstream() as upstream:
        made = World(tmp_path, upstream)
        with made.gateway:
            yield made


def der(issued: Issued) -> bytes:
    return issued.certificate.public_bytes(Encoding.DER)


def opens(world: World) -> bool:
    try:
        return all(world.served() == der(world.server) for _ in range(6))
    except (ssl.SSLError, ConnectionError, http.client.HTTPException):
        return False


def test_workers_whose_files_do_not_fit_hold_the_listener_closed_and_serve_the_others(world: World) -> None:
    replace(world.folder / "certs" / "server.key", world.issue().key_pem)
    world.new_workers()
    assert all(refused(world.gateway.port, HOST) for _ in range(6))
    assert all(world.gets_nothing_in_clear() for _ in range(6))
    assert world.clear_serves()
    assert "Traceback" not in world.gateway.stderr
    key = world.folder / "certs" / "server.key"
    (line, *_) = [one for one in world.gateway.stderr.splitlines() if "held closed" in one]
    assert f"{key}: the key does not belong" in line
    assert "put files in place" in line
    until(lambda: world.refused_files() == 2, "both workers' metric")
    replace(key, world.server.key_pem)
    until(lambda: opens(world), "the listener to open by itself")
    until(lambda: world.refused_files() == 0, "the metric to fall")


def test_a_worker_that_cannot_serve_leaves_callers_to_the_one_that_can(world: World) -> None:
    replace(world.folder / "certs" / "server.key", world.issue().key_pem)
    before = world.workers()
    os.kill(min(before), signal.SIGKILL)
    until(lambda: "held closed" in world.gateway.stderr, "the successor")
    until(lambda: len(world.workers()) == 2, "two workers")
    world.gateway.wait_ready()
    assert all(opens(world) for _ in range(10))
    replace(world.folder / "certs" / "server.key", world.server.key_pem)
    until(lambda: "fit now" in world.gateway.stderr, "the listener to open by itself")
    until(lambda: world.refused_files() == 0, "the metric to fall")
    os.kill(max(before), signal.SIGSTOP)  # the successor alone is to answer
    try:
        assert opens(world)
    finally:
        os.kill(max(before), signal.SIGCONT)


def test_a_start_on_the_last_good_snapshot_without_the_file(world: World) -> None:
    world.gateway.stop()
    chain = world.folder / "certs" / "server.pem"
    chain.unlink()
    world.gateway.launch()
    world.gateway.wait_ready()
    assert world.clear_serves()
    assert refused(world.gateway.port, HOST)
    assert world.gets_nothing_in_clear()
    assert "Traceback" not in world.gateway.stderr
    lines = [one for one in world.gateway.stderr.splitlines() if "held closed" in one]
    assert len(lines) == 1  # not one of each worker
    assert str(chain) in lines[0]
    replace(chain, world.server.pem)
    until(lambda: opens(world), "the listener to open by itself")


@pytest.mark.parametrize(("days", "words"), [((-9.0, -1.0), "has ended"), ((1.0, 200.0), "not valid before")])
def test_a_certificate_out_of_time_does_not_replace_one_that_is_in_time(
    world: World, days: tuple[float, float], words: str
) -> None:
    world.issue(days=days).write(world.folder / "certs", "server")
    until(lambda: words in world.gateway.stderr, "what is said of it")
    until(lambda: world.refused_files() == 2, "both workers' metric")
    assert opens(world)
    world.gateway.reload()
    assert opens(world)
    world.server = world.issue()
    world.server.write(world.folder / "certs", "server")
    until(lambda: opens(world), "the renewed certificate")
    until(lambda: world.refused_files() == 0, "the metric to fall")
