"""One worker process: an event loop with the listening sockets, the running snapshot, and a line to its
supervisor.

Started by ``faregate.gateway.worker``. It owns no decision: it wires the rooms together, swaps snapshots when
told, and stops in good order.
"""

import asyncio
import contextlib
import gc
import logging
import mmap
import os
import signal
import socket
import sys
import time
import weakref
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, Final, cast

import msgspec

from faregate.gateway import canary_worker
from faregate.gateway.assembly import Runtime, assembling, finish, retire
from faregate.gateway.auditing import recorder_in
from faregate.gateway.budget import budget, machine_memory, usable_cores
from faregate.gateway.control import GRACE_S, IDLE_S, Message, WorkerSettings
from faregate.gateway.gauges import gauges
from faregate.gateway.health_sharing import join
from faregate.gateway.ledger_access import LedgerAccess
from faregate.gateway.line import Line
from faregate.gateway.listening import key_of
from faregate.gateway.plane import Plane
from faregate.gateway.serving import Serving
from faregate.gateway.side_call import fetcher_for
from faregate.gateway.slices import Pauses, free, in_slices, quiet_gc, told
from faregate.gateway.tls.front import Fronts
from faregate.gateway.worker_means import new_loop, raise_descriptor_limit
from faregate.kernel.clock import SystemClock
from faregate.kernel.events import speak_in_events
from faregate.records.feed import MetricsFeed
from faregate.records.frames import WorkerState
from faregate.snapshot import data as snapshots
from faregate.snapshot.encoded import Sections, open_sections
from faregate.stores.counters import Counters
from faregate.stores.keysets import KeySets
from faregate.stores.shared_counts import SharedCounts

_log = logging.getLogger("faregate.worker")
DRAIN_LOOK_S: Final = 0.05
STUCK_S: Final = 1.0
"""How long a lock of the counters may be out of reach before the supervisor hears of it."""
_GC_THRESHOLDS: Final = (50_000, 20, 50)
"""Calls make few cycles; the default of 700 would walk the young objects several times a millisecond."""


class WorkerProcess:
    """Everything in one worker, from start to exit."""

    def __init__(self, settings: WorkerSettings, loop: asyncio.AbstractEventLoop) -> None:
        self._settings = settings
        self._loop = loop
        sections = open_snapshot(settings.snapshot)
        snapshot = sections.head
        data = Path(snapshot.gateway.data)
        sharers = settings.sharers or settings.workers
        self._counters = Counters.open(settings.counters, settings.index, sharers)
        os.close(settings.counters)
        self._keysets = KeySets(fetcher_for, SystemClock(), data / "jwks")
        self._recorder = recorder_in(data)
        self._ledger = LedgerAccess(data, self._recorder.count)
        runtime = finish(
            assembling(
                sections, self._counters, self._keysets, loop, keeper=self._ledger.keeper_for(snapshot)
            )
        )
        self._snapshot_bytes = _size_of(settings.snapshot)
        bound = memory_bound(
            snapshot.gateway, settings.workers, self._snapshot_bytes, keeps=snapshot.holds_bodies
        )
        self._plane = Plane(loop, runtime, self._recorder, settings.via.encode(), memory_bytes=bound)
        self._plane.share(SharedCounts(settings.connections, settings.index))
        os.close(settings.connections)
        self._fronts = Fronts(self._plane, says=settings.speaks)
        self._fronts.on_open = lambda: self._changes.put_nowait((Message("open"), []))
        self._fronts.open(snapshot.gateway.listen, says=settings.speaks or settings.joins)
        self._feed = MetricsFeed(
            settings.feed,
            settings.index,
            self._recorder,
            readings=lambda: [
                *gauges(self._plane, self._counters.stats),
                *self._fronts.readings(),
                *self._health.readings(),
                *self._pauses.readings(),
                *self._ledger.readings(),
            ],
            state=self._state,
            arms=lambda: canary_worker.counts(self._plane),
        )
        self._gateway, self._keeps = snapshot.gateway, snapshot.holds_bodies
        self._listeners = snapshot.gateway.listen
        self._serving = Serving(
            loop, self._plane, self._protocol_for, self._fronts.is_held, self._fronts.handshakes_at
        )
        self._health = join(data / "health.bin", self._recorder.count, time.monotonic())
        self._pauses = Pauses()
        self._stuck_at = 0.0
        self._ready = False
        self._draining: asyncio.Task[None] | None = None
        self._line: Line | None = None
        self._changes: asyncio.Queue[tuple[Message, list[socket.socket]]] = asyncio.Queue()
        self._freeing: set[asyncio.Task[None]] = set()
        self._finished = asyncio.Event()

    async def run(self) -> None:
        """Serves until told to stop or the supervisor is gone."""
        control = socket.socket(fileno=self._settings.control)
        self._line = Line(control, self._loop, self._hear, self._orphaned)
        self._keysets.start()
        await self._ledger.start(self._plane.runtime)
        self._fronts.start()
        self._health.start(canary_worker.balancers(self._plane), time.monotonic())
        self._plane.on_tick = self._on_tick
        self._plane.wheel.start()
        inherited = zip(self._listeners, self._settings.listen, strict=True)
        await self._serving.follow(
            self._listeners, {key_of(one): socket.socket(fileno=number) for one, number in inherited}
        )
        gc.freeze()
        gc.set_threshold(*_GC_THRESHOLDS)
        gc.enable()  # the program's start did without: it builds and leaves hardly a cycle
        # A service manager may signal the whole group; then all drain, as when the supervisor says so.
        self._loop.add_signal_handler(signal.SIGTERM, self._drain_soon)
        self._ready = True
        self._feed.start(self._loop)
        self._say(Message("ready", revision=self._plane.runtime.revision))
        changing = asyncio.ensure_future(self._change())
        await self._finished.wait()
        changing.cancel()
        await asyncio.gather(changing, return_exceptions=True)
        await self._close()

    def _protocol_for(self, listener: snapshots.Listener) -> Callable[[], asyncio.Protocol]:
        """What makes the connections of ``listener``."""
        return cast("Callable[[], asyncio.Protocol]", self._fronts[listener])

    def _hear(self, message: Message, sockets: list[socket.socket]) -> None:
        """What the supervisor says. Changes wait for each other; an end is heard at once."""
        match message.what:
            case "drain":
                self._drain_soon(message.grace, message.idle)
            case "stop":
                self._say_cut()
                self._finished.set()
            case "share":
                self._counters.locks.shared = message.workers > 1
                self._say(Message("shared", workers=message.workers))
            case _:
                self._changes.put_nowait((message, sockets))

    def _orphaned(self) -> None:
        _log.warning("the supervisor is gone; finishing")
        self._drain_soon(5.0)

    async def _change(self) -> None:
        while True:
            message, sockets = await self._changes.get()
            try:
                if message.what == "reload":
                    self._pauses.forget()
                    await self._pauses.over(self._reload(message))
                elif message.what == "canary":
                    await self._pauses.over(self._canary(message))
                elif message.what == "listen":
                    await self._serving.follow(
                        self._listeners, dict(zip(message.fresh, sockets, strict=True))
                    )
                    self._say(Message("listening"))
                elif message.what == "bound":
                    self._bound_memory(message.workers)
                elif message.what == "open":  # our own: a listener that was held closed is not any more
                    await self._serving.follow(self._listeners, {})
            except Exception as error:  # noqa: BLE001 - after the swap; the next change must be heard
                _log.exception("revision %d is only partly at work", message.revision)
                self._say(Message("failed", revision=message.revision, reason=type(error).__name__))

    async def _reload(self, message: Message) -> None:
        """Builds the new revision beside the running one, in slices between calls, and swaps; on any failure
        the running one stays.
        """
        try:
            sections = open_snapshot(message.snapshot)
            if sections.head.revision == self._plane.runtime.revision:
                self._say(Message("reloaded", revision=sections.head.revision))
                return
            gateway = sections.head.gateway
            listen = gateway.listen
            size = _size_of(message.snapshot)
            fronts = await self._loop.run_in_executor(None, self._fronts.prepare, listen)
            with quiet_gc():
                runtime = await in_slices(
                    assembling(
                        sections,
                        self._counters,
                        self._keysets,
                        self._loop,
                        self._plane.runtime,
                        self._ledger.keeper_for(sections.head),
                    )
                )
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
        self._end_canary()
        before = self._plane.runtime
        runtime.swap()
        self._plane.adopt(runtime)
        self._gateway, self._snapshot_bytes = gateway, size
        self._keeps = sections.head.holds_bodies
        self._bound_memory(gateway.workers or usable_cores())
        self._fronts.adopt(listen, fronts)
        await in_slices(told(list(self._plane.clients)))
        retire(before, runtime)
        self._free(before)
        del before
        self._listeners = sections.head.gateway.listen
        self._health.follow(canary_worker.balancers(self._plane))
        self._ledger.follow(runtime)
        await self._keysets.retain(sections.head.issuers)
        self._feed.report()
        self._say(Message("reloaded", revision=runtime.revision))

    async def _canary(self, message: Message) -> None:
        """Runs a revision beside the running one, for a part of the calls; with number 0 there is none."""
        self._end_canary()
        refused, plane = "", self._plane
        frame = plane.runtime.frame  # what a former canary had besides, goes
        await self._keysets.retain(() if frame is None else frame.issuers)
        if message.revision:
            refused = await canary_worker.begin(plane, message, self._beside)
        self._health.follow(canary_worker.balancers(plane))
        self._ledger.follow(plane.runtime, None if plane.canary is None else plane.canary.runtime)
        self._bound_memory(self._gateway.workers or usable_cores())
        self._feed.report()
        self._say(Message("failed" if refused else "canary", revision=message.revision, reason=refused))

    def _beside(self, path: str) -> Generator[None, None, Runtime]:
        sections = open_snapshot(path)
        keeper = self._ledger.keeper_for(sections.head)
        parts = (self._counters, self._keysets, self._loop)
        return assembling(sections, *parts, keeper=keeper, beside=self._plane.runtime)

    def _end_canary(self) -> None:
        former = canary_worker.end(self._plane)
        if former is not None:
            self._free(former)

    def _bound_memory(self, workers: int) -> None:
        size = self._snapshot_bytes * (1 if self._plane.canary is None else 2)
        self._plane.bound_memory(memory_bound(self._gateway, workers, size, keeps=self._keeps))

    def _free(self, before: Runtime) -> None:
        """Frees what is large of ``before``, once its calls have ended, in slices."""
        task = self._loop.create_task(self._freed(weakref.ref(before), before.large))
        self._freeing.add(task)
        task.add_done_callback(self._freeing.discard)

    async def _freed(self, before: "weakref.ref[object]", large: "list[dict[Any, Any] | list[Any]]") -> None:
        await self._pauses.over(free(before, large))

    def _on_tick(self, now: float) -> None:
        """What workers of a machine watch together."""
        self._health.look(now)
        self._ledger.look(now)
        self._serving.look()
        if now - self._stuck_at >= STUCK_S and self._counters.locks.stuck(int(now * 1e9), int(STUCK_S * 1e9)):
            self._stuck_at = now
            self._say(Message("stuck"))

    def _drain_soon(self, grace: float = GRACE_S, idle: float = IDLE_S) -> None:
        if self._draining is None:
            self._draining = self._loop.create_task(self._drain(grace, idle))

    async def _drain(self, grace: float, idle: float) -> None:
        """No new connection; calls in progress have ``grace`` seconds. A connection without one ends with
        its next answer, and after ``idle`` seconds without: a request may be on its way.
        """
        self._ready = False
        plane = self._plane
        plane.announce_drain()
        self._health.leave()
        self._ledger.leave()
        self._feed.report()
        now = time.monotonic()
        deadline = now + grace
        idle_until = min(now + idle, deadline)
        await self._serving.finish()
        while (now := time.monotonic()) < deadline and (  # noqa: ASYNC110 - counters, not an event
            self._fronts.handshakes
            or plane.awaits_calls(now)
            or (now < idle_until and (plane.clients or plane.is_busy()))
        ):
            await asyncio.sleep(DRAIN_LOOK_S)
        plane.drain()
        while plane.is_busy() and time.monotonic() < deadline:  # noqa: ASYNC110 - likewise
            await asyncio.sleep(DRAIN_LOOK_S)
        self._say_cut()
        self._finished.set()

    def _say_cut(self) -> None:
        """How many calls are cut now, if any; once."""
        plane = self._plane
        if plane.is_busy() and not self._finished.is_set():
            self._say(Message("cut", calls=max(1, plane.in_flight + len(plane.tunnels.open))))

    async def _close(self) -> None:
        self._serving.close()
        for task in list(self._freeing):
            task.cancel()
        self._plane.end_calls()
        await asyncio.sleep(0)  # what was written goes out
        self._plane.break_off()
        for upstream in canary_worker.upstreams(self._plane):
            upstream.end()
        await asyncio.sleep(0)  # lets connection_lost run
        await self._fronts.close()
        self._plane.wheel.stop()
        await self._health.close()
        await self._keysets.close()
        await self._ledger.close()
        self._recorder.close()
        await self._feed.close()
        self._counters.close()

    def _state(self) -> WorkerState:
        return WorkerState(self._ready, self._plane.draining, self._plane.runtime.revision)

    def _say(self, message: Message) -> None:
        if self._line is not None:
            self._line.send(message)


def _size_of(snapshot: str) -> int:
    return Path(snapshot).stat().st_size


def memory_bound(gateway: snapshots.Gateway, workers: int, snapshot_bytes: int, *, keeps: bool) -> int:
    """Bytes that each of ``workers`` may use."""
    return budget(gateway, workers, snapshot_bytes, machine_memory(), keeps=keeps).bound


def open_snapshot(path: str) -> Sections:
    """The snapshot at ``path``, mapped: what is not read costs nothing. Raises OSError, ValueError."""
    with open(path, "rb") as file:  # noqa: PTH123 - mmap wants a descriptor
        return open_sections(memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)))


def main() -> None:
    """Runs the process; the settings are its one argument."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the terminal's signals are the supervisor's to answer
    raise_descriptor_limit()
    settings = msgspec.json.decode(sys.argv[1], type=WorkerSettings)
    if settings.events:
        speak_in_events("worker", worker=settings.index)
    else:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s", stream=sys.stderr)
    loop = new_loop()
    asyncio.set_event_loop(loop)
    status = 1
    try:
        status = loop.run_until_complete(_run(settings, loop))
    finally:
        with contextlib.suppress(RuntimeError):
            loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
    sys.exit(status)


async def _run(settings: WorkerSettings, loop: asyncio.AbstractEventLoop) -> int:
    """All of it within the loop: stores are made for the one that runs. Returns the exit status."""
    try:
        worker = WorkerProcess(settings, loop)
    except ValueError as error:  # the snapshot cannot be put to work; the reason says it all
        _log.error("worker %d cannot start: %s", settings.index, error)
        return 1
    await worker.run()
    return 0
