"""Each ledger beside the others, under one handle: workers that come and go, and time that a test moves.

``Bench`` hands out workers' holds on one store. ``advance`` moves the store's time, by moving what it wrote back,
since a server's clock is its own; the leases of workers that live are renewed on the way, as they would be. Who
``abandon`` s a worker kills it: nothing is let go, nobody renews.
"""

import asyncio
import socket
import threading
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Final, cast

import psycopg

from faregate.stores.ledger.embedded.client import EmbeddedLedger
from faregate.stores.ledger.embedded.clock import Reading, SystemClocks
from faregate.stores.ledger.embedded.opening import FolderLock, open_book
from faregate.stores.ledger.embedded.places import folder_in, listen, short_name, socket_in
from faregate.stores.ledger.embedded.server import Server as EmbeddedServer
from faregate.stores.ledger.moves import Claim, Standing, Teller
from faregate.stores.ledger.postgres_store import PostgresLedger
from faregate.stores.ledger.protocol import Ledger
from faregate.stores.ledger.redis_store import RedisLedger
from faregate.stores.ledger.remote import RemoteLedger
from tests.support.model_ledger import ModelBook, ModelLedger

_STEP_S: Final = 8.0
"""Less than a lease: workers renew in between."""


class Told(Teller):
    """Waits for one move."""

    def __init__(self) -> None:
        self.standing: asyncio.Future[Standing] = asyncio.get_running_loop().create_future()
        self.times = 0

    def ledger_told(self, standing: Standing) -> None:
        self.times += 1
        if not self.standing.done():
            self.standing.set_result(standing)


async def claim(ledger: Ledger, claim: Claim) -> Standing:
    told = Told()
    ledger.claim(claim, told)
    return await told.standing


async def mark(ledger: Ledger, key: bytes, attempt: bytes) -> Standing:
    told = Told()
    ledger.mark_sent(key, attempt, told)
    return await told.standing


async def settle(ledger: Ledger, key: bytes, attempt: bytes, state: int, answer: bytes = b"") -> Standing:
    told = Told()
    ledger.settle(key, attempt, state, answer, told)
    return await told.standing


class Bench(ABC):
    """One store that is empty at first."""

    def __init__(self) -> None:
        self.workers: list[Ledger] = []

    @abstractmethod
    def make(self) -> Ledger:
        """A worker's hold, not started."""

    @abstractmethod
    async def abandon(self, ledger: Ledger) -> None:
        """The worker is killed."""

    @abstractmethod
    async def advance(self, seconds: float) -> None:
        """Time goes on in the store; living workers renew."""

    async def worker(self) -> Ledger:
        ledger = self.make()
        await ledger.start()
        self.workers.append(ledger)
        return ledger

    async def close(self) -> None:
        for ledger in self.workers:
            await ledger.close()


class ModelBench(Bench):
    def __init__(self) -> None:
        super().__init__()
        self._ahead_s = 0.0
        self._book = ModelBook(lambda: time.time() + self._ahead_s)

    def make(self) -> Ledger:
        return ModelLedger(self._book)

    async def abandon(self, ledger: Ledger) -> None:
        cast("ModelLedger", ledger).vanish()
        self.workers.remove(ledger)

    async def advance(self, seconds: float) -> None:
        self._ahead_s += seconds


def _remote(ledger: Ledger) -> RemoteLedger:
    assert isinstance(ledger, RemoteLedger)
    return ledger


class RemoteBench(Bench):
    """Of a shared store; ``_shift`` moves everything in it back."""

    @abstractmethod
    async def _shift(self, seconds: float) -> None: ...

    async def abandon(self, ledger: Ledger) -> None:
        remote = _remote(ledger)
        remote._closing.set()
        remote._backlog.kept = 0
        await remote.close()
        self.workers.remove(ledger)

    async def advance(self, seconds: float) -> None:
        while seconds > 0:
            step = min(seconds, _STEP_S) if seconds < 1_000 else seconds
            await self._shift(step)
            seconds -= step
            for ledger in self.workers:
                remote = _remote(ledger)
                remote._held = {attempt: (key, -1e9) for attempt, (key, _) in remote._held.items()}
                await remote.renew()


_REDIS_SHIFT: Final = """
local back = tonumber(ARGV[2])
for _, name in ipairs({'open', 'due', 'since', 'done'}) do
  local set = ARGV[1] .. ':' .. name
  for _, hex in ipairs(redis.call('ZRANGE', set, 0, -1)) do redis.call('ZINCRBY', set, -back, hex) end
end
for _, record in ipairs(redis.call('KEYS', ARGV[1] .. ':r:*')) do
  for _, field in ipairs({'c', 'x'}) do
    local is = redis.call('HGET', record, field)
    if is then redis.call('HSET', record, field, string.format('%.0f', is - back)) end
  end
  local left = redis.call('PTTL', record)
  if left >= 0 then redis.call('PEXPIRE', record, string.format('%.0f', math.max(left - back, 0))) end
end
return 1
"""


class RedisBench(RemoteBench):
    def __init__(self, url: str, prefix: str) -> None:
        super().__init__()
        self._url = url
        self._prefix = prefix

    def make(self) -> Ledger:
        return RedisLedger(self._url, self._prefix)

    async def _shift(self, seconds: float) -> None:
        from redis.asyncio import Redis

        async with Redis.from_url(self._url) as client:
            await client.execute_command("EVAL", _REDIS_SHIFT, 0, self._prefix, str(int(seconds * 1000)))  # type: ignore[no-untyped-call]


class PostgresBench(RemoteBench):
    def __init__(self, url: str, prefix: str) -> None:
        super().__init__()
        self._url = url
        self._prefix = prefix

    def make(self) -> Ledger:
        return PostgresLedger(self._url, self._prefix)

    async def _shift(self, seconds: float) -> None:
        async with await psycopg.AsyncConnection.connect(self._url, autocommit=True) as connection:
            text = (
                f"UPDATE {self._prefix}_ledger SET changed_at = changed_at - make_interval(secs => %s), "
                "ends_at = ends_at - make_interval(secs => %s), due_at = due_at - make_interval(secs => %s)"
            )
            await connection.execute(text.encode(), (seconds,) * 3)


class _Clocks(SystemClocks):
    def __init__(self) -> None:
        super().__init__()
        self.ahead_ms = 0

    def read(self) -> Reading:
        now = super().read()
        return Reading(now.boot, now.boot_ms + self.ahead_ms, now.wall_ms + self.ahead_ms)


class EmbeddedBench(Bench):
    """Its process is a thread here, with a clock that can be moved."""

    def __init__(self, data: Path) -> None:
        super().__init__()
        self._data = data
        folder = folder_in(data)
        folder.mkdir(parents=True, mode=0o700)
        lock = FolderLock.take(folder, lambda _: False)
        assert lock is not None
        self._lock = lock
        self._clocks = _Clocks()
        book, clock = open_book(folder, 64 << 20, clocks=self._clocks)
        self._server = EmbeddedServer(book, clock, listen(socket_in(data)), lambda _: None)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()

    def make(self) -> Ledger:
        return EmbeddedLedger(self._data)

    async def abandon(self, ledger: Ledger) -> None:
        await ledger.close()
        self.workers.remove(ledger)

    async def advance(self, seconds: float) -> None:
        self._clocks.ahead_ms += int(seconds * 1000)
        for _ in range(
            2
        ):  # the first turn hears of workers that have gone, the second looks after what they left
            self._server._tick_at = 0.0
            with socket.socket(socket.AF_UNIX) as knock, short_name(socket_in(self._data)) as name:
                knock.connect(name)
                while self._server._tick_at == 0.0:  # noqa: ASYNC110 - a test's wait
                    await asyncio.sleep(0.001)

    async def close(self) -> None:
        await super().close()
        self._server.stopping = True
        await asyncio.to_thread(self._thread.join, 5)
        self._server.close()
        self._lock.free()
