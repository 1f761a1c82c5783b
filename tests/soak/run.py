"""One soak: a gateway between keyed load and an upstream that keeps accounts, seeded faults, and the summary.

One upstream has two targets, behind the chaos proxy and reached directly, so that the gateway must tell a sick target from a well one;
another has only the first, so that there are calls that cannot be sent. Descriptors
and threads are compared while nothing is in flight and every pooled connection has been closed, before and after.
"""

import asyncio
import contextlib
import random
import signal
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.soak.faults import Window, World, descriptors, inject, resident_kib, threads
from tests.soak.invariants import Story, outcomes, slope_kib_per_minute
from tests.support.chaos_process import ChaosProcess
from tests.support.configuration import Tree, base, changed, key_line, public_api, with_payments
from tests.support.gateway import GatewayProcess, until
from tests.support.ledger import LedgerUpstream
from tests.support.load_keyed import Caller, KeyedLoad
from tests.support.records import parse_line

SLOPE_SECONDS_MIN: Final = 900
"""Below this a slope says nothing; the growth over the run is bounded in its place."""
SLOPE_KIB_PER_MINUTE_MAX: Final = 102.4
GROWTH_KIB_MAX: Final = 16 << 10
CALLERS: Final = (
    Caller("acme", key_line("acme"), "/v2/payments"),
    Caller("bare", key_line("bare"), "/v2/payments"),
    Caller("-", "", "/lone/v1/pay"),
)
WARM_S: Final = 3.0
BEAT_S: Final = 0.1
STALL_S: Final = 0.3
"""Less than half of the shortest deadline that the gateway holds our upstream to."""
EXECUTOR_THREADS: Final = 6
"""Threads that asyncio starts when something is first read or resolved, and keeps; their number is bounded by its executor."""


@dataclass(frozen=True)
class Plan:
    """``every_s`` 0 chooses: a tenth of the run, between 2 and 20 seconds. ``only``: names of faults, joined by commas."""

    seconds: float
    seed: int
    per_second: float = 100
    every_s: float = 0
    only: str = ""

    @property
    def gap_s(self) -> float:
        return self.every_s or min(20.0, max(2.0, self.seconds / 10))

    @property
    def hold_s(self) -> float:
        return min(3.0, self.gap_s / 3)

    @property
    def recovery_s(self) -> float:
        return min(5.0, self.gap_s / 3)


@dataclass
class LogIndex:
    """Follows the access log and keeps two words a line. Every line is checked for its form."""

    path: Path
    lines: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    _offset: int = 0
    _partial: bytes = b""

    def read(self) -> int:
        """Takes in what is new; the number of calls with a line."""
        with self.path.open("rb") as file:
            file.seek(self._offset)
            new = file.read()
        self._offset += len(new)
        *whole, self._partial = (self._partial + new).split(b"\n")
        for text in whole:
            line = parse_line(text.decode())
            told = (int(str(line.get("status", 0))), str(line["outcome"]))
            self.lines.setdefault(str(line["request_id"]), []).append(told)
        return len(self.lines)


def configuration(port: int, manager_port: int, proxy_url: str, ledger_url: str) -> Tree:
    tree = with_payments(base(port, manager_port, proxy_url, workers=2))
    upstream = {
        "targets": [proxy_url, ledger_url],
        "balance": "round_robin",
        "timeouts": {"connect": "500ms", "first_byte": "800ms", "idle": "800ms", "total": "4s"},
        "health": {"passive": {"failures": 5, "within": "2s", "eject_for": "500ms", "max_ejected": "50%"}},
        "connections": {"idle": 32, "max": 256},
    }
    tree = changed(tree, "upstreams", "main", to=upstream)  # type: ignore[arg-type]
    lone = upstream | {"targets": [proxy_url], "health": {"passive": "off"}}
    tree = changed(tree, "upstreams", "lone", to=lone)  # type: ignore[arg-type]
    return changed(tree, "apis", "lone", to=public_api("lone", "/lone/v1"))


def _quiet(world: World) -> dict[str, int]:
    """Descriptors and threads of the processes that live through the run, with nothing in flight."""
    until(lambda: world.gateway.metric("faregate_calls_in_flight") == 0, "no call in flight", 40)
    pids = {"supervisor": world.gateway.pid, "worker": world.veteran}
    counts = {f"{name}_threads": threads(pid) for name, pid in pids.items()}
    return counts | {f"{name}_descriptors": descriptors(pid) for name, pid in pids.items()}


async def _watch(world: World, log: LogIndex, samples: dict[str, list[tuple[float, float]]]) -> None:
    begun = time.monotonic()
    while True:
        for name, pid in (("worker", world.veteran), ("supervisor", world.gateway.pid)):
            samples.setdefault(name, []).append((time.monotonic() - begun, resident_kib(pid)))
        await asyncio.to_thread(log.read)
        await asyncio.sleep(1)


async def _watch_ourselves(world: World) -> None:
    """Callers and upstream live in this process: when the machine does not let it run, that is a fault like another."""
    while True:
        before = time.monotonic()
        await asyncio.sleep(BEAT_S)
        now = time.monotonic()
        if now - before > BEAT_S + STALL_S:
            world.stalls += 1
            world.windows.append(Window("harness_stalled", before, now))


async def _load_for(load: KeyedLoad, seconds: float) -> None:
    running = asyncio.create_task(load.run())
    await asyncio.sleep(seconds)
    load.stop()
    await running


async def _play(
    world: World, plan: Plan, load: KeyedLoad, log: LogIndex
) -> dict[str, list[tuple[float, float]]]:
    samples: dict[str, list[tuple[float, float]]] = {}
    watching = asyncio.gather(_watch(world, log, samples), _watch_ourselves(world))
    running = asyncio.create_task(load.run())
    await inject(world, plan.gap_s, plan.seconds, plan.only)
    await asyncio.sleep(plan.gap_s)
    load.stop()
    await running
    watching.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching
    return samples


def soak(plan: Plan, folder: Path) -> dict[str, object]:
    """Runs the plan; ``violations`` in the summary is empty when every invariant held."""
    with ExitStack() as stack:
        ledger = stack.enter_context(LedgerUpstream())
        proxy = stack.enter_context(ChaosProcess(ledger.address, plan.seed))
        gateway = stack.enter_context(
            GatewayProcess(folder, lambda port, manager: configuration(port, manager, proxy.url, ledger.url))
        )
        world = World(gateway, proxy, ledger, random.Random(plan.seed), plan.hold_s)
        world.veteran = gateway.worker_pids()[0]
        log = LogIndex(folder / "data" / "access.jsonl")
        connections = max(12, int(plan.per_second / 4))
        warm = KeyedLoad(gateway.address, CALLERS, plan.per_second, connections, plan.seed, "w")
        asyncio.run(_load_for(warm, WARM_S))
        before = _drained(world)
        load = KeyedLoad(gateway.address, CALLERS, plan.per_second, connections, plan.seed + 1)
        begun = time.monotonic()
        samples = asyncio.run(_play(world, plan, load, log))
        lasted = time.monotonic() - begun
        after = _drained(world)
        told = [*warm.told, *load.told, *world.strangers]
        gateway.stop(signal.SIGTERM)  # every line is written when it has ended
        log.read()
        story = Story(told, ledger.entries, log.lines, world.kills, world.windows, plan.recovery_s)
        violations = story.judge()
        violations += [f"upstream received no HTTP: {error}" for error in ledger.errors]
        violations += [
            f"{name}: {before[name]} before, {after[name]} after"
            for name in before
            if after[name] > before[name] + (EXECUTOR_THREADS if "threads" in name else 0)
        ]
        slopes = {name: round(slope_kib_per_minute(points), 1) for name, points in samples.items()}
        growth = {name: round(points[-1][1] - points[0][1]) for name, points in samples.items()}
        violations += _memory(slopes, growth, lasted)
        return {
            "seed": plan.seed, "seconds": round(lasted), "calls": len(told), "per_second": round(len(load.told) / lasted, 1),
            "upstream_calls": len(ledger.entries), "log_lines": len(log.lines), "faults": [window.name for window in world.windows if window.name != "harness_stalled"],
            "harness_stalls": world.stalls,
            "kills": len(world.kills), "outcomes": outcomes(told), "before": before, "after": after,
            "memory_slope_kib_per_minute": slopes, "memory_growth_kib": growth,
            "violations_in_all": len(violations), "violations": violations[:50],
        }  # fmt: skip


def _drained(world: World) -> dict[str, int]:
    """The counts once every pooled connection has been closed by its upstream."""
    world.proxy.heal()
    world.proxy.reset_all()
    world.ledger.close_connections()
    until(lambda: len(world.gateway.worker_pids()) == 2, "both workers", 5)
    time.sleep(0.3)  # the ends of pooled connections travel; nothing tells when the last has been seen
    return _quiet(world)


def _memory(slopes: dict[str, float], growth: dict[str, int], lasted: float) -> list[str]:
    if lasted >= SLOPE_SECONDS_MIN:
        return [
            f"memory of the {name}: {slope} KiB a minute"
            for name, slope in slopes.items()
            if slope > SLOPE_KIB_PER_MINUTE_MAX
        ]
    return [
        f"memory of the {name} grew {grown} KiB" for name, grown in growth.items() if grown > GROWTH_KIB_MAX
    ]
