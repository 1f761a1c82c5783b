"""Closed-loop load: wrk sends a file of calls over keep-alive connections as fast as the answers come.

The right tool for CPU per call (the proxy is always busy), the wrong one for latency: open_loop.py does that.
"""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.processes import pinned

SCRIPT: Final = Path(__file__).parent / "configs" / "load.lua"
CONNECTIONS: Final = 64
_DURATION_S_MAX: Final = 240


class LoadError(Exception):
    """The load did not run as intended; the message says how."""


@dataclass(frozen=True)
class LoadResult:
    """What wrk counted. ``errors`` sums failed connects, reads, writes, timeouts and answers with status >=
    400.
    """

    calls: int
    duration_us: int
    errors: int
    p50_us: int
    p99_us: int

    @property
    def calls_per_second(self) -> float:
        """Answers per second over the whole run."""
        return self.calls * 1e6 / self.duration_us


def parse_wrk(output: str) -> LoadResult:
    """Reads the line that configs/load.lua prints. Raises LoadError when it is missing or counts no call."""
    lines = [line for line in output.splitlines() if line.startswith("RESULT ")]
    if not lines:
        raise LoadError(f"wrk gave no result:\n{output[-2000:]}")
    result = {name: int(value) for name, value in json.loads(lines[-1].removeprefix("RESULT ")).items()}
    errors = sum(result[name] for name in ("connect", "read", "write", "status", "timeout"))
    if not result["calls"] or not result["duration_us"]:
        raise LoadError("wrk got no answer")
    return LoadResult(result["calls"], result["duration_us"], errors, result["p50_us"], result["p99_us"])


def run_load(wrk: str, port: int, calls: Path, core: int | None) -> LoadResult:
    """Sends the calls of a file once to 127.0.0.1:``port``. Raises LoadError on any error or refusal."""
    command = [wrk, "-t1", f"-c{CONNECTIONS}", f"-d{_DURATION_S_MAX}s", "--timeout", "10s", "-s", str(SCRIPT)]
    command += [f"http://127.0.0.1:{port}/", "--", str(calls)]
    done = subprocess.run(
        pinned(command, core), capture_output=True, text=True, timeout=_DURATION_S_MAX + 30, check=False
    )
    result = parse_wrk(done.stdout + done.stderr)
    if result.errors:
        raise LoadError(f"{result.errors} of {result.calls} calls failed or were refused on port {port}")
    return result
