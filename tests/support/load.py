"""Callers that keep a gateway busy: many keep-alive connections, each asking, reading, pausing and asking again.

Each call is noted with its times on this process's monotonic clock, so that a proof can say what must have happened between them.
A connection that ends is opened anew; a call cut by that counts with status 0.
"""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.support.client import Address, RawClient
from tests.support.wire import WireError


@dataclass(slots=True)
class Shot:
    """One call: sent at ``sent``, over at ``ended`` (monotonic seconds); ``status`` 0 when no answer came."""

    name: str
    sent: float
    ended: float = 0.0
    status: int = 0
    text: str = ""


@dataclass
class Load:
    """``connections`` callers, each pausing about ``pause_s`` between calls. ``make`` builds a request from its name."""

    address: Address
    make: Callable[[str], bytes]
    connections: int
    pause_s: float
    shots: list[Shot] = field(default_factory=list)
    _stop: bool = False
    _count: int = 0
    _random: random.Random = field(default_factory=lambda: random.Random(7))

    async def run(self, seconds: float) -> None:
        """Calls for ``seconds``, or until ``stop()``."""
        deadline = time.monotonic() + seconds
        async with asyncio.TaskGroup() as group:
            for _ in range(self.connections):
                group.create_task(self._caller(deadline))

    def stop(self) -> None:
        self._stop = True

    def between(self, begin: float, end: float) -> list[Shot]:
        """Calls that were sent in that span."""
        return [shot for shot in self.shots if begin <= shot.sent < end]

    async def _caller(self, deadline: float) -> None:
        await asyncio.sleep(self._random.random() * self.pause_s)
        while not self._over(deadline):
            try:
                async with RawClient(self.address, timeout_s=15) as client:
                    await self._calls(client, deadline)
            except (OSError, WireError, TimeoutError):
                await asyncio.sleep(
                    0.01
                )  # the gateway is changing hands; a real caller would not spin either

    def _over(self, deadline: float) -> bool:
        return self._stop or time.monotonic() >= deadline

    async def _calls(self, client: RawClient, deadline: float) -> None:
        while not self._over(deadline):
            self._count += 1
            shot = Shot(f"load-{self._count}", time.monotonic())
            self.shots.append(shot)
            try:
                await client.send(self.make(shot.name))
                answer = await client.answer("POST")
            finally:
                shot.ended = time.monotonic()
            if answer is None:
                return
            shot.status, shot.text = answer.status, answer.text.decode("latin-1")
            if answer.header("connection") == "close":
                return
            await asyncio.sleep(self.pause_s * (0.5 + self._random.random()))
