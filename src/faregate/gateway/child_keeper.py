"""A process that keeps something for all workers: kept running while it may be needed, ended after the last.

Its standard input is the line down to it, a JSON object a line: its settings as they now are, and the word to
leave when another gateway takes over. A successor's process waits for the place of the one before, so that
it is started early and there is hardly a moment without. What it keeps, and by which program, says a
subclass.
"""

import asyncio
import contextlib
import time
from typing import Final

import msgspec

from faregate.gateway import voice
from faregate.gateway.crew import RESTART_PAUSE_MAX_S, restart_pause_s

_QUICK_DEATH_S: Final = 2.0
_END_S: Final = 5.0
"""It writes what it has and goes; one that a disk holds up is killed, which loses nothing that was told."""


class ChildKeeper:
    """Keeps one process. ``name``: what it keeps, as the operator reads it."""

    name = ""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._ending = asyncio.Event()
        self._over = asyncio.Event()
        self._over.set()

    @property
    def pid(self) -> int | None:
        process = self._process
        return None if process is None or process.returncode is not None else process.pid

    async def start(self) -> asyncio.subprocess.Process:
        """A process with the settings as they are. Raises OSError."""
        raise NotImplementedError

    def say_ended(self, status: int, pause: float) -> None:
        """It died, and another is started in ``pause`` seconds."""
        raise NotImplementedError

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
            self._process = process = await self.start()
        except OSError as error:
            voice.say(f"cannot start the {self.name}: {error.strerror}", level="error")
            await self._pause(RESTART_PAUSE_MAX_S)
            return deaths
        if self._ending.is_set():
            self.tell(leave=True)
        status = await process.wait()
        if self._ending.is_set():
            return 0
        deaths = deaths + 1 if time.monotonic() - started_at < _QUICK_DEATH_S else 0
        pause = restart_pause_s(deaths, served=False)
        self.say_ended(status, pause)
        await self._pause(pause)
        return deaths

    async def end(self) -> None:
        """Ends the process; returns when it has let go of its folder."""
        self._ending.set()
        self.tell(leave=True)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._over.wait(), _END_S)
        process = self._process
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    def tell(self, **facts: object) -> None:
        """Says ``facts`` to the one that runs, if there is one."""
        process = self._process
        if process is not None and process.returncode is None and process.stdin is not None:
            with contextlib.suppress(OSError, RuntimeError):
                process.stdin.write(msgspec.json.encode(facts) + b"\n")

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ending.wait(), seconds or 0.001)
