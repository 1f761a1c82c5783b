"""The demo's children: started in groups of their own, stopped together, never left behind.

Each child is told by the kernel when the demo dies (PR_SET_PDEATHSIG), however it dies, and leads its own
session, so that Ctrl-C reaches the demo alone and the children are stopped in order. What a child prints
goes to a file in the demo's folder; the end of that file is shown when the child fails. Waiting is by
polling: no thread, no signal.
"""

import asyncio
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_POLL_S: Final = 0.02
_LOG_TAIL_BYTES: Final = 4096


class Child:
    """One child process and its group; ``name`` as messages call it."""

    def __init__(self, name: str, command: Sequence[str], log: Path, environ: Mapping[str, str]) -> None:
        self.name = name
        self._command = command
        self._log = log
        self._environ = dict(environ)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it; one that runs already is left alone."""
        if self.running:
            return
        self.kill()  # what an earlier run left behind
        parent = os.getpid()
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 - our own command line
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self._environ},
                start_new_session=True,
                preexec_fn=lambda: _die_with(parent),  # noqa: PLW1509 - the demo has one thread when it forks
            )

    @property
    def running(self) -> bool:
        """Whether it runs; one that ended is left a zombie, so that its group's number stays ours."""
        if self._process is None:
            return False
        return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def terminate(self) -> None:
        """Asks it to end; its own children are its to end, in its order."""
        if self._process is not None:
            os.kill(self._process.pid, signal.SIGTERM)

    def kill(self) -> None:
        """Kills the whole group at once, as a machine that loses power would, and forgets it."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def log_tail(self) -> str:
        """The last lines that the child printed, at most 20."""
        with suppress(FileNotFoundError):
            text = self._log.read_bytes()[-_LOG_TAIL_BYTES:].decode("utf-8", "replace")
            return "\n".join(text.splitlines()[-20:])
        return ""


async def stop_all(children: Sequence[Child], within_s: float) -> bool:
    """Asks all to end, kills what remains after ``within_s`` seconds; True when all ended by themselves."""
    for child in children:
        child.terminate()
    until = time.monotonic() + within_s
    while time.monotonic() < until and any(child.running for child in children):  # noqa: ASYNC110 - a process
        await asyncio.sleep(_POLL_S)
    gentle = not any(child.running for child in children)
    for child in children:
        # Also after a gentle end: a grandchild may outlive its parent.
        child.kill()
    return gentle


def payment_server(name: str, port: int, folder: Path, delay_ms: int) -> Child:
    """A copy of the payment service on 127.0.0.1:``port``; copies share the database in ``folder``."""
    command = [
        *(sys.executable, "-m", "gunicorn"),
        *("--bind", f"127.0.0.1:{port}"),
        *("--worker-class", "gthread", "--workers", "1", "--threads", "16"),
        # Longer than the gateway keeps an idle connection: who closes first may cut a call being sent.
        *("--keep-alive", "75"),
        *("--graceful-timeout", "1", "--no-control-socket", "--log-level", "warning"),
        "faregate.demo.payment_service.app:application()",
    ]
    environ = {
        "PAYMENTS_DATABASE": str(folder / "payments.db"),
        "PAYMENTS_DELAY_MS": str(delay_ms),
        "PAYMENTS_CONTROL": "1",
    }
    return Child(name, command, folder / f"{name.replace(' ', '-')}.log", environ)


def gateway(config: Path) -> Child:
    """``faregate run`` on ``config``."""
    command = [sys.executable, "-m", "faregate", "run", str(config)]
    return Child("gateway", command, config.parent / "gateway.log", {})


def port_is_free(port: int) -> bool:
    """Whether 127.0.0.1:``port`` can be listened on now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen(1)
        except OSError:
            return False
    return True


def free_port(wanted: int, taken: set[int]) -> int:
    """``wanted`` when nobody listens there, else one the kernel picks; the answer is added to ``taken``."""
    port = wanted
    while port in taken or not port_is_free(port):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
    taken.add(port)
    return port


def _die_with(parent: int) -> None:
    """Runs in the child before exec: SIGTERM when the demo ends in any way (prctl(2), PR_SET_PDEATHSIG)."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died in between: no signal will come any more
        os._exit(1)
