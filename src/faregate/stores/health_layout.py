"""Where things lie in the file of shared health, and what one word of it says.

Everything that is said of a target is one word of 64 bits: written whole or not at all, whoever dies when, so
that no reader ever waits for a writer.
"""

from typing import Final, Literal, NamedTuple, TypeAlias

MAGIC: Final = b"FGHLTH1\0"
"""The last digit is the format's number."""

PAGE_BYTES: Final = 4096
BOOT_ID_AT: Final = len(MAGIC)
BOOT_ID_BYTES: Final = 40
SLOTS: Final = 1 << 18
"""262,144 (8 MiB): so that 100,000 targets find their slots by short searches."""
SLOT_WORDS: Final = 4
FILE_BYTES: Final = PAGE_BYTES + SLOTS * SLOT_WORDS * 8
PROBES: Final = 64
"""How far from its place a target's slot may lie."""

# The head, in words from the file's beginning.
SEQUENCE: Final = 16
"""How many changes were written."""
ALIVE_MS: Final = 17
"""When a worker last used the file, in ms of CLOCK_MONOTONIC."""
TERM: Final = 18
"""Which of the seat's locks counts."""
SEATED_MS: Final = 19
"""When who holds the seat last said so."""

RING_WORD: Final = 256
RING: Final = 256
"""The slots that changed last, by the change's number; who missed more looks at all of its own."""

# A slot, in words.
LOW: Final = 0  # half the digest of the target's key, odd; 0 where nothing ever was
HIGH: Final = 1
STATE: Final = 2
SEEN_MS: Final = 3

UNSEEN_MS: Final = 600_000
"""A slot that no worker had in its configuration for so long may become another target's."""

# Bytes past any end of file that stand for locks.
TABLE_LOCK: Final = 1 << 40
SEAT_LOCK: Final = 1 << 41
SEATS: Final = 64

Out: TypeAlias = Literal["", "ejected", "open"]
"""Taken out by a count of failures, by a breaker's ratio, or not at all."""

_OUTS: Final[tuple[Out, ...]] = ("", "ejected", "open")
_EJECTIONS_MAX: Final = 7
_VERSIONS: Final = 1 << 9
_AT_MASK: Final = (1 << 48) - 1


class Shared(NamedTuple):
    """What workers tell each other of a target.

    ``out``: it was taken out until ``at_ms``; who reads this later knows that the target is on trial since
    then. Without it, ``at_ms`` is when the target came back, 0 if it never was away. ``ejections``: in a row,
    counted to 7. ``version`` changes with every write, so that two ejections to the same moment differ.
    """

    out: Out = ""
    unhealthy: bool = False
    broken: bool = False
    ejections: int = 0
    at_ms: int = 0
    version: int = 0


def pack(shared: Shared) -> int:
    """One word; times beyond 48 bits and counts beyond their bits are cut to the largest."""
    return (
        _OUTS.index(shared.out)
        | shared.unhealthy << 2
        | shared.broken << 3
        | min(shared.ejections, _EJECTIONS_MAX) << 4
        | (shared.version % _VERSIONS) << 7
        | max(0, min(shared.at_ms, _AT_MASK)) << 16
    )


def unpack(word: int) -> Shared:
    """What ``pack`` wrote; a word that it cannot have written reads as one that says less."""
    out = word & 3
    return Shared(
        _OUTS[out] if out < len(_OUTS) else "",
        bool(word & 4),
        bool(word & 8),
        word >> 4 & _EJECTIONS_MAX,
        word >> 16,
        word >> 7 & (_VERSIONS - 1),
    )
