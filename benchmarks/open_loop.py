"""Fixed-rate load for latency: calls leave at times fixed beforehand, whatever the answers do.

Arrivals are a seeded Poisson stream, the same for every contender. A call's latency runs from the time it
was *due*, not from the time a connection was free or this driver got round to it, so waiting is never left
out (no coordinated omission); the driver's own lateness is thus part of every figure, equal for all, and
reported. One epoll loop with a timerfd (microseconds; epoll's own timeout knows milliseconds only), because
asyncio's timers are too coarse here.

Run as `python -m benchmarks.open_loop PORT CALLS RATE SECONDS`; prints one JSON object.
"""

import ctypes
import gc
import json
import os
import random
import select
import socket
import subprocess
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from benchmarks.calls import read_calls
from benchmarks.figures import percentile
from benchmarks.load import CONNECTIONS, LoadError
from benchmarks.processes import answer_length, pinned

_SEED: Final = 20261101
_DRAIN_S_MAX: Final = 10.0
_CLOCK_MONOTONIC: Final = 1
_TFD_NONBLOCK: Final = os.O_NONBLOCK
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


class _Interval(ctypes.Structure):
    """struct itimerspec (timerfd_create(2))."""

    _fields_ = tuple((name, ctypes.c_long) for name in ("every_s", "every_ns", "due_s", "due_ns"))


@dataclass(frozen=True)
class FixedRateResult:
    """Latencies from due time in microseconds; ``late_p99_us``: how late this driver itself sent."""

    rate: int
    calls: int
    errors: int
    p50_us: float
    p90_us: float
    p99_us: float
    max_us: float
    late_p99_us: float


def due_times(rate: int, seconds: float, seed: int) -> list[float]:
    """Seconds after the start at which calls are due: Poisson arrivals of mean ``rate`` a second."""
    draw = random.Random(seed)
    times = []
    now = draw.expovariate(rate)
    while now < seconds:
        times.append(now)
        now += draw.expovariate(rate)
    return times


class _Timer:
    """A one-shot timerfd on the monotonic clock."""

    def __init__(self) -> None:
        self.fd = _LIBC.timerfd_create(_CLOCK_MONOTONIC, _TFD_NONBLOCK)
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._value = _Interval()

    def set(self, due: float) -> None:
        """Wakes at ``due``, a monotonic time in seconds."""
        self._value.due_s = int(due)
        self._value.due_ns = int((due % 1) * 1e9)
        _LIBC.timerfd_settime(self.fd, 1, ctypes.byref(self._value), None)  # 1: TFD_TIMER_ABSTIME


class Driver:
    """One run: connections, the queue of due calls, the latencies."""

    def __init__(self, port: int, calls: list[bytes]) -> None:
        self._calls = calls
        self._epoll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._free: deque[int] = deque()
        self._pending: dict[int, float] = {}  # fd -> due time of the call it carries
        self._partial: dict[int, bytes] = {}
        self._waiting: deque[tuple[float, int]] = deque()
        self.latencies: list[float] = []
        self.lateness: list[float] = []
        self.errors = 0
        for _ in range(CONNECTIONS):
            connection = socket.create_connection(("127.0.0.1", port), timeout=5)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setblocking(False)
            self._sockets[connection.fileno()] = connection
            self._free.append(connection.fileno())
            self._epoll.register(connection.fileno(), select.EPOLLIN)

    def run(self, times: list[float]) -> None:
        """Sends a call at each of ``times`` (seconds from now) and waits for the answers, ten seconds at
        most.
        """
        timer = _Timer()
        self._epoll.register(timer.fd, select.EPOLLIN)
        start = time.monotonic() + 0.05
        number, total = 0, len(times)
        deadline = start + times[-1] + _DRAIN_S_MAX
        timer.set(start + times[0])
        while (number < total or self._pending or self._waiting) and time.monotonic() < deadline:
            for fd, _ in self._epoll.poll(0.1):
                if fd != timer.fd:
                    self._receive(fd)
            now = time.monotonic()
            while number < total and start + times[number] <= now:
                self._waiting.append((start + times[number], number))
                number += 1
                if number < total:
                    timer.set(start + times[number])
            self._send(now)
        self.errors = total - len(self.latencies)  # refused, or unanswered when the wait was over
        os.close(timer.fd)

    def _send(self, now: float) -> None:
        while self._waiting and self._free:
            due, number = self._waiting.popleft()
            fd = self._free.popleft()
            self._pending[fd] = due
            self.lateness.append(now - due)
            call = self._calls[number % len(self._calls)]
            if self._sockets[fd].send(call) != len(call):
                raise LoadError("a call did not fit the socket buffer")

    def _receive(self, fd: int) -> None:
        data = self._partial.pop(fd, b"") + self._sockets[fd].recv(65536)
        status, length = answer_length(data)
        if not length or len(data) < length:
            if not data:
                raise LoadError("the proxy closed a connection in use")
            self._partial[fd] = data
            return
        due = self._pending.pop(fd)
        self._free.append(fd)
        if status == 200:
            self.latencies.append(time.monotonic() - due)

    def close(self) -> None:
        """Closes all sockets."""
        for connection in self._sockets.values():
            connection.close()
        self._epoll.close()


def summarise(rate: int, driver: Driver) -> FixedRateResult:
    """The figures of a finished run. Raises ValueError when no call was answered."""
    latencies = sorted(value * 1e6 for value in driver.latencies)
    lateness = sorted(value * 1e6 for value in driver.lateness)
    return FixedRateResult(
        rate=rate,
        calls=len(latencies),
        errors=driver.errors,
        p50_us=percentile(latencies, 0.5),
        p90_us=percentile(latencies, 0.9),
        p99_us=percentile(latencies, 0.99),
        max_us=latencies[-1],
        late_p99_us=percentile(lateness, 0.99),
    )


def run_fixed_rate(port: int, calls: Path, rate: int, seconds: float, core: int | None) -> FixedRateResult:
    """Runs this module in a process of its own on ``core``. Raises LoadError on any failed call."""
    command = [sys.executable, "-m", "benchmarks.open_loop", str(port), str(calls), str(rate), str(seconds)]
    done = subprocess.run(
        pinned(command, core),
        capture_output=True,
        text=True,
        timeout=seconds + 60,
        check=False,
        cwd=Path(__file__).parents[1],
    )
    if done.returncode:
        raise LoadError(f"fixed-rate driver on port {port}: {done.stderr[-1000:]}")
    result = FixedRateResult(**json.loads(done.stdout))
    if result.errors:
        raise LoadError(f"{result.errors} calls failed or were refused at {rate}/s on port {port}")
    return result


def main(arguments: list[str]) -> None:
    """PORT CALLS RATE SECONDS."""
    port, path, rate, seconds = int(arguments[0]), Path(arguments[1]), int(arguments[2]), float(arguments[3])
    driver = Driver(port, read_calls(path))
    gc.freeze()
    gc.disable()  # a collection in the driver would look like latency of the proxy
    try:
        driver.run(due_times(rate, seconds, _SEED))
        print(json.dumps(asdict(summarise(rate, driver))))
    finally:
        driver.close()


if __name__ == "__main__":
    main(sys.argv[1:])
