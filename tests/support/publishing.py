"""What a manager does with a change, without database and admin API: compiled, kept in the replica, published."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from faregate.kernel.changes import Change
from faregate.kernel.replica import NAME, Replica
from faregate.manager.publishing.publisher import Published, Publisher
from faregate.manager.publishing.service import Compiler


class Desk:
    """Changes of the gateway whose data is in ``data``, one after the other, numbered from ``revision`` on."""

    def __init__(self, data: Path, revision: int = 100) -> None:
        self.writing = asyncio.Lock()
        self.compiler = Compiler(data, writing=self.writing)
        self.publisher = Publisher(self.compiler, data, self.writing)
        self.replica = Replica(data / NAME)
        self.revision = max(self.replica.revision, revision)

    async def commit(self, *changes: Change) -> int:
        """Applies and keeps the changes; the revision they are."""
        async with self.writing:
            answer = await self.compiler.apply(changes)
            assert answer.ok, (answer.message, answer.diagnostics)
            self.revision += 1
            self.replica.append(changes, self.revision)
            return self.revision

    async def publish(self, *changes: Change) -> Published:
        """The same, and brings them into every worker."""
        return await self.publisher.publish(await self.commit(*changes))


@contextlib.asynccontextmanager
async def desk(data: Path) -> AsyncIterator[Desk]:
    made = Desk(data)
    try:
        yield made
    finally:
        await made.compiler.close()
