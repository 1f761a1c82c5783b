"""The worker's end of the metrics feed: reports to the manager process over a unix socket.

A report goes out four times a second, at once when the manager asks, and at the end. While the manager is
away counts add up, bounded by the ceiling of series, and a new connection is tried with growing pauses; no
call waits for any of it. What a report means, and why none is counted twice, stands in ``frames``.
"""

import asyncio
import contextlib
import os
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, cast

from faregate.records.frames import FrameReader, Reading, Reply, Report, WorkerState, encode_frame
from faregate.records.metrics import Deltas
from faregate.records.recorder import Recorder

REPORT_EVERY_S: Final = 0.25
_PAUSE_FIRST_S: Final = 0.1
_PAUSE_MAX_S: Final = 5.0
_UNACKNOWLEDGED_MAX: Final = 4
"""Reports under way; with more the manager is stuck, and counts add up here instead."""
_CLOSE_TIMEOUT_S: Final = 0.5
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")

Readings = Callable[[], Iterable[Reading]]


def process_readings() -> list[Reading]:
    """Processor time and resident memory of this process."""
    readings = [Reading("faregate_worker_cpu_seconds_total", (), time.process_time())]
    with contextlib.suppress(OSError), open("/proc/self/statm", "rb") as file:  # noqa: PTH123 - a path object costs more
        readings.append(
            Reading("faregate_worker_resident_bytes", (), float(int(file.read().split()[1]) * _PAGE_BYTES))
        )
    return readings


class MetricsFeed(asyncio.Protocol):
    """Reports ``recorder``'s counts, ``readings()`` and ``state()`` of worker number ``worker`` to the socket
    at ``path``.

    ``readings`` gives the gauges that the gateway knows: calls in flight, connections, targets. Both
    callables run on the loop at every report and must be quick. Belongs to the loop's thread.
    """

    def __init__(
        self,
        path: str,
        worker: int,
        recorder: Recorder,
        *,
        readings: Readings,
        state: Callable[[], WorkerState],
    ) -> None:
        self._path = path
        self._worker = worker
        self._recorder = recorder
        self._readings = readings
        self._state = state
        self._instance = secrets.token_hex(8)
        self._deltas = Deltas()
        self._sequence = 0
        self._answers = 0
        self._unacknowledged: deque[tuple[int, bytes]] = deque()
        self._replies = FrameReader(Reply)
        self._transport: asyncio.Transport | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._settled: asyncio.Event = asyncio.Event()
        self._closing = False

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begins to connect and report; returns at once."""
        self._loop = loop
        self._connecting = loop.create_task(self._connect(0.0))

    def report(self) -> None:
        """Sends a report now if connected, else keeps its counts. Call it when ``state()`` changes."""
        self._recorder.drain(self._deltas)
        transport = self._transport
        if transport is None or transport.is_closing() or len(self._unacknowledged) >= _UNACKNOWLEDGED_MAX:
            return
        counts, observations = self._deltas.take()
        self._sequence += 1
        report = Report(
            worker=self._worker,
            instance=self._instance,
            sequence=self._sequence,
            answers=self._answers,
            state=self._state(),
            counts=counts,
            observations=observations,
            readings=[*self._readings(), *process_readings()],
        )
        frame = encode_frame(report)
        self._unacknowledged.append((self._sequence, frame))
        self._settled.clear()
        with contextlib.suppress(RuntimeError):  # uvloop: closed underneath, and connection_lost still to come
            transport.write(frame)

    async def close(self, timeout_s: float = _CLOSE_TIMEOUT_S) -> None:
        """Sends the last report and waits at most ``timeout_s`` until the manager has it."""
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()
        if self._connecting is not None and not self._connecting.done():
            self._connecting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._connecting
        if self._transport is None:
            return
        self.report()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._settled.wait()
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    async def _connect(self, pause_s: float) -> None:
        assert self._loop is not None
        while True:
            await asyncio.sleep(pause_s)
            try:
                await self._loop.create_unix_connection(lambda: self, self._path)
            except OSError:
                self._recorder.drain(self._deltas)  # lets go of routes of old snapshots
                pause_s = min(max(2 * pause_s, _PAUSE_FIRST_S), _PAUSE_MAX_S)
            else:
                return

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = connected = cast(
            "asyncio.Transport", transport
        )  # uvloop's own class is none of asyncio's
        self._replies = FrameReader(Reply)
        for _, frame in self._unacknowledged:
            connected.write(frame)
        self._tick()

    def data_received(self, data: bytes) -> None:
        try:
            replies = self._replies.feed(data)
        except ValueError:
            if self._transport is not None:
                self._transport.abort()
            return
        for reply in replies:
            while self._unacknowledged and self._unacknowledged[0][0] <= reply.acknowledged:
                self._unacknowledged.popleft()
            if reply.ask > self._answers:
                self._answers = reply.ask
                self.report()
        if not self._unacknowledged:
            self._settled.set()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._transport = None
        self._settled.set()
        if self._timer is not None:
            self._timer.cancel()
        if not self._closing and self._loop is not None:
            self._connecting = self._loop.create_task(self._connect(_PAUSE_FIRST_S))

    def _tick(self) -> None:
        assert self._loop is not None
        self.report()
        self._timer = self._loop.call_later(REPORT_EVERY_S, self._tick)
