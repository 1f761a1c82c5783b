"""The ledger's process is there for as long as the supervisor wants it, and follows what it is told."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from faregate.gateway import voice
from faregate.gateway.ledger_keeper import LedgerKeeper
from faregate.stores.ledger.embedded.client import EmbeddedLedger
from faregate.stores.ledger.embedded.places import folder_in
from tests.stores.ledger.embedded.program import START_S, claim, connected, new, settle, state_of

DISK = 64 << 20


async def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_S
    while not holds():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def kept(data: Path, scene: Callable[[LedgerKeeper, EmbeddedLedger], Awaitable[None]]) -> None:
    """Runs ``scene`` while a process is kept on ``data``."""

    async def play() -> None:
        keeper, ledger = LedgerKeeper(folder_in(data), DISK), EmbeddedLedger(data)
        running = asyncio.ensure_future(keeper.run())
        await ledger.start()
        await connected(ledger)
        try:
            await scene(keeper, ledger)
        finally:
            await ledger.close()
            await keeper.end()
            await running
        assert keeper.pid is None

    asyncio.run(play())


def test_one_that_dies_is_followed_by_another_and_the_operator_hears_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def scene(keeper: LedgerKeeper, ledger: EmbeddedLedger) -> None:
        key, attempt = new(), new()
        await claim(ledger, key, attempt)
        before = keeper.pid
        assert before is not None
        os.kill(before, signal.SIGKILL)
        await settle(ledger, key, attempt, 3, b"answer")
        assert await state_of(ledger, key) == 3
        assert keeper.pid not in {None, before}

    kept(tmp_path, scene)
    assert "ledger ended (signal SIGKILL); starting another" in capsys.readouterr().err


def test_it_ends_when_told_even_while_workers_are_connected(tmp_path: Path) -> None:
    async def scene(keeper: LedgerKeeper, _: EmbeddedLedger) -> None:
        began = time.monotonic()
        await keeper.end()
        assert keeper.pid is None
        assert time.monotonic() - began < 4.0, "it left by itself"

    kept(tmp_path, scene)


def test_the_bound_is_told_to_the_one_that_runs_and_to_its_successor(tmp_path: Path) -> None:
    async def scene(keeper: LedgerKeeper, ledger: EmbeddedLedger) -> None:
        keeper.bound(DISK)
        keeper.bound(2 * DISK)
        for _ in range(200):
            if (await ledger.figures()).bytes_max == 2 * DISK:
                break
            await asyncio.sleep(0.01)
        assert keeper.pid is not None
        os.kill(keeper.pid, signal.SIGKILL)
        await asyncio.sleep(0)
        assert (await ledger.figures()).bytes_max == 2 * DISK

    kept(tmp_path, scene)


def test_a_successor_takes_over_when_the_one_before_is_ended(tmp_path: Path) -> None:
    async def scene(keeper: LedgerKeeper, ledger: EmbeddedLedger) -> None:
        key, attempt = new(), new()
        await claim(ledger, key, attempt)
        other = LedgerKeeper(folder_in(tmp_path), DISK)
        running = asyncio.ensure_future(other.run())
        await until(lambda: other.pid is not None)
        await keeper.end()
        await settle(ledger, key, attempt, 3, b"answer")
        assert await state_of(ledger, key) == 3
        await ledger.close()
        await other.end()
        await running

    kept(tmp_path, scene)


def test_one_that_cannot_start_is_tried_again_ever_more_seldom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(voice, "ledger_ended", lambda _status, pause: pauses.append(pause))
    (tmp_path / "file").write_text("no folder")

    async def play() -> None:
        keeper = LedgerKeeper(tmp_path / "file" / "ledger", DISK)
        running = asyncio.ensure_future(keeper.run())
        await until(lambda: len(pauses) >= 3)
        await keeper.end()
        await running

    asyncio.run(play())
    assert pauses[0] == 0.0 < pauses[1] < pauses[2]
