"""One process at a time in a folder: a lock on a file in it, which ends with the process that holds it."""

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

_LOOK_S: Final = 0.02


class FolderLock:
    """The right to write in a folder, held until ``free`` or the end of the process."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def take(cls, folder: Path, goes_on: Callable[[float], bool]) -> "FolderLock | None":
        """Waits for a holder to leave while ``goes_on``, given the seconds waited, says so; None then. Raises
        OSError.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        began = time.monotonic()
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not goes_on(time.monotonic() - began):
                    os.close(descriptor)
                    return None
                time.sleep(_LOOK_S)
            else:
                return cls(descriptor)

    def free(self) -> None:
        os.close(self._descriptor)
