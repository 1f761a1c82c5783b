"""A ledger of a million keys in each store, filled by the store's own code in larger batches than calls come
in: the embedded one's book without its syncs, the other two's sessions.

What is counted of a store is its server's: CPU, memory, disk, and how many records stand in it, expired ones
that were not removed yet included.
"""

import asyncio
import os
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from benchmarks.ledger_pairs import ABOUT, ANSWER, DAY_S, FINGERPRINT
from benchmarks.processes import Program
from faregate.stores.ledger.embedded.cleaning import Cleaner
from faregate.stores.ledger.embedded.client import EmbeddedLedger
from faregate.stores.ledger.embedded.disk import Disk
from faregate.stores.ledger.embedded.opening import FolderLock, open_book
from faregate.stores.ledger.embedded.places import folder_in
from faregate.stores.ledger.moves import COMPLETED, DONE, GRANTED, REPLAY, SENT, Claim
from faregate.stores.ledger.protocol import Ledger
from faregate.stores.ledger.remote import RemoteLedger
from faregate.stores.ledger.remote_moves import CLAIM, SETTLE, Move
from faregate.stores.ledger.remote_session import Session, StoreAway

Keep = Callable[[float], int]
"""Seconds that a record is kept, by how much of the filling is done, 0 to 1."""
DISK_BYTES: Final = 8 << 30
_BATCH: Final = 500
_SESSIONS: Final = 2
_TRIES: Final = 150


def a_day(_: float) -> int:
    return DAY_S


class Kept(ABC):
    """One ledger. ``start_s``: until its process takes connections again with all keys; 0: not measured."""

    ledger: Ledger
    start_s = 0.0

    @abstractmethod
    async def fill(self, keys: int, keep: Keep) -> None:
        """Completed records of so many keys."""

    @abstractmethod
    async def stored(self) -> int:
        """Records that stand in the store, expired or not."""

    @abstractmethod
    async def memory_bytes(self) -> float:
        """Of the server, as far as it grows with keys; 0: it does not."""

    @abstractmethod
    async def disk_bytes(self) -> float:
        """What this ledger's files take."""

    @abstractmethod
    def pids(self) -> list[int]:
        """The server's processes now."""

    @abstractmethod
    async def close(self) -> None:
        """Lets go of it."""


class Unsynced(Disk):
    """For filling: nobody is told anything before the end."""

    def sync(self, descriptor: int) -> None:
        """Nothing."""


class EmbeddedKept(Kept):
    """The embedded ledger in ``data``. ``build``: a folder with the package to run instead."""

    def __init__(self, data: Path, build: str = "") -> None:
        self.folder = folder_in(data)
        self.ledger = EmbeddedLedger(data)
        self._environment = {**os.environ, **({"PYTHONPATH": build} if build else {})}
        self._process: subprocess.Popen[bytes] | None = None

    async def begin(self) -> None:
        """Starts its process."""
        (self.folder / "socket").unlink(missing_ok=True)
        began = time.perf_counter()
        program = [sys.executable, "-m", "faregate.stores.ledger.embedded.program"]
        self._process = subprocess.Popen(  # noqa: ASYNC220 - nothing else runs now
            [*program, str(self.folder), str(DISK_BYTES)], stdin=subprocess.PIPE, env=self._environment
        )
        while not (self.folder / "socket").exists():
            assert self._process.poll() is None
            await asyncio.sleep(0.005)
        self.start_s = time.perf_counter() - began

    async def fill(self, keys: int, keep: Keep) -> None:
        self.kill()
        lock = FolderLock.take(self.folder, lambda _: False)
        assert lock is not None
        fill_book(self.folder, keys, keep)
        lock.free()
        await self.begin()
        await self.ledger.start()

    async def stored(self) -> int:
        return (await self.ledger.figures()).records

    async def memory_bytes(self) -> float:
        if self._process is None:
            await self.begin()
        assert self._process is not None
        pages = int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1])  # noqa: ASYNC240
        return pages * os.sysconf("SC_PAGE_SIZE")

    async def disk_bytes(self) -> float:
        return sum(path.stat().st_size for path in self.folder.iterdir())

    def pids(self) -> list[int]:
        return [] if self._process is None else [self._process.pid]

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process = None

    async def close(self) -> None:
        await self.ledger.close()
        self.kill()


def fill_book(folder: Path, keys: int, keep: Keep) -> None:
    """The moves of so many pairs, and what the process does between them, without its syncs."""
    book, clock = open_book(folder, DISK_BYTES, Unsynced())
    cleaner, owner = Cleaner(book), book.here(os.urandom(8))
    for number in range(keys):
        if number % _BATCH == 0:
            clock.look()
            book.now_ms, book.wall_ms = clock.now_ms, clock.wall_ms
            book.log.commit()
            book.log.prepare()
            cleaner.step()
        key, attempt = os.urandom(16), os.urandom(16)
        kind = book.claim(owner, key, attempt, FINGERPRINT, keep(number / keys), ABOUT, True, True)
        assert kind == GRANTED, book.told_reason
        assert book.settle(key, attempt, COMPLETED, ANSWER) == DONE
    while cleaner.step():
        book.log.commit()
    book.log.commit()
    book.log.close()


class RemoteKept(Kept):
    """A ledger in a shared store's ``server``."""

    ledger: RemoteLedger

    def __init__(self, ledger: RemoteLedger, server: Program) -> None:
        self.ledger = ledger
        self._server = server

    async def fill(self, keys: int, keep: Keep) -> None:
        await self.ledger.start()
        left = iter(range(0, keys, _BATCH))

        async def work() -> None:
            session = await self._session()
            for first in left:
                claims = fresh(min(_BATCH, keys - first), keep(first / keys))
                while True:
                    try:
                        await put(session, claims)
                        break
                    except StoreAway:  # a disk that others keep busy: asked again, as calls are
                        await session.close()
                        session = await self._session()
            await session.close()

        await asyncio.gather(*(work() for _ in range(_SESSIONS)))

    async def _session(self) -> Session:
        for _ in range(_TRIES):
            with suppress(StoreAway):
                return await self.ledger._open(fit=True)  # noqa: SLF001
            await asyncio.sleep(0.2)
        raise AssertionError("the store cannot be reached")

    def pids(self) -> list[int]:
        return self._server.pids()

    async def close(self) -> None:
        await self.ledger.close()


def fresh(count: int, keep_s: int) -> list[Claim]:
    made = ((os.urandom(16), os.urandom(16)) for _ in range(count))
    return [Claim(key, attempt, FINGERPRINT, keep_s, ABOUT, True, True) for key, attempt in made]


async def put(session: Session, claims: list[Claim]) -> None:
    """Claims and settles a batch with the statements that calls use. Raises StoreAway."""
    moves = [Move(CLAIM, each.key, each.attempt, SENT, b"", each, None, 0.0) for each in claims]
    told = await session.run(CLAIM, moves)
    # one that was settled before its answer was lost is told again
    assert all(each is not None and each.kind in {GRANTED, REPLAY} for each in told)
    moves = [Move(SETTLE, each.key, each.attempt, COMPLETED, ANSWER, None, None, 0.0) for each in claims]
    told = await session.run(SETTLE, moves)
    assert all(each is not None and each.kind == DONE for each in told)


class RedisKept(RemoteKept):
    """In a database of its own, of the server at ``url``."""

    def __init__(self, url: str, server: Program) -> None:
        from redis.asyncio import Redis

        from faregate.stores.ledger.redis_store import RedisLedger

        super().__init__(RedisLedger(url, "keys"), server)
        self._redis = Redis.from_url(url)

    async def stored(self) -> int:
        """As hashes, or in the set of those that are completed."""
        return max(await self._redis.dbsize(), await self._redis.zcard("keys:done"))

    async def memory_bytes(self) -> float:
        return float((await self._redis.info("memory"))["used_memory"])

    async def disk_bytes(self) -> float:
        """Written anew before, as Redis does by itself whenever it has doubled."""
        await self._written_anew()
        await self._redis.bgrewriteaof()
        return await self._written_anew()

    async def _written_anew(self) -> float:
        """Waits for it; bytes of the file."""
        while True:
            told = await self._redis.info("persistence")
            if not (told["aof_rewrite_in_progress"] or told["aof_rewrite_scheduled"]):
                return float(told["aof_current_size"])
            await asyncio.sleep(0.1)

    async def close(self) -> None:
        await super().close()
        await self._redis.aclose()


class PostgresKept(RemoteKept):
    """In a table of its own, of the server at ``url``."""

    def __init__(self, url: str, prefix: str, server: Program) -> None:
        from faregate.stores.ledger.postgres_store import PostgresLedger

        super().__init__(PostgresLedger(url, prefix), server)
        self._url = url
        self._table = f"{prefix}_ledger"

    async def _number(self, statement: str) -> int:
        import psycopg

        async with await psycopg.AsyncConnection.connect(self._url, autocommit=True) as connection:
            row = await (await connection.execute(statement.encode(), (self._table,))).fetchone()
        return int(row[0]) if row and row[0] is not None else 0

    async def stored(self) -> int:
        """As the server counts them, a second late at most: nothing is walked for it."""
        return await self._number("SELECT n_tup_ins - n_tup_del FROM pg_stat_user_tables WHERE relname = %s")

    async def memory_bytes(self) -> float:
        return 0.0

    async def disk_bytes(self) -> float:
        return await self._number("SELECT pg_total_relation_size(to_regclass(%s))")
