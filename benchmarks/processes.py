"""Starting programs on a chosen core and stopping them whatever happens.

Each program gets its own session, so that Ctrl-C reaches the harness alone, which then stops everything in
order; and the kernel's parent-death signal, so that nothing outlives a harness that was killed.
"""

import ctypes
import os
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks.accounting import process_tree

_PR_SET_PDEATHSIG: Final = 1
_STOP_TIMEOUT_S: Final = 10.0
_LIBC: Final = ctypes.CDLL(None)


class StartError(Exception):
    """A program did not come up; the message holds the end of what it said."""


class Answer(NamedTuple):
    """An answer as a caller sees it; status 0 when the connection closed without one."""

    status: int
    body: bytes


def _receive(connection: socket.socket) -> Answer:
    data = b""
    while True:
        chunk = connection.recv(65536)
        data += chunk
        status, length = answer_length(data)
        if length and len(data) >= length:
            return Answer(status, data[data.index(b"\r\n\r\n") + 4 : length])
        if not chunk:
            return Answer(0, b"")


def exchange(port: int, call: bytes, *, tls: bool = False) -> Answer:
    """Sends one call on a connection of its own and reads its answer. Raises OSError; waits two
    seconds at most.
    """
    return burst(port, call, 1, tls=tls)[0]


def burst(port: int, call: bytes, count: int, *, tls: bool = False) -> list[Answer]:
    """Sends ``count`` copies of ``call`` at once, each on a connection of its own. Raises OSError
    as exchange does.
    """
    with ExitStack() as stack:
        connections = [stack.enter_context(_connect(port, tls=tls)) for _ in range(count)]
        for connection in connections:
            connection.sendall(call)
        return [_receive(connection) for connection in connections]


def _connect(port: int, *, tls: bool) -> socket.socket:
    plain = socket.create_connection(("127.0.0.1", port), timeout=2)
    if not tls:
        return plain
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # our own certificate, our own machine
    context.verify_mode = ssl.CERT_NONE
    try:
        return context.wrap_socket(plain)
    except OSError:
        plain.close()
        raise


def answer_length(data: bytes) -> tuple[int, int]:
    """(status, whole length) of the first HTTP/1.1 answer in ``data``; (0, 0) while its head is incomplete.

    Raises ValueError for an answer without Content-Length: the upstream of the benchmark always gives one.
    """
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return 0, 0
    head = data[:end].lower() + b"\r\n"
    at = head.find(b"\r\ncontent-length:")
    if at < 0:
        raise ValueError(f"answer without Content-Length: {data[:200]!r}")
    value = head[at + 17 : head.index(b"\r\n", at + 2)]
    return int(data[9:12]), end + 4 + int(value)


def _die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def free_ports(count: int) -> list[int]:
    """``count`` TCP ports of 127.0.0.1 that were free a moment ago, all different."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()


def cores() -> tuple[int, int] | None:
    """(core of the proxies, core of load and upstream); None where the process may use one core only."""
    usable = sorted(os.sched_getaffinity(0))
    return (usable[1], usable[0]) if len(usable) > 1 else None


def pinned(command: Sequence[str], core: int | None) -> list[str]:
    """``command`` bound to ``core`` by taskset(1), with all it will start; unbound for None."""
    return list(command) if core is None else ["taskset", "-c", str(core), *command]


def move_to_core(pid: int, core: int) -> None:
    """Binds every thread of a running process to ``core``."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), {core})


class Program:
    """A running program and its descendants; a context manager that stops them."""

    def __init__(
        self,
        command: Sequence[str],
        output: Path,
        core: int | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        """Starts ``command`` on ``core`` in the folder of ``output``, a file its output is appended to."""
        self.output = output
        self.started = time.monotonic()
        with output.open("ab") as sink:
            self._process = subprocess.Popen(
                pinned(command, core),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - no thread of ours runs at this time
                cwd=output.parent,
                env=environment,
            )

    def wait_until_answering(self, port: int, call: bytes, timeout_s: float, *, tls: bool = False) -> float:
        """Seconds from start until ``call`` was answered with 200. Raises StartError when it ended or took
        too long.

        A port that merely listens says little: a parent may hold it before any worker is ready.
        """
        answer = Answer(0, b"")
        while (elapsed := time.monotonic() - self.started) < timeout_s and self._process.poll() is None:
            try:
                answer = exchange(port, call, tls=tls)
            except OSError:
                time.sleep(0.02)
                continue
            if answer.status == 200:
                return elapsed
            time.sleep(0.02)
        said = self.output.read_text(errors="replace")[-2000:]
        raise StartError(
            f"{self._process.args!r} gives no answer on {port} (last: {answer.status}); it said:\n{said}"
        )

    def pids(self) -> list[int]:
        """The program and its living descendants."""
        return process_tree(self._process.pid)

    def stop(self) -> None:
        """SIGTERM, then SIGKILL after ten seconds to whatever of the tree is left."""
        tree = self.pids()
        if self._process.poll() is None:
            self._process.terminate()
        try:
            self._process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for pid in tree[1:]:
            if pid in process_tree(pid) and _same_session(pid, self._process.pid):
                os.kill(pid, signal.SIGKILL)


def _same_session(pid: int, session: int) -> bool:
    try:
        return os.getsid(pid) == session
    except ProcessLookupError:
        return False
