"""Accounts of calls made while a gateway is changed under them: what came back, what was cut, and whether that may be.

Three records have to agree: the callers' own (``Callers``), the upstream's (``ledger.py``) and the access log. A call may be
cut by a killed worker only, and only if it lay on a connection that this worker held when it was killed.
"""

import asyncio
import contextlib
import hashlib
import os
import signal
import socket
import ssl
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.support.client import Address
from tests.support.gateway import until
from tests.support.ledger import ANSWER_BYTES, ANSWER_DELAY, Entry, expected_answer
from tests.support.records import Line

ANSWER_SIZE: Final = 100
ANSWER_S: Final = 20.0
DELAYS_MS: Final = (0, 0, 10, 40)
"""What the upstream takes over a call, in turn: some are in flight whenever something is changed."""
NOTICE_S: Final = 0.5
"""Within which a caller has seen that its worker's sockets are gone: turns of a busy event loop, no more."""
LOG_S: Final = 0.5
"""What a killed worker may take of its access log: lines are written 50 ms after a call at the latest, on a quiet machine."""


@dataclass(frozen=True)
class Cut:
    """An end without an answer: of a call (its name), or of a connection in its handshake or a WebSocket (no name)."""

    name: str
    port: int
    """The caller's end of the connection."""
    opened: float
    wrote: float
    seen: float


@dataclass(frozen=True)
class Kill:
    """A worker that was killed. ``ports``: the callers' ends of the connections it held shortly before."""

    pid: int
    ports: frozenset[int]
    noted: float
    at: float
    gone: float
    """When its sockets were closed for certain."""

    def explains(self, cut: Cut) -> bool:
        """Whether this worker took it along: it held the connection, the call had begun, and the end came with the death."""
        held = cut.port in self.ports or self.noted <= cut.opened <= self.gone
        return held and self.at <= cut.seen <= self.gone + NOTICE_S

    def took_line(self, port: int, opened: float, ended: float) -> bool:
        """Whether the log line of a call answered on such a connection may have died with this worker."""
        held = port in self.ports or self.noted <= opened <= self.gone
        return held and self.at - LOG_S <= ended <= self.gone + NOTICE_S


def kill_worker(pid: int, listening: Iterable[int]) -> Kill:
    """Kills ``pid`` and waits until the kernel has closed its sockets. ``listening``: the gateway's ports."""
    noted = time.monotonic()
    ports = held_ports(pid, frozenset(listening))
    at = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    until(lambda: _is_gone(pid), f"the end of {pid}")
    return Kill(pid, ports, noted, at, time.monotonic())


def _is_gone(pid: int) -> bool:
    """A zombie has closed its files already."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def held_ports(pid: int, listening: frozenset[int]) -> frozenset[int]:
    """The far ends of the connections that ``pid`` has accepted on ``listening``, as the kernel knows them."""
    sockets: set[str] = set()
    for file in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            target = str(file.readlink())
            if target.startswith("socket:["):
                sockets.add(target[8:-1])
    found: set[int] = set()
    for row in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        columns = row.split()
        local, remote = (int(columns[at].rpartition(":")[2], 16) for at in (1, 2))
        if columns[9] in sockets and local in listening and remote:
            found.add(remote)
    return frozenset(found)


@dataclass(frozen=True)
class Done:
    """An answered call: on which connection, and when."""

    port: int
    opened: float
    began: float
    ended: float


@dataclass
class Way:
    """A connection as its caller sees it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    port: int
    opened: float


@dataclass
class Callers:
    """``connections`` callers that together make about ``per_second`` calls; ``_calls`` is the protocol's."""

    address: Address
    connections: int
    per_second: float
    prefix: str = "live"
    path: str = "/open/v1/live"
    killing: bool = False
    """Workers are killed: a call in flight in one of them may end without an answer."""
    tls: ssl.SSLContext | None = None
    calls: int = 0
    reconnects: int = 0
    cut: list[Cut] = field(default_factory=list)
    done: dict[str, Done] = field(default_factory=dict)
    _faults: list[str] = field(default_factory=list)
    _tasks: asyncio.TaskGroup = field(default_factory=asyncio.TaskGroup, repr=False)

    async def run(self, stop: asyncio.Event) -> None:
        async with self._tasks as tasks:
            for number in range(self.connections):
                tasks.create_task(self._caller(number, stop))

    def faults(self) -> list[str]:
        return list(self._faults)

    @property
    def ended(self) -> int:
        return len(self.done)

    @property
    def latencies(self) -> list[tuple[float, float]]:
        """Seconds that calls took, behind when they began."""
        return [(one.began, one.ended - one.began) for one in self.done.values()]

    @property
    def cut_calls(self) -> list[str]:
        return [cut.name for cut in self.cut if cut.name]

    def doubled(self, entries: dict[str, Entry]) -> list[str]:
        """Calls that arrived at the upstream more than once."""
        return [name for name, entry in entries.items() if entry.heads > 1 and name.startswith(self.prefix)]

    async def _calls(self, line: Way, due: float, every: float, stop: asyncio.Event) -> float:
        """Calls until the connection ends; returns when the next one is due."""
        raise NotImplementedError

    async def _caller(self, number: int, stop: asyncio.Event) -> None:
        every = self.connections / self.per_second
        due = time.monotonic() + every * number / self.connections
        while not stop.is_set():
            line = await self._connect()
            if line is None:
                await asyncio.sleep(0.05)
                continue
            self.reconnects += 1
            due = await self._calls(line, due, every, stop)

    def _finished(self, stop: asyncio.Event) -> bool:
        return stop.is_set()

    async def _connect(self) -> Way | None:
        """None, and a fault on record, when nobody takes the connection."""
        sock = socket.socket()
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, self.address)
        except OSError as error:
            sock.close()
            self._faults.append(f"refused: {error}")
            return None
        port, opened = sock.getsockname()[1], time.monotonic()
        name = None if self.tls is None else "api.test"
        try:
            streams = await asyncio.open_connection(sock=sock, ssl=self.tls, server_hostname=name)
        except OSError as error:
            sock.close()
            self._ended_badly("", port, opened, opened, error)
            return None
        return Way(*streams, port, opened)

    def _next_name(self) -> str:
        self.calls += 1
        return f"{self.prefix}-{self.calls}"

    def _wishes(self) -> tuple[tuple[str, str], tuple[str, str]]:
        """What the call that was named last asks of the upstream."""
        return (ANSWER_BYTES, str(ANSWER_SIZE)), (ANSWER_DELAY, str(DELAYS_MS[self.calls % len(DELAYS_MS)]))

    def _answered(self, name: str, line: Way, began: float, status: bytes, content: bytes) -> None:
        """Takes an answer down; one that is not this call's own is a fault."""
        digest = hashlib.sha256(name.encode()).hexdigest()
        if status != b"200" or content != expected_answer(name, "-", digest, ANSWER_SIZE):
            self._faults.append(f"{name}: {status!r} {content[:200]!r}")
        if name in self.done:
            self._faults.append(f"{name}: answered twice")
        self.done[name] = Done(line.port, line.opened, began, time.monotonic())

    def _ended_badly(self, name: str, port: int, opened: float, wrote: float, error: object) -> None:
        if self.killing:
            self.cut.append(Cut(name, port, opened, wrote, time.monotonic()))
        else:
            self._faults.append(f"{name or 'handshake'}: no answer: {error!r}")


async def closed(way: Way) -> None:
    """Ends a connection without waiting for the other side."""
    way.writer.transport.abort()
    with contextlib.suppress(OSError):
        await way.writer.wait_closed()


def unexplained(cuts: Iterable[Cut], kills: Iterable[Kill]) -> list[Cut]:
    """Ends that no killed worker accounts for."""
    kills = list(kills)
    return [cut for cut in cuts if not any(kill.explains(cut) for kill in kills)]


def disagreements(
    callers: Callers, entries: dict[str, Entry], lines: Iterable[Line], kills: Iterable[Kill] = ()
) -> list[str]:
    """What the callers, the upstream and the access log say differently of the same calls."""
    kills = list(kills)
    told: dict[str, list[Line]] = {}
    for line in lines:
        told.setdefault(str(line["request_id"]), []).append(line)
    found: list[str] = []
    names = [f"{callers.prefix}-{number + 1}" for number in range(callers.calls)]
    cut = {one.name: one for one in callers.cut if one.name}
    for name in names:
        entry, mine = entries.get(name, Entry()), told.get(name, [])
        outcomes = [line["outcome"] for line in mine]
        done = callers.done.get(name)
        state = f"{name}: arrived {entry.heads} times, {entry.complete} whole, logged {outcomes}"
        if (done is None) == (name not in cut):
            found.append(f"{state}: neither answered nor cut, or both")
        elif entry.heads + entry.fragments > 1 or len(mine) > 1:
            found.append(f"{state}: doubled")
        elif done is not None:
            if entry.complete != 1:
                found.append(f"{state}: answered, but not by the upstream")
            if not mine and not any(kill.took_line(done.port, done.opened, done.ended) for kill in kills):
                found.append(f"{state}: answered and not logged")
            if mine and (outcomes[0], mine[0].get("status")) != ("answered", 200):
                found.append(f"{state}: answered")
        elif entry.heads and all(kill.gone < cut[name].wrote for kill in kills if kill.explains(cut[name])):
            found.append(f"{state}: sent to a worker that was gone")
        elif outcomes == ["not_sent"] and entry.heads:
            found.append(f"{state}: not_sent is untrue")
        elif outcomes == ["answered"] and not entry.complete:
            found.append(f"{state}: answered is untrue")
    return found
