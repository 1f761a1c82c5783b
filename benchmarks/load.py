"""Closed-loop load: wrk sends a file of calls over keep-alive connections as fast as the answers come.

The right tool for CPU per call (the proxy is always busy), the wrong one for latency: open_loop.py does that.
"""

import json
import re
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


def run_load(wrk: str, port: int, calls: Path, core: int | None, *, tls: bool = False) -> LoadResult:
    """Sends the calls of a file once to 127.0.0.1:``port``. Raises LoadError on any error or refusal."""
    command = [wrk, "-t1", f"-c{CONNECTIONS}", f"-d{_DURATION_S_MAX}s", "--timeout", "10s", "-s", str(SCRIPT)]
    command += [f"{'https' if tls else 'http'}://127.0.0.1:{port}/", "--", str(calls)]
    done = subprocess.run(
        pinned(command, core), capture_output=True, text=True, timeout=_DURATION_S_MAX + 30, check=False
    )
    result = parse_wrk(done.stdout + done.stderr)
    if result.errors:
        raise LoadError(f"{result.errors} of {result.calls} calls failed or were refused on port {port}")
    return result


H2_CONNECTIONS: Final = 8
H2_STREAMS: Final = 4
"""Calls at once on each connection: one consumer sends them all, and may have 50 in progress."""


def parse_h2load(output: str) -> LoadResult:
    """Reads what h2load (nghttp2) prints at its end. Raises LoadError when it counts no call."""
    finished = re.search(r"finished in ([0-9.]+)(us|ms|s),", output)
    counted = re.search(r"requests: (\d+) total, .* (\d+) succeeded, (\d+) failed, (\d+) errored", output)
    good = re.search(r"status codes: (\d+) 2xx", output)
    if finished is None or counted is None or good is None or not int(good[1]):
        raise LoadError(f"h2load gave no result:\n{output[-2000:]}")
    scale = {"us": 1.0, "ms": 1e3, "s": 1e6}[finished[2]]
    calls, succeeded = int(counted[1]), int(counted[2])
    errors = calls - min(succeeded, int(good[1]))
    return LoadResult(calls, round(float(finished[1]) * scale), errors, 0, 0)


def run_h2_load(h2load: str, port: int, count: int, headers: list[str], core: int | None) -> LoadResult:
    """``count`` times GET of one payment over a few HTTP/2 connections. Raises as ``run_load`` does."""
    command = [h2load, "-t1", f"-n{count}", f"-c{H2_CONNECTIONS}", f"-m{H2_STREAMS}"]
    for line in headers:
        command += ["-H", line]
    command.append(f"https://127.0.0.1:{port}/v2/payments/pay_htwo")
    done = subprocess.run(
        pinned(command, core), capture_output=True, text=True, timeout=_DURATION_S_MAX + 30, check=False
    )
    result = parse_h2load(done.stdout + done.stderr)
    if result.errors:
        raise LoadError(
            f"{result.errors} of {result.calls} HTTP/2 calls failed or were refused on port {port}"
        )
    return result
