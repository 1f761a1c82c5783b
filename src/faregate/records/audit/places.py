"""Where the parts of an audit tree lie in its folder, and its key, which is made once.

``log/<number of the first record>.jsonl``: the records, one a line. ``checkpoints.jsonl``: every checkpoint
that was signed; ``checkpoint``: the last one. ``key.pub`` goes to auditors; ``key`` (mode 0600) stays.
"""

import contextlib
import os
import secrets
from hashlib import sha256
from pathlib import Path
from typing import Final

from faregate.records.audit.note import NoteError, Signer, Verifier, is_name

CHECKPOINTS: Final = "checkpoints.jsonl"
CHECKPOINT: Final = "checkpoint"
KEY: Final = "key"
PUBLIC_KEY: Final = "key.pub"
LOG: Final = "log"
SOCKET: Final = "socket"
TORN: Final = "torn"
_SEED_BYTES: Final = 32


class TreeError(Exception):
    """The tree in a folder cannot be gone on with. The message is for operators."""


def folder_in(data: Path) -> Path:
    return data / "audit"


def segment_name(first: int) -> str:
    return f"{first:012d}.jsonl"


def segments_in(folder: Path) -> list[tuple[int, Path]]:
    """Number of the first record and file of each segment, in order."""
    paths = (path for path in (folder / LOG).glob("*.jsonl") if path.stem.isdigit())
    return sorted((int(path.stem), path) for path in paths)


def load_or_make_key(folder: Path, origin: str) -> Signer:
    """The key of this tree, durable when this returns; a new one is named ``origin``, or for itself. Raises
    ``TreeError``, OSError.
    """
    path = folder / KEY
    if not path.exists():
        if segments_in(folder):
            raise TreeError(f"{path} is gone, and the records were signed by it: restore it")
        _make(path, origin)
    if path.stat().st_mode & 0o077:
        raise TreeError(f"{path} can be read by others: chmod 600")
    try:
        signer = Signer.read(path.read_text("utf-8"))
    except (NoteError, ValueError):
        raise TreeError(f"{path} is broken: restore it") from None
    line = f"{signer.verifier.line}\n"
    public = folder / PUBLIC_KEY
    if not public.exists() or public.read_text("utf-8") != line:
        replace_durably(public, line.encode(), 0o644)
    return signer


def _make(path: Path, origin: str) -> None:
    seed = secrets.token_bytes(_SEED_BYTES)
    own = Signer("faregate.local/x", seed).verifier.public
    name = origin or f"faregate.local/{sha256(own).hexdigest()[:16]}"
    if not is_name(name):
        raise TreeError(f"gateway.audit.origin: {name!r} holds a space or a +")
    replace_durably(path, f"{Signer(name, seed).line}\n".encode(), 0o600)


def read_verifier(path: Path) -> Verifier:
    """The public key in a file. Raises ``NoteError``, OSError."""
    try:
        text = path.read_text("utf-8")
    except ValueError:
        raise NoteError(f"{path} is no verifier key") from None
    return Verifier.read(text)


def replace_durably(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Writes a file beside and puts it in the place of ``path``. Raises OSError."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            fresh.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Makes files that came and went durable. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
