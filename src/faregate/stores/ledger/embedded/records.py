"""The form of a record in the log.

A record is whole in itself: the last one of a key says all that is known of it, so that reading, starting
and cleaning never put pieces together. Its checksum covers every byte but its own and begins with where the
record stands, so that none is taken for another that a disk or a copy put in its place. ``durable`` tells
how far its file was synced when it was written: a broken record before that was acknowledged and is damage;
behind it, the mark of a crash. Little endian, lengths a multiple of 8.
"""

import struct
import zlib
from typing import Final

from faregate.stores.ledger.embedded.clock import Mark, Reading

STATED: Final = 1
"""Kind: what is known of a key."""
MARKED: Final = 2
"""Kind: ledger time beside the clocks; the first of each file."""
FORMAT: Final = 1

HEAD_BYTES: Final = 136
RECORD_BYTES_MAX: Final = 96 << 10
_CRC: Final = struct.Struct("<I")
_BODY: Final = struct.Struct("<IBBBBI16s16s8sQQQQIHHHHI32s")
"""length, kind, state, resolves, tries, durable, key, attempt, owner, changed, wall, expires, due, keep,
bytes of about, by, note, format, bytes of answer, fingerprint."""
_START: Final = struct.Struct("<II")
_BRIEF: Final = struct.Struct("<4xIBB6x16s40xQ")
"""length, kind, state, key, expires."""
_PADS: Final = tuple(bytes(length) for length in range(8))
_NO_OWNER: Final = bytes(8)
_NOTHING: Final = bytes(32)


class DamagedError(Exception):
    """What stands there is no record."""


class Record:
    """What is known of a key. Times are ledger milliseconds but ``wall_ms``, of the last move by the wall
    clock. ``place`` and ``length``: where it stands in the log. ``lent_ms``: until when a resolver has it.
    """

    __slots__ = (
        "about",
        "answer",
        "attempt",
        "by",
        "changed_ms",
        "due_ms",
        "expires_ms",
        "fingerprint",
        "keep_s",
        "key",
        "length",
        "lent_ms",
        "note",
        "owner",
        "place",
        "resolves",
        "state",
        "tries",
        "wall_ms",
    )

    def __init__(self, key: bytes, attempt: bytes, state: int) -> None:
        self.key = key
        self.attempt = attempt
        self.state = state
        self.resolves = False
        self.tries = 0
        self.owner = _NO_OWNER
        self.changed_ms = 0
        self.wall_ms = 0
        self.expires_ms = 0
        self.due_ms = 0
        self.keep_s = 0
        self.fingerprint = _NOTHING
        self.about = b""
        self.by = b""
        self.note = b""
        self.answer = b""
        self.place = 0
        self.length = 0
        self.lent_ms = 0


def seed(number: int, offset: int) -> int:
    """Where the checksum of a record at ``offset`` of the file ``number`` begins."""
    return (number * 2_654_435_761 + offset) & 0xFFFFFFFF


def encoded(record: Record, number: int, offset: int, durable: int) -> bytes:
    """The record as it stands at that place."""
    blobs = record.about + record.by + record.note + record.answer
    used = HEAD_BYTES + len(blobs)
    pad = -used & 7
    body = (
        _BODY.pack(
            used + pad,
            STATED,
            record.state,
            record.resolves,
            min(record.tries, 255),
            durable,
            record.key,
            record.attempt,
            record.owner,
            record.changed_ms,
            record.wall_ms,
            record.expires_ms,
            record.due_ms,
            record.keep_s,
            len(record.about),
            len(record.by),
            len(record.note),
            FORMAT,
            len(record.answer),
            record.fingerprint,
        )
        + blobs
        + _PADS[pad]
    )
    return _CRC.pack(zlib.crc32(body, seed(number, offset))) + body


def marked(mark: Mark, number: int, offset: int, durable: int) -> bytes:
    """A record of both clocks."""
    body = _BODY.pack(
        HEAD_BYTES,
        MARKED,
        0,
        0,
        0,
        durable,
        mark.reading.boot,
        _NOTHING[:16],
        _NO_OWNER,
        mark.ledger_ms,
        max(0, mark.reading.wall_ms),
        max(0, mark.reading.boot_ms),
        0,
        0,
        0,
        0,
        0,
        FORMAT,
        0,
        _NOTHING,
    )
    return _CRC.pack(zlib.crc32(body, seed(number, offset))) + body


def length_at(data: bytes, at: int, number: int, offset: int) -> int:
    """The length of the record at ``at`` of ``data``, which is at ``offset`` of its file; 0: none that is
    whole stands there.
    """
    length = length_by_itself(data, at)
    if length:
        view = memoryview(data)[at + 4 : at + length]
        if zlib.crc32(view, seed(number, offset)) != int(_START.unpack_from(data, at)[0]):
            return 0
    return length


def length_by_itself(data: bytes, at: int) -> int:
    """The same, unchecked but for what a length may be."""
    if len(data) - at < HEAD_BYTES:
        return 0
    length = int(_START.unpack_from(data, at)[1])
    if length < HEAD_BYTES or length & 7 or length > RECORD_BYTES_MAX or at + length > len(data):
        return 0
    return length


def claimed_length(data: bytes, at: int) -> int:
    """How long the record at ``at`` says it is; nothing of it was checked."""
    return int(_START.unpack_from(data, at)[1])


def brief(data: bytes, at: int) -> tuple[int, int, int, bytes, int]:
    """Length, kind, state, key and expiry of a record that is whole."""
    return _BRIEF.unpack_from(data, at)


def durable_of(data: bytes, at: int) -> int:
    """How far the file was synced when this record was written."""
    return int(_CRC.unpack_from(data, at + 12)[0])


def decoded(data: bytes, at: int) -> Record:
    """A record that is whole and of the kind STATED. Raises ``DamagedError`` for another version's form."""
    (
        length,
        kind,
        state,
        resolves,
        tries,
        _,
        key,
        attempt,
        owner,
        changed_ms,
        wall_ms,
        expires_ms,
        due_ms,
        keep_s,
        about_bytes,
        by_bytes,
        note_bytes,
        form,
        answer_bytes,
        fingerprint,
    ) = _BODY.unpack_from(data, at + 4)
    by_at = HEAD_BYTES + about_bytes
    note_at = by_at + by_bytes
    answer_at = note_at + note_bytes
    end = answer_at + answer_bytes
    if kind != STATED or form != FORMAT or end > length:
        raise DamagedError(f"a record of the form {form}")
    record = Record(key, attempt, state)
    record.resolves = bool(resolves)
    record.tries = tries
    record.owner = owner
    record.changed_ms = changed_ms
    record.wall_ms = wall_ms
    record.expires_ms = expires_ms
    record.due_ms = due_ms
    record.keep_s = keep_s
    record.fingerprint = fingerprint
    record.about = data[at + HEAD_BYTES : at + by_at]
    record.by = data[at + by_at : at + note_at]
    record.note = data[at + note_at : at + answer_at]
    record.answer = data[at + answer_at : at + end]
    record.length = length
    return record


def mark_of(data: bytes, at: int) -> Mark:
    """A record that is whole and of the kind MARKED."""
    fields = _BODY.unpack_from(data, at + 4)
    return Mark(fields[9], Reading(fields[6], fields[11], fields[10]))


def times_of(data: bytes, at: int) -> tuple[int, int]:
    """Ledger and wall time of a record that is whole."""
    fields = _BODY.unpack_from(data, at + 4)
    return fields[9], fields[10]
