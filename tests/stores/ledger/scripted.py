"""A remote ledger over a store by script: batches that are lost, refused, or hang."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import uvloop

from faregate.stores.ledger.moves import UNAVAILABLE, Standing
from faregate.stores.ledger.protocol import Entry, Figures
from faregate.stores.ledger.remote import RemoteLedger
from faregate.stores.ledger.remote_moves import CLAIM, MARK, WITHDRAW, Move
from faregate.stores.ledger.remote_session import Session, StoreAway
from tests.support.model_ledger import ModelBook, Owner


class Store:
    """The model as a store behind sessions. ``script``: what happens to the next batches: ``lose`` does it and loses
    the answer, ``refuse`` fails before, ``hang`` does it and answers when the session is cut or ``go`` is set.
    """

    def __init__(self) -> None:
        self.book = ModelBook()
        self.owner = Owner()
        self.script: list[str] = []
        self.down = ""
        self.unfit = ""
        self.fault: Exception | None = None
        """What nobody foresaw: of every connection and check."""
        self.opened = 0
        self.batches: list[tuple[int, list[bytes]]] = []
        self.withdrawn: set[bytes] = set()
        self.renewed: list[bytes] = []
        self.decided: list[bool] = []
        self.go = asyncio.Event()
        self.questions_lost = 0

    def make(self, kind: int, move: Move) -> Standing:
        if kind == CLAIM:
            assert move.claim is not None
            if move.attempt in self.withdrawn:
                return Standing(UNAVAILABLE, reason="store_withdrawn")
            return self.book.claim(move.claim, self.owner)
        if kind == MARK:
            return self.book.mark_sent(move.key, move.attempt)
        if kind == WITHDRAW:
            self.withdrawn.add(move.attempt)
        return self.book.settle(move.key, move.attempt, move.state, move.answer)


class StoreSession(Session):
    def __init__(self, store: Store) -> None:
        self.store = store
        self.cut = asyncio.Event()

    async def run(self, kind: int, moves: Sequence[Move]) -> list[Standing | None]:
        store = self.store
        store.batches.append((kind, [move.key for move in moves]))
        await asyncio.sleep(0)
        what = store.script.pop(0) if store.script else ""
        if what == "refuse" or store.down:
            raise StoreAway("store_test", "refused")
        if what == "again":
            return [None] * len(moves)
        standings: list[Standing | None] = [store.make(kind, move) for move in moves]
        if what == "lose":
            raise StoreAway("store_test", "lost")
        if what == "hang":
            waits = [asyncio.ensure_future(event.wait()) for event in (self.cut, store.go)]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()
            if self.cut.is_set():
                raise StoreAway("store_test", "cut")
        return standings

    def _ask(self) -> None:
        if self.store.questions_lost:
            self.store.questions_lost -= 1
            raise StoreAway("store_test", "lost")

    async def renew(self, held: Sequence[tuple[bytes, bytes]]) -> None:
        self._ask()
        self.store.renewed += [key for key, _ in held]

    async def sweep(self) -> bool:
        return False

    async def check(self) -> str:
        if self.store.fault is not None:
            raise self.store.fault
        if self.store.unfit:
            raise StoreAway(self.store.unfit, "unfit in words")
        return ""

    async def decide(
        self, key: bytes, attempt: bytes, state: int, answer: bytes, by: str, note: str, *, again: bool
    ) -> bool:
        self.store.decided.append(again)
        self._ask()
        return True

    async def entry(self, key: bytes) -> Entry | None:
        self._ask()
        return None

    async def figures(self) -> Figures:
        self._ask()
        self.store.decided.append(False)
        return Figures(1, 0, 0, 0.0)

    async def close(self) -> None:
        self.cut.set()

    def abort(self) -> None:
        self.cut.set()


class StoreLedger(RemoteLedger):
    def __init__(self, store: Store, lanes: int = 1) -> None:
        super().__init__(lanes)
        self.store = store

    async def _open(self, *, fit: bool) -> Session:
        self.store.opened += 1
        if self.store.down:
            raise StoreAway(self.store.down, "down")
        if self.store.fault is not None:
            raise self.store.fault
        return StoreSession(self.store)


def on(test: Callable[[Store, StoreLedger], Awaitable[None]], lanes: int = 1) -> None:
    async def run() -> None:
        store = Store()
        ledger = StoreLedger(store, lanes)
        await ledger.start()
        try:
            await test(store, ledger)
        finally:
            await ledger.close()

    uvloop.run(run())


async def until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(3):
        while not what():  # noqa: ASYNC110 - a test's wait
            await asyncio.sleep(0.002)
