"""A worker's start: it builds without collections, and collects from the moment it serves."""

import gc
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from faregate import compiled
from faregate.gateway import worker
from faregate.gateway.control import Message, WorkerSettings, encode
from faregate.snapshot import encoded
from faregate.stores import shared_counts
from faregate.stores.counters_prepare import Capacity, prepare
from tests.gateway.test_slices import snapshot

TELLS = """
import gc
from faregate.gateway import worker_process
from faregate.gateway.worker import main
says = worker_process.WorkerProcess._say
def said(self, message):
    print(message.what, gc.isenabled(), gc.get_freeze_count(), gc.get_threshold()[0], flush=True)
    says(self, message)
worker_process.WorkerProcess._say = said
main()
"""


@pytest.fixture
def _gc_as_it_was() -> Iterator[None]:
    yield
    gc.enable()


@pytest.mark.usefixtures("_gc_as_it_was")
def test_a_worker_imports_and_builds_without_collections(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []

    class Program:
        @staticmethod
        def main() -> None:
            seen.append(gc.isenabled())

    monkeypatch.setattr(compiled, "install", lambda: seen.append(gc.isenabled()))
    monkeypatch.setattr(worker, "import_module", lambda _: Program)
    worker.main()
    assert seen == [False, False]


def test_a_worker_that_serves_collects_what_calls_leave_and_nothing_older(tmp_path: Path) -> None:
    small = snapshot(3, 3, 1)
    gateway = msgspec.structs.replace(small.gateway, data=str(tmp_path))
    (tmp_path / "snapshot").write_bytes(encoded.encode(msgspec.structs.replace(small, gateway=gateway)))
    (tmp_path / "digest.key").write_bytes(bytes(32))
    made = prepare(tmp_path / "counters.bin", Capacity(100, 10), now=time.monotonic_ns(), wall=time.time())
    connections = shared_counts.create()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        settings = WorkerSettings(
            index=0, workers=1, listen=[], control=theirs.fileno(), snapshot=str(tmp_path / "snapshot"),
            via="test", feed=str(tmp_path / "feed"), counters=made.memory, connections=connections,
        )  # fmt: skip
        process = subprocess.Popen(
            [sys.executable, "-c", TELLS, msgspec.json.encode(settings).decode()],
            stdout=subprocess.PIPE,
            pass_fds=[theirs.fileno(), made.memory, connections],
        )
        os.close(made.memory)
        os.close(connections)
        with process:
            assert process.stdout is not None
            what, collects, frozen, threshold = process.stdout.readline().split()
            ours.sendall(encode(Message("stop")))
            assert process.wait(10) == 0
    assert (what, collects) == (b"ready", b"True")
    assert int(frozen) > 10_000, "the program and its first revision"
    assert int(threshold) > 10_000, "calls leave hardly a cycle"
