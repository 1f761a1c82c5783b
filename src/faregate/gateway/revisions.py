"""A configuration file on its way to work: compiled in a child, numbered, laid where workers find it.

The child keeps pydantic, YAML and every possible error of a configuration away from the supervisor, which
never holds a whole configuration: it passes the bytes on and reads an outline. The numbered snapshot on disk
is also what a later start counts on from.
"""

import asyncio
import contextlib
import os
import secrets
import sys
from pathlib import Path
from typing import Final

import msgspec

from faregate.gateway.voice import Voice
from faregate.snapshot import data as snapshots

COMPILE_S: Final = 120.0


class CompileError(Exception):
    """The file has errors, which the child has shown, or took too long; the text is for the operator."""


async def compile_file(config: Path, out: Path) -> bytes:
    """The encoded snapshot of ``config``, by way of the file ``out``. Raises ``CompileError``."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "faregate.compile",
        *(str(config), "--out", str(out), "--revision", "0"),
        *(["--events"] if Voice.events else []),
    )
    try:
        status = await asyncio.wait_for(process.wait(), COMPILE_S)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise CompileError(f"compiling the configuration took more than {COMPILE_S:.0f} s") from None
    if status != 0:
        raise CompileError("the configuration has errors")
    try:
        return out.read_bytes()  # noqa: ASYNC240 - the supervisor handles no calls
    finally:
        out.unlink()  # noqa: ASYNC240 - likewise


def put_to_work(compiled: bytes, path: Path, last_revision: int) -> snapshots.Outline:
    """Gives the encoded snapshot the next number and replaces the file at ``path`` (mode 0600) in one durable
    step. Raises OSError.
    """
    numbered = snapshots.renumber(compiled, last_revision + 1)
    fresh = path.with_suffix(".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(numbered)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    return snapshots.decode_outline(numbered)


def revision_on_disk(path: Path) -> int:
    """The revision of the snapshot at ``path``, 0 when there is none that can be read."""
    try:
        return snapshots.decode_outline(path.read_bytes()).revision
    except (OSError, ValueError, msgspec.MsgspecError):
        return 0


def make_digest_key(path: Path) -> None:
    """Makes the key of the digests that stand in the log for withheld bodies, once per data folder (mode
    0600).

    A plain digest of a short body gives it away to whoever tries all of them (PCI DSS 3.5.1.1). Raises
    OSError.
    """
    with contextlib.suppress(FileExistsError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(32))
