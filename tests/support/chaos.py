"""A TCP proxy that misbehaves on purpose, between the gateway and anything it talks to (http-rules.md section 10).

Faults are values that the test sets at any time and that apply to the bytes that follow: delay and jitter, rate, slicing,
a cut, reset or half-close after byte N in either direction, silence, refusal, late close. Seeded, so that a run can be repeated.
Bytes are counted from the moment a fault was set, or from the connection's begin when that was later. ``chaos_process`` is
the same in a process of its own.
"""

import asyncio
import contextlib
import random
import socket
import threading
from collections.abc import Coroutine
from dataclasses import dataclass, field, replace
from typing import Final, Self

from tests.support.wire import Wire, no_delay, sliced

Address = tuple[str, int]
_PIECE_BYTES: Final = 64 << 10


@dataclass(frozen=True)
class Faults:
    """What happens to one direction. Zero or False means: not.

    ``delay_ms`` and ``jitter_ms`` before each piece; ``bytes_per_s`` at most; ``slice_bytes`` per write; ``cut_after`` and
    ``reset_after``: bytes that pass before the connection ends that way, -1 for never; ``half_close_after``: bytes that pass before
    this direction alone ends, the rest being dropped; ``silent``: bytes are read and dropped; ``close_late_ms``: how long an end of
    stream is kept back.
    """

    delay_ms: float = 0
    jitter_ms: float = 0
    bytes_per_s: float = 0
    slice_bytes: int = 0
    cut_after: int = -1
    reset_after: int = -1
    half_close_after: int = -1
    silent: bool = False
    close_late_ms: float = 0


class _EndedError(Exception):
    """A fault ended the connection."""


@dataclass
class _Link:
    """One proxied connection and the bytes that passed each way."""

    near: Wire
    far: Wire
    passed: dict[str, int] = field(default_factory=lambda: {"up": 0, "down": 0})
    under: dict[str, Faults] = field(default_factory=dict)
    """The faults that ``passed`` counts under."""
    half_closed: set[str] = field(default_factory=set)

    def counted(self, direction: str, faults: Faults) -> int:
        """Bytes that passed in this direction since ``faults`` hold."""
        if self.under.get(direction) is not faults:
            self.under[direction] = faults
            self.passed[direction] = 0
        return self.passed[direction]

    def reset_on_close(self) -> None:
        for wire in (self.near, self.far):
            with contextlib.suppress(OSError):  # closed already, its task about to be forgotten
                wire.reset_on_close()


class ChaosProxy:
    """Forwards ``address`` to ``target``. ``up`` rules bytes towards the target, ``down`` those that come back."""

    def __init__(self, target: Address, seed: int = 1) -> None:
        self.target = target
        self.up = Faults()
        self.down = Faults()
        self.mute = False
        """Accepts and says nothing, without connecting on."""
        self.accepted = 0
        self._random = random.Random(seed)
        self._port = 0
        self._listener: socket.socket | None = None
        self._links: dict[asyncio.Task[None], _Link] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="chaos", daemon=True)

    @property
    def address(self) -> Address:
        return "127.0.0.1", self._port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        self._thread.start()
        self.listen()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def listen(self) -> None:
        """Accepts connections, again on the same port after ``refuse()``."""
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self._port))
        listener.listen(1024)
        listener.setblocking(False)
        self._port = listener.getsockname()[1]
        self._listener = listener
        asyncio.run_coroutine_threadsafe(self._begin(listener), self._loop).result(10)

    def refuse(self) -> None:
        """Connections get refused from now on and the open ones are reset."""
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)

    def heal(self) -> None:
        """Takes every fault away."""
        self.up = self.down = Faults()
        self.mute = False

    def reset_all(self) -> None:
        """Resets the open connections; new ones are welcome."""
        asyncio.run_coroutine_threadsafe(self._reset_links(), self._loop).result(10)

    async def _begin(self, listener: socket.socket) -> None:
        self._track(self._accept(listener))

    def _track(self, work: Coroutine[None, None, None]) -> "asyncio.Task[None]":
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _reset_links(self) -> None:
        links = dict(self._links)
        for task, link in links.items():
            link.reset_on_close()
            task.cancel()
        await asyncio.gather(*links, return_exceptions=True)

    async def _stop(self) -> None:
        tasks = list(self._tasks)
        await self._reset_links()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    async def _accept(self, listener: socket.socket) -> None:
        while True:
            sock, _ = await self._loop.sock_accept(listener)
            self.accepted += 1
            link = _Link(
                Wire(no_delay(sock)), Wire(no_delay(socket.socket(socket.AF_INET, socket.SOCK_STREAM)))
            )
            task = self._track(self._join(link))
            self._links[task] = link
            task.add_done_callback(self._links.pop)

    async def _join(self, link: _Link) -> None:
        try:
            if self.mute:
                while await link.near.fill():
                    link.near.buffer.clear()
                return
            await self._loop.sock_connect(link.far.sock, self.target)
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._pump(link, "up"))
                pumps.create_task(self._pump(link, "down"))
        except* OSError:
            link.reset_on_close()
        except* _EndedError:
            pass
        finally:
            link.near.close()
            link.far.close()

    async def _pump(self, link: _Link, direction: str) -> None:
        source, sink = (link.near, link.far) if direction == "up" else (link.far, link.near)
        while await source.fill():
            faults = self.up if direction == "up" else self.down
            data = bytes(source.buffer)
            source.buffer.clear()
            for piece in sliced(data, faults.slice_bytes or _PIECE_BYTES):
                await self._pass_on(link, direction, sink, piece)
        faults = self.up if direction == "up" else self.down
        await asyncio.sleep(faults.close_late_ms / 1000)
        if source.reset:
            link.reset_on_close()
            raise _EndedError
        if direction not in link.half_closed:
            sink.half_close()

    async def _pass_on(self, link: _Link, direction: str, sink: Wire, piece: bytes) -> None:
        """Sends one piece under the faults that hold now. Raises _EndedError when they end the connection."""
        faults = self.up if direction == "up" else self.down
        wait_s = (faults.delay_ms + faults.jitter_ms * self._random.random()) / 1000
        if faults.bytes_per_s:
            wait_s += len(piece) / faults.bytes_per_s
        if wait_s:
            await asyncio.sleep(wait_s)
        passed = link.counted(direction, faults)
        for limit, reset in ((faults.cut_after, False), (faults.reset_after, True)):
            if limit >= 0 and passed + len(piece) >= limit:
                if direction not in link.half_closed:
                    await sink.send(piece[: max(0, limit - passed)])
                if reset:
                    link.reset_on_close()
                raise _EndedError
        link.passed[direction] += len(piece)
        if faults.silent or direction in link.half_closed:
            return
        limit = faults.half_close_after
        if 0 <= limit <= passed + len(piece):
            await sink.send(piece[: max(0, limit - passed)])
            link.half_closed.add(direction)
            sink.half_close()
            return
        await sink.send(piece)


def both(proxy: ChaosProxy, **changes: float) -> None:
    """Sets the same faults for both directions; names as in ``Faults``."""
    proxy.up = proxy.down = replace(Faults(), **changes)  # type: ignore[arg-type]
