"""The checks of ``faregate doctor`` on what the configuration names here: ports, the data folder.

A port held by a running Faregate is as good as a free one. Nothing is created: the folder is judged by its
modes and by a nameless file, the ports by binding without listening.
"""

import errno
import fcntl
import os
import shutil
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from faregate.cli.doctor_findings import Finding, megabytes, ok, problem, warning
from faregate.kernel.processes import listening_processes, program_name
from faregate.policies.limits import capacity
from faregate.snapshot.data import Listener, Snapshot
from faregate.stores.counters_layout import SLOT_BYTES

START_ROOM_BYTES: Final = 16 << 20
"""A start writes its snapshot and the shared health."""

LOG_ROOM_BYTES: Final = 1 << 30
"""Free space below which the access log deserves a warning: a million calls write about half a gigabyte."""


def check_ports(snapshot: Snapshot) -> Iterator[Finding]:
    """Every listener, and the manager's."""
    for listener in snapshot.gateway.listen:
        yield _port("port", listener)
    if snapshot.gateway.manager is not None:
        yield _port("manager_port", snapshot.gateway.manager)


def _port(check: str, listener: Listener) -> Finding:
    place = f"{listener.host}:{listener.port}"
    try:
        _bind(listener)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return _held(check, place, listener.port)
        if error.errno == errno.EACCES:
            return problem(
                check,
                f"{place} needs a privilege that this user lacks",
                "use a port from 1024 on, or grant CAP_NET_BIND_SERVICE to the service",
            )
        if error.errno == errno.EADDRNOTAVAIL:
            return problem(
                check,
                f"{place} is no address of this machine",
                "name an address of this machine, 0.0.0.0 or [::]",
            )
        return problem(check, f"{place} cannot be used: {error.strerror}", "name another address")
    return ok(check, f"{place} is free")


def _bind(listener: Listener) -> None:
    """Takes the address and gives it back. Raises OSError."""
    family = socket.AF_INET6 if ":" in listener.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if listener.host == "::" else 1)
        sock.bind((listener.host.strip("[]"), listener.port))


def _held(check: str, place: str, port: int) -> Finding:
    holders = listening_processes(port)
    ours = [pid for pid, command in holders if b"faregate" in command]
    if ours:
        return ok(check, f"{place} is held by a running Faregate (process {min(ours)})")
    if holders:
        pid, command = holders[0]
        return problem(
            check,
            f"{place} is held by process {pid} ({program_name(command)})",
            "stop that process or name another port",
        )
    return problem(
        check, f"{place} is held by a process of another user", "stop that process or name another port"
    )


def check_data(snapshot: Snapshot) -> Iterator[Finding]:
    """The data folder: use, privacy, room."""
    folder = Path(snapshot.gateway.data)
    standing = _nearest_existing(folder)
    try:
        with tempfile.TemporaryFile(dir=standing) as file:
            file.write(b"\0")
            file.flush()
    except OSError as error:
        yield problem(
            "data",
            f"{standing} cannot be written to: {error.strerror}",
            "free some space"
            if error.errno in {errno.ENOSPC, errno.EDQUOT}
            else "give this user the folder, or name another one as `gateway.data`",
        )
        return
    if standing == folder:
        yield _in_use(folder)
        yield _privacy(folder)
    else:
        yield ok("data", f"{folder} does not exist yet and can be made")
    yield _room(snapshot, standing)


def _nearest_existing(folder: Path) -> Path:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def _in_use(folder: Path) -> Finding:
    """Who holds the lock, as the supervisor takes it."""
    try:
        with (folder / "lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return ok("data", f"{folder} is in use by a running gateway")
    except OSError:
        pass  # no gateway has been here yet
    return ok("data", f"{folder} can be written to")


def _privacy(folder: Path) -> Finding:
    """The folder and what lies in it: secrets of the configuration, digests of keys, records of calls."""
    if folder.stat().st_uid != os.geteuid():
        return warning(
            "privacy", f"{folder} belongs to another user", "let the user that runs the gateway own it"
        )
    if not stat.S_IMODE(folder.stat().st_mode) & 0o077:
        return ok("privacy", f"{folder} is for its owner alone")
    snapshot = folder / "snapshot"
    if snapshot.exists() and stat.S_IMODE(snapshot.stat().st_mode) & 0o077:
        return problem(
            "privacy",
            "the snapshot, which may hold secrets, is open to other users",
            f"`chmod -R go= {folder}`, and change the issuers' shared secrets",
        )
    return warning(
        "privacy", f"{folder} is open to other users", f"`chmod -R go= {folder}`: it holds logs of calls"
    )


def _room(snapshot: Snapshot, folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    needed = counters_bytes_max(snapshot)
    told = f"{megabytes(free)} free where {folder} lies; saved counters take up to {megabytes(needed)}"
    if free < START_ROOM_BYTES:
        return problem("disk", told, "free some space: without it the gateway does not start")
    if free < needed + LOG_ROOM_BYTES:
        return warning(
            "disk",
            told,
            "free some space: the access log grows, and a full disk costs lines and, after a crash, counts",
        )
    return ok("disk", told)


def counters_bytes_max(snapshot: Snapshot) -> int:
    """An upper bound of what saving the counters takes: a slot a counter, twice while the one before still
    lies there.
    """
    consumers, addresses = capacity(snapshot)
    return 2 * (consumers + addresses) * SLOT_BYTES
