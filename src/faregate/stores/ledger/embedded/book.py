"""The states of all keys in memory, over the log: which move may follow which, and nothing of sockets.

What is open (claimed, sent, unknown) stands here whole; of what is completed only where in the log it is,
for there may be millions. Both are kept in 256 parts by the key's first byte, so that no table grows at
once. Every move appends to the log and is done only once the log has been committed: whoever calls sees to
that before it tells anybody. Time is passed in. Raises OSError and ``DamagedError`` where a record must be
read and cannot be.
"""

import heapq
from typing import Final

from faregate.stores.ledger.embedded.expiry import Expiry
from faregate.stores.ledger.embedded.records import HEAD_BYTES, Record
from faregate.stores.ledger.embedded.segments import PLACE_BITS, Log
from faregate.stores.ledger.moves import (
    ABOUT_BYTES_MAX,
    ANSWER_BYTES_MAX,
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
)

PARTS: Final = 256
PLACE_MASK: Final = (1 << PLACE_BITS) - 1
FIRST_QUERY_MS: Final = 1_000
LEASE_MS: Final = int(LEASE_S * 1000)
_WORST_SETTLE: Final = HEAD_BYTES + ABOUT_BYTES_MAX + ANSWER_BYTES_MAX + 2_048
_UNKNOWN_SETTLE: Final = 4_096
FULL: Final = "ledger_full"
FAILED: Final = "ledger_failed"


class Owner:
    """A worker and what it has in flight. ``gone_ms``: when it is given up, 0 while it is here."""

    __slots__ = ("gone_ms", "holds", "id")

    def __init__(self, owner: bytes) -> None:
        self.id = owner
        self.gone_ms = 0
        self.holds: dict[bytes, Record] = {}


class Book:
    """``told_*``: what came of the last move besides its kind. ``now_ms``, ``wall_ms``: set from outside."""

    __slots__ = (
        "_due",
        "claims_refused",
        "expiry",
        "in_flight",
        "kept",
        "kept_count",
        "log",
        "now_ms",
        "opens",
        "owners",
        "told_age_ms",
        "told_answer",
        "told_attempt",
        "told_reason",
        "unknown",
        "wall_ms",
    )

    def __init__(self, log: Log) -> None:
        self.log = log
        self.now_ms = 0
        self.wall_ms = 0
        self.opens: list[dict[bytes, Record]] = [{} for _ in range(PARTS)]
        self.kept: list[dict[bytes, int]] = [{} for _ in range(PARTS)]
        self.kept_count = 0
        self.in_flight = 0
        self.claims_refused = 0
        self.unknown: dict[bytes, Record] = {}  # in the order in which they became so
        self.owners: dict[bytes, Owner] = {}
        self._due: list[tuple[int, bytes]] = []
        self.expiry = Expiry()
        self.told_attempt = b""
        self.told_answer = b""
        self.told_age_ms = 0
        self.told_reason = ""

    # the moves of a call

    def claim(  # noqa: PLR0913, PLR0917 - as on the wire
        self,
        owner: Owner,
        key: bytes,
        attempt: bytes,
        fingerprint: bytes,
        keep_s: int,
        about: bytes,
        sends: bool,  # noqa: FBT001 - as on the wire
        resolves: bool,  # noqa: FBT001 - as on the wire
    ) -> int:
        """GRANTED, IN_FLIGHT, OPEN, MISMATCH, REPLAY or UNAVAILABLE."""
        state = SENT if sends else CLAIMED
        record = self.opens[key[0]].get(key)
        if record is not None:
            if record.attempt != attempt:
                return self._held(record, fingerprint)
            if not self.log.fits(_UNKNOWN_SETTLE):
                return self._no_room()
            # asked again, since its answer was lost: whoever asks has not sent yet
            if record.state == UNKNOWN or record.owner != owner.id or record.state < state:
                if record.state == UNKNOWN:
                    record.about = about
                self._move(record, state, owner)
            return GRANTED
        packed = self.kept[key[0]].get(key)
        if packed is not None:
            kept = self.log.read(packed & PLACE_MASK)
            if kept.expires_ms > self.now_ms:
                return self._kept(kept, fingerprint)
        if self.log.full or self.log.headroom() < self.reserve():
            self.claims_refused += 1
            return self._no_room()
        if packed is not None:
            self._forget(key, packed, kept.length)
        record = Record(key, attempt, state)
        record.fingerprint = fingerprint
        record.keep_s = keep_s
        record.about = about
        record.resolves = resolves
        self.opens[key[0]][key] = record
        self._move(record, state, owner)
        return GRANTED

    def mark_sent(self, owner: Owner, key: bytes, attempt: bytes) -> int:
        """DONE, LOST or UNAVAILABLE."""
        record = self.opens[key[0]].get(key)
        if record is None or record.attempt != attempt or record.state == UNKNOWN:
            return LOST
        if record.state == SENT:
            return DONE
        if not self.log.fits(_UNKNOWN_SETTLE):
            return self._no_room()
        self._move(record, SENT, owner)
        return DONE

    def settle(self, key: bytes, attempt: bytes, state: int, answer: bytes) -> int:
        """DONE, LOST or UNAVAILABLE."""
        record = self.opens[key[0]].get(key)
        if record is None or record.attempt != attempt:
            return self._settled_before(record, key, attempt, state)
        if not self.log.fits(_WORST_SETTLE):
            return self._no_room()
        if state == COMPLETED:
            self._complete(record, answer, "", "")
        elif state == RELEASED:
            self._release(record)
        elif record.state != UNKNOWN:
            self._lose(record)
        return DONE

    def _settled_before(self, record: Record | None, key: bytes, attempt: bytes, state: int) -> int:
        """What is told of a settlement that was stored before, or of one that comes too late."""
        if record is not None:
            return LOST
        packed = self.kept[key[0]].get(key)
        kept = None if packed is None else self.log.read(packed & PLACE_MASK)
        if kept is None or kept.expires_ms <= self.now_ms:
            return DONE if state == RELEASED else LOST
        return DONE if state == COMPLETED and kept.attempt == attempt else LOST

    def _held(self, record: Record, fingerprint: bytes) -> int:
        self.told_attempt = record.attempt
        self.told_age_ms = max(0, self.now_ms - record.changed_ms)
        if record.fingerprint != fingerprint:
            return MISMATCH
        return OPEN if record.state == UNKNOWN else IN_FLIGHT

    def _kept(self, kept: Record, fingerprint: bytes) -> int:
        self.told_attempt = kept.attempt
        self.told_age_ms = max(0, self.now_ms - kept.changed_ms)
        if kept.fingerprint != fingerprint:
            return MISMATCH
        self.told_answer = kept.answer
        return REPLAY

    def _no_room(self) -> int:
        self.told_reason = FAILED if self.log.failed else FULL
        return UNAVAILABLE

    def reserve(self) -> int:
        """Bytes that are kept back: what is in flight and unknown can be settled, and files cleaned."""
        return (
            2 * self.log.segment_bytes
            + (self.in_flight + 1) * _WORST_SETTLE
            + len(self.unknown) * _UNKNOWN_SETTLE
        )

    # what becomes of a record

    def _move(self, record: Record, state: int, owner: Owner) -> None:
        """To CLAIMED or SENT."""
        if record.state == UNKNOWN and record.place:
            del self.unknown[record.key]
            self.in_flight += 1
        elif not record.place:
            self.in_flight += 1
        if record.owner != owner.id:
            before = self.owners.get(record.owner)
            if before is not None:
                before.holds.pop(record.key, None)
            record.owner = owner.id
        owner.holds[record.key] = record
        record.state = state
        self._write(record)

    def _write(self, record: Record) -> None:
        record.changed_ms = self.now_ms
        record.wall_ms = self.wall_ms
        if record.place:
            self.log.dead(record.place, record.length)
        self.log.append(record)

    def _complete(self, record: Record, answer: bytes, by: str, note: str) -> None:
        self.whole(record)
        self._let_go(record)
        record.state = COMPLETED
        record.answer = answer
        record.by = by.encode()
        record.note = note.encode()
        record.expires_ms = self.now_ms + record.keep_s * 1000
        record.due_ms = 0
        self._write(record)
        del self.opens[record.key[0]][record.key]
        self.keep(record.key, record.place, record.length, record.expires_ms)

    def _release(self, record: Record) -> None:
        self._let_go(record)
        record.state = RELEASED
        record.about = b""
        self._write(record)
        self.log.dead(record.place, record.length)
        del self.opens[record.key[0]][record.key]

    def _lose(self, record: Record) -> None:
        """Sent, and nobody knows what became of it."""
        self._let_go(record)
        record.state = UNKNOWN
        record.due_ms = self.now_ms + FIRST_QUERY_MS
        self._write(record)
        record.about = b""  # it stands in the log; there may be many
        self.add_unknown(record)

    def _let_go(self, record: Record) -> None:
        if record.state == UNKNOWN:
            del self.unknown[record.key]
            return
        self.in_flight -= 1
        owner = self.owners.get(record.owner)
        if owner is not None:
            owner.holds.pop(record.key, None)

    def whole(self, record: Record) -> None:
        """Fetches what is not held in memory of an UNKNOWN record."""
        if record.state == UNKNOWN and not record.about:
            record.about = self.log.read(record.place).about

    def add_unknown(self, record: Record) -> None:
        self.unknown[record.key] = record
        if record.resolves:
            heapq.heappush(self._due, (record.due_ms, record.key))

    def keep(self, key: bytes, place: int, length: int, expires_ms: int) -> None:
        """A COMPLETED record at ``place``, live until then."""
        bucket = self.expiry.add(key, length, expires_ms)
        self.kept[key[0]][key] = (bucket << PLACE_BITS) | place
        self.kept_count += 1

    def _forget(self, key: bytes, packed: int, length: int) -> None:
        del self.kept[key[0]][key]
        self.kept_count -= 1
        self.log.dead(packed & PLACE_MASK, length)

    # owners

    def here(self, owner: bytes) -> Owner:
        """A worker that has come, or come back: what it holds stays its own."""
        found = self.owners.get(owner)
        if found is None:
            found = self.owners[owner] = Owner(owner)
        found.gone_ms = 0
        return found

    def away(self, owner: Owner, after_ms: int) -> None:
        """A worker that has left: after that time what it claimed is free and what it sent is unknown."""
        owner.gone_ms = self.now_ms + after_ms if after_ms else 1

    def settle_gone(self) -> None:
        """Settles what those leave behind whose time is over, as far as there is room."""
        for owner in [one for one in self.owners.values() if 0 < one.gone_ms <= self.now_ms]:
            for record in list(owner.holds.values()):
                if not self.log.fits(_UNKNOWN_SETTLE):
                    return
                if record.state == CLAIMED:
                    self._release(record)
                else:
                    self._lose(record)
            del self.owners[owner.id]

    # the resolver

    def due(self, most: int) -> list[Record]:
        """UNKNOWN records whose query is due, lent for ``LEASE_MS``."""
        found: list[Record] = []
        while self._due and len(found) < most and self._due[0][0] <= self.now_ms:
            due_ms, key = heapq.heappop(self._due)
            record = self.unknown.get(key)
            if record is None or max(record.due_ms, record.lent_ms) != due_ms:
                continue  # settled, deferred or lent meanwhile: another entry stands for it
            record.lent_ms = self.now_ms + LEASE_MS
            heapq.heappush(self._due, (record.lent_ms, key))
            found.append(record)
        return found

    def defer(self, key: bytes, attempt: bytes, after_s: float) -> bool:
        """Whether there was such a record, and room to say so."""
        record = self.unknown.get(key)
        if record is None or record.attempt != attempt or not self.log.fits(_UNKNOWN_SETTLE):
            return False
        self.whole(record)
        record.tries += 1
        record.lent_ms = 0
        record.due_ms = self.now_ms + max(0, int(after_s * 1000))
        self.log.dead(record.place, record.length)
        self.log.append(record)
        record.about = b""
        if record.resolves:
            heapq.heappush(self._due, (record.due_ms, key))
        return True

    def decide(  # noqa: PLR0913, PLR0917 - as on the wire
        self, key: bytes, attempt: bytes, state: int, answer: bytes, by: str, note: str
    ) -> int:
        """DONE, LOST or UNAVAILABLE."""
        record = self.unknown.get(key)
        if record is None or record.attempt != attempt:
            return LOST
        if not self.log.fits(_WORST_SETTLE):
            return self._no_room()
        if state == COMPLETED:
            self._complete(record, answer, by, note)
        else:
            self._release(record)
        return DONE

    # expiry

    def sweep(self, most: int) -> bool:
        """Forgets up to so many expired keys; whether there are more."""
        expiry = self.expiry
        for key, length in expiry.take(self.now_ms, most):
            packed = self.kept[key[0]].get(key)
            if packed is not None and packed >> PLACE_BITS == expiry.swept:
                self._forget(key, packed, length)
        return expiry.more
