"""The first page of the memory of counters: how its reader knows that it may trust the rest."""

import os
from typing import NamedTuple

from faregate.stores import counters_layout as layout


class CountersError(Exception):
    """The counters are missing, of another format, or held by another process."""


class LockHeldError(CountersError):
    """A lock of the counters is held by a process that does not move."""


class Head(NamedTuple):
    """The first page."""

    boot_id: str
    hash_key: bytes
    consumer_partitions: int
    address_partitions: int

    @property
    def file_bytes(self) -> int:
        partitions = self.consumer_partitions + self.address_partitions
        return layout.PAGE_BYTES + partitions * layout.PARTITION_BYTES

    def pack(self) -> bytes:
        return layout.FILE_HEAD.pack(
            layout.MAGIC,
            self.boot_id.encode(),
            self.hash_key,
            self.consumer_partitions,
            self.address_partitions,
        )


def read_head(description: int) -> Head:
    """Raises CountersError unless the memory is whole and of this format."""
    page = os.pread(description, layout.FILE_HEAD.size, 0)
    if len(page) < layout.FILE_HEAD.size or page[: len(layout.MAGIC)] != layout.MAGIC:
        raise CountersError("not counters of this format")
    _, boot_id, hash_key, consumer_partitions, address_partitions = layout.FILE_HEAD.unpack(page)
    head = Head(
        boot_id.rstrip(b"\0").decode("ascii", "replace"), hash_key, consumer_partitions, address_partitions
    )
    if min(consumer_partitions, address_partitions) < 1 or os.fstat(description).st_size != head.file_bytes:
        raise CountersError("the memory of counters is not whole")
    return head
