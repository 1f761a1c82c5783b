"""Workers of a machine agree on which target is out: four workers, two targets, real processes.

The file of shared health is read from outside, so the moment of the first ejection is known on this process's clock; what the ill
target still receives afterwards is what agreement costs.
"""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Self

import pytest

from faregate.stores.health import HealthTable
from faregate.stores.health_layout import SEATED_MS, TERM, Shared, unpack
from tests.support.client import RawClient, request
from tests.support.configuration import Tree, base, changed
from tests.support.gateway import GatewayProcess, until
from tests.support.script import sized
from tests.support.upstream import RecordingUpstream

pytestmark = [pytest.mark.apart, pytest.mark.timeout(90)]

WORKERS = 4
AGREED_S = 0.2
CALL = request("GET", "/open/v1/balance")


def now_ms() -> int:
    return int(time.monotonic() * 1e3)


class Machine:
    """A gateway with two targets, and a look into what its workers share."""

    def __init__(self, folder: Path, *, active: bool) -> None:
        self.left, self.right = RecordingUpstream(name="left"), RecordingUpstream(name="right")
        self._folder = folder
        self._active = active
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        for upstream in (self.left, self.right):
            self._stack.enter_context(upstream)
            upstream.default = sized(b"{}")
        self.gateway = self._stack.enter_context(GatewayProcess(self._folder, self._tree))
        path = self._folder / "data" / "health.bin"
        self.table = self._stack.enter_context(closing(HealthTable(path, now_ms())))
        return self

    def __exit__(self, *details: object) -> None:
        self._stack.__exit__(*details)

    def _tree(self, port: int, manager_port: int) -> Tree:
        health: Tree = {
            "passive": {"failures": 5, "within": "10s", "eject_for": "30s", "max_ejected": "50%"},
            "breaker": "off",
        }
        if self._active:
            health["active"] = {
                "path": "/healthz",
                "every": "300ms",
                "timeout": "200ms",
                "healthy_after": 1,
                "unhealthy_after": 2,
            }
        # Each in turn: a method that steers away from failures would leave the ill target without being told.
        upstream: Tree = {
            "targets": [self.left.url, self.right.url],
            "balance": "round_robin",
            "health": health,
        }
        return changed(
            base(port, manager_port, self.left.url, workers=WORKERS), "upstreams", "main", to=upstream
        )

    def shared(self, upstream: RecordingUpstream) -> Shared:
        place = self.table.claim(f"main\n127.0.0.1:{upstream.address[1]}".encode(), now_ms())
        assert place is not None
        return unpack(self.table.read(place))

    async def first_ejection(self) -> float:
        """When the right target was taken out by whoever was first."""
        async with asyncio.timeout(10):
            while self.shared(self.right).out != "ejected":  # noqa: ASYNC110 - another process's doing
                await asyncio.sleep(0.001)
        return time.monotonic()

    def ups(self) -> float:
        return self.gateway.metric("faregate_target_up", target=f"127.0.0.1:{self.right.address[1]}")


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with Machine(tmp_path, active=False) as machine:
        yield machine


@pytest.fixture
def checked(tmp_path: Path) -> Iterator[Machine]:
    with Machine(tmp_path, active=True) as machine:
        yield machine


async def caller(machine: Machine, pause_s: float, stop: asyncio.Event) -> None:
    async with RawClient(machine.gateway.address) as client:
        while not stop.is_set():
            answer = await client.ask(CALL)
            assert answer.status in {200, 503}
            await asyncio.sleep(pause_s)


def test_all_workers_leave_a_target_within_200_ms_of_the_first_ejection(machine: Machine) -> None:
    """One busy caller makes its worker eject; the others, asked seldom, would find out in seconds only."""

    async def play() -> float:
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(caller(machine, 0.004, stop))
            for _ in range(24):
                group.create_task(caller(machine, 0.1, stop))
            await asyncio.sleep(1.0)
            machine.right.default = sized(b"{}", 503)
            at = await machine.first_ejection()
            await asyncio.sleep(2.0)
            stop.set()
        return at

    ejected_at = asyncio.run(play())
    late = [one.at - ejected_at for one in machine.right.requests if one.at > ejected_at + AGREED_S]
    after = [one.at - ejected_at for one in machine.right.requests if one.at > ejected_at]
    print(
        f"{len(after)} calls after the first ejection, the last {max(after, default=0.0) * 1e3:.0f} ms after it"
    )
    assert not late, f"{len(late)} calls up to {max(late):.3f} s after the first ejection"
    served = [one for one in machine.left.requests if one.at > ejected_at + AGREED_S]
    assert len(served) > 300, "the callers went on all the time"
    assert machine.ups() == 0.0, "every worker shows it out"
    assert machine.gateway.metric("faregate_target_ejections_total") == 1, "one ejection, not one a worker"


def test_after_a_reload_and_in_new_workers_everybody_knows_what_was_known(machine: Machine) -> None:
    async def play() -> None:
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for _ in range(8):
                group.create_task(caller(machine, 0.005, stop))
            machine.right.default = sized(b"{}", 503)
            await machine.first_ejection()
            stop.set()

    asyncio.run(play())
    machine.gateway.reload_and_wait()
    before = machine.gateway.worker_pids()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    until(lambda: len(set(machine.gateway.worker_pids()) - set(before)) == WORKERS, "four new workers")
    machine.gateway.wait_ready()
    received = len(machine.right.requests)

    async def ask_all() -> None:
        for _ in range(40):
            async with RawClient(machine.gateway.address) as client:
                assert (await client.ask(CALL)).status == 200

    asyncio.run(ask_all())
    assert len(machine.right.requests) == received, "nobody tries what is known to be ill"


def checks(upstream: RecordingUpstream, seconds: float) -> list[float]:
    """When health checks came within the next ``seconds``."""
    begun = time.monotonic()
    time.sleep(seconds)
    return [one.at for one in upstream.of_path("/healthz") if one.at >= begun]


def test_one_worker_checks_and_another_goes_on_within_a_second(checked: Machine) -> None:
    until(lambda: len(checked.left.of_path("/healthz")) > 1, "the first checks")
    assert 4 <= len(checks(checked.left, 2.0)) <= 9, "one worker's checks, each 300 ms: not four workers'"
    killed, gaps = 0, []
    while killed < WORKERS:  # whoever it was, it is among them
        for pid in checked.gateway.worker_pids():
            begun = time.monotonic()
            os.kill(pid, signal.SIGKILL)
            checked.left.wait(
                lambda begun=begun: any(one.at > begun for one in checked.left.of_path("/healthz")),
                "a check after a worker's death",
            )
            gaps.append(next(one.at for one in checked.left.of_path("/healthz") if one.at > begun) - begun)
            killed += 1
            checked.gateway.wait_ready()  # lest the machine be busy with starts only
    print("checks went on after", " ".join(f"{gap:.2f}" for gap in gaps))
    assert max(gaps) < 1.0, gaps


def test_a_stopped_checker_is_succeeded_and_does_not_come_back(checked: Machine) -> None:
    until(lambda: len(checked.left.of_path("/healthz")) > 1, "the first checks")
    term = checked.table.words[TERM]
    stopped = 0
    try:
        for pid in checked.gateway.worker_pids():
            os.kill(pid, signal.SIGSTOP)
            time.sleep(1.2)
            if checked.table.words[TERM] != term:
                stopped = pid
                break
            os.kill(pid, signal.SIGCONT)
        assert checked.table.words[TERM] == term + 1, "the seat was passed on once"
        assert now_ms() - checked.table.words[SEATED_MS] < 1000
        checked.right.default = sized(b"{}", 503)
        until(lambda: checked.shared(checked.right).unhealthy, "the successor's verdict", 5)
    finally:
        if stopped:
            os.kill(stopped, signal.SIGCONT)
    until(lambda: checked.ups() == 0.0, "all workers, the woken one too, to agree", 3)
    assert 4 <= len(checks(checked.left, 2.0)) <= 9, "one checker after the former one woke"
