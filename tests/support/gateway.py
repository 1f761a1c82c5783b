"""The real gateway: ``python -m faregate run FILE`` in a process group of its own, watched from outside.

Start waits for ``/readyz``; ``stop`` insists on a clean exit: code 0 within the grace, no traceback on stderr. Nothing
outlives the context manager, whatever the test did.
"""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Self
from weakref import WeakSet

from tests.support import configuration
from tests.support.configuration import Tree
from tests.support.ports import free_ports
from tests.support.records import AccessLog, parse_metrics, total

ROOT: Final = Path(__file__).resolve().parents[2]
START_S: Final = 20.0
GRACE_S: Final = 10.0
GATEWAYS: "Final[WeakSet[GatewayProcess]]" = WeakSet()
"""All there are: where a test fails, tests/conftest.py shows what those that run have said."""


def until(holds: Callable[[], bool], what: str, timeout_s: float = 10.0) -> None:
    """Polls until ``holds()``. Raises AssertionError naming ``what`` after ``timeout_s``."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, f"waited {timeout_s} s in vain for {what}"
        time.sleep(0.02)


def fetch(port: int, path: str, timeout_s: float = 5.0) -> tuple[int, str]:
    """Status and text of a manager page; status 0 while nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    except (OSError, http.client.HTTPException):
        return 0, ""
    finally:
        connection.close()


class GatewayProcess:
    """One gateway run on ``folder``. ``make`` gets the data port and the manager port and returns the configuration."""

    def __init__(
        self, folder: Path, make: Callable[[int, int], Tree], *, ports: tuple[int, int] | None = None
    ) -> None:
        self.folder = folder
        self.port, self.manager_port = ports or tuple(free_ports(2))
        self.tree = make(self.port, self.manager_port)
        self.file = configuration.write(folder, self.tree)
        self.log = AccessLog(folder / "data" / "access.jsonl")
        self._stderr_path = folder / "stderr.txt"
        self._stdout_path = folder / "stdout.txt"
        self.process: subprocess.Popen[bytes] | None = None
        GATEWAYS.add(self)

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.port

    @property
    def stderr(self) -> str:
        return self._stderr_path.read_text(encoding="utf-8", errors="replace")

    @property
    def stdout(self) -> str:
        return self._stdout_path.read_text(encoding="utf-8", errors="replace")

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def __enter__(self) -> Self:
        self.launch()
        try:
            self.wait_ready()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self.process is None:
            return
        if kind is None:
            self.stop()
        else:
            self.kill()

    def launch(self) -> None:
        """Starts the process without waiting for it."""
        with self._stderr_path.open("wb") as err, self._stdout_path.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "faregate", "run", str(self.file)],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
                env={**os.environ, "PYTHONFAULTHANDLER": "1"},
            )

    def wait_ready(self, timeout_s: float = START_S) -> None:
        """Waits for 200 on ``/readyz``. Raises AssertionError with stderr when the process ends first."""

        def ready() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, f"exit {self.process.returncode}: {self.stderr}"
            return fetch(self.manager_port, "/readyz")[0] == 200

        try:
            until(ready, "/readyz", timeout_s)
        except AssertionError as error:
            raise AssertionError(f"{error}; stderr: {self.stderr[-4000:]}") from None

    def wait_exit(self, timeout_s: float = GRACE_S) -> int:
        """The exit code. Raises AssertionError when the process is still there."""
        assert self.process is not None
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"still running {timeout_s} s after the signal; stderr: {self.stderr[-2000:]}"
            ) from None

    def stop(self, by: signal.Signals = signal.SIGTERM) -> None:
        """Ends the gateway by a signal and insists that it ends well and leaves no process behind."""
        try:
            os.kill(self.pid, by)
            code = self.wait_exit()
            assert code == 0, f"exit {code}; stderr: {self.stderr[-4000:]}"
            assert "Traceback" not in self.stderr, self.stderr[-4000:]
            until(lambda: not self.group_alive(), "the last process of the group to end", 3)
        finally:
            self.kill()

    def kill(self) -> None:
        """Kills whatever is left of the process group."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def group_alive(self) -> bool:
        """Whether any process of the group still exists, zombies apart."""
        assert self.process is not None
        for status in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                state, _, group, *_ = status.read_text().rpartition(")")[2].split()
                if int(group) == self.process.pid and state != "Z":
                    return True
        return False

    def counters(self) -> Path:
        """Where the memory that the workers count in can be opened."""
        for entry in Path(f"/proc/{self.pid}/fd").iterdir():
            if "faregate-counters" in str(entry.readlink()):
                return entry
        raise AssertionError("the supervisor holds no counters")

    def worker_pids(self) -> list[int]:
        """Children of the supervisor that carry calls, lowest pid first."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return sorted(int(pid) for pid in children if self._is_worker(int(pid)))

    @staticmethod
    def _is_worker(pid: int) -> bool:
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return False
        return b"faregate.gateway.worker" in command

    def rss_bytes(self) -> int:
        """Resident memory of all workers."""
        pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self.worker_pids())
        return pages * os.sysconf("SC_PAGE_SIZE")

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's series on ``/metrics`` now."""
        status, text = fetch(self.manager_port, "/metrics")
        assert status == 200, text
        return total(parse_metrics(text), name, **labels)

    def revision(self) -> int:
        """The largest revision in any worker's place on ``/metrics``."""
        _, text = fetch(self.manager_port, "/metrics")
        return int(
            max(
                value
                for (name, _), value in parse_metrics(text).items()
                if name == "faregate_config_revision"
            )
        )

    def reload(self, tree: Tree | None = None) -> None:
        """Writes ``tree`` and sends SIGHUP; does not wait."""
        if tree is not None:
            self.tree = tree
            configuration.write(self.folder, tree)
        os.kill(self.pid, signal.SIGHUP)

    def reload_and_wait(self, tree: Tree | None = None) -> None:
        """``reload``, then waits until all workers serve the new revision."""
        before = self.revision()
        self.reload(tree)
        until(
            lambda: self.revision() > before and fetch(self.manager_port, "/readyz")[0] == 200,
            "the new revision",
        )

    def readiness(self) -> dict[str, object]:
        loaded = json.loads(fetch(self.manager_port, "/readyz")[1])
        assert isinstance(loaded, dict)
        return loaded
