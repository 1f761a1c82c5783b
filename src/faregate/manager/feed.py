"""The manager's end of the metrics feed: takes the workers' reports from a unix socket and can ask for them.

The socket lies in a directory that only this user may enter, so a peer is one of our workers; a stream that
is not well-formed all the same ends its connection and is said on stderr, without its content.
"""

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, cast

from faregate.manager.totals import RouteSeries, Totals
from faregate.records.frames import FrameReader, Reply, Report, encode_frame

ASK_TIMEOUT_S: Final = 0.5
"""How long a scrape waits for workers: a stuck one must not keep the others' numbers back."""


class _Connection(asyncio.Protocol):
    """One worker's connection."""

    def __init__(self, server: "FeedServer") -> None:
        self._server = server
        self._frames = FrameReader(Report)
        self.transport: asyncio.Transport | None = None
        self.worker = -1
        self.taken = 0
        self.answered = 0
        self.numbered: list[RouteSeries] = []
        """What the numbers in its reports stand for."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's own class is none of asyncio's
        self._server.connections.add(self)

    def data_received(self, data: bytes) -> None:
        try:
            for report in self._frames.feed(data):
                self._server.take(self, report)
        except ValueError as error:
            print(f"faregate: metrics feed: {type(error).__name__}, connection closed", file=sys.stderr)  # noqa: T201
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._server.lost(self)

    def reply(self, ask: int = 0) -> None:
        # Closed by an error of this or the other end; connection_lost is on its way.
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(encode_frame(Reply(self.taken, ask)))

    def close(self) -> None:
        if self.transport is not None:
            self.transport.abort()


class FeedServer:
    """Feeds ``totals`` from the socket at ``path``. ``monotonic``: seconds. Belongs to the loop's thread."""

    def __init__(self, path: Path, totals: Totals, monotonic: Callable[[], float]) -> None:
        self._path = path
        self._totals = totals
        self._monotonic = monotonic
        self._server: asyncio.Server | None = None
        self._waiting: dict[int, tuple[set[_Connection], asyncio.Event]] = {}
        self._last_ask = 0
        self.connections: set[_Connection] = set()

    async def start(self) -> None:
        """Listens. A socket file that an earlier manager left is replaced. Raises OSError."""
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        loop = asyncio.get_running_loop()
        mask = os.umask(0o177)
        try:
            self._server = await loop.create_unix_server(lambda: _Connection(self), str(self._path))
        finally:
            os.umask(mask)

    async def close(self) -> None:
        """Ends all connections and removes the socket file."""
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            connection.close()
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()

    async def ask(self, timeout_s: float = ASK_TIMEOUT_S) -> None:
        """Has every connected worker report now; returns when all have, or after ``timeout_s``."""
        waited_for = {connection for connection in self.connections if connection.worker >= 0}
        if waited_for:
            self._last_ask = number = max(self._last_ask + 1, int(self._monotonic() * 1e9))
            answered = asyncio.Event()
            self._waiting[number] = (waited_for, answered)
            for connection in waited_for:
                connection.reply(number)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await answered.wait()
            del self._waiting[number]
        self._totals.silent = len(waited_for)

    def take(self, connection: _Connection, report: Report) -> None:
        """Adds a report and acknowledges it. Raises ValueError on one that no worker of ours sends."""
        self._totals.take(report, self._monotonic(), connection.numbered)
        connection.worker = report.worker
        connection.taken = report.sequence
        connection.answered = max(connection.answered, report.answers)
        connection.reply()
        self._settle(connection)

    def lost(self, connection: _Connection) -> None:
        """Forgets a connection, and what its worker said unless the worker has a newer one."""
        self.connections.discard(connection)
        if connection.worker >= 0 and all(other.worker != connection.worker for other in self.connections):
            self._totals.forget(connection.worker)
        connection.answered = sys.maxsize
        self._settle(connection)

    def _settle(self, connection: _Connection) -> None:
        for number, (waited_for, answered) in self._waiting.items():
            if connection.answered >= number:
                waited_for.discard(connection)
                if not waited_for:
                    answered.set()
