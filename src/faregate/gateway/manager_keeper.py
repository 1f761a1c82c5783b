"""The manager process: kept running on its socket, and told what it cannot see for itself.

Its standard input is the line down to it, a JSON object a line: how many workers there shall be, whether the
gateway is stopping, whether the configuration on disk is older than what runs.
"""

import asyncio
import contextlib
import socket
import time
from pathlib import Path
from typing import Final

import msgspec

from faregate.gateway import voice
from faregate.gateway.children import start_manager
from faregate.gateway.crew import RESTART_PAUSE_MAX_S
from faregate.snapshot.managing import Managing

_QUICK_DEATH_S: Final = 2.0
_END_S: Final = 2.0


class ManagerKeeper:
    """Keeps one manager on ``sock``, configured under the host ``name``, with the workers' feed at ``feed``,
    for the gateway on the data folder ``data``.
    """

    def __init__(self, sock: socket.socket, name: str, feed: Path, data: Path, managing: Managing) -> None:
        self.sock = sock
        self._name = name
        self._feed = feed
        self._data = data
        self._facts: dict[str, object] = {"workers": 0, "managing": managing}
        self._process: asyncio.subprocess.Process | None = None
        self._renewed: asyncio.subprocess.Process | None = None
        """That which was ended so that the next one has other settings."""
        self._ending = asyncio.Event()

    @property
    def url(self) -> str:
        return "http://{}:{}".format(*self.sock.getsockname()[:2])

    @property
    def pid(self) -> int | None:
        process = self._process
        return None if process is None or process.returncode is not None else process.pid

    def tell(self, **facts: object) -> None:
        """What it, and any successor, must know: ``workers``, ``stopping``, ``stale``."""
        self._facts.update(facts)
        self._send()

    def manage(self, managing: Managing) -> None:
        """How it manages from now on: by a new process, since a database is not changed under one. Whom it
        believes about who asks it is told as it runs.
        """
        before = self._facts["managing"]
        assert isinstance(before, Managing)
        if managing == before:
            return
        self._facts["managing"] = managing
        if msgspec.structs.replace(managing, trusted_proxies=before.trusted_proxies) == before:
            self._send()
            return
        process = self._process
        if process is not None and process.returncode is None:
            self._renewed = process
            with contextlib.suppress(ProcessLookupError):
                process.terminate()

    async def run(self) -> None:
        """Keeps it running until ``end``."""
        while not self._ending.is_set():
            started_at = time.monotonic()
            workers = self._facts["workers"]
            assert isinstance(workers, int)
            try:
                self._process = await start_manager(
                    self.sock.fileno(), self._name, self._feed, workers, self._data
                )
            except OSError as error:
                voice.say(f"cannot start the manager: {error.strerror}", level="warning")
                await self._pause()
                continue
            self._send()
            status = await self._process.wait()
            if self._ending.is_set():
                return
            if self._renewed is self._process:
                voice.manager_renewed()
                continue
            voice.manager_ended(status)
            if time.monotonic() - started_at < _QUICK_DEATH_S:
                await self._pause()

    async def end(self) -> None:
        """Ends the process and lets the socket go."""
        self._ending.set()
        process = self._process
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                await asyncio.wait_for(process.wait(), _END_S)
            except TimeoutError:
                process.kill()
                await process.wait()
        self.sock.close()

    def _send(self) -> None:
        process = self._process
        if process is not None and process.returncode is None and process.stdin is not None:
            with contextlib.suppress(OSError, RuntimeError):
                process.stdin.write(msgspec.json.encode(self._facts) + b"\n")

    async def _pause(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ending.wait(), RESTART_PAUSE_MAX_S)
