"""From a frame that a worker sent to the frame that answers it: the moves of calls, and what is asked beside
them.
"""

from faregate.stores.ledger.embedded import wire
from faregate.stores.ledger.embedded.asking import answer_to
from faregate.stores.ledger.embedded.book import Book, Owner
from faregate.stores.ledger.moves import DONE, GRANTED, LOST, UNAVAILABLE


def moved(  # noqa: PLR0913, PLR0917 - a frame in the middle of what was read
    book: Book, owner: Owner, what: int, number: int, data: bytes, at: int, end: int
) -> bytes:
    """The answer to the frame from ``at`` to ``end``, true once the log is committed. Raises ``WireError``,
    ``struct.error``, ``msgspec.MsgspecError`` for what is no frame; ``DamagedError``, OSError.
    """
    if what == wire.CLAIM:
        return _claimed(book, owner, number, data, at, end)
    if what == wire.SETTLE:
        _, _, _, state, key, attempt = wire.SETTLE_HEAD.unpack_from(data, at)
        begin = at + wire.SETTLE_BYTES
        kind = book.settle(key, attempt, state, data[begin:end] if begin < end else b"")
    elif what == wire.MARK_SENT:
        _, _, _, key, attempt = wire.SENT_HEAD.unpack_from(data, at)
        kind = book.mark_sent(owner, key, attempt)
    elif what == wire.ASK:
        begin = at + wire.HEAD_BYTES
        return answer_to(book, number, data[begin:end] if begin < end else b"")
    else:
        raise wire.WireError(f"a frame of kind {what}")
    if kind in (DONE, LOST):
        return wire.told(number, kind)
    return wire.refused(number, kind, book.told_reason)


def _claimed(  # noqa: PLR0913, PLR0917 - likewise
    book: Book, owner: Owner, number: int, data: bytes, at: int, end: int
) -> bytes:
    _, _, _, flags, keep_s, key, attempt, fingerprint = wire.CLAIM_HEAD.unpack_from(data, at)
    begin = at + wire.CLAIM_BYTES
    about = data[begin:end] if begin < end else b""
    sends, resolves = bool(flags & wire.SENDS), bool(flags & wire.RESOLVES)
    kind = book.claim(owner, key, attempt, fingerprint, keep_s, about, sends, resolves)
    if kind == GRANTED:
        return wire.told(number, kind)
    if kind == UNAVAILABLE:
        return wire.refused(number, kind, book.told_reason)
    answer, book.told_answer = book.told_answer, b""
    return wire.found(number, kind, book.told_age_ms, book.told_attempt, answer)
