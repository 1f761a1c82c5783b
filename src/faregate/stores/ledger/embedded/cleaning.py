"""What the ledger does between batches, in slices: forgets what has expired, makes indexes, gives up old
files.

Files are given up from the oldest on: what is still true of it is appended again, and once that is durable
the file is deleted. It begins when more than half of all bytes are dead, or when room runs short and an
eighth is, so that the files together hold about twice what is live, and each live byte is written again
once in a round at most.
"""

from typing import Final

from faregate.stores.ledger.embedded import records
from faregate.stores.ledger.embedded.book import PLACE_MASK, Book
from faregate.stores.ledger.embedded.index import Indexer, Walk
from faregate.stores.ledger.embedded.records import DamagedError, Record
from faregate.stores.ledger.embedded.segments import OFFSET_BITS, PLACE_BITS
from faregate.stores.ledger.moves import RELEASED

_SWEPT: Final = 400
_WALKED: Final = 200
_CARRIED: Final = 60
_ROUNDS_APART: Final = 8
"""A dead share of an eighth is worth a round when room runs short."""


class Cleaner:
    """``fault``: what stands in its way, for the operator; then it does nothing more but forget."""

    def __init__(self, book: Book) -> None:
        self.book = book
        self.fault = ""
        self._indexer: Indexer | None = None
        self._walk: Walk | None = None
        self._carried = False  # all of the oldest file; it may go once that is durable

    def step(self) -> bool:
        """One slice, below a millisecond; whether there is more to do now. What it appends is durable with
        the next commit.
        """
        if self.book.sweep(_SWEPT):
            return True
        if self.fault or self.book.log.failed:
            return False
        try:
            return self._clean() or self._index()
        except (DamagedError, OSError) as error:
            self.fault = f"the ledger cannot be cleaned: {error}"
            return False

    def _index(self) -> bool:
        sealed = self.book.log.sealed
        if self._indexer is None:
            if not sealed:
                return False
            self._indexer = Indexer(self.book.log, sealed[0])
        segment = self._indexer.segment
        if segment not in sealed:  # deleted meanwhile
            self._indexer = None
        elif self._indexer.step(_WALKED):
            sealed.remove(segment)
            self._indexer = None
        return True

    def _clean(self) -> bool:
        log = self.book.log
        if log.release():
            return True
        if self._carried:
            if not log.pending_bytes:
                self._carried = False
                log.remove_oldest()
            return not log.full
        if self._walk is None:
            if not self._is_worth_it():
                return False
            oldest = log.order[0]
            # walked even when nothing of it counts as live: what is deleted was looked at
            self._walk = Walk(log, oldest, oldest.used)
        return self._carry(self._walk)

    def _is_worth_it(self) -> bool:
        log = self.book.log
        oldest = log.order[0]
        if oldest is log.active:
            return False
        if oldest.live == 0:
            return True
        live = sum(segment.live for segment in log.order)
        used = sum(segment.used for segment in log.order)
        dead = used - live
        if dead > used // 2 and dead >= 2 * log.segment_bytes:
            return log.headroom() > log.segment_bytes
        short = log.headroom() < 2 * self.book.reserve()
        return short and dead > max(used // _ROUNDS_APART, log.segment_bytes) and log.headroom() > oldest.live

    def _carry(self, walk: Walk) -> bool:
        book = self.book
        for _ in range(_CARRIED):
            at = walk.next()
            if at < 0:
                break
            length, kind, state, _, _ = records.brief(walk.data, at)
            if kind != records.STATED:
                continue
            offset = walk.at - length
            if state == RELEASED:
                continue
            record = records.decoded(walk.data, at)
            record.place = (walk.segment.slot << OFFSET_BITS) | (offset >> 3)
            if not carry(book, record):
                walk.at = offset
                return False  # no room now; the next step tries it again
        else:
            return True
        self._walk = None
        self._carried = True
        return True


def carry(book: Book, record: Record) -> bool:
    """Appends again what is still true of ``record``, which was read from the oldest file; False when there
    is no room.
    """
    log = book.log
    held = book.opens[record.key[0]].get(record.key)
    if held is not None:
        if held.place != record.place:
            return True
        if not log.fits(held.length):
            return False
        about = held.about
        book.whole(held)
        log.dead(held.place, held.length)
        log.append(held)
        held.about = about
        return True
    packed = book.kept[record.key[0]].get(record.key)
    if packed is None or packed & PLACE_MASK != record.place:
        return True
    if not log.fits(record.length):
        return False
    log.dead(record.place, record.length)
    log.append(record)
    book.kept[record.key[0]][record.key] = (packed >> PLACE_BITS << PLACE_BITS) | record.place
    return True
