"""Keyed callers at a steady rate who wait for nobody, in a process of their own: ``python -m tests.support.paced PORT RATE CALLS``.

Calls are due at the times of a seeded Poisson stream, and a call's latency runs from when it was due: what keeps one waiting
keeps nobody from being counted. CALLS is a file of JSON, a list of requests that are sent in turn. It goes on until its standard input ends, then
prints JSON: for each call when it was due (CLOCK_MONOTONIC, which all processes share), its latency, its status. One ``select`` and
plain sockets, as an event loop's timers know milliseconds only.
"""

import gc
import json
import random
import select
import socket
import subprocess
import sys
import time
from collections import deque
from pathlib import Path
from typing import Final, NamedTuple, Self

CONNECTIONS: Final = 16
PATIENCE_S: Final = 5.0


class Shot(NamedTuple):
    """One call; ``due``: monotonic seconds. ``status`` 0: no answer."""

    due: float
    late: float
    status: int


class Paced:
    """The load, from entering to leaving; ``shots`` stand there afterwards. Raises AssertionError when it failed."""

    def __init__(self, port: int, rate: float, calls: Path) -> None:
        self._command = [sys.executable, "-m", "tests.support.paced", str(port), str(rate), str(calls)]
        self.shots: list[Shot] = []

    @property
    def pid(self) -> int:
        return self._process.pid

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        out = self._process.communicate()[0]
        if kind is None:
            assert self._process.returncode == 0
            self.shots = [Shot(*shot) for shot in json.loads(out)]


class _Load:
    def __init__(self, port: int, calls: list[bytes]) -> None:
        self._calls = calls
        self._free = deque(socket.create_connection(("127.0.0.1", port)) for _ in range(CONNECTIONS))
        self._all: list[socket.socket] = list(self._free)
        self._sent: dict[socket.socket, float] = {}
        self._parts: dict[socket.socket, bytes] = {}
        self._count = 0
        self.shots: list[Shot] = []
        for each in self._all:
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def run(self, rate: float) -> None:
        draw = random.Random(5)
        due: deque[float] = deque()
        following = time.monotonic() + 0.1
        going = True
        while going or self._sent:
            now = time.monotonic()
            while going and following <= now:
                due.append(following)
                following += draw.expovariate(rate)
            while due and self._free:
                self._send(due.popleft())
            if not going and now > following + PATIENCE_S:
                break
            wait = max(0.0, following - now) if going else 0.1
            for each in select.select([*self._all, sys.stdin] if going else self._all, [], [], wait)[0]:
                if isinstance(each, socket.socket):
                    self._receive(each)
                else:
                    going = False
        self.shots += [Shot(when, PATIENCE_S, 0) for when in [*due, *self._sent.values()]]

    def _send(self, due: float) -> None:
        sock = self._free.popleft()
        self._sent[sock] = due
        sock.sendall(self._calls[self._count % len(self._calls)])
        self._count += 1

    def _receive(self, sock: socket.socket) -> None:
        data = sock.recv(65_536)
        answer = self._parts.pop(sock, b"") + data
        end = answer.find(b"\r\n\r\n")
        at = answer.lower().find(b"content-length:", 0, end)
        if data and (end < 0 or len(answer) < end + 4 + int(answer[at + 15 :].split(b"\r\n", 1)[0])):
            self._parts[sock] = answer
            return
        due = self._sent.pop(sock, None)
        if due is not None:
            self.shots.append(Shot(due, time.monotonic() - due, int(answer[9:12]) if data else 0))
        if data:
            self._free.append(sock)
        else:
            self._all.remove(sock)
            sock.close()


def _main(port: int, rate: float, path: Path) -> None:
    load = _Load(port, [call.encode() for call in json.loads(path.read_text())])
    gc.freeze()
    gc.disable()  # a collection here would look like latency of the gateway
    load.run(rate)
    sys.stdout.write(json.dumps(load.shots))


if __name__ == "__main__":
    _main(int(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3]))
