"""Every touch of the disk that the embedded ledger makes, in one class.

So that tests can stand between: lose what was not synced, fail a write, fill the disk. Nothing here decides
anything. Calls raise OSError.
"""

import os
from pathlib import Path
from typing import Final

_PRIVATE: Final = 0o600


class Disk:
    """The machine's own."""

    def create(self, path: Path, size: int) -> int:
        """A new file of ``size`` zero bytes whose room is taken; its descriptor. A failure leaves nothing."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _PRIVATE)
        try:
            os.posix_fallocate(descriptor, 0, size)
            os.fsync(descriptor)
        except OSError:
            os.close(descriptor)
            path.unlink()
            raise
        return descriptor

    def open(self, path: Path) -> int:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def size(self, descriptor: int) -> int:
        return os.fstat(descriptor).st_size

    def write(self, descriptor: int, data: bytes, at: int) -> None:
        """All of it, or OSError."""
        done = os.pwrite(descriptor, data, at)
        while done < len(data):
            done += os.pwrite(descriptor, data[done:], at + done)

    def read(self, descriptor: int, size: int, at: int) -> bytes:
        return os.pread(descriptor, size, at)

    def sync(self, descriptor: int) -> None:
        os.fdatasync(descriptor)

    def cut(self, descriptor: int, size: int) -> None:
        """Makes the file end at ``size``, durably."""
        os.ftruncate(descriptor, size)
        os.fsync(descriptor)

    def shrink(self, descriptor: int, size: int) -> None:
        """The same of a file without a name: nothing of it needs to be durable."""
        os.ftruncate(descriptor, size)

    def close(self, descriptor: int) -> None:
        os.close(descriptor)

    def remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def sync_folder(self, folder: Path) -> None:
        """Makes files that came and went durable."""
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
