"""Callers who do not wait for each other, in a process of their own: calls are due at their times, answered or not.

``python -m tests.support.open_loop PORT PHASES``, PHASES being JSON: ``[[seconds, calls a second], ...]``. A call goes out on
a connection that is free, or on a new one. One in ten goes to ``/critical``, three to ``/low``, the rest to ``/normal``. Prints
JSON: for each call its path, when it was due, how late its answer came, and its status, 0 when none came.
"""

import asyncio
import json
import random
import subprocess
import sys
from typing import Final, NamedTuple

PATIENCE_S: Final = 10.0
CONNECTIONS_MAX: Final = 3000
_PATHS: Final = ("critical", "low", "low", "low", *["normal"] * 6)


class Shot(NamedTuple):
    """One call; times are seconds since the load began."""

    path: str
    due: float
    late: float
    status: int


class _Caller(asyncio.Protocol):
    def __init__(self, load: "_Load") -> None:
        self._load = load
        self._buffer = bytearray()
        self._shot: tuple[str, float] | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def ask(self, path: str, due: float) -> None:
        assert self.transport is not None
        self._shot = (path, due)
        self.transport.write(b"GET /open/v1/%b HTTP/1.1\r\nHost: api.test\r\n\r\n" % path.encode())

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0 or self._shot is None:
            return
        at = self._buffer.lower().find(b"content-length:", 0, end)
        if len(self._buffer) < end + 4 + int(self._buffer[at + 15 :].split(b"\r\n", 1)[0]):
            return
        closes = b"connection: close" in self._buffer[:end].lower()
        status = int(self._buffer[9:12])
        self._buffer.clear()
        self._end(status)
        if not closes:
            self._load.free.append(self)

    def connection_lost(self, _: Exception | None) -> None:
        self.transport = None
        self._load.open -= 1
        self._end(0)

    def _end(self, status: int) -> None:
        if self._shot is not None:
            path, due = self._shot
            self._shot = None
            self._load.shots.append(Shot(path, due, self._load.now() - due, status))


class _Load:
    def __init__(self, port: int) -> None:
        self._port = port
        self._loop = asyncio.get_running_loop()
        self._begun = self._loop.time()
        self._tasks: set[asyncio.Task[None]] = set()
        self.free: list[_Caller] = []
        self.open = 0
        self.shots: list[Shot] = []

    def now(self) -> float:
        return self._loop.time() - self._begun

    async def run(self, phases: list[tuple[float, float]]) -> None:
        choice = random.Random(5)
        due = 0.0
        end = 0.0
        for seconds, rate in phases:
            end += seconds
            while due < end:
                due += choice.expovariate(rate)
                if (wait := due - self.now()) > 0:
                    await asyncio.sleep(wait)
                self._send(choice.choice(_PATHS), due)
        await asyncio.sleep(PATIENCE_S / 5)

    def _send(self, path: str, due: float) -> None:
        while self.free:
            caller = self.free.pop()
            if caller.transport is not None and not caller.transport.is_closing():
                caller.ask(path, due)
                return
        if self.open >= CONNECTIONS_MAX:
            self.shots.append(Shot(path, due, PATIENCE_S, 0))
            return
        self.open += 1
        task = asyncio.create_task(self._open(path, due))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _open(self, path: str, due: float) -> None:
        try:
            _, caller = await self._loop.create_connection(lambda: _Caller(self), "127.0.0.1", self._port)
        except OSError:
            self.open -= 1
            self.shots.append(Shot(path, due, self.now() - due, 0))
            return
        caller.ask(path, due)


class OpenLoop:
    """The load, begun at once; ``shots()`` waits for its end."""

    def __init__(self, port: int, phases: list[tuple[float, float]]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.open_loop", str(port), json.dumps(phases)],
            stdout=subprocess.PIPE,
        )

    def running(self) -> bool:
        return self._process.poll() is None

    def shots(self) -> list[Shot]:
        """All calls. Raises AssertionError when the load failed."""
        out, _ = self._process.communicate()
        assert self._process.returncode == 0
        return [Shot(*shot) for shot in json.loads(out)]


async def _main(port: int, phases: list[tuple[float, float]]) -> None:
    load = _Load(port)
    await load.run(phases)
    sys.stdout.write(json.dumps(load.shots))


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), json.loads(sys.argv[2])))
