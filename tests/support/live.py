"""A gateway that is changed while it runs, and callers that notice any call that is lost, doubled or another's.

``Drivers`` of any protocol can be added to a proof: something with ``run(stop)`` and ``faults()``. The one here keeps HTTP/1.1
connections alive, each with a call every so often. A real caller opens another connection when its own was closed while idle;
so does this one, and anything worse is a fault.
"""

import asyncio
import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from faregate.gateway.commands import Request, ask
from tests.support.client import Address, request
from tests.support.gateway import ROOT, GatewayProcess, until
from tests.support.ledger import ANSWER_BYTES, ID, Entry, expected_answer

COMMAND_S = 60.0


class Driver(Protocol):
    """Callers of one kind."""

    async def run(self, stop: asyncio.Event) -> None: ...

    def faults(self) -> list[str]: ...


class LiveGateway(GatewayProcess):
    """Follows the gateway from process to process; commands go by the command line, as an operator's do."""

    options: tuple[str, ...] = ()

    def launch(self) -> None:
        with self._stderr_path.open("wb") as err, self._stdout_path.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "faregate", "run", str(self.file), *self.options],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    def command(self, name: str, *more: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "faregate", name, str(self.file), *more],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_S,
        )

    def told(self, name: str) -> dict[str, object]:
        """What the gateway answers to a command that succeeds; without the second that a command line takes."""
        told = ask(self.folder / "data", Request(name, program=sys.executable), COMMAND_S)
        assert told["ok"] is True, (told, self.stderr[-2000:])
        return told

    @property
    def supervisor(self) -> int:
        """The process that is the gateway now."""
        pid = self.told("status")["pid"]
        assert isinstance(pid, int)
        return pid

    def workers(self) -> list[int]:
        """Process ids of the workers that are ready."""
        workers = self.told("status")["workers"]
        assert isinstance(workers, list)
        return [worker["pid"] for worker in workers if worker["ready"]]

    def stop(self, by: signal.Signals = signal.SIGTERM) -> None:
        """Ends the gateway, whichever process it is by now, and insists that nothing is left."""
        assert self.process is not None
        try:
            os.kill(self.supervisor, by)
            until(lambda: not self.group_alive(), "the last process of the group to end", 12)
            assert self.process.wait(5) == 0, self.stderr[-4000:]
            assert "Traceback" not in self.stderr, self.stderr[-4000:]
        finally:
            self.kill()


@dataclass
class KeepAlive:
    """``connections`` callers that together make about ``per_second`` calls. ``latencies``: seconds, with when they began."""

    address: Address
    connections: int
    per_second: float
    prefix: str = "live"
    path: str = "/open/v1/live"
    killing: bool = False
    """Workers are killed: a call in flight in one of them may end without an answer."""
    calls: int = 0
    ended: int = 0
    reconnects: int = 0
    cut: list[str] = field(default_factory=list)
    latencies: list[tuple[float, float]] = field(default_factory=list)
    _faults: list[str] = field(default_factory=list)

    async def run(self, stop: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(self.connections):
                group.create_task(self._caller(number, stop))

    def faults(self) -> list[str]:
        return list(self._faults)

    def doubled(self, entries: dict[str, Entry]) -> list[str]:
        """Calls that arrived at the upstream more than once."""
        return [name for name, entry in entries.items() if entry.heads > 1 and name.startswith(self.prefix)]

    async def _caller(self, number: int, stop: asyncio.Event) -> None:
        every = self.connections / self.per_second
        due = time.monotonic() + every * number / self.connections
        while not stop.is_set():
            try:
                reader, writer = await asyncio.open_connection(*self.address)
            except OSError as error:
                self._faults.append(f"refused: {error}")
                await asyncio.sleep(0.05)
                continue
            self.reconnects += 1
            try:
                due = await self._calls(reader, writer, due, every, stop)
            finally:
                writer.transport.abort()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()

    async def _calls(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        due: float,
        every: float,
        stop: asyncio.Event,
    ) -> float:
        """Calls until the connection ends; returns when the next one is due."""
        while not stop.is_set():
            now = time.monotonic()
            if due > now:
                await asyncio.sleep(due - now)
            if reader.at_eof() or reader.exception() is not None or stop.is_set():
                return due
            due = max(due + every, time.monotonic() - 0.2)
            self.calls += 1
            name = f"{self.prefix}-{self.calls}"
            body = name.encode()
            began = time.monotonic()
            try:
                writer.write(request("POST", self.path, f"{ID}: {name}", f"{ANSWER_BYTES}: 100", body=body))
                async with asyncio.timeout(20):
                    head = await reader.readuntil(b"\r\n\r\n")
                    content = await _body(reader, head.lower())
            except (OSError, ValueError, TimeoutError, asyncio.IncompleteReadError) as error:
                self._ended_badly(name, error)
                return due
            self.ended += 1
            self.latencies.append((began, time.monotonic() - began))
            expected = expected_answer(name, "-", hashlib.sha256(body).hexdigest(), 100)
            if not head.startswith(b"HTTP/1.1 200 ") or content != expected:
                self._faults.append(f"{name}: {head[:40]!r} {content[:200]!r}")
            if b"connection: close" in head.lower():
                return due
        return due

    def _ended_badly(self, name: str, error: BaseException) -> None:
        if self.killing:
            self.cut.append(name)
        else:
            self._faults.append(f"{name}: no answer: {type(error).__name__}")


async def _body(reader: asyncio.StreamReader, head: bytes) -> bytes:
    if b"\r\ntransfer-encoding: chunked\r\n" not in head:
        length = int(head.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0])
        return await reader.readexactly(length)
    content = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        content += (await reader.readexactly(size + 2))[:-2]
    await reader.readexactly(2)
    return content


def quantile(
    latencies: list[tuple[float, float]], share: float, begin: float = 0.0, end: float = 1e18
) -> float:
    """Seconds that ``share`` of the calls begun between ``begin`` and ``end`` took at most."""
    found = sorted(took for began, took in latencies if begin <= began < end)
    return found[min(len(found) - 1, int(len(found) * share))] if found else 0.0


def big(folder: Path, routes: int, keys: int) -> None:
    """Writes ``many.json`` with so many further routes and consumers, to be included."""
    consumers = {
        f"many{number}": {
            "credentials": [
                {"api_key": {"id": f"m{number}", "sha256": hashlib.sha256(b"m%d" % number).hexdigest()}}
            ]
        }
        for number in range(keys)
    }
    api = {
        "upstream": "main",
        "authenticate": ["api_key"],
        "versions": {"v1": {"path": "/many/v1"}},
        "routes": [{"match": f"GET /r{number}/{{id}}"} for number in range(routes)],
    }
    (folder / "many.json").write_text(json.dumps({"consumers": consumers, "apis": {"many": api}}))
