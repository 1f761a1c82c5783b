"""The processes that a supervisor starts, the sockets they inherit, and how it tells of them."""

import asyncio
import contextlib
import signal
import socket
import sys
from pathlib import Path

import msgspec

from faregate.gateway import control
from faregate.gateway.control import WorkerSettings
from faregate.snapshot import data as snapshots


class StartError(Exception):
    """The gateway cannot start; the text is for the operator."""


def say(text: str) -> None:
    """One line to the operator."""
    with contextlib.suppress(OSError, ValueError):  # whoever read it is gone; the work goes on
        print(f"faregate: {text}", file=sys.stderr, flush=True)  # noqa: T201 - the supervisor's voice


def listen_or_say(listener: snapshots.Listener) -> socket.socket:
    try:
        return control.listening_socket(listener.host, listener.port)
    except OSError as error:
        raise StartError(
            f"cannot listen on {listener.host}:{listener.port}: {error.strerror or error}"
        ) from error


def ending(status: int) -> str:
    return f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"


async def start_worker(settings: WorkerSettings) -> asyncio.subprocess.Process:
    """A worker process with its inherited sockets. Raises OSError."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "faregate.gateway.worker",
        msgspec.json.encode(settings).decode(),
        pass_fds=[*settings.listen, settings.control],
        stdin=asyncio.subprocess.DEVNULL,
    )


async def start_manager(listening: int, feed: Path, workers: int) -> asyncio.subprocess.Process:
    """The manager process with its listening socket. Raises OSError."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "faregate.manager",
        *("--fd", str(listening), "--feed", str(feed), "--workers", str(workers)),
        pass_fds=[listening],
        stdin=asyncio.subprocess.DEVNULL,
    )
