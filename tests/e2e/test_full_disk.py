"""http-rules.md X4, access log and snapshots: a full disk costs lines and reloads, never a call, and heals by itself.

The data folder lies on a small tmpfs of its own, so that nothing else of the machine is filled; that takes root.
"""

import asyncio
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.client import RawClient, request
from tests.support.configuration import Tree, base, changed
from tests.support.gateway import GatewayProcess, until
from tests.support.upstream import RecordingUpstream

DISK_MIB = 48


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk that is easily filled."""
    if os.geteuid() != 0:
        pytest.fail("this test mounts a tmpfs: run it as root, as CI does")
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(disk: Path) -> Path:
    """Takes all that is left."""
    hog = disk / "hog"
    with hog.open("wb", buffering=0) as file:
        piece = bytes(1 << 16)
        while True:
            try:
                if file.write(piece) < len(piece):
                    return hog
            except OSError:
                return hog


async def calls(gateway: GatewayProcess, count: int) -> list[int]:
    async with RawClient(gateway.address) as client:
        return [(await client.ask(request("GET", "/open/v1/t"))).status for _ in range(count)]


def test_calls_go_on_and_what_is_lost_is_counted_and_said(tmp_path: Path, disk: Path) -> None:
    with ExitStack() as stack:
        upstream = stack.enter_context(RecordingUpstream())

        def make(port: int, manager_port: int) -> Tree:
            tree = base(port, manager_port, upstream.url, workers=1)
            return changed(tree, "gateway", "data", to=str(disk / "data"))

        gateway = stack.enter_context(GatewayProcess(tmp_path, make))
        log = disk / "data" / "access.jsonl"
        assert asyncio.run(calls(gateway, 5)) == [200] * 5
        until(lambda: log.exists() and log.read_text().count("\n") == 5, "the first lines")

        hog = fill(disk)
        assert asyncio.run(calls(gateway, 400)) == [200] * 400, "no call waits for the disk"
        until(lambda: gateway.metric("faregate_log_lines_lost_total") > 300, "the count of lost lines")
        assert gateway.stderr.count("No space left on device") == 1

        revision = gateway.revision()
        gateway.reload(changed(gateway.tree, "gateway", "limits", to={"headers": 64}))
        until(lambda: "stays" in gateway.stderr, "the reload's refusal")
        assert gateway.revision() == revision
        assert asyncio.run(calls(gateway, 5)) == [200] * 5

        hog.unlink()
        lost = gateway.metric("faregate_log_lines_lost_total")
        assert asyncio.run(calls(gateway, 50)) == [200] * 50
        until(lambda: "written again" in gateway.stderr, "the log to be written again")
        time.sleep(0.3)
        assert gateway.metric("faregate_log_lines_lost_total") <= lost + 5
        lines = log.read_text().splitlines()
        assert sum(line.startswith("{") and line.endswith("}") for line in lines) >= len(lines) - 1, (
            "one stump at most"
        )
        gateway.reload_and_wait(changed(gateway.tree, "gateway", "limits", to={"headers": 65}))
        assert gateway.revision() > revision
