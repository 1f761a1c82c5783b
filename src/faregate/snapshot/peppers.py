"""The peppers of API keys on this machine: ``<data>/peppers.json``, mode 0600.

The manager writes the file, compile puts what it says into the snapshot, workers hash callers' keys with it.
Newest first: new keys are made under the first, and the others stay as long as a key needs them, for a digest
cannot be carried over without the key.
"""

import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from faregate.kernel.api_keys import PEPPER_BYTES, PEPPERS_MAX
from faregate.snapshot.frozen import Frozen

FILE: Final = "peppers.json"
_FORMAT: Final = 1
_BYTES_MAX: Final = 16 << 10


class Pepper(Frozen, frozen=True):
    """``id``: what records of keys name it by. ``key``: ``PEPPER_BYTES`` bytes."""

    id: str
    key: bytes

    def __repr__(self) -> str:
        return f"Pepper(id={self.id!r}, key=***)"


class PepperFault(ValueError):  # noqa: N818 - a fault of the file, not of the program
    """Why a file of peppers cannot be used; the text names no content."""


class _File(msgspec.Struct, forbid_unknown_fields=True):
    format: int
    peppers: list[Pepper]


def read_peppers(folder: Path) -> tuple[Pepper, ...]:
    """Those of the data folder ``folder``, newest first; none where there is no file. Raises
    ``PepperFault``.
    """
    path = folder / FILE
    if not path.exists():  # asked first: nothing is watched for that is not there
        return ()
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(_BYTES_MAX + 1)
    except OSError as error:
        raise PepperFault(f"cannot be read: {error.strerror}") from None
    if stat.S_IMODE(mode) & 0o077:
        raise PepperFault("others may read it: its mode must be 0600")
    return parse_peppers(content)


def parse_peppers(content: bytes) -> tuple[Pepper, ...]:
    """What ``write_peppers`` wrote. Raises ``PepperFault``."""
    if len(content) > _BYTES_MAX:
        raise PepperFault("too long for a file of peppers")
    try:
        read = msgspec.json.decode(content, type=_File)
    except msgspec.MsgspecError:
        raise PepperFault("not a file of peppers, or only a part of one") from None
    if read.format != _FORMAT:
        raise PepperFault(f"of format {read.format}; this program reads {_FORMAT}")
    return _sound(tuple(read.peppers))


def write_peppers(folder: Path, peppers: tuple[Pepper, ...]) -> None:
    """Replaces the file, in one step that survives a power cut. Raises ``PepperFault``, ``OSError``."""
    content = msgspec.json.encode(_File(_FORMAT, list(_sound(peppers))))
    descriptor, temporary = tempfile.mkstemp(dir=folder, prefix=f".{FILE}.")  # mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(folder / FILE)
    except BaseException:
        with suppress(OSError):
            Path(temporary).unlink()
        raise
    parent = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(parent)
    finally:
        os.close(parent)


def _sound(peppers: tuple[Pepper, ...]) -> tuple[Pepper, ...]:
    if len(peppers) > PEPPERS_MAX:
        raise PepperFault(f"more than {PEPPERS_MAX} peppers")
    if len({pepper.id for pepper in peppers}) < len(peppers):
        raise PepperFault("two peppers of one id")
    if any(len(pepper.key) != PEPPER_BYTES or not pepper.id for pepper in peppers):
        raise PepperFault(f"a pepper without an id, or not of {PEPPER_BYTES} bytes")
    return peppers
