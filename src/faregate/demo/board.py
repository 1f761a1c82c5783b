"""What the demo shows, as plain data: worked out once, drawn by ``views`` in three ways.

A board is made from figures, the servers and the gateway's own ``/metrics``; nothing in here knows a
terminal.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from faregate.demo.figures import Figures, Histogram, Window
from faregate.demo.scenario import Server

_TARGET_UP: Final = re.compile(r"^faregate_target_up\{([^}]*)\} ([0-9.]+)$", re.MULTILINE)
_TARGET_LABEL: Final = re.compile(r'target="([^"]*)"')


class TargetRow(msgspec.Struct, frozen=True):
    """One target: its share of the calls sent on (0-1), calls a second, its own time in ms."""

    name: str
    address: str
    status: str
    share: float
    calls_per_second: float
    p50_ms: float


class RefusalRow(msgspec.Struct, frozen=True):
    """Refusals of one code: a second now, and since the start."""

    code: str
    per_second: float
    total: int


class KeyedRow(msgspec.Struct, frozen=True):
    """Calls with an idempotency key by what became of them: a second now, and since the start."""

    result: str
    per_second: float
    total: int


class Board(msgspec.Struct, frozen=True):
    """One moment of the demo. Times in seconds or ms as named; rates over the last three seconds."""

    elapsed_s: int
    scene: str
    calls_per_second: float
    p50_ms: float
    p99_ms: float
    targets: tuple[TargetRow, ...]
    refusals: tuple[RefusalRow, ...]
    keyed: tuple[KeyedRow, ...]
    not_answered: int


class Summary(msgspec.Struct, frozen=True):
    """The whole run: what the gateway logged, beside what the callers counted."""

    duration_s: int
    calls_logged: int
    calls_made: int
    outcomes: dict[str, int]
    refusals: dict[str, int]
    keyed: dict[str, int]
    not_answered: int
    p50_ms: float
    p99_ms: float
    unreadable_lines: int
    stopped_in_s: float
    stopped_by_themselves: bool


def read_target_states(metrics: str) -> dict[str, bool]:
    """Which targets are up, by ``host:port``, from the text of ``/metrics``: up when any worker says so."""
    states: dict[str, bool] = {}
    for labels, value in _TARGET_UP.findall(metrics):
        if target := _TARGET_LABEL.search(labels):
            states[target[1]] = states.get(target[1], False) or float(value) > 0
    return states


def make_board(
    window: Window, now: float, scene: str, servers: Sequence[Server], up: Mapping[str, bool]
) -> Board:
    """The board at ``now`` (monotonic seconds); ``up`` as ``read_target_states`` gives it."""
    recent, seconds = window.recent(now)
    latency = _latency(recent)
    return Board(
        elapsed_s=int(window.elapsed_s(now)),
        scene=scene,
        calls_per_second=recent.calls / seconds,
        p50_ms=_milliseconds(latency, 50),
        p99_ms=_milliseconds(latency, 99),
        targets=tuple(_target_row(server, recent, seconds, up) for server in servers),
        refusals=tuple(
            RefusalRow(code, recent.refusals[code] / seconds, total)
            for code, total in window.total.refusals.most_common()
        ),
        keyed=tuple(
            KeyedRow(result, recent.keyed[result] / seconds, total)
            for result, total in window.total.keyed.most_common()
        ),
        not_answered=window.total.not_answered,
    )


def make_summary(
    window: Window, duration_s: float, calls_made: int, unreadable_lines: int, stop: tuple[float, bool]
) -> Summary:
    """The summary of a run; ``stop``: the seconds it took, and whether no child had to be killed."""
    total = window.total
    latency = _latency(total)
    return Summary(
        duration_s=round(duration_s),
        calls_logged=total.calls,
        calls_made=calls_made,
        outcomes=dict(total.outcomes.most_common()),
        refusals=dict(total.refusals.most_common()),
        keyed=dict(total.keyed.most_common()),
        not_answered=total.not_answered,
        p50_ms=_milliseconds(latency, 50),
        p99_ms=_milliseconds(latency, 99),
        unreadable_lines=unreadable_lines,
        stopped_in_s=round(stop[0], 1),
        stopped_by_themselves=stop[1],
    )


def _target_row(server: Server, recent: Figures, seconds: int, up: Mapping[str, bool]) -> TargetRow:
    sent = sum(histogram.count for histogram in recent.targets.values())
    histogram = recent.targets.get(server.address, Histogram())
    state = up.get(server.address)
    return TargetRow(
        name=f"target {server.number}",
        address=server.address,
        status="unknown" if state is None else "up" if state else "down",
        share=histogram.count / sent if sent else 0.0,
        calls_per_second=histogram.count / seconds,
        p50_ms=_milliseconds(histogram, 50),
    )


def _latency(figures: Figures) -> Histogram:
    """As the callers saw it; when they rest, as the gateway logged it for calls made by hand."""
    return figures.latency if figures.latency.count else figures.durations


def _milliseconds(histogram: Histogram, percent: float) -> float:
    return round(histogram.percentile(percent) * 1e3, 1)
