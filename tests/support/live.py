"""A gateway that is changed while it runs, and callers that notice any call that is lost, doubled or another's.

``Drivers`` of any protocol can be added to a proof: something with ``run(stop)`` and ``faults()``. Those here keep HTTP/1.1
connections alive, each with a call every so often, or talk by WebSocket; ``live_http2`` has another. A real caller opens another
connection when its own was closed while idle; so do these, and anything worse is a fault.
"""

import asyncio
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from faregate.gateway.commands import Request, ask
from tests.support.client import request
from tests.support.gateway import ROOT, GatewayProcess, until
from tests.support.ledger import ID
from tests.support.live_accounts import ANSWER_S, Callers, Cut, Way, closed
from tests.support.websocket import Crowd

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
class KeepAlive(Callers):
    """Callers by HTTP/1.1, with or without TLS, each with one call at a time on a connection that it keeps."""

    async def _calls(self, way: Way, due: float, every: float, stop: asyncio.Event) -> float:
        try:
            while not stop.is_set():
                now = time.monotonic()
                if due > now:
                    await asyncio.sleep(due - now)
                if way.reader.at_eof() or way.reader.exception() is not None or stop.is_set():
                    break
                due = max(due + every, time.monotonic() - 0.2)
                if not await self._call(way, self._next_name()):
                    break
        finally:
            await closed(way)
        return due

    async def _call(self, way: Way, name: str) -> bool:
        """Whether the connection is good for another."""
        body = name.encode()
        began = time.monotonic()
        fields = [f"{key}: {value}" for key, value in ((ID, name), *self._wishes())]
        try:
            way.writer.write(request("POST", self.path, *fields, body=body))
            async with asyncio.timeout(ANSWER_S):
                head = await way.reader.readuntil(b"\r\n\r\n")
                content = await _body(way.reader, head.lower())
        except TimeoutError as error:
            self._faults.append(f"{name}: no answer: {error!r}")
            return False
        except (OSError, ValueError, asyncio.IncompleteReadError) as error:
            self._ended_badly(name, way.port, way.opened, began, error)
            return False
        first = head.split(b" ", 2)
        self._answered(name, way, began, first[1] if first[0] == b"HTTP/1.1" else head[:40], content)
        return b"connection: close" not in head.lower()


class Sockets:
    """A crowd of WebSockets as a driver; ``ends``: those that broke off without a Close frame."""

    def __init__(self, crowd: Crowd) -> None:
        self.crowd = crowd

    async def run(self, stop: asyncio.Event) -> None:
        talking = asyncio.ensure_future(self.crowd.run(3600))
        await stop.wait()
        self.crowd.stop()
        await talking

    def faults(self) -> list[str]:
        return self.crowd.faults

    @property
    def broken(self) -> list[Cut]:
        return [
            Cut("", talk.port, talk.opened, talk.opened, talk.ended)
            for talk in self.crowd.talks
            if talk.broken
        ]


async def _body(reader: asyncio.StreamReader, head: bytes) -> bytes:
    if b"\r\ntransfer-encoding: chunked\r\n" not in head:
        length = int(head.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0])
        return await reader.readexactly(length)
    content = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        content += (await reader.readexactly(size + 2))[:-2]
    await reader.readexactly(2)
    return content


def drive(work: Callable[[], None], *drivers: Driver) -> None:
    """Runs the callers for as long as the work takes, in a thread of its own."""

    async def play() -> None:
        stop = asyncio.Event()
        driving = [asyncio.ensure_future(driver.run(stop)) for driver in drivers]
        try:
            await asyncio.sleep(0.3)
            await asyncio.to_thread(work)
            await asyncio.sleep(0.3)
        finally:
            stop.set()
            await asyncio.gather(*driving)

    asyncio.run(play())


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
