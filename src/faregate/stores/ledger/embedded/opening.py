"""From a folder to a book: one process at a time, files checked, what a crash left half written cut off.

Files are read from the newest to the oldest, so that the first word found of a key is the last that was
said. Only behind what was synced in the newest file may anything be broken: that is a crash's mark, was
told to nobody, and is cut off. A broken record anywhere else is damage, and a ledger that lost a record it
had acknowledged could let a payment run twice: it does not open.
"""

from pathlib import Path
from typing import Final

from faregate.kernel.folder_lock import FolderLock as FolderLock  # noqa: PLC0414 - for those who open the ledger
from faregate.stores.ledger.embedded import records
from faregate.stores.ledger.embedded.book import LEASE_MS, Book
from faregate.stores.ledger.embedded.clock import LedgerClock, Mark, SystemClocks
from faregate.stores.ledger.embedded.disk import Disk
from faregate.stores.ledger.embedded.index import Indexer, read_index, unpacked
from faregate.stores.ledger.embedded.records import DamagedError, Record
from faregate.stores.ledger.embedded.segments import (
    OFFSET_BITS,
    Log,
    Segment,
)
from faregate.stores.ledger.protocol import CLAIMED, COMPLETED, SENT, UNKNOWN, LedgerError

_ZEROS: Final = bytes(64 << 10)


def open_book(
    folder: Path, bytes_max: int, disk: Disk | None = None, clocks: SystemClocks | None = None
) -> tuple[Book, LedgerClock]:
    """The ledger in ``folder``, whose lock is held, ready for moves. Raises ``LedgerError`` for one that is
    damaged, OSError.
    """
    log = Log(folder, bytes_max, disk or Disk())
    try:
        mark, latest, latest_wall = _adopt_files(log)
        clock = LedgerClock(clocks or SystemClocks(), mark, latest, latest_wall)
        book = Book(log)
        book.now_ms, book.wall_ms = clock.now_ms, clock.wall_ms
        _Loader(book).load()
        log.begin(clock.mark())
        if log.failed:
            raise LedgerError(f"the ledger in {folder} cannot be written: {log.failed}")  # noqa: TRY301
    except DamagedError as error:
        log.close()
        raise LedgerError(
            f"the ledger in {folder} is damaged: {error}; nothing was changed, and no key is taken until it "
            "is mended: docs/concepts/ledger.md, `When a file is damaged`"
        ) from error
    except BaseException:
        log.close()
        raise
    return book, clock


def _adopt_files(log: Log) -> tuple[Mark | None, int, int]:
    """Opens the files, cuts the newest, drops those that hold nothing. Returns its mark and latest times."""
    paths = sorted(log.folder.glob("[0-9]*.log"))
    found: list[Segment] = []
    for path in paths:
        descriptor = log.disk.open(path)
        size = log.disk.size(descriptor)
        found.append(Segment(int(path.stem), path, descriptor, size, size))
    mark: Mark | None = None
    latest = latest_wall = 0
    gone = False
    try:
        while found:
            newest = found[-1]
            end, mark, latest, latest_wall = _end_of(log, newest)
            if mark is not None and (end > records.HEAD_BYTES or len(found) == 1):
                if end < newest.size:
                    log.disk.cut(newest.descriptor, end)
                newest.size = newest.used = end
                break
            # taken ahead and never used, or nothing that was told to anybody
            log.next_number = max(log.next_number, newest.number + 1)
            log.disk.close(newest.descriptor)
            log.disk.remove(newest.path)
            found.pop()
            gone = True
    finally:
        for segment in found:
            log.adopt(segment)
            log.sealed.append(segment)
    if gone:
        log.disk.sync_folder(log.folder)
    return mark, latest, latest_wall


def _end_of(log: Log, segment: Segment) -> tuple[int, Mark | None, int, int]:
    """Where the whole records of the newest file end, its mark, and the latest times in it. Raises
    ``DamagedError`` when what follows shows that it had been synced further.
    """
    data = _content(log, segment)
    at = latest = latest_wall = 0
    mark: Mark | None = None
    while length := records.length_at(data, at, segment.number, at):
        if at == 0:
            mark = records.mark_of(data, 0)
        times = records.times_of(data, at)
        if times[0] >= latest:
            latest, latest_wall = times
        at += length
    if (end := _written_to(data, at)) > at:  # behind which no record begins
        for later in range(at + 8, min(end, len(data) - records.HEAD_BYTES + 1), 8):
            if records.length_at(data, later, segment.number, later) and records.durable_of(data, later) > at:
                raise DamagedError(f"{segment.path.name} is damaged at byte {at}")
    return at, mark, latest, latest_wall


def _content(log: Log, segment: Segment) -> bytes:
    """The file but for room that was taken ahead, which is looked at by the piece, for calls wait. A record
    may end in zeros: so much more is there as it may have.
    """
    end = segment.size
    while end > 0:
        begin = max(0, end - len(_ZEROS))
        if log.disk.read(segment.descriptor, end - begin, begin) != _ZEROS[: end - begin]:
            break
        end = begin
    return log.disk.read(segment.descriptor, min(segment.size, end + records.RECORD_BYTES_MAX), 0)


def _written_to(data: bytes, at: int) -> int:
    """Behind the last byte that is not zero, ``at`` if there is none from there on."""
    return at + len(data[at:].rstrip(b"\0"))


class _Loader:
    """Fills a book from its log, newest file first."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._over: set[bytes] = set()  # keys whose last word is that they are free
        self._in_doubt: list[Record] = []

    def load(self) -> None:
        book = self._book
        for segment in reversed(book.log.order):
            entries = read_index(segment)
            if entries is None:
                entries = Indexer(book.log, segment).entries()
            else:
                book.log.sealed.remove(segment)
            self._take(segment, entries)
        for record in sorted(self._in_doubt, key=lambda record: record.changed_ms):
            book.add_unknown(record)
            record.about = b""
        for owner in list(book.owners.values()):
            book.away(owner, LEASE_MS)
        book.expiry.begin(book.now_ms)

    def _take(self, segment: Segment, entries: bytes) -> None:
        book, over = self._book, self._over
        slot = segment.slot << OFFSET_BITS
        now_ms = book.now_ms
        opens, kept, keep = book.opens, book.kept, book.keep
        live = 0
        for key, offset, sized, expires_ms in unpacked(entries):
            part = key[0]
            if key in kept[part] or key in over or key in opens[part]:
                continue
            state = sized & 7
            length = sized & ~7
            if state == COMPLETED and expires_ms > now_ms:
                keep(key, slot | (offset >> 3), length, expires_ms)
                live += length
            elif state in (CLAIMED, SENT, UNKNOWN):
                self._open(book.log.read(slot | (offset >> 3)))
                live += length
            else:
                over.add(key)
        segment.live += live

    def _open(self, record: Record) -> None:
        book = self._book
        book.opens[record.key[0]][record.key] = record
        if record.state == UNKNOWN:
            self._in_doubt.append(record)
            return
        book.in_flight += 1
        book.here(record.owner).holds[record.key] = record
