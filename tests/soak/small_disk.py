"""A disk of its own for the data folder, small enough to be filled: a tmpfs, which takes root.

Where it cannot be mounted the folder stays an ordinary one and ``why_not`` says so; then the soak leaves that fault out and names it.
"""

import subprocess
from pathlib import Path
from typing import Final, Self

DISK_MIB: Final = 128
_PIECE: Final = bytes(1 << 18)


class SmallDisk:
    """Use as a context manager around all that lives on it."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.why_not = ""
        self._hog = place / "hog"

    def __enter__(self) -> Self:
        self.place.mkdir(mode=0o700, parents=True, exist_ok=True)
        options = f"size={DISK_MIB}m,mode=0700"
        try:
            done = subprocess.run(
                ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.place)],
                check=False, capture_output=True, text=True,
            )  # fmt: skip
            if done.returncode:
                why = done.stderr.strip().partition("\n")[0]
                self.why_not = f"no small disk can be mounted ({why}): it takes root"
        except FileNotFoundError:
            self.why_not = "no small disk can be mounted: there is no mount program"
        return self

    def __exit__(self, *_: object) -> None:
        if not self.why_not:
            subprocess.run(["umount", "-l", str(self.place)], check=True)

    def fill(self) -> None:
        """Takes all the room that is left."""
        with self._hog.open("wb", buffering=0) as file:
            piece = _PIECE
            while piece:
                try:
                    if file.write(piece) < len(piece):
                        piece = piece[: len(piece) // 2]
                except OSError:
                    piece = piece[: len(piece) // 2]

    def clear(self) -> None:
        self._hog.unlink(missing_ok=True)
