"""Starting and ending: drain, fast stop, second start, taken port, bad configuration, workers and supervisors that are killed."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support import configuration
from tests.support.client import Answer, RawClient, ask, request
from tests.support.configuration import base, changed, key_line, public_api, with_payments
from tests.support.gateway import ROOT, GatewayProcess, until
from tests.support.script import Gate, Stall, head, raw
from tests.support.upstream import RecordingUpstream

pytestmark = pytest.mark.apart

GET = request("GET", "/open/v1/t")


@pytest.fixture(scope="module")
def upstream() -> Iterator[RecordingUpstream]:
    with RecordingUpstream() as running:
        yield running


@pytest.fixture
def start(tmp_path: Path, upstream: RecordingUpstream) -> Iterator[Callable[..., GatewayProcess]]:
    """Starts a gateway on ``tmp_path`` with so many workers; what is left of it at the end is killed."""
    upstream.clear()
    with ExitStack() as stack:

        def begin(workers: int = 1) -> GatewayProcess:
            gateway = GatewayProcess(
                tmp_path,
                lambda port, manager: with_payments(base(port, manager, upstream.url, workers=workers)),
            )
            stack.callback(gateway.kill)
            gateway.launch()
            gateway.wait_ready()
            return gateway

        yield begin


def refuses(address: tuple[str, int]) -> bool:
    """Whether nobody listens any more: a connection that is taken and never served is worse than one refused."""
    try:
        socket.create_connection(address, 1).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_lets_calls_in_flight_finish(
    start: Callable[..., GatewayProcess], upstream: RecordingUpstream, workers: int
) -> None:
    gateway = start(workers)
    gate = Gate()
    upstream.script("/open/v1/held", raw(gate, head(200, "Content-Length: 4") + b"done"))

    async def play() -> tuple[Answer | None, bytes]:
        async with RawClient(gateway.address) as busy, RawClient(gateway.address) as idle:
            assert (await idle.ask(GET)).status == 200
            await busy.send(request("POST", "/open/v1/held", body=b"{}"))
            await upstream.awaits(lambda: bool(upstream.of_path("/open/v1/held")), "the held call")
            os.kill(gateway.pid, signal.SIGTERM)
            rest = await idle.ended(5)
            await asyncio.to_thread(
                until, lambda: refuses(gateway.address), "new connections to be refused", 5
            )
            assert gateway.process is not None
            assert gateway.process.poll() is None, "gone before its call had ended"
            gate.open()
            answer = await busy.answer("POST")
            await busy.ended(3)
        return answer, rest

    answer, rest = asyncio.run(play())
    assert answer is not None
    assert (answer.status, answer.text, answer.header("connection")) == (200, b"done", "close")
    assert rest == b""
    assert gateway.wait_exit() == 0
    assert "Traceback" not in gateway.stderr
    assert gateway.log.of(answer.request_id)["status"] == 200
    until(lambda: not gateway.group_alive(), "the last process to end", 3)


def listens(pid: int, port: int) -> bool:
    """Whether the process holds a listening socket of that port."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    named = {f"socket:[{line[9]}]" for line in lines if line[3] == "0A" and line[1].endswith(f":{port:04X}")}
    return any(str(link.readlink()) in named for link in Path(f"/proc/{pid}/fd").iterdir())


def test_a_caller_who_is_let_in_as_the_drain_begins_is_answered(
    start: Callable[..., GatewayProcess],
) -> None:
    """In one turn of its loop the worker hears that it drains and accepts a connection: it is no client yet."""
    gateway = start()
    (worker,) = gateway.worker_pids()
    os.kill(worker, signal.SIGSTOP)
    os.kill(gateway.pid, signal.SIGTERM)
    until(lambda: not listens(gateway.pid, gateway.port), "workers to be told, which comes with it")

    async def play() -> Answer | None:
        async with RawClient(gateway.address) as caller:
            await caller.send(request("POST", "/open/v1/t", body=b"{}")[:-2])
            os.kill(worker, signal.SIGCONT)
            await caller.silent(0.05)
            await caller.send(b"{}")
            return await caller.answer("POST")

    answer = asyncio.run(play())
    assert answer is not None
    assert (answer.status, answer.header("connection")) == (200, "close"), answer.text
    assert gateway.wait_exit() == 0


def test_sigterm_without_calls_is_quick(start: Callable[..., GatewayProcess]) -> None:
    gateway = start(2)
    asyncio.run(ask(gateway.address, GET))
    begun = time.monotonic()
    gateway.stop()
    assert time.monotonic() - begun < 3


def test_sigint_is_fast_even_with_a_call_in_flight(
    start: Callable[..., GatewayProcess], upstream: RecordingUpstream
) -> None:
    gateway = start()
    upstream.script("/open/v1/held", raw(Stall()))

    async def play() -> float:
        async with RawClient(gateway.address) as busy:
            await busy.send(request("POST", "/open/v1/held", body=b"{}"))
            await upstream.awaits(lambda: bool(upstream.of_path("/open/v1/held")), "the held call")
            begun = time.monotonic()
            os.kill(gateway.pid, signal.SIGINT)
            code = await asyncio.to_thread(gateway.wait_exit)
            assert code in {0, 130}
            return time.monotonic() - begun

    assert asyncio.run(play()) < 3
    assert "Traceback" not in gateway.stderr
    until(lambda: not gateway.group_alive(), "the last process to end", 3)


def test_second_run_on_the_same_folder_goes_on_where_the_first_ended(
    start: Callable[..., GatewayProcess],
) -> None:
    """Log lines are added, a quota that was used up stays used up."""
    spend = request("POST", "/v2/payments", key_line("spent"), body=b"{}")
    statuses = []
    for _ in range(2):
        gateway = start()
        for _ in range(2):
            statuses.append(asyncio.run(ask(gateway.address, spend)).status)
        gateway.stop()
    assert statuses == [200, 200, 429, 429]
    gateway.log.wait(lambda lines: len(lines) == 4, "the lines of both runs")


def run_to_end(file: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "faregate", "run", str(file)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


def test_a_taken_port_gives_one_clear_line(tmp_path: Path, upstream: RecordingUpstream) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        file = configuration.write(
            tmp_path, changed(base(port, 1, upstream.url), "gateway", "manager", to="off")
        )
        done = run_to_end(file)
    assert done.returncode not in {0, -signal.SIGKILL}
    lines = [line for line in (done.stderr + done.stdout).splitlines() if str(port) in line]
    assert len(lines) == 1, done
    assert "in use" in lines[0]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (("gateway", "workerz"), 1, "unknown_key"),
        (("upstreams", "main", "targets"), [], ""),
        (("apis", "open", "upstream"), "nowhere", "unresolved_reference"),
    ],
)
def test_a_bad_configuration_is_told_with_its_position(
    tmp_path: Path,
    upstream: RecordingUpstream,
    path: tuple[str, ...],
    value: configuration.Value,
    expected: str,
) -> None:
    file = configuration.write(tmp_path, changed(base(1, 2, upstream.url), *path, to=value))
    done = run_to_end(file)
    assert done.returncode == 1, done
    assert "faregate.yaml:" in done.stderr
    assert expected in done.stderr
    assert "Traceback" not in done.stderr


def test_reload_changes_routes_without_losing_a_call(
    start: Callable[..., GatewayProcess], upstream: RecordingUpstream
) -> None:
    gateway = start(2)

    async def play() -> tuple[list[int], int]:
        statuses = []
        async with RawClient(gateway.address) as client:
            assert (await client.ask(request("GET", "/new/v1/t"))).status == 404
            reloading = asyncio.create_task(
                asyncio.to_thread(
                    gateway.reload_and_wait,
                    changed(gateway.tree, "apis", "new", to=public_api("main", "/new/v1")),
                )
            )
            while not reloading.done():
                answer = await client.ask(GET)
                statuses.append(answer.status)
            await reloading
            return statuses, (await client.ask(request("GET", "/new/v1/t"))).status

    statuses, after = asyncio.run(play())
    assert set(statuses) == {200}
    assert after == 200, "the kept connection still has the old routes"


def test_reload_of_a_broken_file_keeps_the_last_good_one(start: Callable[..., GatewayProcess]) -> None:
    gateway = start()
    before = gateway.revision()
    gateway.reload(changed(gateway.tree, "apis", "open", "upstream", to="nowhere"))
    until(lambda: "unresolved_reference" in gateway.stderr, "the diagnostic on stderr")
    assert asyncio.run(ask(gateway.address, GET)).status == 200
    told_bytes = len(gateway.stderr)
    gateway.file.write_text("{ not: [yaml")
    gateway.reload()
    until(lambda: "faregate.yaml:1:" in gateway.stderr[told_bytes:], "the second diagnostic")
    assert asyncio.run(ask(gateway.address, GET)).status == 200
    assert gateway.revision() == before
    gateway.stop()


def test_a_killed_worker_is_replaced_within_two_seconds_and_costs_only_its_own_calls(
    start: Callable[..., GatewayProcess], upstream: RecordingUpstream
) -> None:
    gateway = start(2)
    first = gateway.worker_pids()
    assert len(first) == 2
    os.kill(first[0], signal.SIGKILL)
    begun = time.monotonic()
    until(
        lambda: len(gateway.worker_pids()) == 2 and first[0] not in gateway.worker_pids(),
        "the replacement",
        2,
    )
    gateway.wait_ready(2 - (time.monotonic() - begun) + 1)
    assert first[1] in gateway.worker_pids()
    assert [asyncio.run(ask(gateway.address, GET)).status for _ in range(20)] == [200] * 20
    gateway.stop()


def test_workers_do_not_outlive_a_killed_supervisor(start: Callable[..., GatewayProcess]) -> None:
    gateway = start(2)
    os.kill(gateway.pid, signal.SIGKILL)
    assert gateway.wait_exit() == -signal.SIGKILL
    until(lambda: not gateway.group_alive(), "the orphans to end", 5)
    assert refuses(gateway.address)


def test_metrics_count_the_calls(start: Callable[..., GatewayProcess]) -> None:
    gateway = start(2)
    for _ in range(7):
        asyncio.run(ask(gateway.address, GET))
    asyncio.run(ask(gateway.address, request("GET", "/nowhere")))
    until(
        lambda: gateway.metric("faregate_calls_total", api="open", outcome="answered") == 7,
        "7 answered calls on /metrics",
    )
    assert gateway.metric("faregate_refusals_total", code="no_route") == 1
    assert gateway.metric("faregate_calls_in_flight") == 0
    gateway.stop()


def test_a_run_with_port_zero_or_manager_off_still_serves(
    tmp_path: Path, upstream: RecordingUpstream
) -> None:
    upstream.clear()
    gateway = GatewayProcess(
        tmp_path,
        lambda port, manager: changed(base(port, manager, upstream.url), "gateway", "manager", to="off"),
    )
    gateway.launch()
    try:
        until(lambda: not refuses(gateway.address), "the listener", 10)
        assert asyncio.run(ask(gateway.address, GET)).status == 200
        gateway.stop()
    finally:
        gateway.kill()
