"""The embedded ledger without its process: for a command, while no gateway runs."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from faregate.stores.ledger.embedded.asking import PAGE, Ask, answered
from faregate.stores.ledger.embedded.book import Book
from faregate.stores.ledger.embedded.clock import LedgerClock
from faregate.stores.ledger.embedded.opening import FolderLock, open_book
from faregate.stores.ledger.embedded.places import folder_in
from faregate.stores.ledger.embedded.records import DamagedError
from faregate.stores.ledger.embedded.segments import BYTES_MAX_DEFAULT
from faregate.stores.ledger.protocol import (
    UNAVAILABLE,
    Claim,
    Entry,
    Figures,
    Ledger,
    LedgerError,
    Standing,
    Teller,
)

_OFFLINE: Final = Standing(UNAVAILABLE, reason="ledger_offline")


class OfflineLedger(Ledger):
    """A book of its own. It takes no calls: their moves are UNAVAILABLE."""

    def __init__(self, book: Book, clock: LedgerClock, lock: FolderLock) -> None:
        self._book = book
        self._clock = clock
        self._lock = lock

    def claim(self, claim: Claim, teller: Teller) -> None:  # noqa: ARG002 - the protocol's
        asyncio.get_running_loop().call_soon(teller.ledger_told, _OFFLINE)

    def mark_sent(self, key: bytes, attempt: bytes, teller: Teller) -> None:  # noqa: ARG002 - the protocol's
        asyncio.get_running_loop().call_soon(teller.ledger_told, _OFFLINE)

    def settle(
        self,
        key: bytes,  # noqa: ARG002 - the protocol's
        attempt: bytes,  # noqa: ARG002
        state: int,  # noqa: ARG002
        answer: bytes,  # noqa: ARG002
        teller: Teller | None,
    ) -> None:
        if teller is not None:
            asyncio.get_running_loop().call_soon(teller.ledger_told, _OFFLINE)

    async def due(self, most: int) -> list[Entry]:
        return self._ask(Ask("due", most=most))  # type: ignore[return-value]

    async def defer(self, key: bytes, attempt: bytes, after_s: float) -> None:
        self._ask(Ask("defer", key, attempt, after_s=after_s))

    async def decide(  # noqa: PLR0913, PLR0917 - as the protocol has it
        self, key: bytes, attempt: bytes, state: int, answer: bytes, by: str, note: str
    ) -> bool:
        return bool(self._ask(Ask("decide", key, attempt, state, answer, by, note)))

    async def entries(self, states: Sequence[int], after: bytes, most: int) -> list[Entry]:
        found: list[Entry] = []
        while len(found) < most:
            wanted = min(PAGE, most - len(found))
            page: list[Entry] = self._ask(  # type: ignore[assignment]
                Ask("entries", states=list(states), most=wanted, after=after)
            )
            found += page
            if len(page) < wanted:
                break
            after = page[-1].key
        return found

    async def entry(self, key: bytes) -> Entry | None:
        return self._ask(Ask("entry", key))  # type: ignore[return-value]

    async def figures(self) -> Figures:
        return self._ask(Ask("figures"))  # type: ignore[return-value]

    async def start(self) -> None:
        """It is open."""

    async def close(self) -> None:
        self._book.log.commit()
        self._book.log.close()
        self._lock.free()

    def _ask(self, ask: Ask) -> object:
        book, clock = self._book, self._clock
        clock.look()
        book.now_ms, book.wall_ms = clock.now_ms, clock.wall_ms
        book.settle_gone()
        try:
            answer = answered(book, ask)
        except (DamagedError, OSError) as error:
            raise LedgerError(f"the ledger is damaged: {error}") from error
        if not book.log.commit():
            raise LedgerError(book.log.failed or "the ledger's disk is full")
        return answer


def open_offline(data: Path, disk_bytes: int = BYTES_MAX_DEFAULT) -> OfflineLedger:
    """The ledger of the data folder ``data``, for as long as no process serves it; what workers left in
    flight stands as it was for ``LEASE_S``. Raises ``LedgerError`` when one does, or there is no ledger, or
    it is damaged.
    """
    folder = folder_in(data)
    if not folder.is_dir():
        raise LedgerError(f"there is no ledger in {data}")
    try:
        lock = FolderLock.take(folder, lambda _: False)
        if lock is None:
            raise LedgerError(f"the ledger in {data} is in use")
        try:
            book, clock = open_book(folder, disk_bytes)
        except BaseException:
            lock.free()
            raise
    except OSError as error:
        raise LedgerError(f"the ledger in {data} cannot be used: {error.strerror or error}") from error
    return OfflineLedger(book, clock, lock)
