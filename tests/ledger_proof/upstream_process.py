"""The upstream of the proof, in a process of its own that may be killed: ``python -m tests.ledger_proof.upstream_process PORT FILE``.

It executes whatever it receives, without looking at keys: what is sent twice is executed twice. Its ledger has a line for each
head, each whole request and each execution, the last with fsync before anybody is told. ``X-Act`` says how a request fares:
``delay`` before executing, ``late`` before answering (ms), ``status``, ``refuse`` (answers without executing), ``cut`` (``before`` or
``after`` executing, or the bytes of the answer that are sent), ``filler`` (bytes more in the answer), ``chunked`` (the answer's framing).
"""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Self
from urllib.parse import parse_qs, urlsplit

from tests.ledger_proof.histories import (
    ACT_FIELD,
    ATTEMPT_FIELD,
    KEY_FIELD,
    NOT_RUN,
    Scope,
    digest_of,
    read_seen,
)
from tests.support.client import chunked, request
from tests.support.gateway import ROOT, until
from tests.support.script import head
from tests.support.wire import Body, Head, Wire, WireError, no_delay

CONSUMER_FIELD: Final = "X-Consumer-Id"
STATE: Final = "/_state"
_IN_FRAGMENT: Final = re.compile(rb"\r\n[Xx]-[Aa]ttempt: *([!-~]+)\r\n")


def answer_body(execution: str, scope: Scope, digest: str, filler: int) -> bytes:
    """What an execution is answered with, and what a query tells of it."""
    made = {"execution": execution, "consumer": scope.consumer, "key": scope.key, "digest": digest}
    return json.dumps({**made, "filler": "x" * filler}).encode()


class Ledger:
    """The file and what it says was executed."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(self._file, b"\n")  # ends the line that a killed predecessor may have left torn
        self.executed: dict[Scope, bytes] = {}
        self.count = 0
        for line in read_seen(path):
            if line.what == "executed":
                self._take(line.scope, line.execution, line.digest, 0)

    def _take(self, scope: Scope, execution: str, digest: str, filler: int) -> bytes:
        self.count += 1
        body = answer_body(execution, scope, digest, filler)
        self.executed.setdefault(scope, body)
        return body

    def note(self, what: str, name: str, scope: Scope, **more: str | int) -> None:
        line = {"what": what, "name": name, "scope": scope, "at": time.monotonic(), **more}
        os.write(self._file, json.dumps(line).encode() + b"\n")

    async def execute(self, name: str, scope: Scope, digest: str, filler: int) -> bytes:
        execution = f"x{self.count + 1}"
        body = self._take(scope, execution, digest, filler)
        self.note("executed", name, scope, digest=digest, execution=execution, answer_bytes=len(body))
        await asyncio.to_thread(os.fsync, self._file)
        return body


class Server:
    """One upstream; ``open`` counts the requests that are not done yet."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._tasks: set[asyncio.Task[None]] = set()
        self.open = 0

    async def run(self, port: int) -> None:
        listener = socket.create_server(("127.0.0.1", port), backlog=1024, reuse_port=False)
        listener.setblocking(False)
        print("ready", flush=True)
        loop = asyncio.get_running_loop()
        while True:
            sock, _ = await loop.sock_accept(listener)
            task = loop.create_task(self._serve(Wire(no_delay(sock))))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, wire: Wire) -> None:
        try:
            while await self._serve_one(wire):
                pass
        except (WireError, OSError):
            pass  # what arrived is on record
        finally:
            wire.close()

    async def _serve_one(self, wire: Wire) -> bool:
        try:
            asked = await wire.request_head()
        except WireError:
            found = _IN_FRAGMENT.search(bytes(wire.buffer))
            if found is not None:
                self._ledger.note("fragment", found[1].decode(), Scope("", "", "", ""))
            raise
        if asked is None:
            return False
        if asked.start[0] == b"GET":
            await self._tell(wire, asked)
            return True
        self.open += 1
        try:
            return await self._take(wire, asked)
        finally:
            self.open -= 1

    async def _tell(self, wire: Wire, asked: Head) -> None:
        """A query: what was executed under a key, of the consumer that is named, else of any."""
        target = urlsplit(asked.start[1].decode())
        if target.path == STATE:
            body = json.dumps({"open": self.open}).encode()
            await wire.send(
                head(200, f"Content-Length: {len(body)}", "Content-Type: application/json") + body
            )
            return
        key = parse_qs(target.query).get("key", [""])[0]
        consumer = _text(asked, CONSUMER_FIELD)
        api, route = _place(target.path)
        found = [
            body for scope, body in self._ledger.executed.items()
            if (scope.api, scope.route, scope.key) == (api, route, key) and consumer in {"", scope.consumer}
        ]  # fmt: skip
        body = found[0] if found else b'{"error":"no such key"}'
        status = 201 if found else 404
        await wire.send(head(status, f"Content-Length: {len(body)}", "Content-Type: application/json") + body)

    async def _take(self, wire: Wire, asked: Head) -> bool:
        name = _text(asked, ATTEMPT_FIELD)
        scope = Scope(
            _text(asked, CONSUMER_FIELD), *_place(asked.start[1].decode()), _text(asked, KEY_FIELD).strip('"')
        )
        self._ledger.note("head", name, scope)
        body = Body()
        await wire.read_body(asked, body, close_ends=False)
        if not body.complete:
            return False
        digest = digest_of(bytes(body.data))
        self._ledger.note("whole", name, scope, digest=digest)
        act = dict(part.split("=", 1) for part in _text(asked, ACT_FIELD).split(";") if part)
        await asyncio.sleep(int(act.get("delay", "0")) / 1000)
        cut = act.get("cut", "")
        if cut == "before":
            return False
        if "refuse" in act:
            if int(act["status"]) in NOT_RUN:
                self._ledger.note("turned_away", name, scope)
            content = b'{"error":"not now"}'
        else:
            content = await self._ledger.execute(name, scope, digest, int(act.get("filler", "0")))
        await asyncio.sleep(int(act.get("late", "0")) / 1000)
        if cut == "after":
            return False
        if "chunked" in act:
            framing, framed = "Transfer-Encoding: chunked", chunked(content[:50], content[50:])
        else:
            framing, framed = f"Content-Length: {len(content)}", content
        answer = head(int(act.get("status", "201")), framing, "Content-Type: application/json") + framed
        if cut and int(cut) < len(answer):
            await wire.send(answer[: int(cut)])
            return False
        await wire.send(answer)
        return True


def _text(asked: Head, name: str) -> str:
    return (asked.one(name) or b"").decode("latin-1")


def _place(target: str) -> tuple[str, str]:
    """API and route, as the proof's configuration lays them out: ``/{api}/v1/{route}``."""
    _, api, _, route = (target.split("?", maxsplit=1)[0] + "///").split("/")[:4]
    return api, route


class UpstreamProcess:
    """Starts it, kills it, starts it again on the same port and ledger; use as a context manager."""

    def __init__(self, folder: Path, port: int) -> None:
        self.file = folder / "upstream.jsonl"
        self.port = port
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.port

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.ledger_proof.upstream_process", str(self.port), str(self.file)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def kill(self) -> None:
        """kill -9; nothing when it is down."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(10)
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    def wait_idle(self) -> None:
        """Until nothing that arrived is still to be executed."""
        until(lambda: self._open() == 0, "the upstream to be done")

    def _open(self) -> int:
        with suppress(OSError), _connected(self.port) as sock:
            sock.sendall(request("GET", STATE, "Connection: close"))
            text = sock.recv(65536)
            return int(json.loads(text.split(b"\r\n\r\n", 1)[1])["open"])
        return -1


@contextmanager
def _connected(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as sock:
        yield sock


def main() -> None:
    ledger = Ledger(Path(sys.argv[2]))
    asyncio.run(Server(ledger).run(int(sys.argv[1])))


if __name__ == "__main__":
    main()
