"""The process of the embedded ledger: kept running while workers may need it, and ended after the last of
them.

Its standard input is the line down to it, a JSON object a line: the bound of its disk, and the word to
leave when another gateway takes over. A successor's process waits for the place of the one before, so that
it is started early and there is hardly a moment without.
"""

import asyncio
import contextlib
import time
from pathlib import Path
from typing import Final

import msgspec

from faregate.gateway import voice
from faregate.gateway.children import start_ledger
from faregate.gateway.crew import RESTART_PAUSE_MAX_S, restart_pause_s

_QUICK_DEATH_S: Final = 2.0
_END_S: Final = 5.0
"""It writes what it has and goes; one that a disk holds up is killed, which loses nothing that was told."""


class LedgerKeeper:
    """Keeps one process on ``folder``, which may fill ``disk_bytes``."""

    def __init__(self, folder: Path, disk_bytes: int) -> None:
        self._folder = folder
        self._disk_bytes = disk_bytes
        self._process: asyncio.subprocess.Process | None = None
        self._ending = asyncio.Event()
        self._over = asyncio.Event()
        self._over.set()

    @property
    def pid(self) -> int | None:
        process = self._process
        return None if process is None or process.returncode is not None else process.pid

    def bound(self, disk_bytes: int) -> None:
        """How much disk it, and any successor, may fill from now on."""
        if disk_bytes != self._disk_bytes:
            self._disk_bytes = disk_bytes
            self._tell(disk_bytes=disk_bytes)

    async def run(self) -> None:
        """Keeps it running until ``end``."""
        self._over.clear()
        try:
            deaths = 0
            while not self._ending.is_set():
                deaths = await self._once(deaths)
        finally:
            self._over.set()

    async def _once(self, deaths: int) -> int:
        """One process from its start to its end; how many in a row have died quickly."""
        started_at = time.monotonic()
        try:
            self._process = process = await start_ledger(self._folder, self._disk_bytes)
        except OSError as error:
            voice.say(f"cannot start the ledger: {error.strerror}", level="error")
            await self._pause(RESTART_PAUSE_MAX_S)
            return deaths
        if self._ending.is_set():
            self._tell(leave=True)
        status = await process.wait()
        if self._ending.is_set():
            return 0
        deaths = deaths + 1 if time.monotonic() - started_at < _QUICK_DEATH_S else 0
        pause = restart_pause_s(deaths, served=False)
        voice.ledger_ended(status, pause)
        await self._pause(pause)
        return deaths

    async def end(self) -> None:
        """Ends the process; returns when it has let go of the folder."""
        self._ending.set()
        self._tell(leave=True)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._over.wait(), _END_S)
        process = self._process
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    def _tell(self, **facts: object) -> None:
        process = self._process
        if process is not None and process.returncode is None and process.stdin is not None:
            with contextlib.suppress(OSError, RuntimeError):
                process.stdin.write(msgspec.json.encode(facts) + b"\n")

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ending.wait(), seconds or 0.001)
