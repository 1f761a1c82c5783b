"""What a finished file of the log says last of each key, so that a start need not read the file.

Only a help: one that is missing, broken or of another length than its file is made again from the file.
Made in slices between batches, and not synced, for its checksum tells whether it is whole.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import Final

from faregate.stores.ledger.embedded import records
from faregate.stores.ledger.embedded.records import DamagedError
from faregate.stores.ledger.embedded.segments import Log, Segment

_MAGIC: Final = b"FGLIDX01"
_HEAD: Final = struct.Struct("<8sIIII")
"""Magic, number, bytes of the file, entries, checksum of all that follows and of what stands before."""
_ENTRY: Final = struct.Struct("<16sIIQ")
"""Key, offset, length with the state in its lowest bits, expiry."""
_CHUNK: Final = 256 << 10


class Walk:
    """Goes through a file's records by slices. ``believes``: what this process wrote itself and has not read
    back is not checked. Raises ``DamagedError``, OSError.
    """

    def __init__(self, log: Log, segment: Segment, end: int, *, believes: bool = False) -> None:
        self.believes = believes
        self.log = log
        self.segment = segment
        self.at = 0  # in the file
        self.end = end
        self.data = b""
        self.data_at = 0  # where data begins

    def next(self) -> int:
        """The place in ``data`` of the next record; -1 behind the last. It is whole."""
        if self.at >= self.end:
            return -1
        inside = self.at - self.data_at
        length = 0
        if 0 <= inside < len(self.data):
            length = self._length(inside)
        if length == 0:
            size = min(_CHUNK, self.end - self.at)
            self.data = self.log.disk.read(self.segment.descriptor, size, self.at)
            self.data_at = self.at
            inside = 0
            length = self._length(0)
            if length == 0:
                raise DamagedError(f"{self.segment.path.name} is damaged at byte {self.at}")
        self.at += length
        return inside

    def _length(self, inside: int) -> int:
        if self.believes:
            return records.length_by_itself(self.data, inside)
        return records.length_at(self.data, inside, self.segment.number, self.at)


class Indexer:
    """Makes the index of one finished file, ``step`` by ``step``."""

    def __init__(self, log: Log, segment: Segment) -> None:
        self.segment = segment
        self._log = log
        # checked, it would cost a tenth of what writing the records did; who reads one checks it
        self._walk = Walk(log, segment, segment.used, believes=segment.ours)
        self._last: dict[bytes, bytes] = {}
        self._parts: list[bytes] | None = None
        self._packing: Iterator[bytes] = iter(())

    def step(self, most: int) -> bool:
        """Goes on by so many records; whether it is done. Raises ``DamagedError``, OSError."""
        if self._parts is None:
            walk = self._walk
            for _ in range(most):
                at = walk.next()
                if at < 0:
                    self._parts = []
                    self._packing = iter(self._last.values())
                    return False
                length, kind, state, key, expires_ms = records.brief(walk.data, at)
                if kind == records.STATED:
                    entry = _ENTRY.pack(key, walk.at - length, length | state, expires_ms)
                    self._last[key] = entry
            return False
        for entry in self._packing:
            self._parts.append(entry)
            if len(self._parts) % (4 * most) == 0:
                return False
        self._write(b"".join(self._parts))
        return True

    def entries(self) -> bytes:
        """All of it at once, without a file. Raises ``DamagedError``, OSError."""
        while self._parts is None:
            self.step(1 << 20)
        return b"".join(self._packing)

    def _write(self, entries: bytes) -> None:
        segment = self.segment
        before = struct.pack("<II", segment.number, segment.used)
        crc = zlib.crc32(entries, zlib.crc32(before))
        head = _HEAD.pack(_MAGIC, segment.number, segment.used, len(entries) // _ENTRY.size, crc)
        path = segment.path.with_suffix(".index")
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
        path.write_bytes(head + entries)


def read_index(segment: Segment) -> bytes | None:
    """The entries of a file's index, None where there is none that can be used."""
    try:
        data = segment.path.with_suffix(".index").read_bytes()
    except OSError:
        return None
    if len(data) < _HEAD.size:
        return None
    magic, number, used, count, crc = _HEAD.unpack_from(data)
    entries = data[_HEAD.size :]
    before = struct.pack("<II", number, used)
    if (
        magic != _MAGIC
        or number != segment.number
        or used != segment.used
        or len(entries) != count * _ENTRY.size
        or zlib.crc32(entries, zlib.crc32(before)) != crc
    ):
        return None
    return entries


def unpacked(entries: bytes) -> Iterator[tuple[bytes, int, int, int]]:
    """Key, offset, length with the state in its lowest three bits, expiry."""
    return _ENTRY.iter_unpack(entries)
