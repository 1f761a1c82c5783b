"""One record of the tree: canonical JSON (RFC 8785), a line of its segment and the content of its leaf.

``actor``, ``detail``, ``object``, ``prev``, ``seq``, ``time``, ``type``: in this order, the sorted one. Who
reports an event writes what stands before and behind ``prev`` and ``seq``; only the tree's writer knows these
two. Money is whole numbers or text: there are no fractions, and no number beyond 2^53, which other
readers would round.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, NamedTuple

import msgspec

from faregate.kernel import canonical_json

LEAF_BYTES_MAX: Final = 32 << 10
TEXT_LENGTH_MAX: Final = 1024
"""Of an actor and of an object."""
NO_PREV: Final = "0" * 64
"""What the first record says it follows."""
_TYPE: Final = re.compile(r"[a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*)*")
_TYPE_LENGTH_MAX: Final = 64
WHOLE_MAX: Final = (1 << 53) - 1
"""The largest whole number that every reader keeps exactly."""
_DEPTH_MAX: Final = 32
_PREV: Final = b',"prev":"'
_SEQ: Final = b'","seq":'
_TIME: Final = b',"time":"'
_PREV_LENGTH: Final = 64


class LeafError(ValueError):
    """What was given, or stands there, is no record. The message says why."""


class Leaf(msgspec.Struct, forbid_unknown_fields=True):
    """A record as it stands in the tree. ``prev``: the hash of the leaf before, in hex."""

    actor: str
    detail: dict[str, object]
    object: str
    prev: str
    seq: int
    time: str
    type: str


class Entry(NamedTuple):
    """A record without its place: what stands before ``prev``'s value, and what behind ``seq``'s."""

    head: bytes
    tail: bytes

    @property
    def mark(self) -> int:
        """Tells the same event reported twice, within one process: 64 bits, keyed anew in each."""
        return hash((self.head, self.tail))

    def at(self, seq: int, prev: str) -> bytes:
        """The record, as number ``seq`` behind the leaf with the hash ``prev``."""
        return b"%b%b%b%d%b" % (self.head, prev.encode(), _SEQ, seq, self.tail)


def _no_fraction(text: str) -> None:
    raise LeafError(f"{text} is no whole number")


_leaf: Final = msgspec.json.Decoder(Leaf, float_hook=_no_fraction)
_anything: Final = msgspec.json.Decoder()
_sorted: Final = msgspec.json.Encoder(order="sorted")


def time_text(wall: float) -> str:
    """RFC 3339 in UTC, microseconds."""
    return datetime.fromtimestamp(wall, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def entry(kind: str, actor: str, about: str, detail: Mapping[str, object], time: str) -> Entry:
    """The event as it will stand in the tree. Raises ``LeafError``."""
    if len(kind) > _TYPE_LENGTH_MAX or not _TYPE.fullmatch(kind):
        raise LeafError(
            f"type {kind[:_TYPE_LENGTH_MAX]!r}: words of a-z, 0-9 and _ between dots are expected"
        )
    for name, text in (("actor", actor), ("object", about)):
        if not 0 < len(text) <= TEXT_LENGTH_MAX:
            raise LeafError(f"{name}: 1 to {TEXT_LENGTH_MAX} characters are expected")
    _check(detail, 0)
    return assembled(kind, canonical(actor), canonical(about), canonical(detail), time)


def assembled(kind: str, actor: bytes, about: bytes, detail: bytes, time: str) -> Entry:
    """The event of its members in their one spelling, which are checked already. Raises ``LeafError`` where
    they are too long together.
    """
    made = Entry(
        b'{"actor":%b,"detail":%b,"object":%b,"prev":"' % (actor, detail, about),
        b',"time":"%b","type":"%b"}' % (time.encode(), kind.encode()),
    )
    if len(made.head) + len(made.tail) + _PREV_LENGTH + 32 > LEAF_BYTES_MAX:
        raise LeafError(f"a record of more than {LEAF_BYTES_MAX} bytes")
    return made


def canonical(value: object) -> bytes:
    """A JSON value without fractions in its one spelling. Raises ``LeafError``."""
    try:
        text = _sorted.encode(value)
        if not text.isascii():  # msgspec sorts members by code points
            text = canonical_json.encode(msgspec.to_builtins(value)).encode()
    except (ValueError, TypeError, RecursionError, msgspec.MsgspecError):
        raise LeafError("not a JSON value") from None
    return text


def _check(value: object, depth: int) -> None:
    """Raises ``LeafError`` for what a record does not hold."""
    if depth > _DEPTH_MAX:
        raise LeafError("detail is nested too deep")
    if value is None or isinstance(value, bool | str):
        return
    if isinstance(value, int):
        if abs(value) > WHOLE_MAX:
            raise LeafError(f"{value} is beyond 2^53: write it as text")
    elif isinstance(value, Mapping):
        for name, member in value.items():
            if not isinstance(name, str):
                raise LeafError("a member's name is no text")
            _check(member, depth + 1)
    elif isinstance(value, list | tuple):
        for member in value:
            _check(member, depth + 1)
    else:
        kind = type(value).__name__
        raise LeafError(
            f"detail holds a {kind}: text, whole numbers, true, false, null, lists and objects are held"
        )


def read(record: bytes) -> Leaf:
    """A line of a segment, without its end. Raises ``LeafError`` for what is no record in its one
    spelling.
    """
    try:
        found = _leaf.decode(record)
    except (msgspec.MsgspecError, ValueError) as error:
        raise LeafError(str(error)) from None
    if _sorted.encode(found) != record:
        try:
            again = canonical_json.encode(_anything.decode(record)).encode()
        except (ValueError, TypeError, RecursionError):
            raise LeafError("not in canonical form") from None
        if again != record:
            raise LeafError("not in canonical form")
    return found


def taken_apart(record: bytes) -> Entry:
    """The event of a record in its one spelling."""
    at = record.rindex(_PREV) + len(_PREV)
    end = record.index(_TIME, at + _PREV_LENGTH)
    return Entry(record[:at], record[end:])
