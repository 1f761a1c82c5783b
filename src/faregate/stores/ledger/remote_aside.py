"""The one connection of a remote ledger that is not for moves: the resolver's, people's and the keeper's.

One question at a time, few may wait. A connection that turns out to be dead is replaced once, and the
question asked again; what fails then is a LedgerError.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from faregate.stores.ledger.protocol import Entry, Figures, Ledger, LedgerError
from faregate.stores.ledger.remote_session import OTHER_KEY, Session, StoreAway

Answer = TypeVar("Answer")
Question = Callable[[Session, bool], Awaitable[Answer]]
"""Given a session, and whether it was asked before and came to nothing."""

QUESTION_S: Final = 10.0
PAUSE_S: Final = 0.5
"""After a connection could not be made: until then questions are refused."""
WAITING_MOST: Final = 64
FIGURES_S: Final = 1.0


class Aside:
    """Asks questions through sessions that ``opens`` makes."""

    def __init__(self, opens: Callable[[], Awaitable[Session]]) -> None:
        self._opens = opens
        self._session: Session | None = None
        self._lock = asyncio.Lock()
        self._waiting = 0
        self._refused_until = 0.0
        self._refusal = ""
        self._closed = False

    async def ask(self, question: Question[Answer]) -> Answer:
        """The answer; LedgerError when there is none in ``QUESTION_S``."""
        if self._closed:
            raise LedgerError("the ledger is closed")
        if self._waiting >= WAITING_MOST:
            raise LedgerError("the ledger is asked too much at once")
        self._waiting += 1
        try:
            async with asyncio.timeout(QUESTION_S), self._lock:
                return await self._ask(question)
        except TimeoutError:
            raise LedgerError("the ledger did not answer in time") from None
        except StoreAway as away:
            raise LedgerError(f"the ledger cannot be asked: {away}") from None
        finally:
            self._waiting -= 1

    async def _ask(self, question: Question[Answer]) -> Answer:
        session, again = self._session, False
        if session is not None:
            try:
                return await self._through(session, question, again=False)
            except StoreAway:
                again = True
        return await self._through(await self._connected(), question, again=again)

    async def _through(self, session: Session, question: Question[Answer], *, again: bool) -> Answer:
        """Asks; a session that did not answer, whyever, is not asked again."""
        self._session = None
        answered = False
        try:
            answer = await question(session, again)
            answered = not self._closed
        finally:
            if not answered:
                session.abort()
                await session.close()
        self._session = session if answered else None
        return answer

    async def _connected(self) -> Session:
        loop = asyncio.get_running_loop()
        if loop.time() < self._refused_until:
            raise StoreAway("store_away", self._refusal)
        try:
            return await self._opens()
        except StoreAway as away:
            self._refused_until = loop.time() + PAUSE_S
            self._refusal = str(away)
            raise

    async def close(self) -> None:
        """Ends it; a question under way gets its answer or fails within its own time."""
        self._closed = True
        session, self._session = self._session, None
        if session is not None:
            await session.close()


class AskedAside(Ledger):
    """The part of a remote ledger that the resolver and people ask."""

    def __init__(self, opens: Callable[[], Awaitable[Session]]) -> None:
        self._aside = Aside(opens)
        self._figures: Figures | None = None
        self._figures_at = 0.0
        self._unfit = ""
        """Why the store must not be trusted with claims, by the check of every minute."""
        self._unfit_words = ""
        self.warning = ""
        """What a crash may lose although the store is used, by the last ``check``."""

    async def check(self) -> None:
        """Looks again whether the store keeps what it is told; claims are refused while it does not. Raises
        LedgerError.
        """

        async def look(session: Session, _: bool) -> tuple[str, str, str]:  # noqa: FBT001 - a question
            try:
                return "", "", await session.check()
            except StoreAway as away:
                return away.reason, str(away), ""

        self._unfit, self._unfit_words, self.warning = await self._aside.ask(look)

    async def due(self, most: int) -> list[Entry]:
        if self.away == OTHER_KEY:
            return []  # they are others', and may be sealed with what this worker has not
        return await self._aside.ask(lambda session, _: session.due(most))

    async def defer(self, key: bytes, attempt: bytes, after_s: float) -> None:
        await self._aside.ask(lambda session, _: session.defer(key, attempt, after_s))

    async def decide(  # noqa: PLR0913, PLR0917 - one value per property
        self, key: bytes, attempt: bytes, state: int, answer: bytes, by: str, note: str
    ) -> bool:
        return await self._aside.ask(
            lambda session, again: session.decide(key, attempt, state, answer, by, note, again=again)
        )

    async def entries(self, states: Sequence[int], after: bytes, most: int) -> list[Entry]:
        return await self._aside.ask(lambda session, _: session.entries(states, after, most))

    async def entry(self, key: bytes) -> Entry | None:
        return await self._aside.ask(lambda session, _: session.entry(key))

    async def figures(self) -> Figures:
        now = asyncio.get_running_loop().time()
        if self._figures is None or now - self._figures_at >= FIGURES_S:
            self._figures = await self._aside.ask(lambda session, _: session.figures())
            self._figures_at = now
        return self._figures
