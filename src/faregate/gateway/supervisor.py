"""The first process: holds the listening sockets, keeps the workers and the manager running, brings in new
revisions.

It handles no calls, reads no configuration (a child compiles it, so that the supervisor stays small and no
error in a configuration can harm it), and does little else than wait. A worker that dies is replaced at
once, its shared places freed first; the sockets stay open meanwhile, so that no connection is refused.
SIGTERM drains, SIGINT stops at once, SIGHUP reloads.
"""

import asyncio
import contextlib
import fcntl
import os
import secrets
import shutil
import signal
import socket
import tempfile
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from faregate.gateway import control, voice
from faregate.gateway.children import StartError, listen_or_say, start_manager, start_worker
from faregate.gateway.control import GRACE_S, Message, WorkerSettings
from faregate.gateway.places import WorkerPlace
from faregate.gateway.revisions import (
    CompileError,
    compile_file,
    make_digest_key,
    put_to_work,
    revision_on_disk,
)
from faregate.policies.limits import capacity
from faregate.snapshot import data as snapshots
from faregate.stores.counters_head import CountersError
from faregate.stores.counters_prepare import clear_worker, prepare

START_S: Final = 30.0
"""How long a worker may take from its start to ready; 100,000 keys take about two seconds."""
RESTART_PAUSE_MAX_S: Final = 5.0
_QUICK_DEATH_S: Final = 2.0
_STARTS_TRIED: Final = 2
"""A worker that never became ready in as many tries ends the start; one that once served is always tried."""


if TYPE_CHECKING:
    from collections.abc import Coroutine


class Supervisor:
    """Runs one configuration file until told to stop; ``run`` returns the exit status."""

    def __init__(self, config: Path, *, grace: float = GRACE_S) -> None:
        self._config = config
        self._grace = grace
        self._workers: list[WorkerPlace] = []
        self._sockets: list[socket.socket] = []
        self._manager_socket: socket.socket | None = None
        self._manager: asyncio.subprocess.Process | None = None
        self._snapshot: snapshots.Outline | None = None
        self._data = Path()
        self._runtime = Path(tempfile.mkdtemp(prefix="faregate-"))
        self._lock: IO[bytes] | None = None
        self._stopping = asyncio.Event()
        self._hopeless = asyncio.Event()
        self._fast = False
        self._broken = False
        self._offered: Message | None = None
        self._numbered = 0  # the last revision number given out
        self._reload_wanted = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._via = f"1.1 faregate-{secrets.token_hex(4)}"

    async def run(self) -> int:
        """Starts, serves, stops. Raises ``StartError`` when it cannot start."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._stop, False)  # noqa: FBT003 - a callback's argument
        loop.add_signal_handler(signal.SIGINT, self._stop, True)  # noqa: FBT003 - a callback's argument
        loop.add_signal_handler(signal.SIGHUP, self._reload_wanted.set)
        try:
            await self._start()
            if not self._stopping.is_set():
                self._keep(self._reload_when_asked())
                await self._stopping.wait()
            return await self._stop_all()
        finally:
            await self._kill_all()
            shutil.rmtree(self._runtime, ignore_errors=True)
            if self._lock is not None:
                self._lock.close()

    # starting

    async def _start(self) -> None:
        begun = time.monotonic()
        try:
            compiled = await compile_file(self._config, self._runtime / "compiled")
        except CompileError as error:
            raise StartError(f"{error}; nothing was started") from None
        self._data = Path(snapshots.decode_outline(compiled).gateway.data)
        self._take_data_folder()
        last = revision_on_disk(self._data / "snapshot")
        self._snapshot = put_to_work(compiled, self._data / "snapshot", last)
        self._numbered = self._snapshot.revision
        self._listen(self._snapshot.gateway)
        count = self._snapshot.gateway.workers or len(os.sched_getaffinity(0))
        self._prepare_counters(snapshots.decode_counted(compiled))
        make_digest_key(self._data / "digest.key")
        del compiled
        if self._manager_socket is not None:
            self._keep(self._keep_manager(count))
        self._workers = [WorkerPlace(index) for index in range(count)]
        for worker in self._workers:
            self._keep(self._keep_worker(worker))
        stop = asyncio.ensure_future(self._stopping.wait())
        hopeless = asyncio.ensure_future(self._hopeless.wait())
        all_ready = asyncio.ensure_future(self._all_ready())
        await asyncio.wait([all_ready, stop, hopeless], return_when=asyncio.FIRST_COMPLETED, timeout=START_S)
        stop.cancel()
        hopeless.cancel()
        if self._stopping.is_set():
            all_ready.cancel()
            return
        if not all_ready.done():
            all_ready.cancel()
            raise StartError(
                "a worker cannot start; what it said stands above"
                if self._hopeless.is_set()
                else f"the workers were not ready within {START_S:.0f} s"
            )
        self._announce(count, time.monotonic() - begun)

    async def _all_ready(self) -> None:
        for worker in self._workers:
            await worker.ready.wait()

    def _announce(self, count: int, seconds: float) -> None:
        assert self._snapshot is not None
        listen = ["{}:{}".format(*sock.getsockname()[:2]) for sock in self._sockets]
        manager = self._manager_socket
        url = None if manager is None else "http://{}:{}".format(*manager.getsockname()[:2])
        voice.started(listen, url, count, self._snapshot, seconds)

    def _take_data_folder(self) -> None:
        """Two gateways on one folder would ruin each other's counters."""
        try:
            self._data.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = (self._data / "lock").open("ab")
        except OSError as error:
            raise StartError(f"cannot use the data folder {self._data}: {error.strerror}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StartError(f"another gateway is using the data folder {self._data}") from error

    def _prepare_counters(self, snapshot: snapshots.Counted) -> None:
        try:
            prepared = prepare(
                self._data / "counters.bin", capacity(snapshot), now=time.monotonic_ns(), wall=time.time()
            )
        except (OSError, CountersError) as error:
            raise StartError(f"cannot prepare the counters in {self._data}: {error}") from error
        if prepared.event == "unreadable":
            voice.say("the file of counters was unreadable and set aside; all counts, quotas too, begin anew")

    def _listen(self, gateway: snapshots.Gateway) -> None:
        for listener in gateway.listen:
            self._sockets.append(listen_or_say(listener))
        if gateway.manager is not None:
            self._manager_socket = listen_or_say(gateway.manager)

    # configuration

    async def _reload_when_asked(self) -> None:
        while True:
            await self._reload_wanted.wait()
            self._reload_wanted.clear()
            await self._reload()

    async def _reload(self) -> None:
        begun = time.monotonic()
        before = self._snapshot
        assert before is not None
        try:
            compiled = await compile_file(self._config, self._runtime / "compiled")
        except CompileError as error:
            voice.stays(str(error), before.revision)
            return
        gateway = snapshots.decode_outline(compiled).gateway
        if gateway.data != before.gateway.data:
            voice.stays("gateway.data cannot change while the gateway runs; restart it", before.revision)
            return
        for key in ("listen", "manager", "workers"):
            if getattr(gateway, key) != getattr(before.gateway, key):
                text = f"gateway.{key} has changed; that takes effect at the next start"
                voice.say(text, "restart_needed", key=key)
        offered = self._data / "snapshot.offered"
        try:
            current = put_to_work(compiled, offered, self._numbered)
        except OSError as error:
            voice.stays(f"cannot write {offered}: {error.strerror}", before.revision)
            return
        del compiled
        self._numbered = current.revision
        if await self._offer(Message("reload", snapshot=str(offered), revision=current.revision)):
            with contextlib.suppress(OSError):
                offered.replace(self._data / "snapshot")
            self._snapshot = current
            voice.reloaded(current.revision, time.monotonic() - begun)
        elif not self._stopping.is_set():
            for worker in self._workers:
                worker.send(
                    Message("reload", snapshot=str(self._data / "snapshot"), revision=before.revision)
                )
            voice.stays(f"revision {current.revision} was not taken by every worker", before.revision)

    async def _offer(self, message: Message) -> bool:
        """Whether every worker took the revision. Only then does it become what a new worker starts with."""
        self._offered = message
        try:
            for worker in self._workers:
                worker.send(message)
            deadline = time.monotonic() + START_S
            while time.monotonic() < deadline and not self._stopping.is_set() and self._offered is message:
                if all(worker.revision == message.revision for worker in self._workers):
                    return True
                await asyncio.sleep(0.02)
            return False
        finally:
            self._offered = None

    # processes

    async def _keep_worker(self, worker: WorkerPlace) -> None:
        """Runs one worker, and another in its place whenever it ends before we are stopping."""
        while not self._stopping.is_set():
            ours, theirs = socket.socketpair()
            settings = WorkerSettings(
                index=worker.index,
                workers=len(self._workers),
                listen=[sock.fileno() for sock in self._sockets],
                control=theirs.fileno(),
                snapshot=str(self._data / "snapshot"),
                via=self._via,
                feed=str(self._runtime / "feed"),
            )
            worker.started_at = time.monotonic()
            try:
                worker.process = process = await start_worker(settings)
            except OSError as error:
                ours.close()
                await self._pause(f"cannot start worker {worker.index}: {error.strerror}")
                continue
            finally:
                theirs.close()
            reader, worker.writer = await asyncio.open_connection(sock=ours)
            await self._hear(worker, reader)
            status = await process.wait()
            worker.writer.close()
            worker.ready.clear()
            worker.revision = 0
            with contextlib.suppress(CountersError, OSError):  # a successor frees them at its start
                clear_worker(self._data / "counters.bin", worker.index)
            if self._stopping.is_set():
                return
            lived = time.monotonic() - worker.started_at
            worker.quick_deaths = worker.quick_deaths + 1 if lived < _QUICK_DEATH_S else 0
            if worker.quick_deaths >= _STARTS_TRIED and not worker.was_ready:
                self._hopeless.set()
            deaths = worker.quick_deaths
            pause = min(RESTART_PAUSE_MAX_S, 0.2 * (2**deaths - 1)) if deaths > 1 else 0.0
            voice.worker_ended(worker.index, status, pause)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause or 0.001)

    async def _hear(self, worker: WorkerPlace, reader: asyncio.StreamReader) -> None:
        """What the worker says, until it is gone."""
        while True:
            try:
                line = await reader.readline()
            except (OSError, ValueError):
                return
            if not line:
                return
            message = control.decode(line)
            if message.what in {"ready", "reloaded"}:
                worker.revision = message.revision
                worker.was_ready = True
                worker.ready.set()
                offered = self._offered
                if offered is not None and message.what == "ready":  # it started while the others were asked
                    worker.send(offered)
            elif message.what == "failed":
                voice.say(f"worker {worker.index}: {message.reason}", "worker_failed", worker=worker.index)
                self._offered = None

    async def _keep_manager(self, workers: int) -> None:
        assert self._manager_socket is not None
        assert self._snapshot is not None
        descriptor = self._manager_socket.fileno()
        configured = self._snapshot.gateway.manager  # of the start: a later one has no socket yet
        name = "" if configured is None else configured.host
        while not self._stopping.is_set():
            started_at = time.monotonic()
            try:
                self._manager = await start_manager(descriptor, name, self._runtime / "feed", workers)
            except OSError as error:
                await self._pause(f"cannot start the manager: {error.strerror}")
                continue
            status = await self._manager.wait()
            if self._stopping.is_set():
                return
            voice.manager_ended(status)
            if time.monotonic() - started_at < _QUICK_DEATH_S:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), RESTART_PAUSE_MAX_S)

    async def _pause(self, why: str) -> None:
        """Says why, and waits before the next try."""
        voice.say(why)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), RESTART_PAUSE_MAX_S)

    def _keep(self, coroutine: "Coroutine[object, object, None]") -> None:
        task = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)

    def _task_ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            voice.say(f"supervisor: {task.exception()!r}; stopping")
            self._broken = True
            self._stop(fast=True)

    # stopping

    def _stop(self, fast: bool) -> None:  # noqa: FBT001 - a signal's callback
        self._fast = self._fast or fast or self._stopping.is_set()
        self._stopping.set()
        if self._fast:
            for worker in self._workers:
                worker.send(Message("stop"))

    async def _stop_all(self) -> int:
        if not self._fast:
            voice.stopping(self._grace)
        for sock in self._sockets:
            sock.close()
        for worker in self._workers:
            worker.send(Message("stop") if self._fast else Message("drain", grace=self._grace))
        running = [
            worker.process
            for worker in self._workers
            if worker.process is not None and worker.process.returncode is None
        ]
        waits = [asyncio.ensure_future(process.wait()) for process in running]
        if waits:
            _, late = await asyncio.wait(waits, timeout=self._grace + 2.0)
            for wait in late:
                wait.cancel()
            if late:
                voice.say("calls were still running when the grace time ended; they were cut", "calls_cut")
        return 1 if self._broken else 0

    async def _kill_all(self) -> None:
        processes = [worker.process for worker in self._workers] + [self._manager]
        self._stopping.set()
        for process in processes:
            if process is not None and process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.terminate() if process is self._manager else process.kill()
        for process in processes:
            if process is not None and process.returncode is None:
                try:
                    await asyncio.wait_for(process.wait(), 2.0)
                except TimeoutError:
                    process.kill()
                    await process.wait()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def run(config: Path, *, events: bool = False) -> int:
    """Runs the gateway; returns the exit status. ``events``: what it says is JSON on standard output."""
    voice.Voice.events = events
    if not config.is_file():
        voice.say(f"no such file: {config}", "failed")
        return 1
    try:
        status = asyncio.run(Supervisor(config).run())
    except StartError as error:
        voice.say(str(error), "failed")
        return 1
    if events:  # people see the prompt return
        voice.say("stopped", "stopped", status=status)
    return status
