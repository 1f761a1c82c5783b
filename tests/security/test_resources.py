"""P3 and P6: what callers can make the gateway spend. Memory is the workers' resident set, processor time their own accounting."""

import asyncio
import random
import resource
import socket
import string
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.support.client import RawClient, request
from tests.support.configuration import Tree, base, changed, with_payments
from tests.support.gateway import GatewayProcess, fetch, until
from tests.support.upstream import RecordingUpstream

IDLE: Final = 2000
_LETTERS: Final = string.ascii_lowercase


@dataclass
class Place:
    gateway: GatewayProcess
    upstream: RecordingUpstream

    def cpu_seconds(self) -> float:
        """Processor time of the workers so far, to the nanosecond."""
        return (
            sum(
                int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])
                for pid in self.gateway.worker_pids()
            )
            / 1e9
        )

    async def cost_us(self, make: Callable[[], bytes], calls: int = 25) -> float:
        """Processor time of one call, the least of three rounds; a refused connection is opened anew."""
        least = float("inf")
        for _ in range(3):
            heads = [make() for _ in range(calls)]
            before = self.cpu_seconds()
            client = None
            for data in heads:
                if client is None:
                    client = await RawClient(self.gateway.address).__aenter__()
                answer = await client.ask(data)
                if answer.header("connection") == "close":
                    client.wire.close()
                    client = None
            if client is not None:
                client.wire.close()
            least = min(least, (self.cpu_seconds() - before) / calls * 1e6)
        return least


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with ExitStack() as stack:
        upstream = stack.enter_context(RecordingUpstream())

        def make(port: int, manager_port: int) -> Tree:
            tree = with_payments(base(port, manager_port, upstream.url))
            return changed(tree, "gateway", "limits", to={"header_timeout": "1s"})

        gateway = stack.enter_context(GatewayProcess(tmp_path_factory.mktemp("resources"), make))
        yield Place(gateway, upstream)


def word(choice: random.Random, length: int) -> str:
    return "".join(choice.choices(_LETTERS, k=length))


def test_hostile_heads_cost_less_than_a_hundred_ordinary_ones(place: Place) -> None:
    """P3: at most 10 KiB each, against a head of the same size with a long cookie."""
    choice = random.Random(7)

    def ordinary() -> bytes:
        return request("GET", "/nowhere", f"Cookie: {word(choice, 8000)}", f"X-A: {word(choice, 2000)}")

    nested = "eyJhbGciOiJFUzI1NiIsImtpZCI6ImUyZS0xIiwiYSI6" + "W1tb" * 1700 + ".e30.AA"
    hostile: dict[str, Callable[[], bytes]] = {
        "distinct fields": lambda: request("GET", "/nowhere", *(f"{word(choice, 6)}: {word(choice, 70)}" for _ in range(120))),
        "commas in Connection": lambda: request("GET", "/nowhere", "Connection: " + "a," * 5000),
        "empty members in Connection": lambda: request("GET", "/nowhere", "Connection: " + "," * 10_000),
        "names in Connection": lambda: request("GET", "/nowhere", "Connection: " + ",".join(f"x-{word(choice, 2)}" for _ in range(2000))),
        "Connection lines against fields": lambda: request(
            "GET", "/nowhere", *(f"Connection: {word(choice, 3)}" for _ in range(60)), *(f"{word(choice, 6)}: {word(choice, 130)}" for _ in range(60))),
        "percent triplets in the path": lambda: request("GET", "/" + "%C3%A9" * 1300),
        "needless triplets in the path": lambda: request("GET", "/" + "%61" * 2600),
        "segments": lambda: request("GET", "/a" * 4000),
        "Via lines": lambda: request("GET", "/nowhere", *(f"Via: 1.1 {word(choice, 60)}" for _ in range(120))),
        "addresses": lambda: request("GET", "/nowhere", "X-Forwarded-For: " + "1.2.3.4," * 1200),
        "nesting in a token": lambda: request("GET", "/v2/payments/1", f"Authorization: Bearer {nested}"),
        "dots in a token": lambda: request("GET", "/v2/payments/1", "Authorization: Bearer " + "." * 8000),
        "unknown keys": lambda: request("GET", "/v2/payments/1", f"X-API-Key: fg_live_{word(choice, 32)}"),
    }  # fmt: skip

    async def play() -> dict[str, float]:
        usual = await place.cost_us(ordinary)
        return {name: await place.cost_us(make) / usual for name, make in hostile.items()}

    ratios = asyncio.run(play())
    assert {name: round(ratio, 1) for name, ratio in ratios.items() if ratio > 100} == {}


def test_heads_that_never_repeat_leave_bounded_memory(place: Place) -> None:
    """What is remembered of lines and sections has an end: 3,000 heads of 3.5 KiB, 10 MiB in all, all of them new."""
    choice = random.Random(11)

    async def play(count: int) -> None:
        async with RawClient(place.gateway.address) as client:
            for _ in range(count):
                await client.ask(
                    request(
                        "GET", "/nowhere", *(f"{word(choice, 6)}: {word(choice, 170)}" for _ in range(19))
                    )
                )

    before = place.gateway.rss_bytes()
    asyncio.run(play(3000))
    grown = place.gateway.rss_bytes() - before
    assert grown < 48 << 20, f"{grown >> 20} MiB"


def test_an_idle_connection_costs_less_than_64_kib(place: Place) -> None:
    """http-rules.md section 3: 2,000 connections, each with one answered call, its head of 2 KiB remembered."""

    async def play() -> float:
        clients = []
        before = place.gateway.rss_bytes()
        try:
            for number in range(IDLE):
                client = await RawClient(place.gateway.address).__aenter__()
                clients.append(client)
                assert (await client.ask(request("GET", "/nowhere", f"X-Pad: {number:0>2000}"))).status == 404
            return (place.gateway.rss_bytes() - before) / IDLE
        finally:
            for client in clients:
                client.wire.close()

    each = asyncio.run(play())
    assert 0 < each < 64 << 10, f"{each:.0f} bytes"


def _descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


async def _settled(pid: int) -> None:
    """Waits until the process opens no more descriptors."""
    before, now = -1, 0
    while before != now:
        before = now
        await asyncio.sleep(0.15)
        now = _descriptors(pid)


def test_callers_cannot_take_the_descriptors_that_calls_need(tmp_path: Path) -> None:
    """http-rules.md section 7: idle connections end below half the limit, so that a call still reaches its upstream."""
    with RecordingUpstream() as upstream, ExitStack() as stack:
        gateway = GatewayProcess(tmp_path, lambda port, manager: base(port, manager, upstream.url))
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (160, hard))
        try:
            gateway.launch()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        stack.callback(gateway.kill)
        gateway.wait_ready()

        async def play() -> int:
            async with RawClient(gateway.address) as client:
                assert (await client.ask(request("GET", "/nowhere"))).status == 404
                for _ in range(300):
                    stack.enter_context(socket.create_connection(gateway.address, timeout=2))
                await _settled(gateway.worker_pids()[0])
                return (await client.ask(request("GET", "/open/v1/t"))).status

        assert asyncio.run(play()) == 200


def test_half_heads_do_not_take_the_manager_away(place: Place) -> None:
    """http-rules.md section 3: the head deadline holds on the manager's port as well."""
    port = place.gateway.manager_port
    with ExitStack() as stack:
        for _ in range(600):
            stack.enter_context(socket.create_connection(("127.0.0.1", port))).sendall(b"GET /m")
        until(lambda: fetch(port, "/readyz")[0] == 200, "the manager", 2.0)


PIPELINE: Final = request("GET", "/nowhere") * (1 << 12)


def test_a_pipeline_of_refused_calls_is_held_back(place: Place) -> None:
    """F31, P3: the caller sends as fast as it can and reads every answer. What waits in the gateway stays under 1 MiB, and a
    call costs about what it costs alone."""
    sock = socket.create_connection(place.gateway.address)
    reader = threading.Thread(target=_read_all, args=(sock,), daemon=True)
    reader.start()
    before, cpu = place.gateway.rss_bytes(), place.cpu_seconds()
    answered = len(place.gateway.log.read())
    most, sent, end = 0, 0, time.monotonic() + 1.5
    try:
        sock.settimeout(0.1)
        while time.monotonic() < end:
            with suppress(TimeoutError):
                sent += sock.send(PIPELINE)
            most = max(most, place.gateway.rss_bytes())
        cpu = place.cpu_seconds() - cpu
        place.gateway.log.wait(lambda lines: len(lines) > answered, "the answered calls")
        answered = len(place.gateway.log.lines) - answered
    finally:
        sock.shutdown(socket.SHUT_RDWR)
        reader.join(5)
        sock.close()
    assert most - before < 8 << 20, f"{(most - before) >> 20} MiB for {sent >> 20} MiB sent"
    assert cpu / answered < 0.001, f"{cpu / answered * 1e6:.0f} us a call"


def _read_all(sock: socket.socket) -> None:
    with suppress(OSError):
        while sock.recv(1 << 20):
            pass
