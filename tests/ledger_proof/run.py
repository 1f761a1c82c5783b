"""One proof: a plan played on the real gateway, judged, and made small where it failed."""

import asyncio
import os
import shutil
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.ledger_proof.driver import Driver
from tests.ledger_proof.histories import History
from tests.ledger_proof.judge import Violation, judge
from tests.ledger_proof.plan import Plan, make_plan
from tests.ledger_proof.shrink import shrink
from tests.ledger_proof.world import built, fault_names

MUTANTS: Final = Path(__file__).parent / "mutants"
MUTANT_QUIET_S: Final = 1.0
MUTANT: Final = "FAREGATE_PROOF_MUTANT"
LEASE: Final = "FAREGATE_PROOF_LEASE_S"
STORE: Final = "FAREGATE_PROOF_STORE"
"""Read by mutants/sitecustomize.py, which the proof puts in the way of the gateway's Python."""


@dataclass(frozen=True)
class Order:
    """``seconds_max``: rounds that would begin later are left out, 0 for no bound. ``lease_s``: shorter leases than the real ones, 0
    for those. ``only``: faults by name, all when empty. ``mutant``: a bug planted in the gateway's processes.
    """

    store: str
    calls: int
    faults: int
    seed: int
    seconds_max: float = 0
    lease_s: float = 0
    only: tuple[str, ...] = ()
    mutant: str = ""
    replays_max: int = 12

    @property
    def environment(self) -> Mapping[str, str]:
        if not self.lease_s and not self.mutant:
            return {}
        path = os.pathsep.join(filter(None, (str(MUTANTS), os.environ.get("PYTHONPATH", ""))))
        return {
            "PYTHONPATH": path,
            "FAREGATE_COMPILED": "off",
            MUTANT: self.mutant,
            LEASE: str(self.lease_s or ""),
            STORE: self.store,
        }


@dataclass
class Result:
    """``story``: of the smallest history that failed; empty when none did."""

    history: History
    violations: list[Violation]
    seconds: float
    story: str = ""
    figures: dict[str, object] = field(default_factory=dict)


def play(order: Order, plan: Plan, folder: Path) -> History:
    """One plan on a gateway, upstream and store of its own, from nothing."""
    shutil.rmtree(folder, ignore_errors=True)
    with built(folder, order.store, order.environment, order.seed) as world:
        world.lease_s = order.lease_s or world.lease_s
        if order.mutant:
            world.quiet_s = MUTANT_QUIET_S  # what a bug has lost stays lost
        stops = time.monotonic() + order.seconds_max if order.seconds_max else float("inf")
        asyncio.run(Driver(world, stops).play(plan, asks_again=not order.mutant))
        world.stop()
        return world.recorded()


def prove(order: Order, folder: Path) -> Result:
    """Plays, judges and, where a rule was broken, shrinks."""
    begun = time.monotonic()
    names = order.only or fault_names(order.store)
    plan = make_plan(order.seed, order.calls, order.faults, names)
    history = play(order, plan, folder / "first")
    result = Result(history, judge(history), round(time.monotonic() - begun, 1))
    result.figures = figures(order, result)
    if result.violations:
        count = iter(range(1, order.replays_max + 1))
        small = shrink(
            plan, history, lambda less: play(order, less, folder / f"again{next(count)}"), order.replays_max
        )
        result.story = small.story()
    return result


def figures(order: Order, result: Result) -> dict[str, object]:
    """What happened, in numbers."""
    history = result.history
    attempts = history.attempts
    told = Counter(f"{one.status} {one.code}" if one.told == "refused" else one.told for one in attempts)
    executed = sum(line.what == "executed" for line in history.seen)
    return {
        "store": order.store, "seed": order.seed, "seconds": result.seconds, "attempts": len(attempts),
        "keys": len({one.scope for one in attempts}), "executed": executed, "told": dict(sorted(told.items())),
        "replayed": sum(one.replayed for one in attempts), "verdicts": dict(Counter(history.verdicts.values())),
        "faults": dict(sorted(Counter(window.name for window in history.windows if not window.store_away).items())),
        "violations": dict(Counter(one.rule for one in result.violations)),
    }  # fmt: skip
