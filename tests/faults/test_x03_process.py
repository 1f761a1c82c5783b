"""X3: kill -9 of each process, a process that the machine stops, and 64 descriptors. Ready again in 2 s, no call told a lie."""

import asyncio
import os
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.faults.conftest import SEED, Rig, tree
from tests.support.chaos import ChaosProxy
from tests.support.client import RawClient
from tests.support.gateway import GatewayProcess, until
from tests.support.ledger import LedgerUpstream

pytestmark = pytest.mark.apart

Start = Callable[..., Rig]
DESCRIPTORS = 64
QUICK_DEATH_S = 2.2
"""A manager that ends within two seconds of its start is held back for five; from the moment when it answered."""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts rigs on one folder; what is left of them at the end is killed."""
    with ExitStack() as stack:
        ledger = stack.enter_context(LedgerUpstream())
        proxy = stack.enter_context(ChaosProxy(ledger.address, SEED))

        def begin(workers: int = 1) -> Rig:
            gateway = GatewayProcess(
                tmp_path, lambda port, manager: tree(port, manager, proxy, ledger, workers=workers)
            )
            stack.callback(gateway.kill)
            gateway.launch()
            gateway.wait_ready()
            return Rig(gateway, proxy, ledger)

        yield begin


@contextmanager
def steady_calls(rig: Rig, label: str) -> Iterator[dict[str, int]]:
    """Calls one after another, each on its own connection, for as long as the block runs; status by id, 0 for none."""
    told: dict[str, int] = {}
    stop = threading.Event()

    def run() -> None:
        while not stop.is_set():
            name = f"{label}-{len(told)}"
            try:
                told[name] = rig.post(name, "/direct/v1/pay").status
            except (OSError, AssertionError, TimeoutError):
                told[name] = 0

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield told
    finally:
        stop.set()
        thread.join(20)


def test_x3_everything_killed_at_once_starts_again_on_the_same_folder_without_repair(start: Start) -> None:
    """Also with a log whose last line the kill tore: the first new line stands on a line of its own."""
    rig = start(2)
    with steady_calls(rig, "x3-before") as before:
        until(lambda: len(before) > 20, "some calls")
        rig.gateway.kill()
    log = rig.gateway.folder / "data" / "access.jsonl"
    with log.open("ab") as file:
        file.write(b'{"time":"2026-11-23T06:00:00.000Z","request_id":"to')
    again = start(2)
    assert again.post("x3-again", "/direct/v1/pay").status == 200
    until(lambda: b'"x3-again"' in log.read_bytes(), "the line of the first call")
    assert any(line.startswith(b'{"time"') and b'"x3-again"' in line and line.count(b'"time"') == 1
               for line in log.read_bytes().split(b"\n"))  # fmt: skip
    assert all(sum(rig.seen(name)) == 2 for name, status in before.items() if status == 200)
    assert max((entry.heads for entry in rig.ledger.entries.values()), default=0) == 1


def test_x3_a_killed_manager_costs_no_call_and_comes_back(start: Start) -> None:
    rig = start(1)
    begun = time.monotonic()
    (victim,) = [
        int(pid)
        for pid in Path(f"/proc/{rig.gateway.pid}/task/{rig.gateway.pid}/children").read_text().split()
        if b"faregate.manager" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    with steady_calls(rig, "x3-manager") as told:
        until(lambda: len(told) > 5 and time.monotonic() - begun > QUICK_DEATH_S, "some calls", 5)
        os.kill(victim, signal.SIGKILL)
        rig.gateway.wait_ready(10)  # it takes one second on an idle machine
        until(lambda: len(told) > 15, "more calls")
    assert set(told.values()) == {200}


def test_x3_a_stopped_worker_holds_up_its_own_callers_only_and_loses_none(start: Start) -> None:
    rig = start(2)
    stopped, running = rig.gateway.worker_pids()

    async def play() -> tuple[list[int], list[int]]:
        clients = [await RawClient(rig.gateway.address).__aenter__() for _ in range(16)]
        for number, client in enumerate(clients):
            assert (await client.ask(rig.call(f"x3-warm-{number}", "/direct/v1/pay"), "POST")).status == 200
        os.kill(stopped, signal.SIGSTOP)
        try:
            for number, client in enumerate(clients):
                await client.send(rig.call(f"x3-stop-{number}", "/direct/v1/pay"))
            waits = [asyncio.create_task(client.answer("POST")) for client in clients]
            await asyncio.wait(waits, timeout=1)
            early = [task.result().status for task in waits if task.done()]  # type: ignore[union-attr]
        finally:
            os.kill(stopped, signal.SIGCONT)
        answers = await asyncio.gather(*waits)
        for client in clients:
            client.wire.close()
        return early, [0 if answer is None else answer.status for answer in answers]

    early, all_told = asyncio.run(play())
    assert set(early) <= {200}
    assert all_told == [200] * 16
    assert running in rig.gateway.worker_pids()
    assert {rig.seen(f"x3-stop-{number}") for number in range(16)} == {(1, 1)}


def _processor_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_x3_with_64_descriptors_kept_callers_are_served_and_nothing_spins(start: Start) -> None:
    """The limit comes down on a running worker, as it does when something else leaks."""
    rig = start(1)
    (worker,) = rig.gateway.worker_pids()

    async def play() -> tuple[list[int], float]:
        async with RawClient(rig.gateway.address) as kept:
            assert (await kept.ask(rig.call("x3-fd-first", "/direct/v1/pay"), "POST")).status == 200
            resource.prlimit(worker, resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
            crowd = [socket.create_connection(rig.gateway.address) for _ in range(2 * DESCRIPTORS)]
            try:
                await asyncio.sleep(0.3)
                before = _processor_s(worker)
                statuses = []
                for number in range(10):
                    answer = await kept.ask(rig.call(f"x3-fd-{number}", "/direct/v1/pay"), "POST")
                    statuses.append(answer.status)
                    await asyncio.sleep(0.1)
                spent = _processor_s(worker) - before
            finally:
                for peer in crowd:
                    peer.close()
        return statuses, spent

    statuses, spent = asyncio.run(play())
    assert statuses == [200] * 10
    assert spent < 0.5, f"{spent} s of processor time in a second of waiting"
    begun = time.monotonic()

    def served() -> bool:
        try:
            return rig.post("x3-fd-after", "/direct/v1/pay").status == 200
        except (OSError, AssertionError, TimeoutError):
            return False

    until(served, "new callers when the crowd has gone", 5)
    assert time.monotonic() - begun < 5
