"""One measured round, and many of them interleaved.

A round sends one file of calls through one contender and charges it all CPU its processes used from before
the first call until its log lines were written. Rounds run ABCD ABCD ..., so that what the machine does
meanwhile (frequency, other guests) falls on all alike; what is idle meanwhile is not charged.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.accounting import cpu_used_us
from benchmarks.calls import write_calls
from benchmarks.contenders.base import Contender, Ground
from benchmarks.load import CONNECTIONS, LoadError, LoadResult, run_load
from benchmarks.open_loop import FixedRateResult, run_fixed_rate


@dataclass(frozen=True)
class Round:
    """What one round gave. CPU in microseconds per answered call, by role and in total; memory in bytes."""

    contender: str
    series: str
    number: int
    calls: int
    calls_per_second: float
    cpu_us: float
    cpu_us_by_role: dict[str, float]
    core_share: float
    log_lines: int
    resident_bytes: dict[str, int]


@dataclass(frozen=True)
class LatencyRound:
    """Latency of one contender at one fixed rate."""

    contender: str
    number: int
    result: FixedRateResult


def measure(contender: Contender, series: str, number: int, calls: Path) -> Round:
    """Sends ``calls`` through ``contender``. Raises LoadError when a call fails or its log line is
    missing.
    """
    ground = contender.ground
    wrk = ground.programs["wrk"]
    return charge(
        contender,
        series,
        number,
        lambda: run_load(wrk, contender.port, calls, ground.load_core, tls=contender.tls),
    )


def charge(contender: Contender, series: str, number: int, load: Callable[[], LoadResult]) -> Round:
    """Runs ``load`` and charges it what ``contender`` used. Raises as ``measure`` does."""
    lines_before = contender.quiet_lines()
    before = contender.cpu_ns()
    result = load()
    lines = contender.wait_for_lines(lines_before + result.calls) - lines_before
    used = cpu_used_us(before, contender.cpu_ns())
    # wrk stops with calls on the way: the gateway logs them, wrk does not count them.
    if contender.log is not None and not result.calls <= lines <= result.calls + 2 * CONNECTIONS:
        raise LoadError(f"{contender.title}: {result.calls} calls answered, {lines} log lines")
    total = sum(used.values())
    return Round(
        contender=contender.name,
        series=series,
        number=number,
        calls=result.calls,
        calls_per_second=result.calls_per_second,
        cpu_us=total / result.calls,
        cpu_us_by_role={role: value / result.calls for role, value in used.items()},
        core_share=total / result.duration_us,
        log_lines=lines,
        resident_bytes=contender.resident_bytes(),
    )


def warm_up(contenders: Sequence[Contender], calls: Sequence[bytes], work: Path) -> None:
    """Runs ``calls`` through each contender once, unmeasured: connections, caches, and memory come into
    being.
    """
    path = work / "warm.calls"
    write_calls(path, calls)
    for contender in contenders:
        ground = contender.ground
        run_load(ground.programs["wrk"], contender.port, path, ground.load_core, tls=contender.tls)


def interleave(
    contenders: Sequence[Contender],
    series: Sequence[str],
    rounds: int,
    make_calls: Callable[[Contender, str, int], Sequence[bytes]],
    work: Path,
) -> list[Round]:
    """``rounds`` rounds of each series through each contender in turn; ``make_calls`` gives a round's
    calls.
    """
    results = []
    path = work / "round.calls"
    for number in range(rounds):
        for name in series:
            for contender in contenders:
                write_calls(path, make_calls(contender, name, number))
                results.append(round_ := measure(contender, name, number, path))
                print(
                    f"  round {number + 1}/{rounds} {name:9} {contender.name:13} {round_.cpu_us:7.1f} us"
                    f" CPU a call {round_.calls_per_second:9.0f} calls/s",
                    flush=True,
                )
    path.unlink(missing_ok=True)
    return results


def measure_latency(
    contenders: Sequence[Contender],
    ground: Ground,
    rates: Sequence[int],
    rounds: int,
    seconds: float,
    calls: Sequence[bytes],
) -> list[LatencyRound]:
    """Fixed-rate runs of each rate through each contender in turn."""
    path = ground.work / "latency.calls"
    write_calls(path, calls)
    results = []
    for number in range(rounds):
        for rate in rates:
            for contender in contenders:
                result = run_fixed_rate(contender.port, path, rate, seconds, ground.load_core)
                results.append(LatencyRound(contender.name, number, result))
                print(
                    f"  round {number + 1}/{rounds} {rate:6}/s {contender.name:13} p50"
                    f" {result.p50_us:6.0f} us p99 {result.p99_us:7.0f} us"
                    f" (driver late by p99 {result.late_p99_us:.0f} us)",
                    flush=True,
                )
    path.unlink(missing_ok=True)
    return results


def load_average() -> float:
    """The machine's load over the last minute: what else ran, for the record."""
    return os.getloadavg()[0]
