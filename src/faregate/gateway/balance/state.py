"""What one worker knows about one target.

A record with public fields and no behaviour, so that the hot path reads attributes and calls nothing. The
balancers write it; the exchange reads ``data`` and ``in_flight`` and keeps its connections in ``pool``. A
state outlives the balancer that made it: a reload hands it on by name.
"""

from collections import deque
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

from faregate.snapshot.data import Target

if TYPE_CHECKING:
    from faregate.gateway.gradient import Gate

LATENCY_FLOOR_S: Final = 0.000_5
"""Added to every measured latency: below half a millisecond, differences are noise and not worth steering by.
"""

OutAs: TypeAlias = Literal["ejected", "open"]
"""Taken out by a count of failures, or by the breaker's ratio."""
TargetWord: TypeAlias = Literal["up", "trial", "ejected", "open", "unhealthy"]


class TargetState:
    """One target of one upstream in one worker. Times are monotonic seconds.

    ``gate``: how many may be, None for as many as there are connections; the exchange's too.
    ``in_flight``: calls picked and not yet reported. ``pool``: the exchange's own, never touched here.
    ``share``: weight x slow start. ``odds``: ``share`` lowered by recent failures. ``load``: what one call in
    flight weighs, 1 for a target of average weight. ``idle``: what the target counts with none in flight, 1
    once it is warm. ``calls``, ``faults`` and ``silences``: ended calls, those that failed, and of these the
    ones without any answer, ever; ``marks``: the same at earlier moments (``breaker``). ``out_as``: why it is
    or was out until ``ejected_until``; ``broken``: it is out, or on trial after it, even when no other is
    left. ``trial``: good answers still owed before it is fully in service, 0 when it is; ``trial_floor``:
    calls in flight from before the trial.
    """

    __slots__ = (
        "answered_at",
        "broken",
        "calls",
        "data",
        "ejected_for_s",
        "ejected_until",
        "ejections",
        "failures",
        "faults",
        "gate",
        "healthy",
        "idle",
        "in_flight",
        "latency_s",
        "load",
        "marks",
        "name",
        "odds",
        "out_as",
        "pool",
        "ramp",
        "returned_at",
        "share",
        "silences",
        "trial",
        "trial_floor",
        "trouble",
        "turn",
        "waiting_since",
    )

    def __init__(self, data: Target, now: float) -> None:
        self.data = data
        self.name = data.name
        self.in_flight = 0
        self.pool: object | None = None
        self.gate: Gate | None = None
        # how much of the traffic it is due
        self.ramp = 1.0
        self.share = float(data.weight)
        self.odds = self.share
        self.load = 1.0
        self.idle = 1.0
        self.turn = 0.0
        # what it has shown (adaptive)
        self.latency_s = LATENCY_FLOOR_S
        self.answered_at = now - 1e6  # long ago, so that the first answer counts in full
        self.waiting_since = now
        self.trouble = 0.0
        # whether it may be used
        self.calls = 0
        self.faults = 0
        self.silences = 0
        self.marks: deque[tuple[float, int, int, int]] = deque()
        self.healthy = True
        self.returned_at = now - 1e6  # long ago: slow start is over
        self.failures: deque[float] = deque(maxlen=1)
        self.ejected_until = 0.0
        self.ejected_for_s = 0.0
        self.ejections = 0
        self.out_as: OutAs = "ejected"
        self.broken = False
        self.trial = 0
        self.trial_floor = 0

    def __repr__(self) -> str:
        return f"TargetState({self.name!r}, in_flight={self.in_flight})"


class Outage(NamedTuple):
    """Why and how long a target is out. ``until``: monotonic seconds. ``ejections``: in a row, this one
    counted. ``broken``: also when no other is left.
    """

    out_as: OutAs
    until: float
    ejections: int
    broken: bool


class TargetStatus(NamedTuple):
    """A target as metrics and the console show it; ``latency_s`` is the estimate that ``adaptive`` steers by,
    else 0.
    """

    name: str
    state: TargetWord
    in_flight: int
    latency_s: float
