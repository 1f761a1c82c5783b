"""Committed revisions on their way out (``cases.ports.Publisher``): into the replica, then into the workers.

The replica is written before the next revision can be committed, so that it never lacks one in the middle;
where it cannot be written, it is written whole before anything else is published. The workers follow in the
background, with pauses that grow while the gateway does not answer; after a reload of the file they are made
sure of anew, since a reload may have read the replica as it was before.
"""

import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

from faregate.kernel.changes import Change
from faregate.kernel.replica import NAME, Replica, ReplicaError
from faregate.manager.cases.errors import CaseError
from faregate.manager.publishing.publisher import Published

PAUSES_S: Final = (0.1, 0.5, 2.0, 5.0, 15.0)
"""Between tries to bring a revision to the workers; the last one is repeated."""

Whole = Callable[[], Awaitable[tuple[int, list[Change]]]]
Acknowledge = Callable[[int, str], Awaitable[None]]


class Publishes(Protocol):
    async def publish(self, revision: int) -> Published: ...


class Holds(Protocol):
    """The compiler, as far as it matters here."""

    def anew(self) -> None:
        """Begins anew from the replica before it is asked for anything more."""

    def holds(self) -> bool:
        """Whether it still has what was applied to it last."""


class Spreading:
    """``whole``: all of the database's entries and their revision; ``acknowledge``: told of what the workers
    run, or why they do not; ``compiler``: begun anew when the replica was not what it had to be; ``turn``:
    held by who commits, and so while ``committed`` is called.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - it ties together as many
        self,
        data: Path,
        publisher: Publishes,
        whole: Whole,
        acknowledge: Acknowledge,
        compiler: Holds,
        turn: asyncio.Lock,
    ) -> None:
        self._publisher = publisher
        self._whole = whole
        self._acknowledge = acknowledge
        self._compiler = compiler
        self._turn = turn
        self._path = data / NAME
        self._replica: Replica | None = None
        """None while it is not what the database is."""
        self._wanted = 0
        self._running = 0
        self._changed = asyncio.Condition()
        self._work: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self._misfit = ""

    async def align(self) -> int:
        """Makes the replica what the database is; returns the revision that it then has."""
        with contextlib.suppress(ReplicaError, OSError):
            self._replica = await asyncio.to_thread(Replica, self._path)
        head, changes = await self._whole()
        there = self._path.exists()
        if head == 0 and not there:
            return head
        if self._replica is None or self._replica.revision != head or not there:
            await asyncio.to_thread(self._write_whole, changes, head)
            self._compiler.anew()
        return head

    async def committed(self, number: int, changes: Sequence[Mapping[str, object]], after: int) -> None:
        """Keeps ``changes`` in the replica, which holds revision ``after``, and has the workers follow."""
        told = [Change(str(one["section"]), str(one["name"]), one["content"]) for one in changes]
        try:
            if self._replica is None or self._replica.revision != after:
                self._replica = None
                await self._mend()
            else:
                await asyncio.to_thread(self._replica.append, told, number)
        except (ReplicaError, OSError, CaseError) as error:
            self._replica = None
            _say(f"the replica of the configuration cannot be written: {error}")
        finally:
            self.want(number)

    def want(self, number: int) -> None:
        """Revision ``number`` is to run in every worker."""
        self._wanted = max(self._wanted, number)
        self._news.set()
        if self._work is None:
            self._work = asyncio.get_running_loop().create_task(self._keep_publishing())

    def again(self) -> None:
        """Something else was put to work: what is wanted is made sure of anew."""
        self._running = 0
        if self._wanted:
            self.want(self._wanted)

    async def misfit(self, message: str) -> None:
        """Another machine's revision does not fit this one's file, or (empty) does so again."""
        if message != self._misfit:
            self._misfit = message
            if message:
                _say(message)
            await self._acknowledge(0, message)

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
            message = await self._made_sure()
            if not message:
                told = await self._publisher.publish(wanted)
                message = "" if told.ok else told.message
                if self._replica is None and not self._compiler.holds():
                    message = message or "the compiler began anew on a replica that is behind"
            if not message:
                failed = 0
                async with self._changed:
                    self._running = wanted  # what was asked for: the workers may run it under another number
                    self._changed.notify_all()
                await self._acknowledge(wanted, self._misfit)
                continue
            if failed == 0:
                _say(f"revision {wanted} does not reach the workers yet: {message}")
                await self._acknowledge(0, message)
            pause = PAUSES_S[min(failed, len(PAUSES_S) - 1)]
            failed += 1
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), pause)

    async def _made_sure(self) -> str:
        """Whether what the compiler would write is what was committed; if not, why. A replica that could not
        be written is, before a compiler that began anew on it is asked for a snapshot.
        """
        if self._replica is not None:
            return ""
        async with self._turn:
            try:
                if self._replica is None:
                    await self._mend()
            except (ReplicaError, OSError, CaseError) as error:
                if not self._compiler.holds():
                    return f"the replica of the configuration cannot be written: {error}"
        return ""

    async def _mend(self) -> None:
        head, everything = await self._whole()
        await asyncio.to_thread(self._write_whole, everything, head)
        self._compiler.anew()

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
