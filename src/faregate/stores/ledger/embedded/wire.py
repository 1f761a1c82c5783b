"""What a worker and the ledger's process say to each other: frames over a unix socket.

A frame is its length, what it is, a number that its answer repeats, and fields of fixed places; a blob
fills the rest. The moves of a call are packed by hand, for each costs microseconds; what people and the
resolver ask is MessagePack. Little endian. Both ends are of one version, or the greeting is refused.
"""

import struct
from typing import Final

VERSION: Final = 1
FRAME_BYTES_MAX: Final = 128 << 10
"""Longer ones end the connection; the longest real one is a settlement with its answer."""
OWNER_BYTES: Final = 8
NO_OWNER: Final = bytes(OWNER_BYTES)
"""Of a command: it asks, and holds nothing."""

HELLO: Final = 1
CLAIM: Final = 2
MARK_SENT: Final = 3
SETTLE: Final = 4
ASK: Final = 5
TOLD: Final = 16
ANSWER: Final = 17
FAILED: Final = 18

SENDS: Final = 1
RESOLVES: Final = 2

HEAD: Final = struct.Struct("<IBI")
HEAD_BYTES: Final = 9
CLAIM_HEAD: Final = struct.Struct("<IBIBI16s16s32s")
CLAIM_BYTES: Final = 78
SENT_HEAD: Final = struct.Struct("<IBI16s16s")
SENT_BYTES: Final = 41
SETTLE_HEAD: Final = struct.Struct("<IBIB16s16s")
SETTLE_BYTES: Final = 42
TOLD_HEAD: Final = struct.Struct("<IBIBI")
TOLD_BYTES: Final = 14
FOUND_HEAD: Final = struct.Struct("<IBIBI16s")
FOUND_BYTES: Final = 30
HELLO_FRAME: Final = struct.Struct("<IBIB8s")
HELLO_BYTES: Final = 18


class WireError(Exception):
    """The other end says what is no frame."""


def check_length(length: int) -> None:
    """Raises ``WireError`` for what no frame has."""
    if length < HEAD_BYTES or length > FRAME_BYTES_MAX:
        raise WireError(f"a frame of {length} bytes")


def hello(owner: bytes) -> bytes:
    return HELLO_FRAME.pack(HELLO_BYTES, HELLO, 0, VERSION, owner)


def told(number: int, kind: int) -> bytes:
    """What came of a move, where the kind says all."""
    return TOLD_HEAD.pack(TOLD_BYTES, TOLD, number, kind, 0)


def refused(number: int, kind: int, reason: str) -> bytes:
    blob = reason.encode()
    return TOLD_HEAD.pack(TOLD_BYTES + len(blob), TOLD, number, kind, 0) + blob


def found(number: int, kind: int, age_ms: int, attempt: bytes, answer: bytes) -> bytes:
    """Of a claim: whose the record is."""
    age_ms = min(age_ms, 0xFFFFFFFF)
    return FOUND_HEAD.pack(FOUND_BYTES + len(answer), TOLD, number, kind, age_ms, attempt) + answer


def framed(what: int, number: int, payload: bytes) -> bytes:
    return HEAD.pack(HEAD_BYTES + len(payload), what, number) + payload
