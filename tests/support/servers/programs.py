"""Programs that a test needs and a machine may lack, and a process that runs one."""

import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Self


class Lacking(Exception):  # noqa: N818 - a fact about the machine
    """The program is not here; the message says what to install."""


def find(names: tuple[str, ...], folders: str, install: str) -> str:
    """Where the first of ``names`` lies: on the path, or in a folder that matches ``folders``, newest first."""
    for name in names:
        if found := shutil.which(name):
            return found
        if folders:
            for folder in sorted(Path("/").glob(folders), reverse=True):
                if (folder / name).exists():
                    return str(folder / name)
    raise Lacking(f"{names[0]} is not on this machine: install {install}")


def wait_for_port(port: int, process: subprocess.Popen[bytes], seconds: float = 15.0) -> None:
    """Until somebody listens there. Raises RuntimeError when the process ends first or time is over."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with {process.returncode} instead of listening")
        with socket.socket() as probe:
            probe.settimeout(0.5)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise RuntimeError(f"nobody listens on port {port}")


class Server:
    """A server in a folder of its own. ``start`` after ``stop`` or ``kill`` finds what it kept."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self.process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        raise NotImplementedError

    def account(self) -> int | None:
        """The user that it runs as; None: ours."""
        return None

    def start(self) -> None:
        self.process = subprocess.Popen(
            self.command(),
            cwd=self.folder,
            user=self.account(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for_port(self.port, self.process)

    def kill(self) -> None:
        """At once, as a crash does."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """In order, without waiting for those who are connected."""
        self._end(signal.SIGTERM)

    def pause(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def _end(self, how: signal.Signals) -> None:
        process, self.process = self.process, None
        if process is None:
            return
        process.send_signal(how)
        process.send_signal(signal.SIGCONT)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
