"""The worker's end of the metrics feed: reports to the manager process over a unix socket.

Counts go out four times a second, at once when the manager asks, and at the end; less often when there is so
much to report that it would take more than a twentieth of the worker's time, and never more in one turn of
the loop than a millisecond or two of work. While the manager is away counts add up, bounded by the ceiling of
series, and a new connection is tried with growing pauses; no call waits for any of it. What a report means,
and why none is counted twice, stands in ``frames``.
"""

import asyncio
import contextlib
import os
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple, cast

from faregate.records.families import SERIES_MAX
from faregate.records.frames import ArmCounts, FrameReader, Reading, Reply, Report, WorkerState, encode_frame
from faregate.records.metrics import Deltas
from faregate.records.recorder import Recorder
from faregate.records.tally import Tally

REPORT_EVERY_S: Final = 0.25
SHARE_MAX: Final = 1 / 20
"""Of the worker's processor time, what reporting may take: the next report waits accordingly."""
ROUTES_PER_REPORT: Final = 256
"""Routes in one report: making it keeps the loop for about a millisecond. The rest follow in others."""
LABELS_MAX: Final = 4 * SERIES_MAX
"""Label sets numbered on one connection; after many reloads the numbering begins anew."""
USAGE_PER_REPORT: Final = 500
"""Rows of who called in one report, likewise."""
_PAUSE_FIRST_S: Final = 0.1
_PAUSE_MAX_S: Final = 5.0
_UNACKNOWLEDGED_MAX: Final = 8
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


class _Pending(NamedTuple):
    """A report on its way, and whose growth its routes are."""

    report: Report
    tallies: list[Tally]


class MetricsFeed(asyncio.Protocol):
    """Reports ``recorder``'s counts, ``readings()`` and ``state()`` of worker number ``worker`` to the socket
    at ``path``.

    ``readings`` gives the gauges that the gateway knows: calls in flight, connections, targets. Both
    callables run on the loop at every report and must be quick. ``used_s``: the thread's processor time in
    seconds. Belongs to the loop's thread.
    """

    def __init__(  # noqa: PLR0913 - wired in one place
        self,
        path: str,
        worker: int,
        recorder: Recorder,
        *,
        readings: Readings,
        state: Callable[[], WorkerState],
        arms: Callable[[], list[ArmCounts]] = list,
        used_s: Callable[[], float] = time.thread_time,
    ) -> None:
        self._path = path
        self._worker = worker
        self._recorder = recorder
        self._readings = readings
        self._state = state
        self._arms = arms
        self._used_s = used_s
        self._instance = secrets.token_hex(8)
        self._deltas = Deltas()
        self._sequence = 0
        self._asked = 0
        self._answers = 0
        self._reporting = False
        self._reporting_for = 0
        self._again = False
        self._stalled = False
        self._spent_s = 0.0
        self._unacknowledged: deque[_Pending] = deque()
        self._connection = 0
        self._labels_sent = 0
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
        """Begins to send what was counted so far if connected, else keeps it; returns after a first part.

        Call it when ``state()`` changes.
        """
        if self._reporting:
            self._again = True  # what goes out now was drained before
            return
        self._recorder.drain(self._deltas)
        if self._connected() is None:
            return
        self._reporting = True
        self._reporting_for = self._asked
        self._settled.clear()
        self._report_part()

    async def close(self, timeout_s: float = _CLOSE_TIMEOUT_S) -> None:
        """Sends the last reports and waits at most ``timeout_s`` until the manager has them."""
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()
        if self._connecting is not None and not self._connecting.done():
            self._connecting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._connecting
        if self._transport is None:
            return
        self._recorder.drain(self._deltas, last=True)
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
        self._connection += 1
        self._labels_sent = 0
        for pending in self._unacknowledged:
            connected.write(self._encode(pending))
        self._tick()

    def data_received(self, data: bytes) -> None:
        try:
            replies = self._replies.feed(data)
        except ValueError:
            if self._transport is not None:
                self._transport.abort()
            return
        for reply in replies:
            while self._unacknowledged and self._unacknowledged[0].report.sequence <= reply.acknowledged:
                self._unacknowledged.popleft()
            if reply.ask > self._asked:
                self._asked = reply.ask
                self.report()
        if self._stalled:
            self._stalled = False
            self._report_part()
        elif not self._reporting and not self._unacknowledged:
            self._settled.set()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._transport = None
        self._reporting = self._stalled = self._again = False
        self._settled.set()
        if self._timer is not None:
            self._timer.cancel()
        if not self._closing and self._loop is not None:
            self._connecting = self._loop.create_task(self._connect(_PAUSE_FIRST_S))

    def _connected(self) -> asyncio.Transport | None:
        transport = self._transport
        return None if transport is None or transport.is_closing() else transport

    def _report_part(self) -> None:
        """One report. The next one follows in a later turn of the loop, or when the manager has caught up."""
        transport = self._connected()
        if transport is None or not self._reporting:
            return
        if len(self._unacknowledged) >= _UNACKNOWLEDGED_MAX:
            self._stalled = True
            return
        began = self._used_s()
        grown = self._deltas.take_routes(ROUTES_PER_REPORT)
        usage = self._deltas.take_usage(USAGE_PER_REPORT)
        last = not self._deltas.tallies and not self._deltas.usage
        if last:
            self._answers = self._reporting_for
        self._sequence += 1
        pending = _Pending(
            Report(
                worker=self._worker,
                instance=self._instance,
                sequence=self._sequence,
                answers=self._answers,
                state=self._state(),
                counts=self._deltas.take(),
                routes=[growth for _, growth in grown],
                readings=[*self._readings(), *process_readings()],
                usage=usage,
                arms=self._arms(),
            ),
            [tally for tally, _ in grown],
        )
        self._unacknowledged.append(pending)
        with contextlib.suppress(RuntimeError):  # uvloop: closed underneath, connection_lost still to come
            transport.write(self._encode(pending))
        self._spent_s += self._used_s() - began
        if last:
            self._reporting = False
            if self._again:
                self._again = False
                self.report()
        else:
            assert self._loop is not None
            self._loop.call_soon(self._report_part)

    def _encode(self, pending: _Pending) -> bytes:
        """The report as a frame for this connection, with the labels that it has not had yet."""
        report = pending.report
        if self._labels_sent + len(pending.tallies) > LABELS_MAX:
            self._connection += 1
            self._labels_sent = 0
        report.first, report.labels = self._labels_sent, []
        for growth, tally in zip(report.routes, pending.tallies, strict=True):
            if tally.connection != self._connection:
                tally.connection = self._connection
                tally.number = self._labels_sent
                self._labels_sent += 1
                report.labels.append(tally.labels)
            growth.number = tally.number
        return encode_frame(report)

    def _tick(self) -> None:
        assert self._loop is not None
        if self._reporting:
            self._recorder.drain(self._deltas)  # lets go of routes of old snapshots
        else:
            self.report()
        pause_s = max(REPORT_EVERY_S, self._spent_s / SHARE_MAX)
        self._spent_s = 0.0
        self._timer = self._loop.call_later(pause_s, self._tick)
