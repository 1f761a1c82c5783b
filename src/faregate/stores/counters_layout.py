"""Where everything lies in the memory of counters: one place, so that prepare and use cannot disagree.

A page of facts about the file, a page of tags for each partition, then the partitions: 1,024 slots of 576
bytes each. All counters of a caller lie in one partition, so that one lock covers a call; consumers and
anonymous addresses have partitions of their own, so that a flood of addresses fills only theirs. A tag is 32
bits of the digest that has the slot: one search finds a counter or the first free slot, so slots fill from
the front, a caller's side by side, and what lies behind takes no memory. The first slots are reserved: one
for a bitmap of concurrency slots (a dead worker's places), the others shared overflow slots, one a kind. A
slot is a head of eight 64-bit words and a body of 128 32-bit cells; one whose ``LOW`` is zero is free.
"""

import struct
import time
from calendar import timegm
from enum import IntEnum
from typing import Final

MAGIC: Final = b"FGCOUNT\x02"
"""The last byte is the format; another one is not read."""

PAGE_BYTES: Final = 4096
SLOT_BYTES: Final = 576
SLOT_WORDS: Final = SLOT_BYTES // 8
SLOT_CELLS: Final = SLOT_BYTES // 4
PARTITION_SLOTS: Final = 1024
TAGS_BYTES: Final = PARTITION_SLOTS * 4
PARTITION_BYTES: Final = PARTITION_SLOTS * SLOT_BYTES + TAGS_BYTES
RESERVED_SLOTS: Final = 16
PROBE_SLOTS: Final = 64
"""How many slots of a full partition are asked whether their history has passed."""

# The head of a slot, in words.
LOW: Final = 0  # low half of the key's digest, never 0 in a slot in use
HIGH: Final = 1  # high half
OWNER: Final = 2  # what chose the partition, kept so that a larger file can place the slot anew
KIND: Final = 3  # a Kind
FIRST: Final = 4  # the counter's own words; a calendar packs ``period << 32 | count`` into this one
SECOND: Final = 5
THIRD: Final = 6
BODY_WORD: Final = 8
BODY_CELL: Final = 16
BODY_CELLS: Final = 128

# The page at the start: magic, boot id, hash key, partitions of consumers and of addresses, cells in use.
FILE_HEAD: Final = struct.Struct("8s36s4x16sII")
CELLS_USED_OFFSET: Final = 128
"""A 32-bit number: one more than the highest worker index that opened the file since it was prepared."""

WORKERS_MAX: Final = 64

# Bytes past any end of file that stand for locks; the kernel locks ranges, not contents.
PARTITION_LOCK: Final = 1 << 40
WORKER_LOCK: Final = 1 << 41

HEAD_LOCK: Final = 1 << 42

OWNER_ADDRESS_BIT: Final = 1 << 63


def tag(low: int) -> int:
    """What stands for a digest among the tags. Never 0, as ``low`` is odd: 0 is a slot nobody ever had."""
    return low & 0xFFFFFFFF


class Kind(IntEnum):
    """What a slot counts. The value is also the number of the kind's overflow slot in a partition."""

    WINDOW_SECOND = 1
    WINDOW_MINUTE = 2
    WINDOW_HOUR = 3
    WINDOW_DAY = 4
    BUCKET = 5
    CONCURRENCY = 6
    CALENDAR_SECOND = 7
    CALENDAR_MINUTE = 8
    CALENDAR_HOUR = 9
    CALENDAR_DAY = 10
    CALENDAR_MONTH = 11


WINDOWS: Final = {
    1_000: Kind.WINDOW_SECOND,
    60_000: Kind.WINDOW_MINUTE,
    3_600_000: Kind.WINDOW_HOUR,
    86_400_000: Kind.WINDOW_DAY,
}
CALENDARS: Final = {
    1_000: Kind.CALENDAR_SECOND,
    60_000: Kind.CALENDAR_MINUTE,
    3_600_000: Kind.CALENDAR_HOUR,
    86_400_000: Kind.CALENDAR_DAY,
    0: Kind.CALENDAR_MONTH,
}
PERIOD_MS: Final = {kind: period for table in (WINDOWS, CALENDARS) for period, kind in table.items()}


def bucket_width_ns(period_ms: int) -> int:
    """Nanoseconds of one of the 128 cells of a sliding window.

    An admission is remembered for 127 to 128 widths: 1.006 to 1.014 periods. Never shorter than the period,
    so no window of it holds more than the limit; the 0.6 % more absorb the jitter of whoever checks at the
    far end; the most is 1.4 %, so that a caller at saturation gets 98.6 % of the limit.
    """
    return -(-period_ms * 1_006_000 // 127)


WIDTH_NS: Final = {int(kind): bucket_width_ns(period) for period, kind in WINDOWS.items()}


def calendar_period(kind: int, wall: float) -> int:
    """The number of the calendar period in UTC at ``wall``, in seconds since the epoch."""
    if kind != Kind.CALENDAR_MONTH:
        return int(wall) // (PERIOD_MS[Kind(kind)] // 1000)
    date = time.gmtime(wall)
    return date.tm_year * 12 + date.tm_mon - 1


def calendar_start(kind: int, period: int) -> int:
    """Seconds since the epoch at which that calendar period begins."""
    if kind != Kind.CALENDAR_MONTH:
        return period * (PERIOD_MS[Kind(kind)] // 1000)
    return timegm((period // 12, period % 12 + 1, 1, 0, 0, 0))


def passed(words: memoryview, word: int, now: int, wall: float) -> bool:
    """Whether the history of the slot that begins at ``word`` means nothing any more; never for places,
    always for a kind that does not exist.

    ``words``: slots as 64-bit numbers. ``now``: CLOCK_MONOTONIC in ns; ``wall``: seconds since the epoch.
    """
    kind = words[word + KIND]
    width = WIDTH_NS.get(kind)
    if width is not None:
        return bool(now // width - words[word + FIRST] >= BODY_CELLS)
    if kind == Kind.BUCKET:
        return bool(words[word + FIRST] <= now)
    if kind not in _CALENDAR_KINDS:
        return kind != Kind.CONCURRENCY
    return words[word + FIRST] >> 32 < calendar_period(kind, wall)


_CALENDAR_KINDS: Final = frozenset(CALENDARS.values())
