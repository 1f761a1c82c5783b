"""The checks of ``faregate doctor`` that look at the machine: Python, limits, kernel, clock, processors.

``Machine.read`` takes all readings at once, each check then judges plain numbers: so tests say what the
machine is like. Files, ports and other servers are the affair of ``doctor_places`` and ``doctor_network``.
"""

import os
import platform
import resource
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from faregate.cli.doctor_findings import Finding, ok, problem, warning
from faregate.snapshot.data import Snapshot

PYTHON_MIN: Final = (3, 11)
LIBRARIES: Final = ("uvloop", "httptools", "msgspec", "cryptography")
BACKLOG: Final = 4096
"""What the gateway asks for (``gateway.control.listening_socket``); the kernel cuts it to ``somaxconn``."""
OWN_FILES: Final = 64
"""Descriptors of a worker besides connections: log, counters, sockets, event loop; 22 were seen."""
OPEN_FILES_MIN: Final = 256
CALLERS_ROOM: Final = 1024
"""Fewer connections of callers than this for each worker are worth a warning."""
SOCKET_PATH_BYTES_MAX: Final = 107
"""unix(7): ``sun_path`` holds 108 bytes, the last one zero."""
_FEED: Final = "/faregate-xxxxxxxx/feed"
_CLOCK_BACK_S: Final = 60.0


@dataclass(frozen=True)
class Machine:
    """The readings.

    ``processors``: usable ones; ``quota``: processors granted by a control group, 0 for no bound;
    ``written_at``: the latest time at which a file that must be older than now was written; ``libraries``:
    version by name, empty when absent; ``somaxconn`` 0: not known.
    """

    python: tuple[int, int, int]
    optimised: bool
    debug_build: bool
    libraries: dict[str, str]
    open_files: int
    processors: int
    quota: float
    somaxconn: int
    temporary: str
    temporary_writable: bool
    wall: float
    written_at: float
    monotonic_step: float
    time_zone: str

    @classmethod
    def read(cls, *older: Path) -> "Machine":
        """Takes the readings. ``older``: files written in the past, besides Python's own."""
        before = time.monotonic()
        temporary = tempfile.gettempdir()
        return cls(
            python=sys.version_info[:3],
            optimised=_is_optimised(),
            debug_build=hasattr(sys, "gettotalrefcount"),
            libraries={name: _version(name) for name in LIBRARIES},
            open_files=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
            processors=len(os.sched_getaffinity(0)),
            quota=_processor_quota(Path("/sys/fs/cgroup")),
            somaxconn=int(_text(Path("/proc/sys/net/core/somaxconn")) or 0),
            temporary=temporary,
            temporary_writable=os.access(temporary, os.W_OK | os.X_OK),
            wall=time.time(),
            written_at=max(_written_at(path) for path in (Path(sys.executable), *older)),
            monotonic_step=time.monotonic() - before,
            time_zone=time.tzname[0],
        )


def check_machine(machine: Machine, snapshot: Snapshot | None) -> Iterator[Finding]:
    """Everything that needs no file, port or server of the configuration."""
    yield _python(machine)
    yield from _libraries(machine)
    yield _open_files(machine, snapshot)
    yield _processors(machine, snapshot)
    yield _backlog(machine)
    yield _temporary(machine)
    yield _clock(machine)
    yield ok("time_zone", f"{machine.time_zone}; logs, quotas and tokens use UTC whatever it is")


def _python(machine: Machine) -> Finding:
    told = f"Python {'.'.join(map(str, machine.python))}, {platform.machine()}"
    if machine.python < PYTHON_MIN:
        return problem("python", told, f"install Python {'.'.join(map(str, PYTHON_MIN))} or later")
    if machine.debug_build:
        return warning(
            "python",
            f"{told}, a debug build",
            "use a release build: a debug build checks itself at every step",
        )
    if not machine.optimised:
        return warning(
            "python",
            f"{told}, built without profile-guided optimisation",
            "use a build made with --enable-optimizations: calls take less processor time",
        )
    return ok("python", f"{told}, built with profile-guided optimisation")


def _libraries(machine: Machine) -> Iterator[Finding]:
    absent = [name for name, found in machine.libraries.items() if not found]
    if absent:
        yield problem(
            "libraries", f"not installed: {', '.join(absent)}", "install faregate again with its dependencies"
        )
    present = [f"{name} {found}" for name, found in machine.libraries.items() if found]
    if present:
        yield ok("libraries", ", ".join(present))


def pool_connections_max(snapshot: Snapshot) -> int:
    """Connections to upstreams that one worker may have open."""
    return sum(upstream.max_connections * len(upstream.targets) for upstream in snapshot.upstreams)


def _open_files(machine: Machine, snapshot: Snapshot | None) -> Finding:
    limit = sys.maxsize if machine.open_files == resource.RLIM_INFINITY else machine.open_files
    shown = "no limit" if limit == sys.maxsize else f"{limit} for each process"
    pools = 0 if snapshot is None else pool_connections_max(snapshot)
    room = limit - OWN_FILES - pools
    advice = (
        f"raise it to {max(65_536, 2 * (pools + CALLERS_ROOM))}: `ulimit -n`, or LimitNOFILE= of the service"
    )
    if limit < OPEN_FILES_MIN:
        return problem("open_files", shown, advice)
    if room < CALLERS_ROOM:
        left = f"{room} are left for callers" if room > 0 else "none is left for callers"
        return warning("open_files", f"{shown}; when the upstreams' pools are full ({pools}), {left}", advice)
    return ok(
        "open_files", shown if limit == sys.maxsize else f"{shown}; room for {room} callers in each worker"
    )


def _processors(machine: Machine, snapshot: Snapshot | None) -> Finding:
    workers = (snapshot.gateway.workers if snapshot is not None else 0) or machine.processors
    told = f"{machine.processors} usable, {workers} worker{'' if workers == 1 else 's'}"
    if machine.quota and machine.quota < workers:
        return warning(
            "processors",
            f"{told}, but the control group grants {machine.quota:g}",
            "set `gateway.workers` to what is granted: workers that share a quota stall together",
        )
    if workers > machine.processors:
        return warning(
            "processors",
            told,
            "set `gateway.workers: auto`: workers beyond the processors only wait",
        )
    return ok("processors", told)


def _backlog(machine: Machine) -> Finding:
    if not machine.somaxconn:
        return ok("backlog", "net.core.somaxconn cannot be read here")
    if machine.somaxconn < BACKLOG:
        return warning(
            "backlog",
            f"net.core.somaxconn is {machine.somaxconn}; the gateway asks for {BACKLOG}",
            f"`sysctl net.core.somaxconn={BACKLOG}`: a burst of new connections is lost otherwise",
        )
    return ok("backlog", f"net.core.somaxconn is {machine.somaxconn}")


def _temporary(machine: Machine) -> Finding:
    folder = machine.temporary
    if not machine.temporary_writable:
        return problem("temporary", f"{folder} cannot be written to", "set TMPDIR to a folder that can")
    if len(os.fsencode(folder + _FEED)) > SOCKET_PATH_BYTES_MAX:
        return problem(
            "temporary",
            f"{folder} is too long a path for a unix socket",
            "set TMPDIR to a shorter path, such as /tmp",
        )
    return ok("temporary", f"{folder} is short enough for unix sockets")


def _clock(machine: Machine) -> Finding:
    ahead = machine.written_at - machine.wall
    if ahead > _CLOCK_BACK_S:
        return problem(
            "clock",
            f"the clock is {ahead:.0f} s behind the time at which files here were written",
            "set the clock and keep it set (chrony, ntpd): tokens, keys and quotas depend on it",
        )
    if machine.monotonic_step <= 0:
        return problem(
            "clock",
            "the monotonic clock does not advance",
            "restart the machine: limits and timeouts depend on it",
        )
    return ok("clock", "advances, and lies after the time at which files here were written")


def _version(name: str) -> str:
    """An installed library's version, empty when it cannot be imported: a compiled part may not fit."""
    try:
        import_module(name)
        return version(name)
    except (ImportError, PackageNotFoundError):
        return ""


def _processor_quota(group: Path) -> float:
    """Processors granted by this process's control group (version 2), 0 for no bound."""
    quota, _, period = _text(group / "cpu.max").partition(" ")
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() and int(period) else 0.0


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _written_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _is_optimised() -> bool:
    """Whether this Python was built with profiles. Distributions do it by other means than the configure
    switch, and leave no trace of it: theirs is taken for good.
    """
    by_distribution = sys.base_prefix == "/usr"
    return by_distribution or "--enable-optimizations" in str(sysconfig.get_config_var("CONFIG_ARGS"))
