"""Single bytes past the end of a file as locks between processes: taken by tries, never waited for here.

Open file description locks (``fcntl(2)``, F_OFD_SETLK): the kernel drops them when the process dies, however
it dies, and they exclude each other inside one process too.
"""

import fcntl
import os
import struct
from typing import Final

_FLOCK: Final = struct.Struct("hhqqi4x")
"""``struct flock`` of 64-bit Linux: type, whence, start, length, process id (0 for locks by description)."""


class ByteLocks:
    """The locks of one open file."""

    __slots__ = ("_description",)

    def __init__(self, description: int) -> None:
        self._description = description

    def take(self, offset: int) -> bool:
        """Whether the byte could be locked at once; also when it is held here already."""
        try:
            fcntl.fcntl(
                self._description, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, offset, 1, 0)
            )
        except OSError:
            return False
        return True

    def give(self, offset: int) -> None:
        """Gives the byte back."""
        fcntl.fcntl(
            self._description, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_UNLCK, os.SEEK_SET, offset, 1, 0)
        )
