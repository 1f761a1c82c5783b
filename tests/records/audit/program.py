"""The tree's real process, for tests that report to it, and kill it."""

import contextlib
import json
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from faregate.records.audit.places import folder_in

START_S = 15.0


class Program:
    """One process on the data folder ``data``."""

    def __init__(self, data: Path, **settings: object) -> None:
        self.data = data
        self.folder = folder_in(data)
        (data / "digest.key").write_bytes(b"k" * 32)
        self._settings = json.dumps(settings)
        self.start()

    def start(self) -> None:
        self.said = ""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "faregate.records.audit.program", str(self.folder), self._settings],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.let_go()

    def let_go(self) -> str:
        """It has ended; all that it said."""
        self.process.wait(START_S)
        stdin, stderr = self.process.stdin, self.process.stderr
        assert stdin is not None
        assert stderr is not None
        if not stderr.closed:
            self.said = stderr.read().decode()
            stderr.close()
            with contextlib.suppress(BrokenPipeError):
                stdin.close()
        return self.said

    def kill(self) -> str:
        self.process.send_signal(signal.SIGKILL)
        return self.let_go()

    def stop(self) -> str:
        self.process.send_signal(signal.SIGTERM)
        return self.let_go()

    def tell(self, **facts: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(facts).encode() + b"\n")
        self.process.stdin.flush()


def call_lines(first: int, count: int) -> list[str]:
    """Lines of the access log."""
    return [
        f'{{"time":"2026-03-02T02:15:30.123Z","request_id":"r{number}","client_ip":"192.0.2.7",'
        f'"consumer":"m1","api":"payments","status":201,"outcome":"answered","revision":1}}\n'
        for number in range(first, first + count)
    ]
