"""Brings what is applied and committed to the workers: one snapshot at a time, always the newest.

Changes that come while one is on its way go together with the next. A snapshot is written while nobody
writes: what is applied in the compiler and not committed yet, and may be taken back, is in none. Where a
publication fails the replica has the change all the same: the next one, a reload or a start brings it.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from faregate.manager.publishing.service import Compiler, CompilerError
from faregate.manager.publishing.supervisor import Command, Reply, tell
from faregate.snapshot import encoded

PUBLISH_S: Final = 60.0
SNAPSHOT: Final = "snapshot.publish"
RUNNING: Final = "snapshot"
"""What all workers run, laid there by the supervisor once they do."""

Tell = Callable[[Path, Command, float], Awaitable[Reply]]


class Published(NamedTuple):
    """``revision``: what all workers run now. ``seconds``: from being asked for to their acknowledgement.
    ``ok`` False: they run what they ran; ``message`` says why.
    """

    revision: int
    seconds: float
    ok: bool
    message: str


class Publisher:
    """``writing``: held by whoever applies and commits a change; never by a caller of ``publish``."""

    def __init__(self, compiler: Compiler, data: Path, writing: asyncio.Lock, tell: Tell = tell) -> None:
        self._compiler = compiler
        self._data = data
        self._writing = writing
        self._tell = tell
        self._turn = asyncio.Lock()
        self._wanted = 0
        self._next: asyncio.Task[Published] | None = None

    async def publish(self, revision: int) -> Published:
        """Has ``revision``, which is committed, or a newer one run in every worker."""
        begun = time.monotonic()
        self._wanted = max(self._wanted, revision)
        if self._next is None:
            self._next = asyncio.get_running_loop().create_task(self._round())
        published = await asyncio.shield(self._next)  # of others too: one that leaves does not end it
        return published._replace(seconds=time.monotonic() - begun)

    async def _round(self) -> Published:
        path = self._data / SNAPSHOT
        async with self._turn:
            for tries_left in (1, 0):
                try:
                    async with self._writing:
                        if self._next is asyncio.current_task():
                            self._next = None  # whoever asks from here on is in the next round
                        revision = self._wanted
                        written = await self._compiler.write(path, revision)
                    if not written.ok:
                        return Published(0, 0.0, ok=False, message=written.message)
                    running = await asyncio.to_thread(_running_alike, path, self._data / RUNNING, revision)
                    if running:
                        return Published(running, 0.0, ok=True, message="it runs already")
                    command = Command("publish", str(path), revision, written.base)
                    reply = await self._tell(self._data, command, PUBLISH_S)
                except CompilerError as error:
                    if not tries_left:
                        return Published(0, 0.0, ok=False, message=str(error))
                    continue  # another one loads the replica, where the change is
                except OSError as error:
                    message = f"the gateway cannot be told: {error.strerror or type(error).__name__}"
                    return Published(0, 0.0, ok=False, message=message)
                finally:
                    with contextlib.suppress(OSError):
                        path.unlink()
                if reply.ok or not tries_left:
                    break
                self._compiler.restart()  # the file may have been put to work meanwhile
            return Published(reply.revision, reply.seconds, ok=reply.ok, message=reply.message)

    async def settle(self) -> None:
        """Waits until what was asked for is done."""
        if self._next is not None:
            await asyncio.shield(self._next)


def _running_alike(made: Path, running: Path, revision: int) -> int:
    """The number under which the workers run what is ``made``, where it is ``revision`` or a later one; else
    0. After a start or a reload of the file most often nothing has to be done.
    """
    try:
        present = running.read_bytes()
        number = encoded.decode_outline(present).revision
        if number < revision or encoded.renumber(made.read_bytes(), number) != present:
            return 0
    except (OSError, ValueError, msgspec.MsgspecError):
        return 0
    return number
