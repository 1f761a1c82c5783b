"""What one worker knows about one target.

A record with public fields and no behaviour, so that the hot path reads attributes and calls nothing. The
balancers write it; the exchange reads ``data`` and ``in_flight`` and keeps its connections in ``pool``. A
state outlives the balancer that made it: a reload hands it on by name.
"""

from collections import deque
from typing import Final, Literal, NamedTuple

from faregate.snapshot.data import Target

LATENCY_FLOOR_S: Final = 0.000_5
"""Added to every measured latency: below half a millisecond, differences are noise and not worth steering by.
"""


class TargetState:
    """One target of one upstream in one worker. Times are monotonic seconds.

    ``in_flight``: calls picked and not yet reported. ``pool``: the exchange's own, never touched here.
    ``share``: weight x slow start. ``odds``: ``share`` lowered by recent failures. ``load``: what one call in
    flight weighs, 1 for a target of average weight. ``idle``: what the target counts with none in flight, 1
    once it is warm.
    """

    __slots__ = (
        "answered_at",
        "data",
        "ejected_for_s",
        "ejected_until",
        "ejections",
        "failures",
        "healthy",
        "idle",
        "in_flight",
        "latency_s",
        "load",
        "name",
        "odds",
        "pool",
        "ramp",
        "returned_at",
        "share",
        "trouble",
        "turn",
        "waiting_since",
    )

    def __init__(self, data: Target, now: float) -> None:
        self.data = data
        self.name = data.name
        self.in_flight = 0
        self.pool: object | None = None
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
        self.healthy = True
        self.returned_at = now - 1e6  # long ago: slow start is over
        self.failures: deque[float] = deque(maxlen=1)
        self.ejected_until = 0.0
        self.ejected_for_s = 0.0
        self.ejections = 0

    def __repr__(self) -> str:
        return f"TargetState({self.name!r}, in_flight={self.in_flight})"


class TargetStatus(NamedTuple):
    """A target as metrics and the console show it; ``latency_s`` is the estimate that ``adaptive`` steers by,
    else 0.
    """

    name: str
    state: Literal["up", "ejected", "unhealthy"]
    in_flight: int
    latency_s: float
