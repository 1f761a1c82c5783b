"""What a million keys cost a ledger: ``python -m benchmarks.ledger_keys [--store redis]``, for each store.

Two ledgers of the store, with few keys and with many, in turns, so that what else the machine does meets
both: 64 calls at a time, each a claim that sends and a settlement with an answer of 600 bytes, everything
synced before it is told. Told are pairs a second, the server's own CPU a pair, memory and disk a key; then,
under a trickle of calls, the longest that one move waited while no key expired and while the many do, all
within ten seconds. ``--output`` keeps the figures of each store in ``ledger_keys.json`` and ``.txt`` there.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

import uvloop

from benchmarks.accounting import process_cpu_ns
from benchmarks.figures import Spread, paired_ratio, spread
from benchmarks.ledger import POSTGRESQL, REDIS, running
from benchmarks.ledger_kept import EmbeddedKept, Kept, PostgresKept, RedisKept, a_day
from benchmarks.ledger_pairs import Load
from benchmarks.machine import describe_machine
from benchmarks.report import table

STORES: Final = ("embedded", "redis", "postgresql")
SPREAD_S: Final = 10
"""All keys expire within it."""
KEEP_S: Final = {"embedded": 90, "redis": 180, "postgresql": 180}
"""Until then the many must be stored and measured."""
TOO_SOON: Final = "keys expire before they are measured: give --keep more"
_GONE_S: Final = 400
_LOOK: Final = 50
"""Trickles between two looks at how many are stored."""


@dataclass
class Plan:
    """``pairs``: of a round. ``keep_s``: from the start on until keys expire; 0: that is left out."""

    few: int = 10_000
    keys: int = 1_000_000
    rounds: int = 11
    pairs: int = 3_000
    keep_s: int = 0


@dataclass
class Figures:
    """``ratio``, ``cpu_ratio``: many / few, round by round. ``waits_ms``: the longest of each trickle in the
    median, the 99th part, the longest; ``unavailable``: pairs that waited for two seconds;
    ``gone_s``: from the first key's end until 99 of 100 were removed.
    """

    keys: int
    few: int
    pairs_few: Spread
    pairs_many: Spread
    ratio: Spread
    cpu_us_few: Spread
    cpu_us_many: Spread
    cpu_ratio: Spread
    memory_bytes_per_key: float
    disk_bytes_per_key: float
    start_s: float
    waits_calm_ms: tuple[float, float, float] = (0.0, 0.0, 0.0)
    waits_expiring_ms: tuple[float, float, float] = (0.0, 0.0, 0.0)
    gone_s: float = 0.0
    unavailable: int = 0


async def measure(few: Kept, many: Kept, plan: Plan) -> Figures:
    """All of it; both are closed afterwards."""
    try:
        ends = time.monotonic() + plan.keep_s
        await few.fill(plan.few, a_day)
        memory, disk = await many.memory_bytes(), await many.disk_bytes()

        def until_it_ends(done: float) -> int:
            left = round(ends - time.monotonic() + done * SPREAD_S)
            assert left > 1, TOO_SOON
            return left

        began = time.monotonic()
        await many.fill(plan.keys, until_it_ends if plan.keep_s else a_day)
        _say(f"{plan.keys:,} keys in {time.monotonic() - began:.0f} s")
        memory = max(0.0, await many.memory_bytes() - memory) / plan.keys
        disk = max(0.0, await many.disk_bytes() - disk) / plan.keys
        load = Load(many.ledger)
        rates, costs = await _in_turns({few: Load(few.ledger), many: load}, plan)
        figures = Figures(
            plan.keys,
            plan.few,
            spread(list(rates[few].values())),
            spread(list(rates[many].values())),
            paired_ratio(rates[many], rates[few]),
            spread(list(costs[few].values())),
            spread(list(costs[many].values())),
            paired_ratio(costs[many], costs[few]),
            memory,
            disk,
            many.start_s,
        )
        if plan.keep_s:
            await few.close()
            await _expire(many, load, plan, ends, figures)
        figures.unavailable = load.unavailable
    finally:
        await few.close()
        await many.close()
    return figures


async def _in_turns(
    loads: dict[Kept, Load], plan: Plan
) -> tuple[dict[Kept, dict[int, float]], dict[Kept, dict[int, float]]]:
    """Pairs a second and the server's CPU a pair, by round."""
    rates: dict[Kept, dict[int, float]] = {kept: {} for kept in loads}
    costs: dict[Kept, dict[int, float]] = {kept: {} for kept in loads}
    for load in loads.values():
        await load.run(plan.pairs)
    for number in range(plan.rounds):
        turn = list(loads.items())
        for kept, load in turn if number % 2 else reversed(turn):
            before = {pid: process_cpu_ns(pid) for pid in kept.pids()}
            rates[kept][number] = await load.run(plan.pairs)
            after = {pid: process_cpu_ns(pid) for pid in kept.pids() if pid in before}
            spent = sum(after.values()) - sum(before[pid] for pid in after)  # what ended meanwhile left out
            costs[kept][number] = spent / plan.pairs / 1e3
    return rates, costs


async def _expire(many: Kept, load: Load, plan: Plan, ends: float, figures: Figures) -> None:
    assert time.monotonic() < ends - 2, TOO_SOON
    _say(f"measured; the keys expire in {ends - time.monotonic():.0f} s")
    calm: list[float] = []
    while time.monotonic() < ends - 1:
        calm.append(await load.trickle())
    expiring: list[float] = []
    while True:
        expiring += [await load.trickle() for _ in range(_LOOK)]
        if await many.stored() - load.made <= plan.keys * 0.01:
            break
        assert time.monotonic() < ends + _GONE_S, "what expired is not removed"
    figures.waits_calm_ms, figures.waits_expiring_ms = _waits(calm), _waits(expiring)
    figures.gone_s = time.monotonic() - ends


def _waits(longest: list[float]) -> tuple[float, float, float]:
    longest.sort()
    return longest[len(longest) // 2], longest[len(longest) * 99 // 100], longest[-1]


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@contextmanager
def kept_in(store: str, work: Path, build: str = "") -> Iterator[tuple[Kept, Kept]]:
    """Two ledgers of ``store``, to be used in an event loop. Raises StartError."""
    if store == "embedded":
        yield EmbeddedKept(work / "few", build), EmbeddedKept(work / "many", build)
    elif store == "redis":
        with running(REDIS, work) as (url, server):
            yield RedisKept(url, server), RedisKept(url.removesuffix("0") + "1", server)
    else:
        with running(POSTGRESQL, work) as (url, server):
            yield PostgresKept(url, "few", server), PostgresKept(url, "many", server)


def figures_of(store: str, plan: Plan, work: Path, build: str = "") -> Figures:
    """Measures ``store`` with private servers. Raises StartError."""

    async def inside(few: Kept, many: Kept) -> Figures:
        return await measure(few, many, plan)

    with kept_in(store, work, build) as (few, many):
        return uvloop.run(inside(few, many))


def text_of(stores: dict[str, dict[str, object]]) -> str:
    """The table of what was measured; spreads are medians (smallest-largest)."""
    rows = []
    for store in STORES:
        if store not in stores:
            continue
        told = dict(stores[store])
        for name in ("taken_at", "load_average_before", "load_average_after"):
            told.pop(name)
        rows += [[name, store, _cell(value)] for name, value in told.items()]
    rows.sort(key=lambda row: list(Figures.__dataclass_fields__).index(row[0]))
    return table(["figure", "store", "value"], rows) + "\n" + "\n".join(
        f"{store}: taken at {told['taken_at']}, load average {told['load_average_before']:.1f} before and "
        f"{told['load_average_after']:.1f} after, two cores: others worked on the machine"
        for store, told in stores.items()
    ) + "\n"  # fmt: skip


def _cell(value: object) -> str:
    if isinstance(value, dict):
        return Spread(**value).text(2)
    if isinstance(value, list | tuple):
        return " / ".join(f"{each:.1f}" for each in value)
    return f"{value:,.2f}" if isinstance(value, float) else f"{value:,}"


def keep(folder: Path, store: str, told: dict[str, object]) -> None:
    """Puts the figures of ``store`` beside those of the others."""
    path = folder / "ledger_keys.json"
    document = json.loads(path.read_text()) if path.exists() else {"format": 1, "stores": {}}
    document["machine"] = describe_machine()
    document["stores"][store] = told
    path.write_text(json.dumps(document, indent=1) + "\n")
    (folder / "ledger_keys.txt").write_text(text_of(document["stores"]))


def _end(number: int, _: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt(signal.Signals(number).name)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", choices=STORES, default="embedded")
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument(
        "--keep", type=int, help="seconds from the start until keys expire; 0 leaves the expiry out"
    )
    parser.add_argument(
        "--build", default="", help="a folder with the package for the embedded one, such as a compiled one"
    )
    parser.add_argument("--output", type=Path, help="a folder to keep the figures in: benchmarks/results")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, _end)  # so that servers are stopped
    plan = Plan(keys=options.keys, keep_s=KEEP_S[options.store] if options.keep is None else options.keep)
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="faregate-ledger-", dir=os.environ.get("LEDGER_DISK")) as folder:
        found = figures_of(options.store, plan, Path(folder), options.build)
    told: dict[str, object] = {
        "taken_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "load_average_before": before,
        "load_average_after": os.getloadavg()[0],
        **asdict(found),
    }
    print(text_of({options.store: told}))
    if options.output is not None:
        keep(options.output, options.store, told)
    return 0


if __name__ == "__main__":
    sys.exit(main())
