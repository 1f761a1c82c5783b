"""An upstream that writes down every byte it receives and answers by script.

It runs in a thread of its own, so that one instance serves a whole test session and blocking tests can watch it. A
script is chosen by the request's path; without one the request is answered ``200`` with a JSON echo of its line.
Records grow with the traffic and are bounded by ``RAW_BYTES_MAX`` per connection; ``clear()`` drops them.
"""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Self

from tests.support.script import AwaitBody, Cut, Gate, Pause, Reset, Script, Stall, Stream, head
from tests.support.wire import Body, Head, Wire, WireError, no_delay

RAW_BYTES_MAX: Final = 1 << 20


@dataclass
class RecordedRequest:
    """One request as it arrived; ``at`` is the monotonic time of its head, ``complete`` whether its end arrived."""

    head: Head
    body: Body
    connection: int
    at: float
    complete: bool = False

    @property
    def method(self) -> str:
        return self.head.start[0].decode()

    @property
    def target(self) -> str:
        return self.head.start[1].decode("latin-1")

    @property
    def path(self) -> str:
        return self.target.split("?", 1)[0]

    def header(self, name: str) -> str | None:
        """The value under ``name``, None when absent. Raises WireError when it occurs twice."""
        value = self.head.one(name)
        return None if value is None else value.decode("latin-1")


@dataclass
class Connection:
    """One accepted connection: its first bytes as received, their count, the parse error that ended it, if any."""

    number: int
    received: bytearray = field(default_factory=bytearray)
    received_bytes: int = 0
    error: str = ""
    open: bool = True
    was_reset: bool = False

    def tap(self, piece: bytes) -> None:
        self.received_bytes += len(piece)
        if len(self.received) < RAW_BYTES_MAX:
            self.received += piece


class RecordingUpstream:
    """Use as a context manager; ``address`` is known once entered. Safe to read from other threads."""

    def __init__(self, port: int = 0, name: str = "") -> None:
        self._port = port
        self._name = name
        self._scripts: dict[str, Script] = {}
        self._changed = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._wires: set[Wire] = set()
        self._listener: socket.socket | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, name="upstream", daemon=True)
        self._accepted = 0
        self.default: Script | None = None
        self.connections: list[Connection] = []
        self.requests: list[RecordedRequest] = []

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self._port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        self._thread.start()
        self.listen()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def listen(self) -> None:
        """Begins, or begins again, to accept connections on the same port."""
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self._port))
        listener.listen(1024)
        listener.setblocking(False)
        self._port = listener.getsockname()[1]
        self._listener = listener
        asyncio.run_coroutine_threadsafe(self._start_accepting(listener), self._loop).result(10)

    def stop(self) -> None:
        """Refuses connections and resets the open ones, as a killed server would."""
        asyncio.run_coroutine_threadsafe(self._close(abort=True), self._loop).result(10)

    def script(self, path: str, script: Script) -> None:
        """Answers requests for ``path`` (without query) by ``script`` from now on."""
        self._scripts[path] = script

    def clear(self) -> None:
        """Forgets scripts and records; open connections stay."""
        self._scripts.clear()
        self.requests = []
        self.connections = [connection for connection in self.connections if connection.open]

    def received_bytes(self) -> int:
        """All bytes ever received on the connections still on record."""
        return sum(connection.received_bytes for connection in self.connections)

    def of_path(self, path: str) -> list[RecordedRequest]:
        return [request for request in list(self.requests) if request.path == path]

    def connection(self, request: RecordedRequest) -> Connection:
        """The connection that ``request`` came on."""
        return next(connection for connection in self.connections if connection.number == request.connection)

    def wait(self, holds: Callable[[], bool], what: str, timeout_s: float = 5.0) -> None:
        """Blocks until ``holds()``; looked at after every event here. Raises AssertionError naming ``what``."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while not holds():
                left = deadline - time.monotonic()
                assert left > 0, f"upstream never saw: {what}"
                self._changed.wait(min(left, 0.1))

    async def awaits(self, holds: Callable[[], bool], what: str, timeout_s: float = 5.0) -> None:
        """``wait`` for asynchronous tests."""
        await asyncio.to_thread(self.wait, holds, what, timeout_s)

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()

    async def _start_accepting(self, listener: socket.socket) -> None:
        self._track(asyncio.create_task(self._accept(listener)))

    def _track(self, task: "asyncio.Task[None]") -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _close(self, *, abort: bool = False) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for wire in list(self._wires):
            if abort:
                wire.reset_on_close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            sock, _ = await loop.sock_accept(listener)
            self._accepted += 1
            connection = Connection(self._accepted)
            self.connections.append(connection)
            wire = Wire(no_delay(sock), connection.tap)
            self._wires.add(wire)
            self._track(asyncio.create_task(self._serve(wire, connection)))

    async def _serve(self, wire: Wire, connection: Connection) -> None:
        try:
            while await self._serve_one(wire, connection):
                pass
        except WireError as error:
            connection.error = str(error)
        except OSError:
            pass  # the gateway closed or the test stopped us: ``open`` tells
        finally:
            connection.open = False
            connection.was_reset = wire.reset
            wire.close()
            self._wires.discard(wire)
            self._notify()

    async def _serve_one(self, wire: Wire, connection: Connection) -> bool:
        request_head = await wire.request_head()
        if request_head is None:
            return False
        request = RecordedRequest(request_head, Body(), connection.number, time.monotonic())
        self.requests.append(request)
        self._notify()
        script = self._scripts.get(request.path) or self.default or self._echo(request)
        if not script.early:
            await self._read_body(wire, request)
            if not request.complete:
                return False
        if not await self._play(wire, script, request):
            return False
        if not request.complete:
            await self._read_body(wire, request)
        return request.complete and request_head.one("connection") != b"close"

    async def _read_body(self, wire: Wire, request: RecordedRequest) -> None:
        await wire.read_body(request.head, request.body, close_ends=False)
        request.complete = request.body.complete
        self._notify()

    async def _play(self, wire: Wire, script: Script, request: RecordedRequest) -> bool:
        """Carries the script out; False when the connection must not be used again."""
        for action in script.actions:
            match action:
                case bytes():
                    await wire.send(action, script.slice_bytes)
                case Pause():
                    await asyncio.sleep(action.seconds)
                case Gate():
                    await action.wait()
                case AwaitBody():
                    await self._read_body(wire, request)
                case Stream():
                    await _stream(wire, action)
                case Stall():
                    while await wire.fill():
                        pass
                    return False
                case Cut():
                    return False
                case Reset():
                    wire.reset_on_close()
                    return False
        return True

    def _echo(self, request: RecordedRequest) -> Script:
        body = json.dumps(
            {"method": request.method, "target": request.target, "served_by": self._name}
        ).encode()
        answer = head(200, f"Content-Length: {len(body)}", "Content-Type: application/json", reason="OK")
        return Script((answer if request.method == "HEAD" else answer + body,))


async def _stream(wire: Wire, stream: Stream) -> None:
    filler = bytes(range(256)) * (stream.piece_bytes // 256 + 1)
    left = stream.total_bytes
    while left:
        piece = filler[: min(left, stream.piece_bytes)]
        left -= len(piece)
        await wire.send(b"%x\r\n%b\r\n" % (len(piece), piece) if stream.chunks else piece)
    if stream.chunks:
        await wire.send(b"0\r\n\r\n")
