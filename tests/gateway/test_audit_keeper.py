"""The audit tree's process is there for as long as the supervisor wants it, and follows what it is told."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from faregate.gateway.audit_keeper import AuditKeeper
from faregate.records.audit.client import Audit
from faregate.records.audit.places import folder_in
from faregate.snapshot.data import AuditTree

START_S = 15.0


def kept(data: Path, scene: Callable[[AuditKeeper, Audit], Awaitable[None]]) -> None:
    """Runs ``scene`` while a process is kept on ``data``."""
    (data / "digest.key").write_bytes(b"k" * 32)

    async def play() -> None:
        keeper, audit = AuditKeeper(folder_in(data), AuditTree()), Audit(data)
        running = asyncio.ensure_future(keeper.run())
        await audit.append("a.b", "user:ann", "x", {}, within_s=START_S)
        try:
            await scene(keeper, audit)
        finally:
            audit.close()
            await keeper.end()
            await running
        assert keeper.pid is None

    asyncio.run(play())


def test_one_that_dies_is_followed_by_another_and_the_operator_hears_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def scene(keeper: AuditKeeper, audit: Audit) -> None:
        before = keeper.pid
        assert before is not None
        os.kill(before, signal.SIGKILL)
        await audit.append("a.b", "user:ann", "y", {}, within_s=START_S)
        assert keeper.pid not in {None, before}

    kept(tmp_path, scene)
    assert "audit tree's writer ended (signal SIGKILL); starting another" in capsys.readouterr().err


def test_other_settings_are_told_to_the_one_that_runs(tmp_path: Path) -> None:
    async def scene(keeper: AuditKeeper, audit: Audit) -> None:
        keeper.follow(AuditTree(publish=str(tmp_path / "elsewhere"), every=0.05))
        deadline = time.monotonic() + START_S
        while not (tmp_path / "elsewhere").exists():
            assert time.monotonic() < deadline
            await audit.append("a.b", "user:ann", "y", {})
            await asyncio.sleep(0.01)

    kept(tmp_path, scene)


def test_it_ends_when_told_even_while_others_are_connected(tmp_path: Path) -> None:
    async def scene(keeper: AuditKeeper, _: Audit) -> None:
        began = time.monotonic()
        await keeper.end()
        assert keeper.pid is None
        assert time.monotonic() - began < 4.0, "it left by itself"

    kept(tmp_path, scene)
