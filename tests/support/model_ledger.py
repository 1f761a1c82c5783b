"""The ledger in memory: what every store must do, as plainly as it can be said.

``ModelBook`` is the store, a dictionary and the rules; ``ModelLedger`` is one worker's hold on it. Time is the
caller's: ``clock`` is read at each move. Leases of a living worker never end, whatever the clock does; those of
one that called ``vanish`` end ``LEASE_S`` later. The stores are compared with this one, and tests of the gateway
use it in their place: ``away`` makes it unreachable, ``delay`` slow.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from heapq import nsmallest
from math import inf
from typing import Final

from faregate.stores.ledger.protocol import (
    CLAIMED,
    COMPLETED,
    DONE,
    GRANTED,
    IN_FLIGHT,
    LEASE_S,
    LOST,
    MISMATCH,
    OPEN,
    RELEASED,
    REPLAY,
    SENT,
    UNAVAILABLE,
    UNKNOWN,
    Claim,
    Entry,
    Figures,
    Ledger,
    LedgerError,
    Standing,
    Teller,
)

FIRST_QUERY_S: Final = 1.0


class Owner:
    """A worker, as the book sees it."""

    def __init__(self) -> None:
        self.leases_end = inf


@dataclass(slots=True)
class Record:
    owner: Owner
    attempt: bytes
    fingerprint: bytes
    keep_s: int
    about: bytes
    resolves: bool
    state: int
    changed_at: float
    expires_at: float = 0.0
    due_at: float = 0.0
    tries: int = 0
    by: str = ""
    note: str = ""
    answer: bytes = b""


@dataclass(slots=True)
class ModelBook:
    """The store itself; one for all workers. ``clock``: seconds since the epoch."""

    clock: Callable[[], float] = time.time
    records: dict[bytes, Record] = field(default_factory=dict)

    def find(self, key: bytes) -> Record | None:
        """The record as it stands now; None for absent. What has lapsed or expired is moved first."""
        record = self.records.get(key)
        if record is None:
            return None
        now = self.clock()
        if record.state in {CLAIMED, SENT} and record.owner.leases_end <= now:
            if record.state == CLAIMED:
                del self.records[key]
                return None
            self._open(record, record.owner.leases_end)
        if record.state == COMPLETED and record.expires_at <= now:
            del self.records[key]
            return None
        return record

    def claim(self, claim: Claim, owner: Owner) -> Standing:
        record = self.find(claim.key)
        now = self.clock()
        if record is None:
            self.records[claim.key] = Record(
                owner, claim.attempt, claim.fingerprint, claim.keep_s, claim.about, claim.resolves,
                SENT if claim.sends else CLAIMED, now,
            )  # fmt: skip
            return Standing(GRANTED)
        if record.attempt == claim.attempt and record.state != COMPLETED:  # whoever asks has not sent yet
            state = SENT if claim.sends else CLAIMED
            if record.state == UNKNOWN or record.state < state:
                record.state, record.changed_at, record.owner = state, now, owner
            return Standing(GRANTED)
        age_s = max(now - record.changed_at, 0.0)
        if record.fingerprint != claim.fingerprint:
            return Standing(MISMATCH, record.attempt, b"", age_s)
        if record.state == COMPLETED:
            return Standing(REPLAY, record.attempt, record.answer, age_s)
        return Standing(OPEN if record.state == UNKNOWN else IN_FLIGHT, record.attempt, b"", age_s)

    def mark_sent(self, key: bytes, attempt: bytes) -> Standing:
        record = self.find(key)
        if record is None or record.attempt != attempt or record.state not in {CLAIMED, SENT}:
            return Standing(LOST)
        if record.state == CLAIMED:
            record.state, record.changed_at = SENT, self.clock()
        return Standing(DONE)

    def settle(self, key: bytes, attempt: bytes, state: int, answer: bytes) -> Standing:
        record = self.find(key)
        if record is None:  # as good as released
            return Standing(DONE if state == RELEASED else LOST)
        if record.attempt != attempt:
            return Standing(LOST)
        if record.state == state:  # its answer was lost
            return Standing(DONE)
        if record.state == COMPLETED:
            return Standing(LOST)
        self._settle(key, record, state, answer)
        return Standing(DONE)

    def decide(self, key: bytes, attempt: bytes, state: int, answer: bytes, by: str, note: str) -> bool:
        record = self.find(key)
        if record is None or record.attempt != attempt or record.state != UNKNOWN:
            return False
        record.by, record.note = by, note
        self._settle(key, record, state, answer)
        return True

    def due(self, most: int) -> list[Entry]:
        now = self.clock()
        found = [
            (record.due_at, key, record)
            for key in list(self.records)
            if (record := self.find(key)) is not None
            and record.state == UNKNOWN
            and record.resolves
            and record.due_at <= now
        ]
        found = nsmallest(most, found, key=lambda each: each[:2])
        for _, _, record in found:
            record.due_at = now + LEASE_S
        return [entry_of(key, record) for _, key, record in found]

    def defer(self, key: bytes, attempt: bytes, after_s: float) -> None:
        record = self.find(key)
        if record is not None and record.attempt == attempt and record.state == UNKNOWN:
            record.tries += 1
            record.due_at = self.clock() + after_s

    def standing(self) -> dict[bytes, Record]:
        """Every record that is not absent."""
        return {key: record for key in list(self.records) if (record := self.find(key)) is not None}

    def _settle(self, key: bytes, record: Record, state: int, answer: bytes) -> None:
        if state == RELEASED:
            del self.records[key]
        elif state == UNKNOWN:
            self._open(record, self.clock())
        else:
            record.state, record.answer, record.changed_at = COMPLETED, answer, self.clock()
            record.expires_at = record.changed_at + record.keep_s

    @staticmethod
    def _open(record: Record, at: float) -> None:
        record.state, record.changed_at, record.due_at = UNKNOWN, at, at + FIRST_QUERY_S


def entry_of(key: bytes, record: Record, answer: bytes = b"") -> Entry:
    return Entry(
        key, record.attempt, record.state, record.fingerprint, record.about, record.changed_at,
        record.expires_at, record.resolves, record.tries, record.by, record.note, answer,
    )  # fmt: skip


class ModelLedger(Ledger):
    """One worker's hold on ``book``. ``away``: a reason (or True) makes it unreachable: claims and marks are told
    UNAVAILABLE, settles too, but they are stored when it is False again. ``delay``: seconds until a move is
    made and told; 0 is the loop's next turn. ``moves``: what it was asked.
    """

    def __init__(self, book: ModelBook | None = None, clock: Callable[[], float] = time.time) -> None:
        self.book = ModelBook(clock) if book is None else book
        self.delay = 0.0
        self.moves: list[tuple[str, bytes, bytes, int]] = []
        """Name, key, attempt, and the state that a settle asked for (SENT for a claim that sends)."""
        self._owner = Owner()
        self._reason = ""
        self._late: list[tuple[bytes, bytes, int, bytes]] = []

    @property
    def away(self) -> str:
        return self._reason

    @away.setter
    def away(self, reason: str | bool) -> None:
        self._reason = "store_away" if reason is True else reason or ""
        if not self._reason:
            late, self._late = self._late, []
            for key, attempt, state, answer in late:
                self.book.settle(key, attempt, state, answer)

    def vanish(self) -> None:
        """The worker is gone: nobody renews its leases."""
        self._owner.leases_end = self.book.clock() + LEASE_S
        self._owner = Owner()

    def claim(self, claim: Claim, teller: Teller) -> None:
        self.moves.append(("claim", claim.key, claim.attempt, SENT if claim.sends else CLAIMED))
        owner = self._owner
        self._later(lambda: self.book.claim(claim, owner), teller)

    def mark_sent(self, key: bytes, attempt: bytes, teller: Teller) -> None:
        self.moves.append(("mark_sent", key, attempt, SENT))

        def move() -> Standing:
            return self.book.mark_sent(key, attempt)

        self._later(move, teller, lambda: self._late.append((key, attempt, RELEASED, b"")))

    def settle(self, key: bytes, attempt: bytes, state: int, answer: bytes, teller: Teller | None) -> None:
        self.moves.append(("settle", key, attempt, state))

        def move() -> Standing:
            return self.book.settle(key, attempt, state, answer)

        self._later(move, teller, lambda: self._late.append((key, attempt, state, answer)))

    def _later(
        self, move: Callable[[], Standing], teller: Teller | None, kept: Callable[[], None] | None = None
    ) -> None:
        """Makes the move after ``delay``; ``kept`` is called instead while the store is away."""

        def make() -> None:
            if not self._reason:
                standing = move()
            else:
                standing = Standing(UNAVAILABLE, reason=self._reason)
                if kept is not None:
                    kept()
            if teller is not None:
                teller.ledger_told(standing)

        loop = asyncio.get_running_loop()
        if self.delay:
            loop.call_later(self.delay, make)
        else:
            loop.call_soon(make)

    async def _asked(self) -> None:
        await asyncio.sleep(self.delay)
        if self._reason:
            raise LedgerError(f"the ledger cannot be asked: {self._reason}")

    async def due(self, most: int) -> list[Entry]:
        await self._asked()
        return self.book.due(most)

    async def defer(self, key: bytes, attempt: bytes, after_s: float) -> None:
        await self._asked()
        self.book.defer(key, attempt, after_s)

    async def decide(self, key: bytes, attempt: bytes, state: int, answer: bytes, by: str, note: str) -> bool:
        await self._asked()
        return self.book.decide(key, attempt, state, answer, by, note)

    async def entries(self, states: Sequence[int], after: bytes, most: int) -> list[Entry]:
        await self._asked()
        standing = self.book.standing()
        keys = sorted(key for key, record in standing.items() if record.state in states and key > after)
        return [entry_of(key, standing[key]) for key in keys[:most]]

    async def entry(self, key: bytes) -> Entry | None:
        await self._asked()
        record = self.book.find(key)
        return None if record is None else entry_of(key, record, record.answer)

    async def figures(self) -> Figures:
        await self._asked()
        standing = self.book.standing().values()
        unknown = [record.changed_at for record in standing if record.state == UNKNOWN]
        return Figures(
            len(standing),
            sum(1 for record in standing if record.state in {CLAIMED, SENT}),
            len(unknown),
            max(self.book.clock() - min(unknown), 0.0) if unknown else 0.0,
        )

    async def start(self) -> None:
        return

    async def close(self) -> None:
        return
