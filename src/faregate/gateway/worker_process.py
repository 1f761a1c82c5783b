"""One worker process: an event loop with the listening sockets, the running snapshot, and a line to its
supervisor.

Started by ``faregate.gateway.worker``. It owns no decision: it wires the rooms together, swaps snapshots when
told, and stops in good order.
"""

import asyncio
import contextlib
import gc
import logging
import resource
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Final, cast

import msgspec

from faregate.gateway import control
from faregate.gateway.assembly import assemble, retire
from faregate.gateway.control import GRACE_S, Message, WorkerSettings
from faregate.gateway.gauges import gauges
from faregate.gateway.health import HealthChecker
from faregate.gateway.listener import ClientConnection
from faregate.gateway.plane import Plane
from faregate.gateway.side_call import fetcher_for
from faregate.kernel.clock import SystemClock
from faregate.records.feed import MetricsFeed
from faregate.records.frames import WorkerState
from faregate.records.recorder import Recorder
from faregate.records.writer import LogWriter
from faregate.snapshot import data as snapshots
from faregate.stores.counters import Counters
from faregate.stores.keysets import KeySets

_log = logging.getLogger("faregate.worker")
_DESCRIPTORS_WANTED: Final = 65_536
DRAIN_LOOK_S: Final = 0.05
_GC_THRESHOLDS: Final = (50_000, 20, 50)
"""Calls make few cycles; the default of 700 would walk the young objects several times a millisecond."""


class WorkerProcess:
    """Everything in one worker, from start to exit."""

    def __init__(self, settings: WorkerSettings, loop: asyncio.AbstractEventLoop) -> None:
        self._settings = settings
        self._loop = loop
        snapshot = _read(settings.snapshot)
        data = Path(snapshot.gateway.data)
        self._counters = Counters.open(data / "counters.bin", settings.index, settings.workers)
        self._keysets = KeySets(fetcher_for, SystemClock(), data / "jwks")
        self._recorder = Recorder(
            LogWriter(data / "access.jsonl"), digest_key=(data / "digest.key").read_bytes()
        )
        runtime = assemble(snapshot, self._counters, self._keysets, loop)
        self._plane = Plane(loop, runtime, self._recorder, settings.via.encode())
        self._feed = MetricsFeed(
            settings.feed,
            settings.index,
            self._recorder,
            readings=lambda: gauges(self._plane, self._counters.stats),
            state=self._state,
        )
        self._servers: list[asyncio.Server] = []
        self._checks: list[HealthChecker] = []
        self._ready = False
        self._draining: asyncio.Task[None] | None = None
        self._control: asyncio.StreamWriter | None = None
        self._finished = asyncio.Event()

    async def run(self) -> None:
        """Serves until told to stop or the supervisor is gone."""
        reader, self._control = await asyncio.open_connection(
            sock=socket.socket(fileno=self._settings.control), limit=control.LINE_BYTES_MAX
        )
        self._keysets.start()
        self._plane.wheel.start()
        await self._check_health()
        for descriptor in self._settings.listen:
            # The inherited descriptor itself: a copy left open would go on taking connections while we drain.
            sock = socket.socket(fileno=descriptor)
            self._servers.append(
                await self._loop.create_server(
                    lambda: cast("asyncio.Protocol", ClientConnection(self._plane)), sock=sock, backlog=4096
                )
            )
        gc.collect()
        gc.freeze()
        gc.set_threshold(*_GC_THRESHOLDS)
        # A service manager may signal the whole group; then all drain, as when the supervisor says so.
        self._loop.add_signal_handler(signal.SIGTERM, self._drain_soon)
        self._ready = True
        self._feed.start(self._loop)
        self._say(Message("ready", revision=self._plane.runtime.revision))
        hearing = asyncio.ensure_future(self._hear(reader))
        await self._finished.wait()
        hearing.cancel()
        await self._close()

    async def _hear(self, reader: asyncio.StreamReader) -> None:
        while True:
            line = await reader.readline()
            if not line:
                _log.warning("the supervisor is gone; finishing")
                await self._drain(5.0)
                return
            message = control.decode(line)
            if message.what == "reload":
                try:
                    await self._reload(message)
                except Exception as error:  # noqa: BLE001 - after the swap; the line must stay heard
                    _log.exception("revision %d is only partly at work", message.revision)
                    self._say(Message("failed", revision=message.revision, reason=type(error).__name__))
            elif message.what == "drain":
                self._drain_soon(message.grace)  # a stop may follow, and must be heard
            elif message.what == "stop":
                self._finished.set()

    async def _reload(self, message: Message) -> None:
        """Builds the new revision beside the running one and swaps; on any failure the running one stays."""
        before = self._plane.runtime
        try:
            snapshot = _read(message.snapshot)
            if snapshot.revision == before.revision:
                return
            runtime = assemble(snapshot, self._counters, self._keysets, self._loop, before)
        except Exception as error:  # noqa: BLE001 - a revision that cannot run must not end the one that does
            if not isinstance(error, (OSError, ValueError)):  # else the reason says it all
                _log.exception("revision %d cannot be put to work", message.revision)
            self._say(
                Message(
                    "failed",
                    revision=message.revision,
                    reason=f"revision {message.revision} was not taken: {error}",
                )
            )
            return
        self._plane.runtime = runtime
        for client in self._plane.clients:
            client.forget()
        retire(before, runtime)
        await self._check_health()
        await self._keysets.retain(snapshot.issuers)
        gc.freeze()
        self._feed.report()
        self._say(Message("reloaded", revision=runtime.revision))

    async def _check_health(self) -> None:
        """Active checks follow the running revision; what they found out stays with the targets."""
        for checker in self._checks:
            await checker.close()
        self._checks = [
            HealthChecker(upstream.balancer, _say_health)
            for upstream in self._plane.runtime.upstreams.values()
        ]
        for checker in self._checks:
            checker.start()

    def _drain_soon(self, grace: float = GRACE_S) -> None:
        self._draining = self._loop.create_task(self._drain(grace))

    async def _drain(self, grace: float) -> None:
        """No new connection, no further call on an old one; those in progress have ``grace`` seconds."""
        if self._plane.draining:
            return  # told twice
        self._ready = False
        self._plane.drain()
        self._feed.report()
        for server in self._servers:
            server.close()
        deadline = time.monotonic() + grace
        while self._plane.is_busy() and time.monotonic() < deadline:  # noqa: ASYNC110 - counters, not an event
            await asyncio.sleep(DRAIN_LOOK_S)
        self._finished.set()

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        self._plane.end_calls()
        await asyncio.sleep(0)  # what was written goes out
        self._plane.break_off()
        await asyncio.sleep(0)  # lets connection_lost run
        for checker in self._checks:
            await checker.close()
        self._plane.wheel.stop()
        await self._keysets.close()
        self._recorder.close()
        await self._feed.close()
        self._counters.close()

    def _state(self) -> WorkerState:
        return WorkerState(self._ready, self._plane.draining, self._plane.runtime.revision)

    def _say(self, message: Message) -> None:
        if self._control is not None and not self._control.is_closing():
            self._control.write(control.encode(message))


def _say_health(target: str, healthy: bool, reason: str) -> None:  # noqa: FBT001 - HealthListener
    _log.warning("target %s is %s", target, "healthy again" if healthy else f"unhealthy: {reason}")


def _read(path: str) -> snapshots.Snapshot:
    return snapshots.decode(Path(path).read_bytes())


def _raise_descriptor_limit() -> None:
    """The soft limit is for programs that use ``select``; this one may have what the machine grants."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = hard if hard != resource.RLIM_INFINITY else max(soft, _DESCRIPTORS_WANTED)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, max(soft, _DESCRIPTORS_WANTED)), hard))


def main() -> None:
    """Runs the process; the settings are its one argument."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the terminal's signals are the supervisor's to answer
    _raise_descriptor_limit()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s", stream=sys.stderr)
    settings = msgspec.json.decode(sys.argv[1], type=WorkerSettings)
    loop = _new_loop()
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(WorkerProcess(settings, loop).run())
    finally:
        with contextlib.suppress(RuntimeError):
            loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def _new_loop() -> asyncio.AbstractEventLoop:
    """uvloop where it is, asyncio's own loop elsewhere: the same code, slower."""
    try:
        import uvloop  # noqa: PLC0415 - optional by design
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
