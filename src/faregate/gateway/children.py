"""The processes that a supervisor starts, and the sockets they inherit."""

import asyncio
import errno
import os
import signal
import socket
import sys
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from faregate.gateway import control
from faregate.gateway.control import WorkerSettings
from faregate.gateway.voice import Voice
from faregate.kernel.attending import attend
from faregate.kernel.processes import listening_processes, program_name
from faregate.snapshot import data as snapshots

if TYPE_CHECKING:
    from faregate.gateway.revisions import Report


class StartError(Exception):
    """The gateway cannot start; the text is for the operator. ``report``: of a configuration with errors."""

    report: "Report | None" = None


def listen_or_say(listener: snapshots.Listener) -> socket.socket:
    try:
        return control.listening_socket(listener.host, listener.port)
    except OSError as error:
        raise StartError(
            f"cannot listen on {listener.host}:{listener.port}: {error.strerror or error}"
            f"{_holder(listener.port) if error.errno == errno.EADDRINUSE else ''}"
        ) from error


def _holder(port: int) -> str:
    """Who has the port, as far as this user may see."""
    for pid, command in listening_processes(port):
        if pid == os.getpid():
            return ", by this gateway"
        return f", by process {pid} ({program_name(command)})"
    return ""


def is_stopped(pid: int) -> bool:
    """Whether a process is held by a signal or a tracer (``proc(5)``: state T or t)."""
    try:
        status = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False
    return status.rpartition(b") ")[2][:1] in {b"T", b"t"}


async def start_child(
    *command: str, pass_fds: Collection[int] = (), stdin: int | None = None
) -> asyncio.subprocess.Process:
    """A process that a terminal's Ctrl-C never reaches, not even while it is only being loaded: that goes to
    all processes in the foreground, and is ours to answer. Raises OSError.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # inherited, as is no handler
    try:
        process = await asyncio.create_subprocess_exec(*command, pass_fds=pass_fds, stdin=stdin)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    attend(process)
    return process


async def start_worker(settings: WorkerSettings) -> asyncio.subprocess.Process:
    """A worker process with its inherited sockets. Raises OSError."""
    return await start_child(
        sys.executable,
        "-m",
        "faregate.gateway.worker",
        msgspec.json.encode(settings).decode(),
        pass_fds=[*settings.listen, settings.control, settings.counters, settings.connections],
        stdin=asyncio.subprocess.DEVNULL,
    )


async def start_ledger(folder: Path, disk_bytes: int) -> asyncio.subprocess.Process:
    """The process of the embedded ledger in ``folder``. Raises OSError."""
    return await start_child(
        sys.executable,
        "-m",
        "faregate.stores.ledger.embedded.program",
        str(folder),
        str(disk_bytes),
        *(["--events"] if Voice.events else []),
        stdin=asyncio.subprocess.PIPE,
    )


async def start_audit(folder: Path, settings: dict[str, object]) -> asyncio.subprocess.Process:
    """The process that writes the audit tree in ``folder``. Raises OSError."""
    return await start_child(
        sys.executable,
        "-m",
        "faregate.records.audit.program",
        str(folder),
        msgspec.json.encode(settings).decode(),
        *(["--events"] if Voice.events else []),
        stdin=asyncio.subprocess.PIPE,
    )


async def start_manager(
    listening: int, name: str, feed: Path, workers: int, data: Path
) -> asyncio.subprocess.Process:
    """The manager process with its listening socket, configured under the host ``name``. Raises OSError."""
    return await start_child(
        sys.executable,
        "-m",
        "faregate.manager",
        *("--fd", str(listening), "--name", name, "--feed", str(feed), "--workers", str(workers)),
        *("--data", str(data)),
        *(["--events"] if Voice.events else []),
        pass_fds=[listening],
        stdin=asyncio.subprocess.PIPE,
    )
