"""Caps on connections, descriptors that run out, a bound on memory, and full targets, on a real gateway."""

import asyncio
import os
import resource
import signal
import socket
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.support.client import RawClient, ask, request
from tests.support.configuration import Tree, Value, base, changed, public_api
from tests.support.gateway import GatewayProcess, until
from tests.support.script import Gate, Stream, head, raw
from tests.support.upstream import RecordingUpstream

pytestmark = pytest.mark.apart
MIB = 1 << 20


def gateway_with(stack: ExitStack, folder: Path, **limits: Value) -> tuple[GatewayProcess, RecordingUpstream]:
    upstream = stack.enter_context(RecordingUpstream())

    def make(port: int, manager_port: int) -> Tree:
        return changed(base(port, manager_port, upstream.url), "gateway", "limits", to=dict(limits))

    return stack.enter_context(GatewayProcess(folder, make)), upstream


def is_ended(sock: socket.socket) -> bool:
    sock.settimeout(1.0)
    try:
        return sock.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def is_served(gateway: GatewayProcess) -> bool:
    """Whether a new caller gets an answer; without room it is closed or refused."""
    try:
        return asyncio.run(ask(gateway.address, request("GET", "/open/v1/t"))).status == 200
    except (AssertionError, OSError):
        return False


def test_an_address_beyond_its_connections_is_turned_away(tmp_path: Path) -> None:
    with ExitStack() as stack:
        gateway, _ = gateway_with(stack, tmp_path, connections_per_address=3)
        kept = [stack.enter_context(socket.create_connection(gateway.address)) for _ in range(3)]
        until(lambda: gateway.metric("faregate_connections", side="client") == 3, "three")
        assert is_ended(stack.enter_context(socket.create_connection(gateway.address)))
        assert gateway.metric("faregate_connections_refused_total", cap="connections_per_address") == 1
        kept[0].close()
        until(lambda: gateway.metric("faregate_connections", side="client") == 2, "room")
        assert asyncio.run(ask(gateway.address, request("GET", "/open/v1/t"))).status == 200


def test_all_connections_together_have_a_cap_that_a_reload_changes(tmp_path: Path) -> None:
    with ExitStack() as stack:
        gateway, _ = gateway_with(stack, tmp_path, connections=2)
        for _ in range(2):
            stack.enter_context(socket.create_connection(gateway.address))
        until(lambda: gateway.metric("faregate_connections", side="client") == 2, "two")
        assert is_ended(stack.enter_context(socket.create_connection(gateway.address)))
        gateway.reload_and_wait(changed(gateway.tree, "gateway", "limits", to={"connections": 3}))
        assert asyncio.run(ask(gateway.address, request("GET", "/open/v1/t"))).status == 200


@pytest.mark.parametrize("cap", ["connections", "connections_per_address"])
def test_caps_hold_over_the_workers_and_a_dead_ones_places_are_free(tmp_path: Path, cap: str) -> None:
    with ExitStack() as stack:
        upstream = stack.enter_context(RecordingUpstream())

        def make(port: int, manager_port: int) -> Tree:
            tree = base(port, manager_port, upstream.url, workers=2)
            return changed(tree, "gateway", "limits", to={cap: 20})

        gateway = stack.enter_context(GatewayProcess(tmp_path, make))

        def connected() -> int:
            return int(gateway.metric("faregate_connections", side="client"))

        def fill() -> None:
            for _ in range(60):
                stack.enter_context(socket.create_connection(gateway.address))
            until(lambda: connected() == 20, "as many as there may be of all workers")

        fill()
        assert gateway.metric("faregate_connections_refused_total", cap=cap) == 40
        before = set(gateway.worker_pids())
        os.kill(max(before, key=_descriptors), signal.SIGKILL)  # one that has connections
        until(lambda: len(set(gateway.worker_pids()) - before) == 1, "another worker")
        until(lambda: connected() < 20, "the dead one's connections to be gone")
        fill()


def _cpu_s(pid: int) -> float:
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def _descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def test_without_descriptors_the_worker_does_not_spin_and_comes_back(tmp_path: Path) -> None:
    """X3: accepting pauses, or turns away, while none is left; what is connected is served."""
    with ExitStack() as stack:
        gateway, _ = gateway_with(stack, tmp_path)
        (pid,) = gateway.worker_pids()

        async def play() -> None:
            async with RawClient(gateway.address) as client:
                assert (await client.ask(request("GET", "/open/v1/t"))).status == 200
                used = _descriptors(pid)
                _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
                resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 3, hard))
                flood = [socket.create_connection(gateway.address, timeout=2) for _ in range(60)]
                await asyncio.sleep(0.3)
                before = _cpu_s(pid)
                await asyncio.sleep(1.0)
                assert _cpu_s(pid) - before < 0.3, "it spins"
                assert (await client.ask(request("GET", "/open/v1/t"))).status == 200
                for sock in flood:
                    sock.close()

        asyncio.run(play())
        until(lambda: is_served(gateway), "a new caller", 5.0)


def test_a_flood_of_half_heads_stays_below_the_memory_bound(tmp_path: Path) -> None:
    """P6: ten times what there is room for is sent; the worker stays below what it printed, and good callers are served again."""
    with ExitStack() as stack:
        gateway, _ = gateway_with(
            stack, tmp_path, memory="160MiB", connections=4000, connections_per_address=4000
        )
        until(
            lambda: "memory: a worker keeps below 160 MiB" in gateway.stderr, "the line about memory"
        )  # the one after ready
        piece = b"GET /open/v1/t HTTP/1.1\r\nHost: a.test\r\n" + b"".join(
            b"X-Pad-%d: %b\r\n" % (number, b"a" * 8000) for number in range(7)
        )
        most = 0
        for number in range(3500):
            sock = stack.enter_context(socket.socket())
            sock.settimeout(2)
            try:
                sock.connect(gateway.address)
                sock.sendall(piece)
            except OSError:
                sock.close()
            if number % 50 == 0:
                most = max(most, gateway.rss_bytes())
        begun = time.monotonic()
        while time.monotonic() - begun < 2.0:
            most = max(most, gateway.rss_bytes())
            time.sleep(0.1)
        assert 100 * MIB < most < 160 * MIB, f"{most / MIB:.0f} MiB"
        assert gateway.metric("faregate_connections_refused_total", cap="memory") > 0

        until(lambda: is_served(gateway), "a good caller to be served", 15.0)


FLOOD = 150


def _push(sock: socket.socket, data: bytes) -> None:
    """Sends what the other side takes at once."""
    sock.setblocking(False)
    with suppress(OSError):
        while data:
            data = data[sock.send(data) :]


def test_heads_bodies_and_readers_at_their_worst_stay_below_the_formula(tmp_path: Path) -> None:
    """P6: half heads of 60 KiB, bodies for an upstream that does not read, and readers who take nothing, all at once."""
    with ExitStack() as stack:
        upstream = stack.enter_context(RecordingUpstream())
        upstream.script("/open/v1/large", raw(head(200, "Content-Length: 3000000"), Stream(3_000_000)))
        deaf = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=512))

        def make(port: int, manager_port: int) -> Tree:
            tree = base(port, manager_port, upstream.url)
            tree = changed(tree, "gateway", "limits", to={"connections": 500, "calls": 400, "body": "4MiB"})
            deaf_url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
            tree = changed(tree, "upstreams", "deaf", to={"targets": [deaf_url]})
            return changed(tree, "apis", "deaf", to=public_api("deaf", "/deaf/v1"))

        gateway = stack.enter_context(GatewayProcess(tmp_path, make))
        before = gateway.rss_bytes()
        pad = b"".join(b"X-Pad-%d: %b\r\n" % (number, b"a" * 8000) for number in range(7))
        floods = (
            b"GET /open/v1/t HTTP/1.1\r\nHost: a.test\r\n" + pad,
            b"POST /deaf/v1/t HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4000000\r\n\r\n" + b"a" * 4_000_000,
            b"GET /open/v1/large HTTP/1.1\r\nHost: a.test\r\n\r\n" * 20,
        )
        socks = []
        for data in floods * FLOOD:
            sock = stack.enter_context(socket.socket())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect(gateway.address)
            _push(sock, data)
            socks.append(sock)
        most, end = 0, time.monotonic() + 4.0
        while time.monotonic() < end:
            most = max(most, gateway.rss_bytes())
            time.sleep(0.1)
        bound = gateway.metric("faregate_memory_bound_bytes")
        print(f"\n{(most - before) >> 20} MiB more, {most >> 20} of {int(bound) >> 20} MiB")
        assert most < bound
        assert most - before > 20 * MIB, "a flood that shows"


def test_a_fixed_concurrency_holds_for_each_target_and_tells_why(tmp_path: Path) -> None:
    with ExitStack() as stack:
        upstream = stack.enter_context(RecordingUpstream())
        gate = Gate()
        stack.callback(gate.open)
        upstream.script("/open/v1/slow", raw(gate, head(200, "Content-Length: 0")))

        def make(port: int, manager_port: int) -> Tree:
            return changed(base(port, manager_port, upstream.url), "upstreams", "main", "concurrency", to=2)

        gateway = stack.enter_context(GatewayProcess(tmp_path, make))

        async def play() -> str:
            async with RawClient(gateway.address) as one, RawClient(gateway.address) as two:
                await one.send(request("GET", "/open/v1/slow"))
                await two.send(request("GET", "/open/v1/slow"))
                await upstream.awaits(lambda: len(upstream.of_path("/open/v1/slow")) == 2, "both")
                answer = await ask(gateway.address, request("GET", "/open/v1/t"))
                assert (answer.status, answer.code, answer.problem["outcome"]) == (
                    503,
                    "overloaded",
                    "not_sent",
                )
                assert answer.header("retry-after") == "1"
                gate.open()
                for client in (one, two):
                    got = await client.answer()
                    assert got is not None
                    assert got.status == 200
                return answer.request_id

        line = gateway.log.of(asyncio.run(play()))
        assert (line["refusal"], line["reason"], line["outcome"]) == (
            "overloaded",
            "upstream_concurrency",
            "not_sent",
        )
        assert gateway.metric("faregate_calls_shed_total", reason="upstream_concurrency") == 1
        assert asyncio.run(ask(gateway.address, request("GET", "/open/v1/t"))).status == 200
