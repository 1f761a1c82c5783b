"""The first process: holds the listening sockets, keeps the workers and the manager running, and lets
changes in one at a time.

It handles no calls, reads no configuration (a child compiles it, so that the supervisor stays small and no
error in a configuration can harm it), and does little else than wait. How it starts stands in ``starting``,
how it changes in ``reloading`` and ``handover``; the workers are the ``crew``'s. SIGTERM drains, SIGINT stops
at once, SIGHUP reloads; the commands come by the control socket (``commands``).
"""

import asyncio
import gc
import os
import shutil
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from faregate import VERSION
from faregate.gateway import canarying, voice
from faregate.gateway.children import StartError
from faregate.gateway.commands import CommandServer, Request
from faregate.gateway.control import IDLE_SUCCEEDED_S
from faregate.gateway.handover import Handover, HandoverError, Predecessor, Successor
from faregate.gateway.listening import Listening
from faregate.gateway.notify import notify
from faregate.gateway.reloading import Kept, Reloaded, publish, reload
from faregate.gateway.revisions import is_missing
from faregate.gateway.running import Options, Running
from faregate.gateway.starting import start
from faregate.gateway.watching import watch
from faregate.kernel.events import speak_in_events
from faregate.stores.counters_layout import WORKERS_MAX

if TYPE_CHECKING:
    from collections.abc import Coroutine

_STOPPING: Final = "the gateway is stopping"


class Supervisor:
    """Runs one configuration file until told to stop; ``run`` returns the exit status.

    ``predecessor``: the running gateway to take over from.
    """

    def __init__(
        self, config: Path, options: Options | None = None, predecessor: Predecessor | None = None
    ) -> None:
        self._running = Running(config, options or Options(), self._keep)
        self._predecessor = predecessor
        self._commands: CommandServer | None = None
        self._stopping = asyncio.Event()
        self._fast = False
        self._broken = False
        self._succeeded = False
        self._reload_wanted = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._since = time.time()

    async def run(self) -> int:
        """Starts, serves, stops. Raises ``StartError`` when it cannot start."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._stop, False)  # noqa: FBT003 - a callback's argument
        loop.add_signal_handler(signal.SIGINT, self._stop, True)  # noqa: FBT003 - a callback's argument
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # a child's parent may have held it back
        loop.add_signal_handler(signal.SIGHUP, self._reload_wanted.set)
        try:
            await self._start()
            if not self._stopping.is_set():
                self._keep(self._reload_when_asked())
                if self._running.counting is not None:
                    self._keep(self._running.counting.keep_saved())
                if self._running.options.watch:
                    self._keep(watch(lambda: self._running.files, lambda: reload(self._running)))
                await self._stopping.wait()
            return await self._stop_all()
        finally:
            await self._end_all()

    # starting

    async def _start(self) -> None:
        running, predecessor = self._running, self._predecessor
        if predecessor is not None:
            handover = predecessor.handover
            running.listening = Listening(predecessor.sockets)
            running.numbered, running.via = handover.revision, handover.via
        seconds = await start(
            running, self._stopping, None if predecessor is None else predecessor.inheritance
        )
        if self._stopping.is_set():
            return
        if predecessor is not None:
            await self._take_over(predecessor)
        self._commands = CommandServer(running.data, self._answer)
        try:
            await self._commands.start()
        except OSError as error:
            self._commands = None
            voice.say(f"no commands can be given: {running.data}/control: {error.strerror}", level="warning")
        if predecessor is not None:
            predecessor.taken()
        self._announce(seconds)
        notify("READY=1", f"MAINPID={os.getpid()}")

    async def _take_over(self, predecessor: Predecessor) -> None:
        """From here on this is the gateway on the data folder."""
        running = self._running
        await predecessor.ask_consent()
        self._predecessor = None
        running.served()
        if running.manager is not None:
            running.manager.tell(hold=False)
        self._keep(predecessor.alone(running.crew))

    def _announce(self, seconds: float) -> None:
        running = self._running
        assert running.snapshot is not None
        url = None if running.manager is None else running.manager.url
        workers = len(running.crew.places)
        voice.started(running.listening.names, url, workers, running.snapshot, seconds)
        running.say_bound()

    # changes

    async def _reload_when_asked(self) -> None:
        while True:
            await self._reload_wanted.wait()
            self._reload_wanted.clear()
            await reload(self._running)

    async def _answer(self, request: Request) -> object:  # noqa: PLR0911 - one a command
        """What came of a command, as JSON for the one who gave it."""
        match request.command:
            case "status":
                return self._status()
            case "canary_keep":
                return Kept(canarying.keep(self._running, request.revision), request.revision)
            case "canary_off":
                canarying.end(self._running, request.reason or "it was called off")
                return Kept(ok=True, revision=0)
            case "reload" | "publish" | "upgrade" if self._stopping.is_set() and not self._succeeded:
                return self._refused(_STOPPING)
            case "reload":
                return await self._reload()
            case "audit":
                return self._keep_audit()
            case "publish":
                return await publish(self._running, request)
            case "upgrade":
                return await self._upgrade(request.program)
        return {"ok": False, "message": f"this version knows no command `{request.command}`"}

    def _keep_audit(self) -> dict[str, object]:
        """Starts the audit tree's writer for a manager that has something to record."""
        snapshot = self._running.snapshot
        if snapshot is not None and not self._running.over:
            self._running.keep_audit(snapshot, wanted=True)
        return {"ok": self._running.audit is not None, "message": "", "revision": 0}

    async def _reload(self) -> Reloaded:
        return await reload(self._running)

    def _refused(self, message: str) -> Reloaded:
        snapshot = self._running.snapshot
        return Reloaded(ok=False, revision=0 if snapshot is None else snapshot.revision, message=message)

    def _status(self) -> dict[str, object]:
        running = self._running
        assert running.snapshot is not None
        return {
            "ok": True,
            "pid": os.getpid(),
            "version": VERSION,
            "config": str(running.config.absolute()),
            "data": str(running.data),
            "revision": running.snapshot.revision,
            "routes": running.snapshot.routes,
            "stale": running.stale,
            "canary": 0 if running.canary is None else running.canary.revision,
            "since": round(self._since, 3),
            "changing": running.changing.locked(),
            "stopping": self._stopping.is_set(),
            "listen": running.listening.names,
            "manager": None if running.manager is None else running.manager.url,
            "workers": [
                {
                    "index": place.index,
                    "pid": place.pid,
                    "ready": place.ready.is_set(),
                    "revision": place.revision,
                    "seconds": round(time.monotonic() - place.started_at, 1),
                }
                for place in running.crew.places
            ],
        }

    async def _upgrade(self, program: str) -> dict[str, object]:
        """Starts a successor and, once it is warm, leaves everything to it."""
        running = self._running
        if os.getpid() == 1:
            why = "process 1 of a container cannot hand over: start another container"
            return {"ok": False, "message": why}
        if not os.access(program, os.X_OK):
            return {"ok": False, "message": f"{program or 'nothing'} is no program"}
        async with running.changing:
            if self._stopping.is_set():
                return {"ok": False, "message": _STOPPING}
            begun = time.monotonic()
            canarying.end(running, "the gateway is upgraded")
            workers = len(running.crew.places)
            # a single worker counts without locks until it hears that it is not alone
            if not await running.crew.share(running.crew.sharers + workers):
                await running.crew.share(running.crew.sharers - workers)
                return {"ok": False, "message": "a worker does not answer"}
            try:
                successor = await Successor.start(running, program, running.crew.sharers - workers)
                await successor.ready(self._stopping)
            except HandoverError as error:
                others = set(range(WORKERS_MAX)) - running.crew.held()
                self._keep(running.crew.outlive(others, workers))  # none, unless it was killed
                voice.say(f"{error}; this version goes on", "upgrade_failed")
                return {
                    "ok": False,
                    "message": f"{error}; version {VERSION} goes on",
                    "diagnostics": error.report.diagnostics,
                    "text": error.report.text,
                }
            await self._leave_to(successor)
        return {
            "ok": True,
            "message": f"process {successor.pid} has taken over",
            "pid": successor.pid,
            "version": successor.version,
            "seconds": round(time.monotonic() - begun, 3),
        }

    async def _leave_to(self, successor: Successor) -> None:
        running = self._running
        self._succeeded = True
        running.over = f"process {successor.pid} has taken over: ask again"
        manager, running.manager = running.manager, None
        if manager is not None:
            await manager.end()
        notify(f"MAINPID={successor.pid}")
        if running.counting is not None:
            running.counting.leave()
        await running.end_kept()  # the successor's wait for their places; workers of both go on there
        await successor.consent()
        voice.succeeded(successor.pid, successor.version)
        self._keep(self._hold(successor))
        self._stopping.set()

    async def _hold(self, successor: Successor) -> None:
        """Keeps the line until this process ends: its end tells that our workers are gone."""
        try:
            await asyncio.Event().wait()
        finally:
            successor.close()

    # what runs beside

    def _keep(self, coroutine: "Coroutine[object, object, None]") -> None:
        task = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)

    def _task_ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            voice.say(f"supervisor: {task.exception()!r}; stopping", level="error")
            self._broken = True
            self._stop(fast=True)

    # stopping

    def _stop(self, fast: bool) -> None:  # noqa: FBT001 - a signal's callback
        fast = fast or self._stopping.is_set()
        if fast and not self._fast:
            voice.stopping_at_once()
        self._fast = self._fast or fast
        self._stopping.set()
        if self._fast:
            self._running.crew.stop()

    async def _stop_all(self) -> int:
        """Readiness fails first, then nobody is let in any more, then calls have the grace time."""
        running = self._running
        running.over = running.over or _STOPPING
        options = running.options
        if self._commands is not None and self._succeeded:
            await self._commands.settle()  # whoever asked for it is answered
            await self._commands.close(remove=False)
        if not self._succeeded:
            notify("STOPPING=1")
            if running.manager is not None:
                running.manager.tell(stopping=True)
            if not self._fast:
                voice.stopping(options.grace, options.drain_wait)
                await self._wait_unless_fast(options.drain_wait)
        running.listening.close()
        if self._fast:
            running.crew.stop()
            ended = await running.crew.wait(2.0)
        elif self._succeeded:
            ended = await running.crew.drain(options.grace, IDLE_SUCCEEDED_S)
        else:
            ended = await running.crew.drain(options.grace)
        if not ended or running.crew.cut:
            voice.calls_cut(running.crew.cut, at_once=self._fast)
        return 1 if self._broken else 0

    async def _wait_unless_fast(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not self._fast and (left := deadline - time.monotonic()) > 0:  # noqa: ASYNC110 - a signal sets it
            await asyncio.sleep(min(left, 0.05))

    async def _end_all(self) -> None:
        """Nothing that this process started outlives it, but a successor."""
        running = self._running
        self._stopping.set()
        await running.crew.kill()
        manager, running.manager = running.manager, None
        if manager is not None:
            await manager.end()
        await running.end_kept()
        if self._commands is not None:
            await self._commands.close(remove=not self._succeeded)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        running.listening.close()
        if running.counting is not None:
            # those that another process has too, it saves
            running.counting.end(save=not self._succeeded and self._predecessor is None)
        if running.unserved is not None:
            running.unserved.unlink(missing_ok=True)
        shutil.rmtree(running.runtime, ignore_errors=True)
        if running.lock is not None:
            running.lock.close()


async def succeed(handover: Handover) -> int:
    """Takes over from the gateway that started this process; returns the exit status."""
    predecessor = Predecessor(handover)
    try:
        status = await Supervisor(Path(handover.config), handover.options, predecessor).run()
    except StartError as error:
        predecessor.failed(str(error), error.report)
        return 1
    voice.stopped(status)
    return status


def run(config: Path, options: Options | None = None, *, events: bool = False) -> int:
    """Runs the gateway; returns the exit status. ``events``: what it says is JSON on standard output."""
    voice.Voice.events = events
    if events:
        speak_in_events("supervisor")
    if is_missing(config):
        voice.say(f"no such file: {config}", "failed")
        return 1
    gc.freeze()  # what is loaded stays: no collection needs to walk it, the last one least of all
    try:
        status = asyncio.run(_run(config, options))
    except StartError as error:
        voice.say(str(error), "failed")
        return 1
    voice.stopped(status)
    return status


async def _run(config: Path, options: Options | None) -> int:
    return await Supervisor(config, options).run()
