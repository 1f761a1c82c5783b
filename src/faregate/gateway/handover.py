"""A new version of the program takes over from a running one: what is handed over, and the two ends of it.

The running supervisor starts its successor as a child and gives it the listening sockets, the counters and
the data folder's lock by descriptor. The successor compiles the file, starts its own workers beside the
running ones on the same sockets and counters, and says when all are ready; until then nothing of the running
gateway has changed, and whatever fails ends the successor alone. Then the former workers drain. At no moment
is a socket closed or the lock free.

The settings travel as JSON of a numbered form, for the two ends are different versions of this file.
"""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from faregate import VERSION
from faregate.gateway.children import StartError
from faregate.gateway.control import Message
from faregate.gateway.line import Line
from faregate.gateway.revisions import Report, take_report
from faregate.gateway.running import Options, Running
from faregate.gateway.voice import Voice

if TYPE_CHECKING:
    from faregate.gateway.crew import Crew

FORM: Final = 2
READY_S: Final = 150.0
"""A successor compiles (two minutes at most) and starts its workers."""
CONSENT_S: Final = 30.0
TAKEN_S: Final = 10.0
_END_S: Final = 5.0


class Form(msgspec.Struct):
    """What every form has, and is read before the rest."""

    form: int
    events: bool = False


class Handover(msgspec.Struct):
    """What a successor is started with. Numbers are inherited descriptors. ``manager``, ``sockets``: by
    ``host:port`` as configured. ``indexes``: those that living workers hold, draining ones too; ``sharers``:
    how many use the counters. ``connections``: where they count their connections.
    """

    form: int
    config: str
    data: str
    line: int
    lock: int
    counters: int
    connections: int
    sockets: dict[str, int]
    manager: dict[str, int]
    indexes: list[int]
    sharers: int
    revision: int
    via: str
    options: Options
    events: bool = False


def read_handover(settings: str) -> Handover:
    """From the JSON of any version. Raises StartError when it is not of the form that is read here."""
    form = msgspec.json.decode(settings, type=Form).form
    if form != FORM:
        raise StartError(f"the running version hands over in form {form}, this one reads {FORM}")
    return msgspec.json.decode(settings, type=Handover)


class Inheritance(NamedTuple):
    """What a successor takes up, as it uses it."""

    data: Path
    lock: int
    counters: int
    manager: dict[str, socket.socket]
    indexes: list[int]
    sharers: int
    connections: int


class HandoverError(Exception):
    """The successor did not become ready; the text is for the operator. The running gateway goes on.

    ``report``: what the successor found in the configuration.
    """

    def __init__(self, message: str, report: Report | None = None) -> None:
        super().__init__(message)
        self.report = report or Report()


class Successor:
    """The running gateway's end. ``pid`` and ``version`` are those of the process that took over."""

    def __init__(self, process: asyncio.subprocess.Process, report: Path) -> None:
        self._process = process
        self._report = report
        self._ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._taken = asyncio.Event()
        self._line: Line | None = None
        self.version = ""

    @property
    def pid(self) -> int:
        return self._process.pid

    @classmethod
    async def start(cls, running: Running, program: str, sharers: int) -> "Successor":
        """Starts ``program``, a Python that has Faregate installed, on all that ``running`` holds.

        ``sharers``: how many use the counters without its workers. Raises ``HandoverError``.
        """
        ours, theirs = socket.socketpair()
        handover = _handover(running, theirs.fileno(), sharers)
        given = [handover.line, handover.lock, handover.counters, handover.connections]
        given += [*handover.sockets.values(), *handover.manager.values()]
        try:
            process = await asyncio.create_subprocess_exec(
                program,
                "-m",
                "faregate.gateway.succeed",
                msgspec.json.encode(handover).decode(),
                pass_fds=given,
                stdin=asyncio.subprocess.DEVNULL,
            )
        except OSError as error:
            ours.close()
            raise HandoverError(f"cannot start {program}: {error.strerror}") from error
        finally:
            theirs.close()
        successor = cls(process, _report_path(running.data))
        successor._line = Line(ours, asyncio.get_running_loop(), successor._hear, successor._gone)
        return successor

    async def ready(self, stopping: asyncio.Event) -> None:
        """Waits until it is warm and could take calls alone. Raises ``HandoverError``; then nothing of it is
        left.
        """
        stop = asyncio.ensure_future(stopping.wait())
        both: list[asyncio.Future[Any]] = [self._ready, stop]
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED, timeout=READY_S)
        stop.cancel()
        why = self._ready.result() if self._ready.done() else f"it was not ready within {READY_S:.0f} s"
        if stopping.is_set():
            why = "the gateway is stopping"
        if why:
            await self._end()
            raise HandoverError(f"the new version did not take over: {why}", take_report(self._report))

    async def consent(self) -> None:
        """From now on it is the gateway. Returns when it hears commands, so that nobody finds no gateway."""
        assert self._line is not None
        self._line.send(Message("yours"))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._taken.wait(), TAKEN_S)

    def close(self) -> None:
        if self._line is not None:
            self._line.close()

    def _hear(self, message: Message, _: list[socket.socket]) -> None:
        if message.what in {"ready", "failed"} and not self._ready.done():
            self.version = message.snapshot
            self._ready.set_result("" if message.what == "ready" else message.reason)
        elif message.what == "taken":
            self._taken.set()

    def _gone(self) -> None:
        self._taken.set()
        if not self._ready.done():
            self._ready.set_result("it ended; what it said stands with the gateway's own words")

    async def _end(self) -> None:
        """Lets it end: by itself when it has given up, else by a signal, at last by force."""
        signals = [signal.SIGTERM, signal.SIGKILL]
        if not self._ready.done():
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signals.pop(0))
        while self._process.returncode is None:
            try:
                await asyncio.wait_for(self._process.wait(), _END_S)
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    self._process.send_signal(signals.pop(0) if len(signals) > 1 else signals[0])
        self.close()


def _handover(running: Running, line: int, sharers: int) -> Handover:
    assert running.lock is not None
    assert running.snapshot is not None
    manager, configured = running.manager, running.snapshot.gateway.manager
    managers = {}
    if manager is not None and configured is not None:
        managers[f"{configured.host}:{configured.port}"] = manager.sock.fileno()
    return Handover(
        form=FORM,
        config=str(running.config.absolute()),
        data=str(running.data),
        line=line,
        lock=running.lock.fileno(),
        counters=running.crew.memory,
        connections=running.connections,
        sockets={key: sock.fileno() for key, sock in running.listening.sockets.items()},
        manager=managers,
        indexes=sorted(running.crew.held()),
        sharers=sharers,
        revision=running.numbered,
        via=running.via,
        options=running.options,
        events=Voice.events,
    )


class Predecessor:
    """The successor's end: what it inherits, and the word with the gateway that still runs."""

    def __init__(self, handover: Handover) -> None:
        self.handover = handover
        self.inheritance = Inheritance(
            Path(handover.data),
            handover.lock,
            handover.counters,
            _sockets(handover.manager),
            handover.indexes,
            handover.sharers,
            handover.connections,
        )
        self.sockets = _sockets(handover.sockets)
        self._consent = asyncio.Event()
        self.gone = asyncio.Event()
        self._line = Line(
            socket.socket(fileno=handover.line), asyncio.get_running_loop(), self._hear, self._ended
        )

    async def ask_consent(self) -> None:
        """Says that we are ready and waits for the word, or for the other's end, which is as good. Raises
        StartError.
        """
        self._line.send(Message("ready", snapshot=VERSION))
        try:
            await asyncio.wait_for(self._consent.wait(), CONSENT_S)
        except TimeoutError:
            raise StartError("the running gateway does not let go") from None

    def taken(self) -> None:
        """Says that commands reach us."""
        self._line.send(Message("taken"))

    def failed(self, reason: str, report: Report | None = None) -> None:
        """``report``, which may be longer than the line takes, goes by a file that the other end removes."""
        if report is not None:
            with contextlib.suppress(OSError):
                _report_path(self.inheritance.data).write_bytes(msgspec.json.encode(report))
        self._line.send(Message("failed", reason=reason))

    async def alone(self, crew: "Crew") -> None:
        """Once the predecessor's workers have ended, only ours use the counters. Those of one that was killed
        finish first.
        """
        await self.gone.wait()
        await crew.outlive(self.inheritance.indexes, self.inheritance.sharers)

    def _hear(self, message: Message, _: list[socket.socket]) -> None:
        if message.what == "yours":
            self._consent.set()

    def _ended(self) -> None:
        self._consent.set()
        self.gone.set()


def _report_path(data: Path) -> Path:
    return data / "succeeding.report"


def _sockets(descriptors: Mapping[str, int]) -> dict[str, socket.socket]:
    made = {}
    for key, descriptor in descriptors.items():
        os.set_inheritable(descriptor, False)  # noqa: FBT003 - the os module's own signature
        made[key] = socket.socket(fileno=descriptor)
    return made
