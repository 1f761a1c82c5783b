"""Committed revisions on their way out (``cases.ports.Publisher``): into the replica, then into the workers.

The replica is written before the next revision can be committed, so that it never lacks one in the middle;
where it cannot be written, it is written whole as soon as it can. The workers follow in the background, with
pauses that grow while the gateway does not answer.
"""

import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

from faregate.kernel.changes import Change
from faregate.kernel.replica import NAME, Replica, ReplicaError
from faregate.manager.publishing.publisher import Published

PAUSES_S: Final = (0.1, 0.5, 2.0, 5.0, 15.0)
"""Between tries to bring a revision to the workers; the last one is repeated."""

Whole = Callable[[], Awaitable[tuple[int, list[Change]]]]
Acknowledge = Callable[[int, str], Awaitable[None]]


class Publishes(Protocol):
    async def publish(self, revision: int) -> Published: ...


class Spreading:
    """``whole``: all of the database's entries and their revision; ``acknowledge``: told of what the workers
    run, or why they do not.
    """

    def __init__(self, data: Path, publisher: Publishes, whole: Whole, acknowledge: Acknowledge) -> None:
        self._publisher = publisher
        self._whole = whole
        self._acknowledge = acknowledge
        self._path = data / NAME
        self._replica: Replica | None = None
        self._wanted = 0
        self._running = 0
        self._changed = asyncio.Condition()
        self._work: asyncio.Task[None] | None = None
        self._news = asyncio.Event()

    async def align(self) -> bool:
        """Makes the replica what the database is; False when it was so already."""
        with contextlib.suppress(ReplicaError, OSError):
            self._replica = await asyncio.to_thread(Replica, self._path)
        head, changes = await self._whole()
        if self._replica is not None and self._replica.revision == head and self._path.exists() == (head > 0):
            return False
        if head == 0 and not self._path.exists():
            return False
        await asyncio.to_thread(self._write_whole, changes, head)
        return True

    async def committed(self, number: int, changes: Sequence[Mapping[str, object]]) -> None:
        """Keeps ``changes`` in the replica, and has the workers follow."""
        told = [Change(str(one["section"]), str(one["name"]), one["content"]) for one in changes]
        try:
            if self._replica is None:
                head, everything = await self._whole()
                await asyncio.to_thread(self._write_whole, everything, head)
            else:
                await asyncio.to_thread(self._replica.append, told, number)
        except (ReplicaError, OSError) as error:
            self._replica = None  # written whole with the next revision, or at the next start
            _say(f"the replica of the configuration cannot be written: {error}")
        self.want(number)

    def want(self, number: int) -> None:
        """Revision ``number`` is to run in every worker."""
        self._wanted = max(self._wanted, number)
        self._news.set()
        if self._work is None:
            self._work = asyncio.get_running_loop().create_task(self._keep_publishing())

    async def published(self, number: int, timeout_s: float) -> bool:
        """Waits until every worker runs ``number`` or a later one."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s), self._changed:
                await self._changed.wait_for(lambda: self._running >= number)
        return self._running >= number

    async def close(self) -> None:
        if self._work is not None:
            self._work.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._work

    async def _keep_publishing(self) -> None:
        failed = 0
        while True:
            self._news.clear()
            wanted = self._wanted
            if self._running >= wanted:
                await self._news.wait()
                continue
            told = await self._publisher.publish(wanted)
            if told.ok:
                failed = 0
                async with self._changed:
                    self._running = max(wanted, told.revision)
                    self._changed.notify_all()
                await self._acknowledge(self._running, "")
                continue
            if failed == 0:
                _say(f"revision {wanted} does not reach the workers yet: {told.message}")
                await self._acknowledge(0, told.message)
            pause = PAUSES_S[min(failed, len(PAUSES_S) - 1)]
            failed += 1
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), pause)

    def _write_whole(self, changes: Sequence[Change], head: int) -> None:
        try:
            replica = Replica(self._path)
        except ReplicaError:
            self._path.unlink(missing_ok=True)
            replica = Replica(self._path)
        replica.replace(changes, head)
        self._replica = replica


def _say(message: str) -> None:
    print(f"faregate: manager: {message}", file=sys.stderr)  # noqa: T201
