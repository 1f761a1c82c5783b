"""The benchmark of a million keys: what fills a store is what the store writes itself, and every figure is measured."""

import asyncio
import json
from dataclasses import asdict
from pathlib import Path

import pytest
from benchmarks.ledger import stores_here
from benchmarks.ledger_kept import Kept, a_day
from benchmarks.ledger_keys import STORES, Figures, Plan, figures_of, keep, kept_in, text_of
from benchmarks.ledger_pairs import ANSWER, Load

from faregate.stores.ledger.protocol import COMPLETED, Entry

KEYS = 600


def needs(store: str) -> None:
    if store in stores_here()[1]:
        pytest.skip(f"{store} is not installed")


@pytest.mark.parametrize("store", STORES)
def test_what_a_store_is_filled_with_is_what_calls_leave_there(store: str, tmp_path: Path) -> None:
    needs(store)

    async def filled(kept: Kept) -> tuple[list[Entry], list[Entry]]:
        await kept.fill(KEYS, a_day)
        ledger = kept.ledger
        before = await ledger.entries([COMPLETED], bytes(16), 1_000)
        await Load(ledger).run(20)
        after = await ledger.entries([COMPLETED], bytes(16), 1_000)
        old = {entry.key for entry in before}
        first = await ledger.entry(before[0].key)
        assert first is not None
        assert first.answer == ANSWER
        await kept.close()
        return before, [entry for entry in after if entry.key not in old]

    with kept_in(store, tmp_path) as (few, many):
        bulk, called = asyncio.run(filled(many))
        asyncio.run(few.close())
    assert len(bulk) == KEYS
    assert len(called) == 20

    def form(entry: Entry) -> tuple[object, ...]:
        lives = round((entry.expires_at - entry.changed_at) / 10)
        return (*entry[2:5], *entry[7:], lives, len(entry.key), len(entry.attempt))

    assert {form(entry) for entry in bulk} == {form(entry) for entry in called}
    assert len({entry.attempt for entry in bulk}) == KEYS


@pytest.mark.parametrize("store", STORES)
def test_every_figure_is_measured(store: str, tmp_path: Path) -> None:
    needs(store)
    figures = figures_of(store, Plan(few=100, keys=2_000, rounds=2, pairs=100), tmp_path)
    assert figures.pairs_few.low > 0 < figures.pairs_many.low
    assert figures.ratio.low <= figures.ratio.median <= figures.ratio.high
    assert figures.cpu_us_many.median > 0
    assert figures.disk_bytes_per_key > 600
    assert (figures.memory_bytes_per_key > 0) == (store != "postgresql")
    assert (figures.start_s > 0) == (store == "embedded")
    told = {"taken_at": "now", "load_average_before": 1.0, "load_average_after": 2.0, **asdict(figures)}
    keep(tmp_path, store, told)
    keep(tmp_path, "redis", told)
    kept = json.loads((tmp_path / "ledger_keys.json").read_text())["stores"]
    assert kept.keys() == {store, "redis"}
    text = text_of(kept)
    assert all(name in text for name in Figures.__dataclass_fields__)
    assert text == (tmp_path / "ledger_keys.txt").read_text()
