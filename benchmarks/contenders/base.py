"""What the harness asks of a proxy under test: start, stop, whose CPU counts, where its log lies.

Configurations are files under benchmarks/configs with @NAME@ marks, so that they read as what they are and
anybody can check how a contender was tuned.
"""

import re
import sys
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from benchmarks import tokens
from benchmarks.accounting import cpu_ns, resident_bytes
from benchmarks.processes import Program

CONFIGS: Final = Path(__file__).parents[1] / "configs"
LIMIT_SECOND: Final = 5_000
LIMIT_MINUTE: Final = 300_000
"""The standard plan: far above what one of a hundred consumers can reach here, so that limits count and
never refuse.
"""

LOG_QUIET_S: Final = 1.3
LOG_WAIT_S: Final = 5.0
"""How long a log may lag behind its calls; the writers here flush once a second or sooner."""

_MARK: Final = re.compile(r"@([A-Z][A-Z_0-9]*)@")


@dataclass(frozen=True)
class Ground:
    """What all contenders share. ``targets``: the upstream's two ports; ``core``: the proxies';
    ``load_core``: that of load and upstream; ``python``: the interpreter that runs Faregate.
    """

    programs: dict[str, str]
    work: Path
    targets: tuple[int, int]
    series: tokens.TokenSeries
    core: int | None
    load_core: int | None
    python: str = sys.executable
    certificate: Path | None = None
    """PEM file of chain and key for what listens by TLS."""


def fill(text: str, values: dict[str, str | int | Path]) -> str:
    """``text`` with each @NAME@ replaced. Raises KeyError for a mark without value."""
    return _MARK.sub(lambda match: str(values[match[1]]), text)


class Contender(ABC):
    """A proxy under test. ``log`` is None when it writes none (nginx bare)."""

    name: str
    title: str
    log: Path | None = None
    start_timeout_s: float = 30.0
    limit_second: int = LIMIT_SECOND
    limit_minute: int = LIMIT_MINUTE
    tls: bool = False
    """Whether callers come by TLS, with HTTP/2 on offer."""
    listens: ClassVar[tuple[str, str]] = ("", "")
    """What fills @LISTEN@ in its configuration: in clear, by TLS."""

    def __init__(self, ground: Ground, port: int, manager_port: int) -> None:
        self.ground = ground
        self.port = port
        self.manager_port = manager_port
        self.start_seconds = 0.0
        self._program: Program | None = None
        self._lines = 0
        self._lines_end = 0

    @abstractmethod
    def command(self) -> list[str]:
        """Writes the configuration and returns the command that runs it."""

    def environment(self) -> dict[str, str] | None:
        """Environment to run in; None for the harness's own."""
        return None

    def start(self, first_call: bytes) -> None:
        """Starts it on the proxies' core and waits until it answers ``first_call`` with 200. Raises
        StartError.

        ``start_seconds`` is then the time from the start of the program to that answer.
        """
        output = self.ground.work / f"{self.name}.out"
        output.write_bytes(b"")
        self._lines = self._lines_end = 0
        command = self.command()
        self._program = Program(command, output, self.ground.core, self.environment())
        self.start_seconds = self._program.wait_until_answering(
            self.port, first_call, self.start_timeout_s, tls=self.tls
        )
        self.settle()

    def settle(self) -> None:  # noqa: B027 - a hook; most have nothing to do
        """What is left to arrange once it answers; nothing for most."""

    def stop(self) -> None:
        """Stops it and all it started."""
        if self._program is not None:
            self._program.stop()
            self._program = None

    def pids(self) -> list[int]:
        """All its living processes; empty when stopped."""
        return self._program.pids() if self._program is not None else []

    def roles(self) -> dict[str, list[int]]:
        """Role -> processes; every process of the contender belongs to exactly one."""
        return {"proxy": self.pids()}

    def cpu_ns(self) -> dict[str, int]:
        """CPU nanoseconds used so far by each role."""
        return {role: cpu_ns(pids) for role, pids in self.roles().items()}

    def resident_bytes(self) -> dict[str, int]:
        """Resident memory of each role."""
        return {role: resident_bytes(pids) for role, pids in self.roles().items()}

    def log_lines(self) -> int:
        """Lines in the access log so far; 0 without one. Reads only what is new since the last reading."""
        if self.log is None or not self.log.exists():
            return 0
        with self.log.open("rb") as file:
            file.seek(self._lines_end)
            while chunk := file.read(1 << 20):
                self._lines += chunk.count(b"\n")
                self._lines_end += len(chunk)
        return self._lines

    def wait_for_lines(self, count: int) -> int:
        """Lines in the log once there are ``count`` of them, or after LOG_WAIT_S; always 0 without a log."""
        deadline = time.monotonic() + LOG_WAIT_S
        while (lines := self.log_lines()) < count and self.log is not None and time.monotonic() < deadline:
            time.sleep(0.05)
        return lines

    def quiet_lines(self) -> int:
        """Lines in the log once it has stopped growing for longer than any writer here holds lines back."""
        lines, quiet_since = self.log_lines(), time.monotonic()
        while self.log is not None and time.monotonic() - quiet_since < LOG_QUIET_S:
            time.sleep(0.05)
            if (now := self.log_lines()) != lines:
                lines, quiet_since = now, time.monotonic()
        return lines

    def write_config(self, source: str, target: str, **more: str | int | Path) -> Path:
        """Fills configs/``source`` into the work folder as ``target``."""
        ground = self.ground
        values: dict[str, str | int | Path] = {
            "PORT": self.port,
            "MANAGER_PORT": self.manager_port,
            "TARGET_1": ground.targets[0],
            "TARGET_2": ground.targets[1],
            "WORK": ground.work,
            "ISSUER": tokens.ISSUER,
            "AUDIENCE": tokens.AUDIENCE,
            "KEY_SET": ground.series.key_set,
            "PUBLIC_KEY": ground.series.public_key,
            "LIMIT_SECOND": self.limit_second,
            "LIMIT_MINUTE": self.limit_minute,
            "LISTEN": fill(self.listens[self.tls], {"CERTIFICATE": ground.certificate or ""}),
            "SMALL_LIMIT": tokens.SMALL_LIMIT,
            "SMALL_CONSUMER": tokens.SMALL_CONSUMER,
            **more,
        }
        path = ground.work / target
        path.write_text(fill((CONFIGS / source).read_text(), values))
        return path
