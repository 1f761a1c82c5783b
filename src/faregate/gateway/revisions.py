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
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from faregate.gateway.children import start_child
from faregate.gateway.voice import Voice, ending
from faregate.snapshot import data as snapshots
from faregate.snapshot import encoded

COMPILE_S: Final = 120.0
NICE: Final = 10
"""A compilation takes whole seconds of a core; calls that run beside it come first."""


class Report(msgspec.Struct):
    """What the child says besides: diagnostics for programs and for people, files that were read, folders
    that may hold the data, likeliest first.
    """

    diagnostics: list[dict[str, object]] = []
    text: str = ""
    files: dict[str, list[int] | None] = {}
    data: list[str] = []


class Compiled(NamedTuple):
    """An encoded snapshot, not numbered yet, and what was said while it was made. ``base``: the file's own
    entries, for those who compile changes of the manager's; None: as they were.
    """

    snapshot: bytes
    report: Report
    base: Path | None = None


class CompileError(Exception):
    """The file is gone or has errors, which the child has shown, or took too long; the text is for the
    operator. ``missing``: there is no such file.
    """

    def __init__(self, message: str, report: Report | None = None, *, missing: bool = False) -> None:
        super().__init__(message)
        self.report = report or Report()
        self.missing = missing


async def compile_file(config: Path, out: Path, *, nice: int = NICE) -> Compiled:
    """The encoded snapshot of ``config``, by way of the file ``out``. ``nice``: how much others go before.
    Raises ``CompileError``.
    """
    told, base = out.with_suffix(".report"), out.with_suffix(".base")
    process = await start_child(
        sys.executable,
        "-m",
        "faregate.compile",
        *(str(config), "--out", str(out), "--revision", "0", "--report", str(told), "--base", str(base)),
        *(["--events"] if Voice.events else []),
        *("--nice", str(nice)),
    )
    try:
        status = await asyncio.wait_for(process.wait(), COMPILE_S)
    except asyncio.CancelledError:  # the gateway ends, and with it the folder that the child writes to
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise
    except TimeoutError:
        process.kill()
        await process.wait()
        raise CompileError(f"compiling the configuration took more than {COMPILE_S:.0f} s") from None
    report = take_report(told)
    if status != 0:
        raise _refused(config, report, status)
    try:
        return Compiled(out.read_bytes(), report, base)  # noqa: ASYNC240 - the supervisor handles no calls
    finally:
        out.unlink()  # noqa: ASYNC240 - likewise


def is_missing(config: Path) -> bool:
    """Whether there is no such file; one that cannot be read, or is no file, is another matter."""
    try:
        config.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def _refused(config: Path, report: Report, status: int) -> CompileError:
    if is_missing(config):
        return CompileError(f"no such file: {config}", report, missing=True)
    if not report.diagnostics:
        return CompileError(f"compiling the configuration failed ({ending(status)})", report)
    first = report.diagnostics[0]
    if first.get("code") == "file_unreadable" and first.get("file") == str(config):
        return CompileError(f"the configuration cannot be read: {config}", report)
    return CompileError("the configuration has errors", report)


def take_report(path: Path) -> Report:
    """The report at ``path``, which is removed; an empty one when there is none."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Report)
    except (OSError, msgspec.MsgspecError):  # the child died early
        return Report()
    finally:
        path.unlink(missing_ok=True)


def last_good(folders: Iterable[str]) -> snapshots.Outline | None:
    """The snapshot that the first of ``folders`` holds which is the data folder of its own snapshot."""
    for folder in folders:
        try:
            outline = encoded.decode_outline((Path(folder) / "snapshot").read_bytes())
        except (OSError, ValueError, msgspec.MsgspecError):
            continue
        if Path(outline.gateway.data) == Path(folder):
            return outline
    return None


def put_to_work(compiled: bytes, path: Path, last_revision: int, wanted: int = 0) -> snapshots.Outline:
    """Gives the encoded snapshot the number ``wanted``, or the next one where that is not beyond the last,
    and replaces the file at ``path`` (mode 0600) in one durable step. Raises OSError.
    """
    number = wanted if wanted > last_revision else last_revision + 1
    if encoded.decode_outline(compiled).revision != number:
        compiled = encoded.renumber(compiled, number)
    _replace(path, compiled)
    return encoded.decode_outline(compiled)


def put_base(made: Path | None, folder: Path) -> None:
    """Lays what the compiler told of the file's own entries into the data folder ``folder``. Raises
    OSError.
    """
    if made is not None and made.exists():
        _replace(folder / "base.json", made.read_bytes())
        made.unlink()


def _replace(path: Path, content: bytes) -> None:
    fresh = path.with_suffix(".new")
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)  # a disk that is full has no room for half of it either
        raise


def revision_on_disk(path: Path) -> int:
    """The revision of the snapshot at ``path``, 0 when there is none that can be read."""
    try:
        return encoded.decode_outline(path.read_bytes()).revision
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
