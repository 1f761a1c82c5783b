"""What the soak does to the gateway itself: workers killed and stopped, configurations good and bad, upgrades, certificates, a full disk.

Each fault also holds the gateway to its own promise, as that a bad configuration is refused, and complains where it is not kept. What workers may
lose is told apart: calls that were open in a worker that was killed, the log lines of its last moment (decision 0005), and lines that
the disk refused, which the gateway counts.
"""

import asyncio
import contextlib
import os
import random
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.serialization import Encoding

from tests.soak.faults import Fault
from tests.soak.world import HOST, Window, World, listeners
from tests.support.certificates import replace
from tests.support.client import request
from tests.support.configuration import Tree, changed, public_api, write
from tests.support.gateway import until
from tests.support.ledger import ID
from tests.support.live_accounts import kill_worker
from tests.support.load_keyed import Told
from tests.support.tls_client import TlsCaller

SLOW_PEERS: Final = 60
LOOKED_S: Final = 20.0
"""Within which certificate files that changed are taken up: looked at every second or two, on a machine with much else to do."""


async def worker_killed(world: World, dice: random.Random) -> None:
    victims = world.victims()
    if victims:
        ports = (world.gateway.port, world.tls_port)
        victim = dice.choice(victims)
        world.kills.append(await asyncio.to_thread(kill_worker, victim, ports))
        await asyncio.to_thread(_replaced, world, victim)
    await asyncio.sleep(world.hold_s)


def _replaced(world: World, victim: int) -> None:
    until(lambda: len({*world.gateway.worker_pids()} - {victim}) == 2 and world.ready(), "another worker", 20)


async def worker_stopped(world: World, _: random.Random) -> None:
    """A worker that the machine does not let run for a while (X3)."""
    victims = world.victims()
    if victims:
        with contextlib.suppress(ProcessLookupError):
            os.kill(victims[0], signal.SIGSTOP)
            await asyncio.sleep(world.hold_s)
            os.kill(victims[0], signal.SIGCONT)


def _changes(world: World) -> list[Callable[[Tree], Tree]]:
    number = world.changes
    ports = [world.tls_port, world.spare_port]
    more = listeners(world.gateway.port, world.tls_port)
    if number % 2:
        more.append({"address": f"127.0.0.1:{ports[1]}"})
    return [
        lambda tree: changed(tree, "apis", "extra", to=public_api("main", f"/extra{number % 3}/v1")),
        lambda tree: changed(tree, "gateway", "limits", to={"headers": 64 + number % 2}),
        lambda tree: changed(tree, "gateway", "listen", to=more),  # type: ignore[arg-type]
        lambda tree: changed(tree, "upstreams", "lone", "connections", "idle", to=16 + number % 9),
    ]


async def reloaded(world: World, dice: random.Random) -> None:
    """A revision with something more, less or other: an API, a bound, a listener, an upstream's setting."""
    world.changes += 1
    world.gateway.tree = dice.choice(_changes(world))(world.gateway.tree)
    write(world.gateway.folder, world.gateway.tree)
    told = await asyncio.to_thread(world.gateway.answer, "reload")
    if told["ok"] is not True:
        world.complaints.append(f"a good configuration was refused: {told}")
    await asyncio.sleep(world.hold_s)


async def reloaded_badly(world: World, dice: random.Random) -> None:
    """A revision that cannot be: a name that is not there, no YAML at all, a port that is taken. It must be refused."""
    gateway = world.gateway
    good = gateway.tree
    kind = dice.randrange(3)
    if kind == 0:
        write(gateway.folder, changed(good, "apis", "open", "upstream", to="nowhere"))
    elif kind == 1:
        gateway.file.write_text(gateway.file.read_text() + "\nplans: {\n")
    else:
        taken = f"127.0.0.1:{world.ledger.address[1]}"
        more = [*listeners(gateway.port, world.tls_port), {"address": taken}]
        write(gateway.folder, changed(good, "gateway", "listen", to=more))  # type: ignore[arg-type]
    await _refused(world, f"a bad configuration (kind {kind})")
    await asyncio.sleep(world.hold_s)
    write(gateway.folder, good)


async def _refused(world: World, what: str) -> None:
    before = await asyncio.to_thread(world.gateway.revision)
    told = await asyncio.to_thread(world.gateway.answer, "reload")
    world.refusals += 1
    if told["ok"] is not False or told["revision"] != before:
        world.complaints.append(f"{what} was not refused: {told}")


async def upgraded(world: World, _: random.Random) -> None:
    """Another supervisor, other workers and another manager take over; the former ones drain and end."""
    gateway = world.gateway
    former = {gateway.now, *gateway.children()}
    told = await asyncio.to_thread(gateway.answer, "upgrade", sys.executable)
    if told["ok"] is not True:
        world.complaints.append(f"an upgrade failed: {told}")
        return
    world.upgrades += 1
    await asyncio.to_thread(until, lambda: not any(map(_lives, former)), "the former version's end", 40)
    world.choose_veteran()
    await asyncio.sleep(world.hold_s / 2)


def _lives(pid: int) -> bool:
    """Zombies apart: the first supervisor is a child of the soak."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


async def certificates_replaced(world: World, _: random.Random) -> None:
    """First a certificate without its key, which must not be taken; then the key, after which new handshakes get it."""
    certificates = world.gateway.folder / "certs"
    former = world.served
    fresh = world.authority.issue("CN=api", dns=(HOST,), client=False)
    replace(certificates / "api.pem", fresh.pem)
    await asyncio.sleep(world.hold_s)
    if await asyncio.to_thread(_served, world) != former.certificate.public_bytes(Encoding.DER):
        world.complaints.append("a certificate without its key was taken up")
    replace(certificates / "api.key", fresh.key_pem)
    world.served = fresh
    wanted = fresh.certificate.public_bytes(Encoding.DER)
    await asyncio.to_thread(
        until, lambda: all(_served(world) == wanted for _ in range(6)), "the new certificate", LOOKED_S
    )


def _served(world: World) -> bytes:
    with TlsCaller(world.tls_port, HOST) as caller:
        return caller.served


async def log_refused(world: World, _: random.Random) -> None:
    """The access log's name leads to ``/dev/full`` for a while."""
    log = world.log.path
    before = await _lines_lost(world)
    await asyncio.to_thread(world.log.turn)
    log.symlink_to("/dev/full")
    await asyncio.sleep(world.hold_s + 1)
    log.unlink()
    await _counted(world, before)


async def disk_full(world: World, _: random.Random) -> None:
    """No room in the whole data folder; a reload in this state must be refused, and calls go on."""
    before = await _lines_lost(world)
    world.log.keeps = True
    await asyncio.to_thread(world.disk.fill)
    try:
        tree = changed(world.gateway.tree, "gateway", "limits", to={"headers": 70})
        write(world.gateway.folder, tree)
        await _refused(world, "a reload on a full disk")
        write(world.gateway.folder, world.gateway.tree)
        await asyncio.sleep(world.hold_s)
    finally:
        await asyncio.to_thread(world.disk.clear)
        world.log.keeps = False
    await _counted(world, before)


async def _counted(world: World, before: float) -> None:
    """What was lost is told on ``/metrics``, once workers have found that there is room again."""
    await asyncio.sleep(1.5)
    world.lines_lost += await _lines_lost(world) - before


async def _lines_lost(world: World) -> float:
    return await asyncio.to_thread(world.gateway.metric, "faregate_log_lines_lost_total")


async def slow_peers(world: World, _: random.Random) -> None:
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
        now = time.monotonic()
        for told in world.strangers[-len(peers) :]:
            told.ended = now


UPGRADED: Final = "upgraded"
DISK_FULL: Final = "disk_full"
LINES_LOST: Final = frozenset({"log_refused", DISK_FULL})
"""Faults that cost log lines, which are counted."""
LIFECYCLE: Final[tuple[Fault, ...]] = (
    ("worker_killed", worker_killed),
    ("worker_stopped", worker_stopped),
    ("reloaded", reloaded),
    ("reloaded_badly", reloaded_badly),
    (UPGRADED, upgraded),
    ("certificates_replaced", certificates_replaced),
    ("log_refused", log_refused),
    (DISK_FULL, disk_full),
    ("slow_peers", slow_peers),
)
HARMLESS: Final = frozenset(name for name, _ in LIFECYCLE) - {"worker_stopped"}
"""All but a machine that stands still cost no call; a kill costs those in flight in that worker."""


async def watch_ourselves(world: World, beat_s: float, stall_s: float) -> None:
    """Callers and upstreams live in this process: when the machine does not let it run, that is a fault like another."""
    while True:
        before = time.monotonic()
        await asyncio.sleep(beat_s)
        now = time.monotonic()
        if now - before > beat_s + stall_s:
            world.stalls += 1
            world.windows.append(Window("harness_stalled", before, now))
