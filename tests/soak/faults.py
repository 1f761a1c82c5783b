"""What the soak does to a running gateway: one seeded fault at a time, each with its begin and end.

A fault is a coroutine that breaks something, waits its time and mends it. What workers may lose is told apart: calls that were open in
a worker that was killed, and the log lines of its last moment (decision 0005).
"""

import asyncio
import contextlib
import os
import random
import signal
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.support.chaos import Faults
from tests.support.chaos_process import ChaosProcess
from tests.support.client import request
from tests.support.configuration import Tree, changed, public_api, write
from tests.support.gateway import GatewayProcess
from tests.support.ledger import ID, MODES, VALID_MODES, LedgerUpstream
from tests.support.load_keyed import Told

SLOW_PEERS: Final = 60


@dataclass(frozen=True)
class Window:
    """When a fault held, by the monotonic clock."""

    name: str
    begin: float
    end: float


@dataclass
class World:
    """All that a fault may touch, and what it leaves for the judges: windows and kills."""

    gateway: GatewayProcess
    proxy: ChaosProcess
    ledger: LedgerUpstream
    dice: random.Random
    hold_s: float
    windows: list[Window] = field(default_factory=list)
    kills: list[float] = field(default_factory=list)
    veteran: int = 0
    """The worker that is never killed: its memory and descriptors are compared over the whole run."""
    reloads: int = 0
    stalls: int = 0
    strangers: list[Told] = field(default_factory=list)
    """Calls that faults themselves began and left."""


async def network(world: World, faults: Faults, direction: str, *, mute: bool = False) -> None:
    up, down = (faults, None) if direction == "up" else (None, faults)
    await asyncio.to_thread(world.proxy.set, up=up, down=down, mute=mute)
    breaks = not faults.slice_bytes  # slices alone must harm no call
    if breaks and world.dice.random() < 0.3:
        await asyncio.to_thread(world.proxy.reset_all)
    await asyncio.sleep(world.hold_s)
    await asyncio.to_thread(world.proxy.heal)
    if breaks:
        await asyncio.to_thread(world.proxy.reset_all)


async def refused(world: World) -> None:
    await asyncio.to_thread(world.proxy.refuse)
    await asyncio.sleep(world.hold_s)
    await asyncio.to_thread(world.proxy.listen)


async def misbehaving(world: World, mode: str) -> None:
    world.ledger.mode = mode
    await asyncio.sleep(world.hold_s)
    world.ledger.mode = "echo"


async def worker_killed(world: World) -> None:
    victims = [pid for pid in world.gateway.worker_pids() if pid != world.veteran]
    if victims:
        os.kill(world.dice.choice(victims), signal.SIGKILL)
        world.kills.append(time.monotonic())
    await asyncio.sleep(world.hold_s)


async def worker_stopped(world: World) -> None:
    """A worker that the machine does not let run for a while (X3)."""
    victims = [pid for pid in world.gateway.worker_pids() if pid != world.veteran]
    if victims:
        with contextlib.suppress(ProcessLookupError):
            os.kill(victims[0], signal.SIGSTOP)
            await asyncio.sleep(world.hold_s)
            os.kill(victims[0], signal.SIGCONT)


async def reloaded(world: World) -> None:
    """A revision with one API more or less."""
    world.reloads += 1
    extra = public_api("main", f"/extra{world.reloads % 3}/v1")
    world.gateway.reload(changed(world.gateway.tree, "apis", "extra", to=extra))
    await asyncio.sleep(world.hold_s)


async def reloaded_badly(world: World) -> None:
    """A revision that cannot be; the file is put right afterwards, unread."""
    good: Tree = world.gateway.tree
    world.gateway.reload(changed(good, "apis", "open", "upstream", to="nowhere"))
    await asyncio.sleep(world.hold_s)
    world.gateway.tree = good
    write(world.gateway.folder, good)


async def slow_peers(world: World) -> None:
    """Connections that begin a request and go no further, and some that do not read."""
    loop = asyncio.get_running_loop()
    peers: list[socket.socket] = []
    try:
        for number in range(SLOW_PEERS):
            peer = socket.socket()
            peers.append(peer)
            peer.setblocking(False)
            await loop.sock_connect(peer, world.gateway.address)
            told = Told(f"slow-{len(world.strangers)}", time.monotonic(), outcome="left")
            world.strangers.append(told)
            whole = request("POST", "/open/v1/slow", f"{ID}: {told.name}", body=b"never whole")
            await loop.sock_sendall(peer, (b"", whole[:20], whole[:-1])[number % 3])
        await asyncio.sleep(world.hold_s)
    finally:
        for peer in peers:
            peer.close()


Fault = tuple[str, Callable[[World], Awaitable[None]]]


def _network(name: str, make: Callable[[random.Random], Faults], *, mute: bool = False) -> list[Fault]:
    def one(direction: str) -> Fault:
        async def run(world: World) -> None:
            await network(world, make(world.dice), direction, mute=mute)

        return f"{name}_{direction}", run

    return [one("up"), one("down")]


def _mode(mode: str) -> Fault:
    async def run(world: World) -> None:
        await misbehaving(world, mode)

    return f"upstream_{mode}", run


FAULTS: Final[tuple[Fault, ...]] = (
    *_network("cut", lambda dice: Faults(cut_after=dice.randrange(3000))),
    *_network("reset", lambda dice: Faults(reset_after=dice.randrange(3000))),
    *_network("half_close", lambda dice: Faults(half_close_after=dice.randrange(600))),
    *_network("delay", lambda dice: Faults(delay_ms=dice.randrange(5, 120), jitter_ms=80)),
    *_network("slices", lambda dice: Faults(slice_bytes=dice.randrange(1, 64))),
    *_network("rate", lambda _: Faults(bytes_per_s=40_000)),
    *_network("silence", lambda _: Faults(silent=True)),
    *_network("late_close", lambda _: Faults(cut_after=2000, close_late_ms=300)),
    _network("mute", lambda _: Faults(), mute=True)[0],
    ("refused", refused),
    *(_mode(mode) for mode in MODES if mode != "echo"),
    ("worker_killed", worker_killed),
    ("worker_stopped", worker_stopped),
    ("reloaded", reloaded),
    ("reloaded_badly", reloaded_badly),
    ("slow_peers", slow_peers),
)
HARMLESS: Final = frozenset({"reloaded", "reloaded_badly", "slow_peers", "slices_up", "slices_down"}) | {
    f"upstream_{mode}" for mode in VALID_MODES
}
"""Faults under which every call must still be answered."""


async def inject(world: World, every_s: float, seconds: float, only: str = "") -> None:
    """One fault after another, in seeded order without repeats until all have come, until ``seconds`` are over."""
    begun = time.monotonic()
    waiting: list[Fault] = []
    wanted = set(filter(None, only.split(",")))
    chosen = [fault for fault in FAULTS if not wanted or fault[0] in wanted]
    if not wanted <= {name for name, _ in FAULTS}:
        raise ValueError(f"faults are {', '.join(name for name, _ in FAULTS)}")
    while time.monotonic() - begun < seconds - every_s:
        await asyncio.sleep(every_s - world.hold_s)
        if not waiting:
            waiting = list(chosen)
            world.dice.shuffle(waiting)
        name, fault = waiting.pop()
        start = time.monotonic()
        await fault(world)
        world.windows.append(Window(name, start, time.monotonic()))


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def threads(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def resident_kib(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4
