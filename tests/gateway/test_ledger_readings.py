"""The ledger's figures as metrics: asked for every five seconds, and never stale."""

import asyncio
from random import Random

from faregate.gateway.ledger_readings import EVERY_S, LedgerReadings
from faregate.records.families import FAMILIES, Across
from faregate.stores.ledger.protocol import Figures
from tests.gateway.test_health import PATIENCE_S
from tests.support.model_ledger import ModelLedger

FIGURES = Figures(7, 2, 1, 90.5, 4096, 8192)
SHOWN = {
    "faregate_ledger_up": 1.0,
    "faregate_ledger_records": 7,
    "faregate_ledger_in_flight": 2,
    "faregate_ledger_unknown": 1,
    "faregate_ledger_oldest_unknown_seconds": 90.5,
    "faregate_ledger_bytes": 4096,
    "faregate_ledger_bytes_max": 8192,
}


class Counted(ModelLedger):
    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.silent = False

    async def figures(self) -> Figures:
        self.asked += 1
        if self.silent:
            await asyncio.Event().wait()
        await self._asked()
        return FIGURES


async def look(readings: LedgerReadings, now: float) -> dict[str, float]:
    readings.look(now)
    async with asyncio.timeout(PATIENCE_S):
        while readings._asking is not None:  # noqa: ASYNC110 - a task's end
            await asyncio.sleep(0)
    return {reading.name: reading.value for reading in readings.readings()}


def test_every_figure_has_a_family_that_is_not_added_up() -> None:
    names = {name for name in FAMILIES if name.startswith("faregate_ledger_") and not name.endswith("_total")}
    assert names == set(SHOWN)
    assert {FAMILIES[name].across for name in names} == {Across.LARGEST, Across.MEAN}


def test_figures_are_asked_for_about_every_five_seconds_and_shown_in_between() -> None:
    async def run() -> None:
        ledger, readings = Counted(), LedgerReadings(Random(1))
        readings.follow(ledger)
        assert readings.readings() == []
        for tick in range(1000):  # 50 s
            assert await look(readings, 100.0 + tick * 0.05) == SHOWN
        assert ledger.asked in {9, 10, 11, 12}

    asyncio.run(run())


def test_a_ledger_that_cannot_be_asked_shows_no_figures(monkeypatch) -> None:
    monkeypatch.setattr("faregate.gateway.ledger_readings.PATIENCE_S", 0.01)

    async def run() -> None:
        ledger, readings = Counted(), LedgerReadings(Random(1))
        readings.follow(ledger)
        assert await look(readings, 100.0) == SHOWN
        ledger.away = True
        assert await look(readings, 100.0 + 2 * EVERY_S) == {"faregate_ledger_up": 0.0}
        ledger.away = ""
        assert await look(readings, 100.0 + 4 * EVERY_S) == SHOWN
        ledger.silent = True
        assert await look(readings, 100.0 + 6 * EVERY_S) == {"faregate_ledger_up": 0.0}

    asyncio.run(run())


def test_a_store_that_takes_no_claims_is_not_up_and_its_figures_are_shown() -> None:
    class Unfit(Counted):
        async def figures(self) -> Figures:
            return FIGURES

    async def run() -> None:
        ledger, readings = Unfit(), LedgerReadings(Random(1))
        ledger.away = "store_evicts"
        readings.follow(ledger)
        assert await look(readings, 100.0) == {**SHOWN, "faregate_ledger_up": 0.0}

    asyncio.run(run())


def test_without_a_ledger_there_is_nothing_to_show_and_another_store_is_another() -> None:
    async def run() -> None:
        readings = LedgerReadings(Random(1))
        assert await look(readings, 1.0) == {}
        first, second = Counted(), Counted()
        first.silent = True
        readings.follow(first)
        readings.look(1.0)
        await asyncio.sleep(0)
        readings.follow(second)
        assert await look(readings, 1.0) == SHOWN
        readings.follow(None)
        assert await look(readings, 100.0) == {}
        readings.follow(first)
        readings.look(200.0)
        await readings.close()
        assert (first.asked, second.asked) == (1, 1)

    asyncio.run(run())
