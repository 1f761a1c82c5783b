"""What a gateway says of itself while it changes and ends: to its commands, on its line, as events."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from faregate.gateway.commands import Request, ask
from tests.support.client import RawClient, request
from tests.support.configuration import base, changed
from tests.support.configuration import write as write_configuration
from tests.support.gateway import until
from tests.support.live import LiveGateway
from tests.support.script import Stall, raw
from tests.support.upstream import RecordingUpstream

pytestmark = pytest.mark.apart

Start = Callable[..., LiveGateway]


@pytest.fixture(scope="module")
def upstream() -> Iterator[RecordingUpstream]:
    with RecordingUpstream() as running:
        yield running


@pytest.fixture
def start(tmp_path: Path, upstream: RecordingUpstream) -> Iterator[Start]:
    running: list[LiveGateway] = []

    def one(*options: str) -> LiveGateway:
        gateway = LiveGateway(tmp_path, lambda port, manager: base(port, manager, upstream.url, workers=1))
        gateway.options = options
        gateway.launch()
        running.append(gateway)
        gateway.wait_ready()
        until((tmp_path / "data" / "control").exists, "the control socket")
        return gateway

    yield one
    for gateway in running:
        gateway.kill()


def events(gateway: LiveGateway, name: str) -> list[dict[str, object]]:
    """Those of one kind, in the order in which they were written."""
    told = [json.loads(line) for line in gateway.stdout.splitlines()]
    return [event for event in told if event["event"] == name]


def test_a_mistyped_file_beside_a_last_good_snapshot_starts_nothing(start: Start) -> None:
    gateway = start()
    gateway.stop()
    gateway.file = gateway.folder / "mistyped.yaml"
    gateway.launch()
    assert gateway.wait_exit() == 1
    assert gateway.stderr.splitlines() == [f"faregate: no such file: {gateway.file}"]


def test_a_file_that_went_while_the_gateway_runs_is_what_status_says(start: Start) -> None:
    gateway = start()
    gateway.file.unlink()
    refused = gateway.command("reload")
    assert (refused.returncode, f"no such file: {gateway.file}; revision 1 stays" in refused.stderr) == (
        1,
        True,
    )
    assert gateway.told("status")["stale"] == f"no such file: {gateway.file}"
    write_configuration(gateway.folder, changed(gateway.tree, "gateway", "data", to="elsewhere"))
    gateway.reload()
    until(lambda: "gateway.data cannot change" in str(gateway.told("status")["stale"]), "the other reason")
    write_configuration(gateway.folder, gateway.tree)
    gateway.told("reload")
    assert gateway.told("status")["stale"] == ""
    gateway.stop()


def test_a_gateway_that_stops_says_so_to_its_commands_and_counts_what_it_cut(
    start: Start, upstream: RecordingUpstream
) -> None:
    gateway = start("--json", "--drain-wait", "1s", "--grace", "4s")
    upstream.script("/open/v1/held", raw(Stall()))

    async def play() -> None:
        async with RawClient(gateway.address) as busy:
            await busy.send(request("POST", "/open/v1/held", body=b"{}"))
            await upstream.awaits(lambda: bool(upstream.of_path("/open/v1/held")), "the held call")
            os.kill(gateway.pid, signal.SIGTERM)
            await asyncio.to_thread(until, lambda: bool(events(gateway, "stopping")), "the stop")
            for name in ("reload", "upgrade"):
                refused = ask(gateway.folder / "data", Request(name, program=sys.executable), 5)
                assert (refused["ok"], refused["message"]) == (False, "the gateway is stopping")
            begun = time.monotonic()
            while not await asyncio.to_thread(_refused, gateway.address):
                assert time.monotonic() - begun < 5
                await asyncio.sleep(0.05)
            assert gateway.told("status")["stopping"] is True, "while calls end, too"
            assert await asyncio.to_thread(gateway.wait_exit) == 0

    asyncio.run(play())
    assert [event["calls"] for event in events(gateway, "calls_cut")] == [1]
    assert [event["event"] for event in map(json.loads, gateway.stdout.splitlines()[-3:])] == [
        "stopping",
        "calls_cut",
        "stopped",
    ]


def _refused(address: tuple[str, int]) -> bool:
    async def connect() -> None:
        async with RawClient(address):
            pass

    try:
        asyncio.run(connect())
    except ConnectionRefusedError:
        return True
    return False


def test_an_upgrade_tells_its_caller_what_is_wrong_with_the_file(start: Start) -> None:
    gateway = start()
    write_configuration(gateway.folder, changed(gateway.tree, "apis", "open", "upstream", to="nowhere"))
    refused = gateway.command("upgrade")
    assert refused.returncode == 1
    assert "unresolved_reference: no upstream is named `nowhere`" in refused.stderr
    error = json.loads(gateway.command("upgrade", "--json").stderr)["error"]
    assert error["diagnostics"][0]["code"] == "unresolved_reference"
    assert not list((gateway.folder / "data").glob("*.report"))
    gateway.stop()


def test_the_bound_of_memory_follows_a_reload(start: Start) -> None:
    gateway = start()
    for size in (512, 256):
        tree = changed(gateway.tree, "gateway", "limits", to={"memory": f"{size}MiB"})
        write_configuration(gateway.folder, tree)
        gateway.told("reload")
        until(
            lambda size=size: gateway.metric("faregate_memory_bound_bytes") == size << 20,  # type: ignore[misc]
            f"a bound of {size} MiB",
        )
        until(lambda size=size: f"keeps below {size} MiB" in gateway.stderr, "the line")  # type: ignore[misc]
    gateway.stop()


def test_each_generation_writes_its_own_end(start: Start) -> None:
    gateway = start("--json")
    former = gateway.supervisor
    gateway.told("upgrade")
    until(lambda: len(events(gateway, "stopped")) == 1, "the end of the former one", 20)
    successor = gateway.supervisor
    gateway.stop()
    assert [(one["pid"], one["status"]) for one in events(gateway, "stopped")] == [
        (former, 0),
        (successor, 0),
    ]
    (succeeded,) = events(gateway, "succeeded")
    assert (succeeded["pid"], "calls in progress finish here" in str(succeeded["message"])) == (
        successor,
        True,
    )


def test_a_growth_that_fails_leaves_the_memory_to_the_workers_there_are(start: Start) -> None:
    gateway = start("--json")
    key = gateway.folder / "data" / "digest.key"
    secret = key.read_bytes()

    def grow() -> None:
        sized = changed(gateway.tree, "gateway", "limits", to={"memory": "512MiB"})
        write_configuration(gateway.folder, changed(sized, "gateway", "workers", to=2))
        gateway.told("reload")

    def bound() -> float:
        return gateway.metric("faregate_memory_bound_bytes") / (1 << 20)

    key.unlink()  # without which no worker starts
    grow()
    (refused,) = events(gateway, "restart_needed")
    assert refused["message"] == "a new worker cannot start; what was said of it stands above; 1 go on"
    until(lambda: bound() == 512, "the whole memory for one")
    assert events(gateway, "memory")[-1]["bound_bytes"] == 512 << 20
    tried = len(events(gateway, "worker_ended"))
    key.write_bytes(secret)
    assert len(gateway.told("status")["workers"]) == 1  # type: ignore[arg-type]
    grow()
    assert len(gateway.told("status")["workers"]) == 2  # type: ignore[arg-type]
    assert events(gateway, "memory")[-1]["bound_bytes"] == 256 << 20
    until(lambda: bound() == 512, "a half from each of two")
    assert len(events(gateway, "worker_ended")) == tried, "what was given up is not tried on"
    gateway.stop()
