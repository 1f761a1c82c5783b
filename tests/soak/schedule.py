"""When which fault comes: two lanes beside each other, one for networks and upstreams, one for the gateway's own life.

Each lane plays its faults in seeded order, without repeats until all have come. Upgrades, which replace every process, keep to the opening and
the closing sixth of a long run: between them one generation of processes lives long enough for its memory to have a slope.
"""

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tests.soak import faults, lifecycle
from tests.soak.faults import Fault
from tests.soak.lifecycle import DISK_FULL, UPGRADED
from tests.soak.world import Window, World

LONG_S: Final = 900
"""From here on a run is long: memory is judged by its slope, and upgrades leave a stretch between them."""
_PAUSE_S: Final = 0.3
HARMLESS: Final = faults.HARMLESS | lifecycle.HARMLESS


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

    def upgrades_at(self, elapsed_s: float) -> bool:
        share = elapsed_s / self.seconds
        return self.seconds < LONG_S or not 1 / 6 < share < 5 / 6


def chosen(plan: Plan, lane: Sequence[Fault]) -> list[Fault]:
    """Those of a lane that the plan wants. Raises ValueError on a name that is none."""
    wanted = set(filter(None, plan.only.split(",")))
    names = {name for name, _ in (*faults.FAULTS, *lifecycle.LIFECYCLE)}
    if not wanted <= names:
        raise ValueError(f"faults are {', '.join(sorted(names))}")
    return [fault for fault in lane if not wanted or fault[0] in wanted]


async def inject(world: World, plan: Plan) -> None:
    """Plays both lanes until the plan's seconds are over and every fault has been mended."""
    gateway_lane = [fault for fault in lifecycle.LIFECYCLE if fault[0] != DISK_FULL or not world.disk.why_not]
    await asyncio.gather(
        _play(world, plan, chosen(plan, faults.FAULTS), 0.5),
        _play(world, plan, chosen(plan, gateway_lane), 0),
    )


async def _play(world: World, plan: Plan, lane: list[Fault], offset: float) -> None:
    begun = time.monotonic()
    waiting: list[Fault] = []
    await asyncio.sleep(offset * plan.gap_s)
    due = time.monotonic()
    played = 0
    order = random.Random(f"{plan.seed} {offset}")
    while lane and (elapsed := time.monotonic() - begun) < plan.seconds - plan.gap_s:
        if not waiting:
            waiting = list(lane)
            order.shuffle(waiting)
        name, fault = waiting.pop()
        if name == UPGRADED and not plan.upgrades_at(elapsed):
            if len(lane) == 1:
                await asyncio.sleep(plan.gap_s)
            continue
        start = time.monotonic()
        try:
            played += 1
            await fault(world, random.Random(f"{plan.seed} {played} {name}"))
        except AssertionError as error:
            world.complaints.append(f"{name}: {error}")
        world.windows.append(Window(name, start, time.monotonic()))
        due = max(due + plan.gap_s, time.monotonic() + _PAUSE_S)
        await asyncio.sleep(due - time.monotonic())
