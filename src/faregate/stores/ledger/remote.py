"""What the ledgers in Redis and PostgreSQL have in common: batches, lost answers, leases, a store that is
away.

A few lanes, each with a connection of its own, take what waits as one batch and ask the store once; so the
number of connections is bounded, and the more is under way the less a move costs. A batch whose answer was
lost is asked again as it was: claims are granted again to the same attempt, settlements are done already.
Whoever waits is told UNAVAILABLE after two seconds at most; a claim or mark so told is withdrawn afterwards,
a settlement goes on being repeated. The store's own part is a ``Session``.
"""

import asyncio
import random
from contextlib import suppress
from functools import partial
from typing import Final

from faregate.stores.ledger.protocol import (
    DONE,
    GRANTED,
    LOST,
    RELEASED,
    RENEW_S,
    SENT,
    UNAVAILABLE,
    Claim,
    LedgerError,
    Standing,
    Teller,
)
from faregate.stores.ledger.remote_aside import AskedAside
from faregate.stores.ledger.remote_faults import unforeseen
from faregate.stores.ledger.remote_moves import (
    CLAIM,
    MARK,
    SETTLE,
    WAITING_MOST,
    WITHDRAW,
    Backlog,
    Move,
)
from faregate.stores.ledger.remote_session import Session, StoreAway

TELL_S: Final = 2.0
"""A teller is told UNAVAILABLE then, give or take a tick. A store that is away for less goes unnoticed."""
TICK_S: Final = 0.1
CONNECT_S: Final = 3.0
CHECK_S: Final = 60.0
BACK_OFF_FIRST_S: Final = 0.05
BACK_OFF_MOST_S: Final = 5.0
CLOSE_S: Final = 1.0
RENEW_MOST: Final = 500
SWEEP_S: Final = 1.0
"""Of every ``RENEW_S``: how long a worker drops what has expired, in batches."""


def back_off(failures: int, spread: float) -> float:
    """Seconds until the next connection. None after the first failure: what was idle has often been cut."""
    return (
        min(BACK_OFF_MOST_S, BACK_OFF_FIRST_S * 2.0 ** min(failures - 2, 10)) * spread
        if failures > 1
        else 0.0
    )


class RemoteLedger(AskedAside):
    """A ledger in a store that is reached through sessions. ``lanes``: connections for moves, besides the one
    for everything else. ``dropped``: settlements for which there was no room; their records end as UNKNOWN.
    ``address``: of the store, for operators' eyes.
    """

    def __init__(self, lanes: int, address: str = "") -> None:
        super().__init__(lambda: self._connected(fit=False))
        self.dropped = 0
        self._address = address
        self._lane_count = lanes
        self._backlog = Backlog()
        self._waiting: dict[Move, None] = {}
        self._held: dict[bytes, tuple[bytes, float]] = {}
        """Open attempts of this worker: their key, and when they were granted or renewed."""
        self._idle: list[asyncio.Future[None]] = []
        self._sessions: set[Session] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._down = "store_away"
        """Why no connection could be made last; empty once one was."""
        self._down_words = "no connection was made yet"
        self._down_since = float("-inf")
        self._trouble = "store_slow"
        self._tick: asyncio.TimerHandle | None = None
        self._tried = asyncio.Event()
        """The first connection was made, or was not to be had."""
        self._closing = asyncio.Event()

    async def _open(self, *, fit: bool) -> Session:
        """A session; ``fit``: only where the store keeps what it is told. Raises StoreAway."""
        raise NotImplementedError

    @property
    def away(self) -> str:
        """Why nothing can be claimed now; empty when it can."""
        if self._closing.is_set():
            return "ledger_closed"
        if self._unfit:
            return self._unfit
        if self._down and asyncio.get_running_loop().time() - self._down_since > TELL_S:
            return self._down
        return ""

    @property
    def why_away(self) -> str:
        """``away`` in words, without a secret."""
        return (self._unfit_words if self._unfit else self._down_words) or self.away

    # the moves of a call

    def claim(self, claim: Claim, teller: Teller) -> None:
        state = SENT if claim.sends else 0
        self._enter(Move(CLAIM, claim.key, claim.attempt, state, b"", claim, teller, 0.0))

    def mark_sent(self, key: bytes, attempt: bytes, teller: Teller) -> None:
        self._enter(Move(MARK, key, attempt, SENT, b"", None, teller, 0.0))

    def settle(self, key: bytes, attempt: bytes, state: int, answer: bytes, teller: Teller | None) -> None:
        move = Move(SETTLE, key, attempt, state, answer, None, teller, 0.0)
        if self._closing.is_set():
            self._refuse(move, "ledger_closed")
        elif self._keep(move):
            self._wait(move)
        else:
            self._refuse(move, "ledger_backlog_full")

    def _enter(self, move: Move) -> None:
        """Queues a claim or mark, or refuses it."""
        away = self.away
        if away or self._backlog.waiting() >= WAITING_MOST:
            self._refuse(move, away or "store_busy")
            if move.kind == MARK:
                self._withdraw(move)
            return
        self._backlog.put(move)
        self._wait(move)
        self._wake()

    def _wait(self, move: Move) -> None:
        if move.teller is None:
            return
        loop = asyncio.get_running_loop()
        move.until = loop.time() + TELL_S
        self._waiting[move] = None
        if self._tick is None:
            self._tick = loop.call_later(TICK_S, self._on_tick)

    def _refuse(self, move: Move, reason: str) -> None:
        asyncio.get_running_loop().call_soon(move.tell, Standing(UNAVAILABLE, reason=reason))

    def _keep(self, move: Move) -> bool:
        """Queues a settlement or withdrawal for as long as it takes; False when there is no room."""
        if not self._backlog.keep(move):
            self.dropped += 1
            self._held.pop(move.attempt, None)
            return False
        self._wake()
        return True

    def _withdraw(self, move: Move) -> None:
        """Nothing is sent for an attempt that was told UNAVAILABLE: so its record is free again."""
        self._keep(Move(WITHDRAW, move.key, move.attempt, RELEASED, b"", None, None, 0.0))

    def _on_tick(self) -> None:
        """Tells those who have waited for too long."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        while self._waiting:
            move = next(iter(self._waiting))
            if move.until > now:
                break
            self._give_up(move, self._down or self._trouble)
        self._tick = loop.call_later(TICK_S, self._on_tick) if self._waiting else None

    def _give_up(self, move: Move, reason: str) -> None:
        del self._waiting[move]
        move.given_up = True
        if move.kind == MARK and not move.asked:  # the backlog drops it, and the record is still claimed
            self._withdraw(move)
        move.tell(Standing(UNAVAILABLE, reason=reason))

    # what came of them

    def _told(self, batch: list[Move], standings: list[Standing | None]) -> bool:
        """Passes on what a batch came to; False when a part of it must be asked again."""
        again: list[Move] = []
        for move, standing in zip(batch, standings, strict=True):
            if standing is None:
                again.append(move)
            elif move.kind in {SETTLE, WITHDRAW}:
                self._backlog.stored(move)
                self._held.pop(move.attempt, None)
                self._tell(move, standing)
            elif move.given_up:
                if standing.kind in {GRANTED, DONE}:
                    self._withdraw(move)
            else:
                if standing.kind == GRANTED:
                    self._held[move.attempt] = (move.key, asyncio.get_running_loop().time())
                elif standing.kind == LOST:
                    self._held.pop(move.attempt, None)
                self._tell(move, standing)
        self._ask_again(again)
        return not again

    def _tell(self, move: Move, standing: Standing) -> None:
        self._waiting.pop(move, None)
        move.tell(standing)

    def _ask_again(self, batch: list[Move]) -> None:
        """What a batch did is not known: it is repeated, but for those who were told meanwhile."""
        kept: list[Move] = []
        for move in batch:
            move.asked = True
            if move.given_up and move.kind in {CLAIM, MARK}:
                self._withdraw(move)
            else:
                kept.append(move)
        if kept:
            self._backlog.back(kept)
            self._wake()

    # lanes

    def _wake(self) -> None:
        """One lane that rests looks at the backlog; it wakes the next when there is more."""
        while self._idle:
            resting = self._idle.pop()
            if not resting.done():
                resting.set_result(None)
                return

    async def _lane(self) -> None:
        """One connection after the other, and a longer pause after each that came to nothing."""
        loop = asyncio.get_running_loop()
        failures = 0
        while not self._closing.is_set():
            try:
                session = await self._connected(fit=True)
            except StoreAway as away:
                if not self._down:
                    self._down_since = loop.time()
                self._down, self._down_words = away.reason, str(away)
                self._tried.set()
                failures += 1
                await self._pause(failures + 1)
                continue
            self._down = self._down_words = ""
            self._tried.set()
            served = False
            try:
                served = await self._through(session)
            except Exception as error:  # noqa: BLE001 - as above: it goes on with another connection
                unforeseen("a connection of the ledger", error)
            failures = 1 if served else failures + 1
            await self._pause(failures)

    async def _connected(self, *, fit: bool) -> Session:
        """A session; StoreAway, whatever went wrong, with the store's address."""
        try:
            async with asyncio.timeout(CONNECT_S):
                return await self._open(fit=fit)
        except TimeoutError:
            away = StoreAway("store_away", "no connection could be made in time")
        except StoreAway as error:
            away = error
        except Exception as error:  # noqa: BLE001 - nobody foresaw it, and its words may hold a secret
            unforeseen("a connection to the ledger", error)
            away = StoreAway("store_error", f"no connection could be made ({type(error).__name__})")
        raise StoreAway(away.reason, f"{self._address}: {away}" if self._address else str(away))

    async def _through(self, session: Session) -> bool:
        self._sessions.add(session)
        try:
            return await self._serve(session)
        finally:
            self._sessions.discard(session)
            await session.close()

    async def _serve(self, session: Session) -> bool:
        """Runs batches until the connection fails or the ledger is closed. Whether any came to something."""
        served = False
        while True:
            batch = self._backlog.take()
            if not batch:
                if self._closing.is_set():
                    return served
                resting = asyncio.get_running_loop().create_future()
                self._idle.append(resting)
                await resting
                continue
            if len(self._backlog):
                self._wake()
            for move in batch:
                move.asked = True
            try:
                standings = await session.run(batch[0].kind, batch)
            except Exception as error:  # noqa: BLE001 - a lane must not die of what nobody foresaw
                self._trouble = _reason(error)
                self._ask_again(batch)
                return served
            served = True
            if not self._told(batch, standings):
                await asyncio.sleep(BACK_OFF_FIRST_S / 5)

    async def _pause(self, failures: int) -> None:
        """Ends with the ledger."""
        pause = back_off(failures, random.uniform(0.5, 1.0))  # noqa: S311 - spread, no secret
        if pause:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), pause)

    # the keeper

    async def _keeper(self) -> None:
        """Renews leases, sweeps, and sees every minute that the store still is what it must be."""
        loop = asyncio.get_running_loop()
        checked_at = loop.time()
        while not self._closing.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), RENEW_S * random.uniform(0.9, 1.0))  # noqa: S311 - spread
                return
            try:
                await self.renew()
                await self.sweep()
                if self._unfit or loop.time() - checked_at >= CHECK_S:
                    checked_at = loop.time()
                    await self.check()
            except LedgerError:
                continue
            except Exception as error:  # noqa: BLE001 - leases must go on being renewed
                unforeseen("the ledger's keeper", error)

    async def renew(self) -> None:
        """New leases for open attempts that were not claimed or renewed a moment ago. Raises LedgerError."""
        now = asyncio.get_running_loop().time()
        old = [(key, attempt) for attempt, (key, at) in self._held.items() if now - at >= RENEW_S * 0.9]
        for first in range(0, len(old), RENEW_MOST):
            some = old[first : first + RENEW_MOST]
            await self._aside.ask(partial(_renewal, some))
            for key, attempt in some:
                if attempt in self._held:
                    self._held[attempt] = (key, now)

    async def sweep(self) -> None:
        """Moves what has lapsed and drops what has expired, for ``SWEEP_S`` at most. Raises LedgerError."""
        loop = asyncio.get_running_loop()
        until = loop.time() + SWEEP_S
        more = True
        while more and loop.time() < until:
            more = await self._aside.ask(lambda session, _: session.sweep())

    # its own life

    async def start(self) -> None:
        """Waits for what comes of the first connection, for a moment."""
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._lane()) for _ in range(self._lane_count)]
        self._tasks.append(loop.create_task(self._keeper()))
        with suppress(TimeoutError):
            await asyncio.wait_for(self._tried.wait(), TELL_S)

    async def close(self) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + CLOSE_S
        self._closing.set()
        while self._backlog.kept and not self._down and loop.time() < until:  # noqa: ASYNC110 - at the end, once
            await asyncio.sleep(0.01)
        for session in self._sessions:
            session.abort()
        while self._idle:
            self._wake()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=CLOSE_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await self._aside.close()
        if self._tick is not None:
            self._tick.cancel()
        for move in list(self._waiting):
            self._give_up(move, "ledger_closed")


def _reason(error: Exception) -> str:
    """Of a batch that came to nothing; what was not foreseen is written down."""
    if isinstance(error, StoreAway):
        return error.reason
    unforeseen("a batch of the ledger", error)
    return "store_error"


async def _renewal(some: list[tuple[bytes, bytes]], session: Session, _again: bool) -> None:  # noqa: FBT001 - a question
    await session.renew(some)
