"""One run of the demo: folder, ports, children, callers, scenes, view; and the way back down.

Whatever ends it (time, Ctrl-C, SIGTERM, a closed terminal, a child that died, a fault of its own), it goes
down the same way: callers stop, every child is asked to end and killed if it will not, the summary is
shown, a temporary folder is removed.
"""

import asyncio
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from faregate.demo.board import make_board, make_summary, read_target_states
from faregate.demo.callers import Traffic, cast
from faregate.demo.figures import LogTail, Window
from faregate.demo.folder import Folder, Ports
from faregate.demo.http_client import Answer, Connection, NoAnswerError, Request
from faregate.demo.processes import Child, free_port, gateway, payment_server, port_is_free, stop_all
from faregate.demo.scenario import USUAL_DELAY_MS, Scenario, Server, scene_seconds
from faregate.demo.views import View, Welcome

START_S_MAX: Final = 20.0
DRAIN_S_MAX: Final = 0.5
"""How long calls on their way may take to finish once the demo ends."""

STOP_S_MAX: Final = 2.0
"""How long children may take to end by themselves; after it they are killed."""

_TICK_S: Final = 0.25
_TOKEN_LIFETIME_S: Final = 86_400


class DemoError(Exception):
    """The demo cannot start or go on; the message is for the user."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asked for; ``port`` None: 8080, or another when that is taken."""

    duration_s: float
    port: int | None = None
    directory: Path | None = None
    traffic: bool = True


async def run_demo(options: Options, view: View) -> None:
    """Runs the demo to its end. Raises DemoError, FolderError."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    ports, notes = choose_ports(options.port)
    with Folder.open(options.directory) as folder:
        credentials = folder.write(ports, int(time.time()), _TOKEN_LIFETIME_S)
        welcome = Welcome(ports, folder, credentials, notes, options.duration_s)
        await _Stage(welcome, options, view, stop).run()


def choose_ports(wanted: int | None) -> tuple[Ports, tuple[str, ...]]:
    """Ports nobody listens on, the usual ones where possible, and a note for each that is not usual.

    Raises DemoError when ``wanted``, a port the user asked for, is taken.
    """
    if wanted is not None and not port_is_free(wanted):
        raise DemoError(f"port {wanted} is taken; choose another with --port, or leave --port out")
    usual = Ports() if wanted is None else Ports(gateway=wanted)
    taken: set[int] = set()
    ports = Ports(
        gateway=free_port(usual.gateway, taken),
        manager=free_port(usual.manager, taken),
        target_1=free_port(usual.target_1, taken),
        target_2=free_port(usual.target_2, taken),
    )
    pairs = (
        ("gateway", usual.gateway, ports.gateway),
        ("manager", usual.manager, ports.manager),
        ("target 1", usual.target_1, ports.target_1),
        ("target 2", usual.target_2, ports.target_2),
    )
    notes = tuple(
        f"port {old} is taken; the {name} listens on {new}" for name, old, new in pairs if old != new
    )
    return ports, notes


class _Stage:
    """The parts of one run, and what they share while it lasts."""

    def __init__(self, welcome: Welcome, options: Options, view: View, stop: asyncio.Event) -> None:
        ports, folder = welcome.ports, welcome.folder
        self._welcome = welcome
        self._options = options
        self._view = view
        self._stop = stop
        self._servers = [
            Server(number, port, payment_server(f"target {number}", port, folder.path, USUAL_DELAY_MS))
            for number, port in ((1, ports.target_1), (2, ports.target_2))
        ]
        self._gateway = gateway(folder.config)
        self._scenario = Scenario(self._servers)
        self._log = LogTail(folder.access_log)
        self._window = Window(time.monotonic())
        self._calls_made = 0
        self._up: dict[str, bool] = {}

    @property
    def _children(self) -> list[Child]:
        return [self._gateway, *(server.child for server in self._servers)]

    async def run(self) -> None:
        started = False
        began = time.monotonic()
        try:
            await self._start()
            if not self._stop.is_set():
                started = True
                self._view.welcome(self._welcome)
                began = time.monotonic()
                self._window = Window(began)
                await self._play(began)
        finally:
            self._view.close()
            stopping = time.monotonic()
            by_themselves = await stop_all(self._children, STOP_S_MAX)
        if started:
            now = time.monotonic()
            while lines := self._log.read():
                self._window.add_lines(lines, now)
            stopped = (now - stopping, by_themselves)
            duration_s = stopping - began
            self._view.summary(
                make_summary(self._window, duration_s, self._calls_made, self._log.unreadable, stopped)
            )

    async def _start(self) -> None:
        for child in self._children:
            child.start()
        # One after the other: they start at the same time, so the first wait covers most of the others.
        await self._answering(self._gateway, self._welcome.ports.manager, "/readyz")
        for server in self._servers:
            await self._answering(server.child, server.port, "/healthz")

    async def _answering(self, child: Child, port: int, path: str) -> None:
        """Returns once ``path`` answers 200, or the user gave up. Raises DemoError."""
        connection = Connection(port, timeout_s=1.0)
        until = time.monotonic() + START_S_MAX
        try:
            while not self._stop.is_set():
                if not child.running:
                    raise DemoError(f"the {child.name} ended at once; it printed:\n{child.log_tail()}")
                if time.monotonic() > until:
                    raise DemoError(
                        f"the {child.name} did not start in {START_S_MAX:.0f} s:\n{child.log_tail()}"
                    )
                if await _status(connection, path) == 200:
                    return
                await asyncio.sleep(0.05)
        finally:
            connection.close()

    async def _play(self, began: float) -> None:
        """Traffic, scenes and view until time is up, the user stops it, or the gateway dies (DemoError)."""
        traffic = Traffic(self._welcome.ports.gateway, self._report)
        if self._options.traffic:
            traffic.start(cast(self._welcome.credentials))
        scene_s = scene_seconds(self._options.duration_s)
        others = [
            asyncio.create_task(self._watch_targets()),
            asyncio.create_task(self._scenario.play(scene_s)),
        ]
        try:
            while not self._stop.is_set() and time.monotonic() - began < self._options.duration_s:
                await self._tick()
                for task in (*others, *traffic.tasks):
                    if task.done():
                        task.result()  # none of them returns by itself; raises what ended it
                if not self._gateway.running:
                    raise DemoError(f"the gateway ended; it printed:\n{self._gateway.log_tail()}")
        except NoAnswerError as error:
            raise DemoError(f"a payment server does not answer: {error}") from None
        finally:
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            await traffic.end(DRAIN_S_MAX)

    async def _tick(self) -> None:
        try:
            await asyncio.wait_for(self._stop.wait(), _TICK_S)
        except TimeoutError:
            now = time.monotonic()
            self._window.add_lines(self._log.read(), now)
            board = make_board(self._window, now, self._scenario.scene, self._servers, self._up)
            self._view.show(board)

    def _report(self, answer: Answer | None) -> None:
        self._calls_made += 1
        self._window.add_answer(None if answer is None else answer.latency_s, time.monotonic())

    async def _watch_targets(self) -> None:
        connection = Connection(self._welcome.ports.manager, timeout_s=2.0)
        try:
            while True:
                try:
                    answer = await connection.call(Request("GET", "/metrics"))
                    self._up = read_target_states(answer.body.decode())
                except NoAnswerError:
                    self._up = {}
                await asyncio.sleep(1.0)
        finally:
            connection.close()


async def _status(connection: Connection, path: str) -> int:
    try:
        return (await connection.call(Request("GET", path))).status
    except NoAnswerError:
        return 0
