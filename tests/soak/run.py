"""One soak: callers of every kind and none of them alone, seeded faults in two lanes, and the summary of what the judges found.

Descriptors, threads and places are compared while nothing is in flight and every pooled connection has been closed, before and after. Upgrades and kills
replace processes, so they are compared by what they are, the largest of each.
"""

import asyncio
import contextlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from tests.soak.invariants import Story, counted, outcomes
from tests.soak.lifecycle import DISK_FULL, watch_ourselves
from tests.soak.memory import Memory, descriptors, threads
from tests.soak.rude import Rude
from tests.soak.schedule import LONG_S, Plan, inject
from tests.soak.tunnels import Tunnels
from tests.soak.world import CALLERS, PLACES, RUDE_PATH, TALKERS, WORKERS, World, built, contexts
from tests.support.client import RawClient, request
from tests.support.gateway import until
from tests.support.ledger import ANSWER_DELAY, ID
from tests.support.load_http2 import Http2Load
from tests.support.load_keyed import KeyedLoad, Told

WARM_S: Final = 2.0
BEAT_S: Final = 0.1
STALL_S: Final = 0.3
"""Less than half of the shortest deadline that the gateway holds our upstream to."""
EXECUTOR_THREADS: Final = 6
"""Threads that asyncio starts when something is first read or resolved, and keeps; their number is bounded by its executor."""
TALKS: Final = 6
RUDE: Final = 3
HELD_MS: Final = 400


class Load(Protocol):
    """Callers of one kind; ``told`` holds every call that was begun."""

    told: list[Told]

    async def run(self) -> None: ...

    def stop(self) -> None: ...


@dataclass
class Everyone:
    """Callers of one part of a soak."""

    kinds: dict[str, Load]
    tunnels: Tunnels
    rude: Rude

    @property
    def loads(self) -> list[Load]:
        return [*self.kinds.values(), self.tunnels, self.rude]

    @property
    def told(self) -> list[Told]:
        return [call for load in self.loads for call in load.told]


def everyone(world: World, plan: Plan, label: str) -> Everyone:
    """Half of the calls by HTTP/1.1, a third of those with TLS; half by HTTP/2. Beside them tunnels, and the rude."""
    plain, secure = world.gateway.address, ("127.0.0.1", world.tls_port)
    one, two = contexts()
    rate, seed = plan.per_second, plan.seed
    count = max(12, int(rate / 4))
    half = max(8, count // 2)
    kinds: dict[str, Load] = {
        "http1": KeyedLoad(plain, CALLERS, rate / 3, count, seed + 1, f"{label}-h1"),
        "http1_tls": KeyedLoad(secure, CALLERS, rate / 6, half, seed + 2, f"{label}-tls", one),
        "http2": Http2Load(secure, CALLERS, rate / 2, half, seed + 3, f"{label}-h2", two),
    }
    tunnels = Tunnels((plain, secure), one, TALKERS, TALKS, seed + 4, f"{label}-ws")
    return Everyone(kinds, tunnels, Rude(plain, secure, RUDE_PATH, RUDE, seed + 5, two, f"{label}-rude"))


async def play(world: World, plan: Plan, loads: list[Load], memory: Memory, *, faults: bool) -> None:
    """All callers, for as long as the faults take; without faults for ``WARM_S``."""
    watching = asyncio.gather(_watch(world, memory), watch_ourselves(world, BEAT_S, STALL_S))
    running = asyncio.gather(*(load.run() for load in loads))
    if faults:
        await inject(world, plan)
    await asyncio.sleep(plan.recovery_s if faults else WARM_S)
    for load in loads:
        load.stop()
    await running
    watching.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching


async def _watch(world: World, memory: Memory) -> None:
    gateway = world.gateway
    while True:
        now = time.monotonic()
        roles = (("supervisor", gateway.now), ("manager", gateway.manager_pid()), ("worker", world.veteran))
        for role, pid in roles:
            if pid:
                memory.note(role, pid, now)
        await asyncio.to_thread(world.log.read)
        world.log.turn_when_large()
        await asyncio.sleep(1)


def drained(world: World) -> dict[str, int]:
    """Descriptors and threads by role once nothing is in flight and every pooled connection has been closed by its upstream."""
    gateway = world.gateway
    world.proxies.heal()
    world.proxies.reset_all()
    world.ledger.close_connections()
    world.rpc.close_connections()
    until(lambda: len(gateway.worker_pids()) == WORKERS and world.ready(), "every worker", 20)
    for gauge, labels in (
        ("faregate_calls_in_flight", {}),
        ("faregate_tunnels", {}),
        ("faregate_connections", {"side": "client"}),
        ("faregate_connections", {"side": "upstream"}),
    ):
        until(lambda: gateway.metric(gauge, **labels) == 0, f"no more {gauge} {labels}", 40)  # noqa: B023 - used at once
    time.sleep(0.3)  # files that are read again in threads
    pids = {"supervisor": [gateway.now], "manager": [gateway.manager_pid()], "worker": gateway.worker_pids()}
    counts = {f"{name}_threads": max(map(threads, some)) for name, some in pids.items()}
    return counts | {f"{name}_descriptors": max(map(descriptors, some)) for name, some in pids.items()}


async def places(world: World) -> tuple[list[int], list[Told]]:
    """As many calls at once as one consumer may have: the statuses. A place that was never given back makes a 429."""
    told: list[Told] = []

    async def one(number: int) -> int:
        call = Told(f"place-{number}", time.monotonic())
        told.append(call)
        async with RawClient(world.gateway.address, timeout_s=20) as client:
            data = request("POST", CALLERS[0].path, f"{ID}: {call.name}", CALLERS[0].credential,
                           f"{ANSWER_DELAY}: {HELD_MS}", body=b"{}")  # fmt: skip
            answer = await client.ask(data, "POST")
        call.status, call.ended, call.outcome = answer.status, time.monotonic(), "answered"
        if answer.status != 200:
            call.outcome = "refused"
        return answer.status

    return list(await asyncio.gather(*map(one, range(PLACES)))), told


def soak(plan: Plan, folder: Path) -> dict[str, object]:
    """Runs the plan; ``violations`` in the summary is empty when every invariant held."""
    memory = Memory()
    with built(folder, plan.seed, plan.hold_s) as world:
        warm, callers = everyone(world, plan, "w"), everyone(world, plan, "k")
        asyncio.run(play(world, plan, [*warm.kinds.values(), warm.tunnels], Memory(), faults=False))
        before = drained(world)
        begun = time.monotonic()
        asyncio.run(play(world, plan, callers.loads, memory, faults=True))
        lasted = time.monotonic() - begun
        world.restore()
        after = drained(world)
        held, placed = asyncio.run(places(world))
        world.gateway.stop()  # every line is written when it has ended
        world.log.read()
        told = [*warm.told, *callers.told, *world.strangers, *placed]
        talks = [*warm.tunnels.talks, *callers.tunnels.talks]
        story = Story(
            told, world.ledger.entries, world.log.lines, world.kills, world.windows, plan.recovery_s, talks,
            world.lines_lost, len(world.log.stumps),
        )  # fmt: skip
        figures, grown = memory.report(long=lasted >= LONG_S)
        violations = [*story.judge(), *world.complaints, *_leftovers(before, after, held), *grown]
        violations += [
            f"upstream received no HTTP: {error}" for error in world.ledger.errors + world.rpc.errors
        ]
        violations += [f"traceback: {text}" for text in world.gateway.tracebacks()]
        violations += [f"wrong line in the log: {line}" for line in world.log.wrong]
        made = {name: len(load.told) for name, load in callers.kinds.items()}
        return {
            "seed": plan.seed, "seconds": round(lasted), "calls": len(told), "calls_by_kind": made,
            "calls_per_second": round(sum(made.values()) / lasted, 1), "outcomes": outcomes(told),
            "tunnels": counted(talk.end for talk in talks), "echoes": sum(talk.echoed for talk in talks),
            "rude": callers.rude.manners, "upstream_calls": len(world.ledger.entries),
            "log_lines": len(world.log.lines), "log_turned": world.log.turns,
            "faults": counted(window.name for window in world.windows),
            "left_out": [f"{DISK_FULL}: {world.disk.why_not}"] if world.disk.why_not else [],
            "kills": len(world.kills), "taken_along_by_kills": story.taken_along, "upgrades": world.upgrades,
            "reloads_refused": world.refusals, "raced_with_a_drain": story.raced, "harness_stalls": world.stalls,
            "lines_lost": {"counted": world.lines_lost, "missed": story.unlogged, "stumps": story.stumps},
            "places": counted(map(str, held)), "before": before, "after": after, "memory": figures,
            "windows": [f"{one.begin - begun:.1f}-{one.end - begun:.1f} {one.name}" for one in world.windows],
            "violations_in_all": len(violations), "violations": violations[:50],
        }  # fmt: skip


def _leftovers(before: dict[str, int], after: dict[str, int], held: list[int]) -> list[str]:
    """What was not given back."""
    found = [
        f"{name}: {before[name]} before, {after[name]} after"
        for name in before
        if after[name] > before[name] + (EXECUTOR_THREADS if "threads" in name else 0)
    ]
    if set(held) != {200}:
        found.append(f"places not given back: of {PLACES} calls at once {counted(map(str, held))}")
    return found
