"""The methods that do not measure latency: ``least_requests``, ``round_robin``, ``random``.

All are weighted and honour slow start and ejection. Each is the textbook method; where the textbook costs
time in proportion to the targets, a form that does not is used (a heap for round robin, a sample for very
many targets).
"""

from bisect import bisect_right
from collections.abc import Sequence
from heapq import heapify, heapreplace
from itertools import accumulate
from random import Random
from typing import Final

from faregate.gateway.balance.base import Balancer
from faregate.gateway.balance.state import TargetState
from faregate.snapshot.data import Upstream

_COMPARED_MAX: Final = 16
_SAMPLE: Final = 8


def draw_by_share(targets: Sequence[TargetState], random: Random) -> TargetState | None:
    """One of ``targets`` at random in proportion to ``share``; None of none. Linear: for few targets or rare
    paths.
    """
    left = random.random() * sum([target.share for target in targets])
    for target in targets:
        left -= target.share
        if left < 0.0:
            return target
    return targets[-1] if targets else None


class RandomBalancer(Balancer):
    """Each call at random, in proportion to the weights."""

    __slots__ = ("_bounds", "_draw")

    def __init__(
        self, upstream: Upstream, targets: Sequence[TargetState], now: float, random: Random
    ) -> None:
        self._bounds: list[float] = []
        self._draw = random.random
        super().__init__(upstream, targets, now, random)

    def pick(self, now: float, key: bytes, tried: tuple[TargetState, ...]) -> TargetState | None:  # noqa: ARG002 - one signature
        if now >= self._refresh_at:
            self._refresh(now)
        ready = self._ready
        chosen: TargetState | None
        if tried or not ready:
            chosen = draw_by_share([target for target in ready if target not in tried], self._random)
            if chosen is None:
                return None
        else:
            bounds = self._bounds
            # hi: a product that rounds up to the last bound still falls to the last target.
            chosen = ready[bisect_right(bounds, self._draw() * bounds[-1], 0, len(bounds) - 1)]
        chosen.in_flight += 1
        if chosen.trial:
            self._refresh_at = 0.0
        return chosen

    def _arrange(self) -> None:
        self._bounds = list(accumulate(target.share for target in self._ready))


class LeastRequestsBalancer(Balancer):
    """The target with the fewest calls in flight per weight; ties at random, in proportion to the weights.

    Above 16 ready targets, 8 drawn at random are compared instead of all: the longest queue is nearly as
    short, and the cost stays flat.
    """

    __slots__ = ()

    def pick(self, now: float, key: bytes, tried: tuple[TargetState, ...]) -> TargetState | None:  # noqa: ARG002 - one signature
        if now >= self._refresh_at:
            self._refresh(now)
        compared: Sequence[TargetState] = self._ready
        if tried:
            compared = [target for target in compared if target not in tried]
        if len(compared) > _COMPARED_MAX:
            compared = self._random.sample(compared, _SAMPLE)
        least = float("inf")
        tied: list[TargetState] = []
        for target in compared:
            load = target.in_flight * target.load
            if load < least:
                least = load
                tied = [target]
            elif load == least:
                tied.append(target)
        chosen = tied[0] if len(tied) == 1 else draw_by_share(tied, self._random)
        if chosen is not None:
            chosen.in_flight += 1
            if chosen.trial:
                self._refresh_at = 0.0
        return chosen


class RoundRobinBalancer(Balancer):
    """Turns in proportion to the weights, interleaved: each target's next turn is due 1 / share after its
    last.

    Turns begin at a random offset, so that the workers of a machine do not all begin with the same target.
    """

    __slots__ = ("_due", "_time")

    def __init__(
        self, upstream: Upstream, targets: Sequence[TargetState], now: float, random: Random
    ) -> None:
        self._due: list[tuple[float, int, TargetState]] = []
        self._time = 0.0
        for target in targets:
            target.turn = random.random() / target.data.weight
        super().__init__(upstream, targets, now, random)

    def pick(self, now: float, key: bytes, tried: tuple[TargetState, ...]) -> TargetState | None:  # noqa: ARG002 - one signature
        if now >= self._refresh_at:
            self._refresh(now)
        due = self._due
        if not due:
            return None
        if tried:
            return self._pick_untried(tried)
        turn, index, chosen = due[0]
        self._time = turn
        chosen.turn = turn + 1.0 / chosen.share
        heapreplace(due, (chosen.turn, index, chosen))
        chosen.in_flight += 1
        if chosen.trial:
            self._refresh_at = 0.0
        return chosen

    def _pick_untried(self, tried: tuple[TargetState, ...]) -> TargetState | None:
        """The next in turn that was not tried. It keeps its turn: else, with one target of two down, every
        call would meet the dead one first.
        """
        for _, _, chosen in sorted(self._due, key=lambda each: each[:2]):
            if chosen not in tried:
                chosen.in_flight += 1
                if chosen.trial:
                    self._refresh_at = 0.0
                return chosen
        return None

    def _arrange(self) -> None:
        # Turns missed while out are gone: who returns joins at the present turn. A turn far ahead (slow
        # start) is cut to one round at the present share.
        for target in self._ready:
            target.turn = min(max(target.turn, self._time), self._time + 1.0 / target.share)
        self._due = [(target.turn, index, target) for index, target in enumerate(self._ready)]
        heapify(self._due)
