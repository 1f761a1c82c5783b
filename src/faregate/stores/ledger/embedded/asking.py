"""What people and the resolver ask of a book: read slowly and in pages, so that no call waits for it.

The same answers serve the socket and a command that opens the folder itself.
"""

from typing import Final

import msgspec

from faregate.stores.ledger.embedded import wire
from faregate.stores.ledger.embedded.book import PARTS, PLACE_MASK, Book
from faregate.stores.ledger.embedded.records import Record
from faregate.stores.ledger.protocol import COMPLETED, DONE, UNAVAILABLE, Entry, Figures, LedgerError

PAGE: Final = 50
"""Records of one answer: each is a read."""


class Ask(msgspec.Struct, array_like=True):
    """What is asked beside the moves of calls. ``what``: ``due``, ``defer``, ``decide``, ``entries``,
    ``entry``, ``figures``.
    """

    what: str
    key: bytes = b""
    attempt: bytes = b""
    state: int = 0
    answer: bytes = b""
    by: str = ""
    note: str = ""
    after_s: float = 0.0
    most: int = 0
    states: list[int] = []
    after: bytes = b""


def answer_to(book: Book, number: int, payload: bytes) -> bytes:
    """The frame that answers. Raises ``DamagedError``, OSError, ``msgspec.MsgspecError``."""
    try:
        answer = answered(book, msgspec.msgpack.decode(payload, type=Ask))
    except LedgerError as error:
        return wire.framed(wire.FAILED, number, str(error).encode())
    return wire.framed(wire.ANSWER, number, msgspec.msgpack.encode(answer))


def answered(book: Book, ask: Ask) -> object:
    """Entries, an entry or None, figures, whether a verdict was taken. Raises ``LedgerError`` besides."""
    match ask.what:
        case "due":
            found = book.due(max(0, min(ask.most, PAGE)))
            return [_entry(book, record, answer=False) for record in found]
        case "defer":
            return book.defer(ask.key, ask.attempt, ask.after_s)
        case "decide":
            kind = book.decide(ask.key, ask.attempt, ask.state, ask.answer, ask.by, ask.note)
            if kind == UNAVAILABLE:
                raise LedgerError(book.told_reason)
            return kind == DONE
        case "entries":
            return _entries(book, frozenset(ask.states), ask.after, max(1, min(ask.most, PAGE)))
        case "entry":
            return _one(book, ask.key)
        case "figures":
            return figures(book)
    raise LedgerError(f"nobody knows how to answer `{ask.what}`")


def figures(book: Book) -> Figures:
    oldest = next(iter(book.unknown.values()), None)
    return Figures(
        book.kept_count + book.in_flight + len(book.unknown),
        book.in_flight,
        len(book.unknown),
        0.0 if oldest is None else max(0, book.now_ms - oldest.changed_ms) / 1000,
        book.log.sized,
        book.log.bytes_max,
    )


def _entries(book: Book, states: frozenset[int], after: bytes, most: int) -> list[Entry]:
    """By key, from behind ``after``; a shorter list than ``most`` is the last."""
    found: list[Entry] = []
    for part in range(after[0] if after else 0, PARTS):
        keys = {key for key, record in book.opens[part].items() if key > after and record.state in states}
        if COMPLETED in states:
            keys |= {key for key in book.kept[part] if key > after}
        for key in sorted(keys):
            entry = _entry_of(book, key, answer=False)
            if entry is not None:
                found.append(entry)
                if len(found) == most:
                    return found
    return found


def _one(book: Book, key: bytes) -> Entry | None:
    return _entry_of(book, key, answer=True) if len(key) == 16 else None


def _entry_of(book: Book, key: bytes, *, answer: bool) -> Entry | None:
    record = book.opens[key[0]].get(key)
    if record is None:
        packed = book.kept[key[0]].get(key)
        if packed is None:
            return None
        record = book.log.read(packed & PLACE_MASK)
        if record.expires_ms <= book.now_ms:
            return None
    return _entry(book, record, answer=answer)


def _entry(book: Book, record: Record, *, answer: bool) -> Entry:
    about = record.about
    if not about and record.place:
        about = book.log.read(record.place).about
    return Entry(
        record.key,
        record.attempt,
        record.state,
        record.fingerprint,
        about,
        record.wall_ms / 1000,
        (book.wall_ms + record.expires_ms - book.now_ms) / 1000 if record.expires_ms else 0.0,
        record.resolves,
        record.tries,
        record.by.decode(),
        record.note.decode(),
        record.answer if answer else b"",
    )
