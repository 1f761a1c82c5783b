"""The last good text of a fetched key set, on disk.

One file per issuer name and URL, so that a changed URL never finds the other provider's keys. The first line
holds the time of the provider's last confirmation; the rest is the set as received, checked again like a
fresh one when read. Several workers may write the same file: each writes its own temporary one and renames
it.
"""

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Final

_FILE_BYTES_MAX: Final = (1 << 20) + 64


class KeySetFile:
    """The place of one kept set. Holds no state; may be used from any thread."""

    __slots__ = ("_path",)

    def __init__(self, folder: Path, name: str, url: str) -> None:
        # the name goes in by its length, so that no two pairs of name and URL meet (single_flight_key_tuple)
        digest = hashlib.sha256(f"{len(name)}:{name}{url}".encode()).hexdigest()
        self._path = folder / f"{digest[:32]}.jwks"

    def load(self) -> tuple[bytes, float] | None:
        """The text and the time it was confirmed (seconds since the epoch); None when there is no readable
        file.
        """
        try:
            with self._path.open("rb") as file:
                head, _, text = file.read(_FILE_BYTES_MAX).partition(b"\n")
        except OSError:
            return None
        if not head.isdigit() or len(head) > 12:
            return None
        return text, float(head)

    def save(self, text: bytes, wall: float) -> None:
        """Keeps ``text`` as confirmed at ``wall``. Raises ``OSError``."""
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, temporary = tempfile.mkstemp(dir=self._path.parent, prefix=".jwks-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(b"%d\n" % int(wall) + text)
            Path(temporary).replace(self._path)
        except OSError:
            Path(temporary).unlink(missing_ok=True)
            raise
