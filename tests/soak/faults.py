"""What the soak does to networks and upstreams: one seeded fault at a time, each with its begin and end.

A fault is a coroutine that breaks something, waits its time and mends it. What is done to the gateway itself stands in ``lifecycle.py``;
both lists are played beside each other.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final

from tests.soak.world import World
from tests.support import ledger, ledger_http2
from tests.support.chaos import Faults

Deed = Callable[[World, random.Random], Awaitable[None]]
"""What is done, with dice of its own, so that the lanes' timing changes none of it."""
Fault = tuple[str, Deed]


async def network(
    world: World, dice: random.Random, faults: Faults, direction: str, *, mute: bool = False
) -> None:
    up, down = (faults, None) if direction == "up" else (None, faults)
    await asyncio.to_thread(world.proxies.set, up=up, down=down, mute=mute)
    breaks = not faults.slice_bytes  # slices alone must harm no call
    if breaks and dice.random() < 0.3:
        await asyncio.to_thread(world.proxies.reset_all)
    await asyncio.sleep(world.hold_s)
    await asyncio.to_thread(world.proxies.heal)
    if breaks:
        await asyncio.to_thread(world.proxies.reset_all)


async def target_killed(world: World, _: random.Random) -> None:
    """The targets behind proxies are gone for a while: what was open is reset, what is new refused."""
    await asyncio.to_thread(world.proxies.refuse)
    await asyncio.sleep(world.hold_s)
    await asyncio.to_thread(world.proxies.listen)


async def targets_restarted(world: World, _: random.Random) -> None:
    """Every connection of those reached directly is cut; new ones are welcome at once."""
    await asyncio.to_thread(world.ledger.close_connections)
    await asyncio.to_thread(world.rpc.close_connections)
    await asyncio.sleep(world.hold_s)


def _network(name: str, make: Callable[[random.Random], Faults], *, mute: bool = False) -> list[Fault]:
    def one(direction: str) -> Fault:
        async def run(world: World, dice: random.Random) -> None:
            await network(world, dice, make(dice), direction, mute=mute)

        return f"{name}_{direction}", run

    return [one("up"), one("down")]


def _mode(mode: str) -> Fault:
    async def run(world: World, _: random.Random) -> None:
        world.ledger.mode = mode
        await asyncio.sleep(world.hold_s)
        world.ledger.mode = "echo"

    return f"upstream_{mode}", run


def _rpc_mode(mode: str) -> Fault:
    async def run(world: World, _: random.Random) -> None:
        world.rpc.mode = mode
        await asyncio.sleep(world.hold_s)
        world.rpc.mode = "echo"

    return f"http2_{mode}", run


FAULTS: Final[tuple[Fault, ...]] = (
    *_network("cut", lambda dice: Faults(cut_after=dice.randrange(3000))),
    *_network("reset", lambda dice: Faults(reset_after=dice.randrange(3000))),
    *_network("half_close", lambda dice: Faults(half_close_after=dice.randrange(600))),
    *_network("delay", lambda dice: Faults(delay_ms=dice.randrange(5, 120), jitter_ms=80)),
    *_network("slices", lambda dice: Faults(slice_bytes=dice.randrange(16, 64))),
    *_network("rate", lambda _: Faults(bytes_per_s=40_000)),
    *_network("silence", lambda _: Faults(silent=True)),
    *_network("late_close", lambda _: Faults(cut_after=2000, close_late_ms=300)),
    _network("mute", lambda _: Faults(), mute=True)[0],
    ("target_killed", target_killed),
    ("targets_restarted", targets_restarted),
    *(_mode(mode) for mode in ledger.MODES if mode != "echo"),
    *(_rpc_mode(mode) for mode in ledger_http2.MODES if mode != "echo"),
)
SLOWING: Final = frozenset({"slices_up", "slices_down"})
"""A thousand packets a body take long where the machine is busy: adaptive concurrency may then shed calls."""
HARMLESS: Final = SLOWING | {f"upstream_{mode}" for mode in ledger.VALID_MODES if mode != "echo"}
"""Faults under which every call must still be answered."""
