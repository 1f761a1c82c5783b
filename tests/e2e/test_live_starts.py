"""Starts that come to nothing, ends that are told, and commands that find no gateway, or another one's."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from faregate.gateway.revisions import revision_on_disk
from tests.support.client import RawClient, request
from tests.support.configuration import base, changed
from tests.support.configuration import write as write_configuration
from tests.support.gateway import ROOT, until
from tests.support.live import LiveGateway
from tests.support.script import Stall, raw
from tests.support.upstream import RecordingUpstream

pytestmark = pytest.mark.apart

Make = Callable[..., LiveGateway]


@pytest.fixture(scope="module")
def upstream() -> Iterator[RecordingUpstream]:
    with RecordingUpstream() as running:
        yield running


@pytest.fixture
def make(tmp_path: Path, upstream: RecordingUpstream) -> Iterator[Make]:
    """A gateway that is launched, and with ``ready`` waited for."""
    made: list[LiveGateway] = []

    def one(*options: str, ready: bool = True) -> LiveGateway:
        gateway = LiveGateway(tmp_path, lambda port, manager: base(port, manager, upstream.url, workers=1))
        gateway.options = options
        gateway.launch()
        made.append(gateway)
        if ready:
            gateway.wait_ready()
            until((tmp_path / "data" / "control").exists, "the control socket")
        return gateway

    yield one
    for gateway in made:
        gateway.kill()


def command(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "faregate", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )


def test_what_never_served_is_never_the_last_good_snapshot(make: Make) -> None:
    gateway = make()
    gateway.stop()
    kept = gateway.folder / "data" / "snapshot"
    unbindable = changed(gateway.tree, "gateway", "listen", to=[{"address": "192.0.2.9:8080"}])
    for tree in (unbindable, changed(unbindable, "gateway", "data", to="fresh")):
        write_configuration(gateway.folder, tree)
        gateway.launch()
        assert gateway.wait_exit() == 1
        assert "cannot listen on 192.0.2.9:8080" in gateway.stderr
    assert revision_on_disk(kept) == 1
    assert sorted(path.name for path in (gateway.folder / "fresh").glob("snapshot*")) == []
    gateway.file.write_text("gateway: {data: data, x: y}")
    gateway.launch()
    until(lambda: "STARTING ON THE LAST GOOD SNAPSHOT, revision 1 (" in gateway.stderr, "the good one")
    gateway.wait_ready()
    assert [path.name for path in kept.parent.glob("snapshot*")] == ["snapshot"]
    gateway.stop()


@pytest.mark.parametrize("name", ["reload", "upgrade"])
def test_a_gateway_reads_its_own_file_and_says_which(make: Make, name: str) -> None:
    gateway = make()
    other = gateway.folder / "other.yaml"
    other.write_text(gateway.file.read_text())
    data = str(gateway.folder / "data")
    for arguments in ([str(other), "--data", data], [str(other)]):
        refused = command(gateway.folder, name, *arguments)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert f"the gateway on {data} runs {gateway.file}, not {other}" in refused.stderr
    assert gateway.told("status")["revision"] == 1
    linked = gateway.folder / "linked.yaml"
    linked.symlink_to(gateway.file)
    for arguments in (["--data", data], [str(linked)]):
        done = command(gateway.folder, name, *arguments)
        assert (done.returncode, str(gateway.file) in done.stdout) == (0, True), done
    gateway.stop()


def test_a_gateway_that_holds_its_folder_and_is_silent_is_named(make: Make) -> None:
    gateway = make()
    os.kill(gateway.pid, signal.SIGSTOP)
    try:
        for arguments in ([], ["--data", "data"]):
            silent = command(gateway.folder, "status", *arguments)
            assert silent.returncode == 1
            assert f"process {gateway.pid} holds the data folder" in silent.stderr
            assert "but does not answer" in silent.stderr
    finally:
        os.kill(gateway.pid, signal.SIGCONT)
    gateway.stop()


@pytest.mark.parametrize("child", [b"faregate.compile", b"faregate.gateway.worker"])
def test_ctrl_c_while_it_starts_ends_it_quietly(make: Make, child: bytes) -> None:
    """As a terminal does it: to every process there is, one that is only being loaded too."""
    gateway = make(ready=False)

    def is_there() -> bool:
        children = Path(f"/proc/{gateway.pid}/task/{gateway.pid}/children").read_text().split()
        with contextlib.suppress(OSError):
            return any(child in Path(f"/proc/{one}/cmdline").read_bytes().split(b"\0") for one in children)
        return False

    until(is_there, "the child")
    os.killpg(gateway.pid, signal.SIGINT)
    assert gateway.wait_exit() == 0
    assert gateway.stderr.endswith("faregate: stopping at once: calls in progress are cut\n")
    assert "Traceback" not in gateway.stderr
    assert "failed" not in gateway.stderr


@pytest.mark.parametrize("signals", [[signal.SIGTERM, signal.SIGTERM], [signal.SIGINT]])
def test_an_end_at_once_is_said_and_counts_what_it_cuts(
    make: Make, upstream: RecordingUpstream, signals: list[signal.Signals]
) -> None:
    gateway = make("--json")
    upstream.clear()
    upstream.script("/open/v1/held", raw(Stall()))

    def said() -> list[dict[str, object]]:
        return [json.loads(line) for line in gateway.stdout.splitlines()]

    async def play() -> None:
        async with RawClient(gateway.address) as busy:
            await busy.send(request("POST", "/open/v1/held", body=b"{}"))
            await upstream.awaits(lambda: bool(upstream.of_path("/open/v1/held")), "the held call")
            for number, one in enumerate(signals, 1):
                os.kill(gateway.pid, one)
                await asyncio.to_thread(
                    until,
                    lambda number=number: [e["event"] for e in said()].count("stopping") >= number,  # type: ignore[misc]
                    "the word",
                )
            assert await asyncio.to_thread(gateway.wait_exit) == 0

    asyncio.run(play())
    last, cut, _ = said()[-3:]
    assert last["message"] == "stopping at once: calls in progress are cut"
    assert (cut["event"], cut["calls"]) == ("calls_cut", 1)
    assert cut["message"] == "1 call was still running at the stop and was cut"
