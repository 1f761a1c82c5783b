"""A ledger on a disk that can be cut off, filled and broken, with clocks that are moved by hand."""

import errno
import os
import random
from pathlib import Path

from faregate.stores.ledger.embedded.book import Book, Owner
from faregate.stores.ledger.embedded.cleaning import Cleaner
from faregate.stores.ledger.embedded.clock import Reading
from faregate.stores.ledger.embedded.disk import Disk
from faregate.stores.ledger.embedded.opening import open_book
from faregate.stores.ledger.protocol import COMPLETED, GRANTED, SENT, UNKNOWN

MIB = 1 << 20
SECTOR = 512


class Clocks:
    """``boot_ms`` and ``wall_ms`` go where the test puts them."""

    def __init__(self) -> None:
        self.boot = b"b" * 16
        self.boot_ms = 1_000_000
        self.wall_ms = 1_700_000_000_000

    def read(self) -> Reading:
        return Reading(self.boot, self.boot_ms, self.wall_ms)

    def advance(self, seconds: float) -> None:
        self.boot_ms += int(seconds * 1000)
        self.wall_ms += int(seconds * 1000)

    def reboot(self, boot: bytes, wall_s: float) -> None:
        self.boot, self.boot_ms = boot, 5_000
        self.wall_ms += int(wall_s * 1000)


class FaultyDisk(Disk):
    """Knows what was synced. ``room``: bytes that new files may still take, None for plenty; ``fails``: the
    errno of the next writes, or with ``fails_sync`` syncs.
    """

    def __init__(self) -> None:
        self.room: int | None = None
        self.fails = 0
        self.fails_sync = 0
        self.syncs = 0
        self._paths: dict[int, Path] = {}
        self._synced: dict[Path, bytes] = {}
        self._loose: dict[Path, list[tuple[int, bytes]]] = {}
        self._known: dict[Path, bytes] = {}  # names that the folder durably has, with what they held

    def create(self, path: Path, size: int) -> int:
        if self.room is not None and size > self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if self.room is not None:
            self.room -= size
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        os.ftruncate(descriptor, size)
        self.made(descriptor)
        self._paths[descriptor] = path
        self._synced[path] = bytes(size)
        self._loose[path] = []
        return descriptor

    def made(self, descriptor: int) -> None:
        """A hook for who closes what a played crash leaves open."""

    def open(self, path: Path) -> int:
        descriptor = super().open(path)
        self._paths[descriptor] = path
        self._synced[path] = path.read_bytes()
        self._loose[path] = []
        self._known.setdefault(path, b"")
        return descriptor

    def write(self, descriptor: int, data: bytes, at: int) -> None:
        if self.fails:
            super().write(
                descriptor, data[: len(data) // 2], at
            )  # a part of it, as a disk that fills up does
            raise OSError(self.fails, os.strerror(self.fails))
        super().write(descriptor, data, at)
        self._loose[self._paths[descriptor]].append((at, data))

    def sync(self, descriptor: int) -> None:
        if self.fails_sync:
            raise OSError(self.fails_sync, os.strerror(self.fails_sync))
        self.syncs += 1
        path = self._paths[descriptor]
        content = bytearray(self._synced[path])
        for at, data in self._loose[path]:
            content.extend(bytes(max(0, at + len(data) - len(content))))
            content[at : at + len(data)] = data
        self._synced[path] = bytes(content)
        self._loose[path] = []

    def cut(self, descriptor: int, size: int) -> None:
        os.ftruncate(descriptor, size)
        path = self._paths[descriptor]
        assert not self._loose[path]
        self._synced[path] = self._synced[path][:size]

    def close(self, descriptor: int) -> None:
        self._paths.pop(descriptor, None)
        super().close(descriptor)

    def sync_folder(self, folder: Path) -> None:
        self._known = {path: b"" for path in self._synced if path.exists()}

    def power_cut(self, chance: random.Random) -> None:
        """The files become what may be left: what was synced, and of the rest any sectors."""
        for path in list(self._synced):
            if path not in self._known:
                path.unlink(missing_ok=True)
                continue
            content = bytearray(self._synced[path])
            for at, data in self._loose[path]:
                content.extend(bytes(max(0, at + len(data) - len(content))))
                for begin in range(at // SECTOR * SECTOR, at + len(data), SECTOR):
                    if chance.random() < 0.5:
                        first, last = max(begin, at), min(begin + SECTOR, at + len(data))
                        content[first:last] = data[first - at : last - at]
            path.write_bytes(content)
        self._paths = {}


class World:
    """A folder, its clocks and disk, and the book that is open on it now."""

    def __init__(self, folder: Path, bytes_max: int = 64 * MIB, disk: Disk | None = None) -> None:
        self.folder = folder
        self.bytes_max = bytes_max
        self.clocks = Clocks()
        self.disk = disk if disk is not None else FaultyDisk()
        folder.mkdir(parents=True, exist_ok=True)
        self.book: Book
        self.owner: Owner
        self.open()

    def open(self) -> Book:
        self.book, self.clock = open_book(self.folder, self.bytes_max, self.disk, self.clocks)
        self.owner = self.book.here(b"worker 1")
        self.cleaner = Cleaner(self.book)
        self.look()
        return self.book

    def look(self) -> None:
        self.clock.look()
        self.book.now_ms, self.book.wall_ms = self.clock.now_ms, self.clock.wall_ms

    def advance(self, seconds: float) -> None:
        self.clocks.advance(seconds)
        self.look()

    def close(self) -> None:
        self.book.log.close()

    def again(self) -> Book:
        self.close()
        return self.open()

    # moves, each durable when it returns

    def claim(
        self, key: bytes, attempt: bytes, keep_s: int = 3_600, sends: bool = True, commit: bool = True
    ) -> int:
        kind = self.book.claim(self.owner, key, attempt, b"f" * 32, keep_s, b"about " + key, sends, True)
        if commit:
            assert self.book.log.commit()
        return kind

    def settle(self, key: bytes, attempt: bytes, state: int, answer: bytes = b"answer") -> int:
        kind = self.book.settle(key, attempt, state, answer if state == COMPLETED else b"")
        assert self.book.log.commit()
        return kind

    def put(
        self, number: int, state: int = COMPLETED, keep_s: int = 3_600, answer: bytes = b"answer"
    ) -> bytes:
        """A record of that state under the key of ``number``, durable."""
        key = key_of(number)
        assert self.claim(key, attempt_of(number), keep_s) == GRANTED
        if state != SENT:
            self.settle(key, attempt_of(number), state, answer)
        return key

    def standing(self) -> dict[bytes, tuple[int, bytes, bytes]]:
        """State, attempt and answer of every key that is not absent, read as anybody would."""
        found = {}
        for part in range(256):
            for key, record in self.book.opens[part].items():
                found[key] = (record.state, record.attempt, b"")
            for key, packed in self.book.kept[part].items():
                record = self.book.log.read(packed & ((1 << 37) - 1))
                if record.expires_ms > self.book.now_ms:
                    found[key] = (COMPLETED, record.attempt, record.answer)
        return found

    def work(self, most: int = 100_000) -> int:
        """Lets the cleaner do all there is; returns its slices."""
        done = 0
        while self.cleaner.step():
            assert self.book.log.commit()
            done += 1
            assert done < most, "the cleaner does not come to an end"
        assert self.book.log.commit()
        return done

    def check(self) -> None:
        """What is counted is what is there."""
        book = self.book
        live: dict[int, int] = {}
        for part in range(256):
            for key, record in book.opens[part].items():
                assert key[0] == part
                live[record.place >> 23] = live.get(record.place >> 23, 0) + record.length
                assert (record.state == UNKNOWN) == (key in book.unknown)
            for packed in book.kept[part].values():
                place = packed & ((1 << 37) - 1)
                live[place >> 23] = live.get(place >> 23, 0) + book.log.read(place).length
        for segment in book.log.order:
            assert segment.live == live.get(segment.slot, 0), segment.number
        opens = [record for part in book.opens for record in part.values()]
        assert book.in_flight == sum(record.state != UNKNOWN for record in opens)
        assert len(book.unknown) == sum(record.state == UNKNOWN for record in opens)
        assert book.kept_count == sum(len(part) for part in book.kept)
        files = sum(path.stat().st_size for path in self.folder.glob("*.log"))
        assert book.log.sized == files


def key_of(number: int) -> bytes:
    return bytes([number & 0xFF]) + number.to_bytes(15, "big")


def attempt_of(number: int) -> bytes:
    return b"attempt " + number.to_bytes(8, "big")


def newest(folder: Path) -> Path:
    """The last file that holds a record."""
    return [path for path in sorted(folder.glob("*.log")) if any(path.read_bytes()[:256][140:])][-1]
