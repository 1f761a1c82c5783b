"""``adaptive``: calls go where answers come soonest, by what this worker has measured itself.

Two random targets are compared by cost = latency x (idle + in flight x load), and the call goes to the first
with probability odds1 / cost1^4 against odds2 / cost2^4: twice the cost, one call in seventeen. Compared with
always taking the cheaper one, weights count when idle too, near-equal targets share evenly, workers do not
swing in step, and a bad target is still tried now and then. Latency is an average that rises fast and falls
slowly (peak EWMA). Failures do not touch it but lower the odds, so that failing fast attracts nothing. A
target that hangs is left because its calls in flight pile up, before any timeout. The figures were set by the
simulations in tests/gateway.
"""

from collections.abc import Sequence
from math import exp
from random import Random
from typing import Final

from faregate.gateway.balance.base import REFRESH_S, Balancer
from faregate.gateway.balance.pairs import pair_table
from faregate.gateway.balance.state import LATENCY_FLOOR_S, TargetState, TargetStatus
from faregate.snapshot.data import Upstream

_RISE: Final = 0.03
"""Part by which one slower answer moves the estimate, at least."""
_RISE_FACTOR_MAX: Final = 8.0
"""An answer counts as at most this many times the estimate: one long report must not banish a target."""
_FALL_S: Final = 1.0
"""Faster answers move the estimate in this time, however many they are."""
_QUEUE_PART: Final = 0.2
_IDLE_LATENCY_S: Final = 5.0
"""Without answers, the estimate falls towards the best target's in this time, so that it is tried again."""
_IDLE_TROUBLE_S: Final = 3.0
_TROUBLE_STEP: Final = 0.2
_TROUBLE_CONNECT_STEP: Final = 0.5
_TROUBLE_KEPT: Final = 0.95
"""Part of its trouble that a target keeps per good answer."""
_TROUBLE_GONE: Final = 0.01
_TROUBLE_DOUBLINGS: Final = 10.0
"""A target that only fails costs 2^this times its latency: more than any queue that the others may have."""


class AdaptiveBalancer(Balancer):
    """Power of two choices on peak-EWMA latency x calls in flight, with soft preference."""

    __slots__ = ("_draw", "_learned_at", "_pair_count", "_pairs", "_queue")

    def __init__(
        self, upstream: Upstream, targets: Sequence[TargetState], now: float, random: Random
    ) -> None:
        self._pairs: list[tuple[TargetState, TargetState]] = []
        self._pair_count = 0
        self._draw = random.random
        self._learned_at = now
        self._queue = _warm_queue(targets)
        super().__init__(upstream, targets, now, random)

    def pick(self, now: float, key: bytes, tried: tuple[TargetState, ...]) -> TargetState | None:  # noqa: ARG002 - one signature
        if now >= self._refresh_at:
            self._refresh(now)
        pairs = self._pairs
        count = self._pair_count
        if tried or not count:
            pairs = self._pairs_without(tried)
            count = len(pairs)
            if not count:
                return None
        spot = self._draw() * count
        place = int(spot)
        first, second = pairs[place]
        first_cost = first.latency_s * (first.in_flight * first.load + first.idle)
        second_cost = second.latency_s * (second.in_flight * second.load + second.idle)
        first_cost *= first_cost
        second_cost *= second_cost
        for_first = second_cost * second_cost * first.odds
        # What is left of the draw after the index is as random as the index.
        if (spot - place) * (for_first + first_cost * first_cost * second.odds) >= for_first:
            first = second
        if not first.in_flight:
            first.waiting_since = now
        first.in_flight += 1
        if first.trial:
            self._refresh_at = 0.0  # the next pick looks whether it has room for more
        return first

    def finished(self, target: TargetState, now: float, latency_s: float, failed: bool) -> None:  # noqa: FBT001 - contract
        target.in_flight -= 1
        target.calls += 1
        if failed:
            self._trouble(target, now, _TROUBLE_STEP, latency_s)
        elif target.trouble or target.trial:
            self._relieve(target, _TROUBLE_KEPT)
            if target.trial:
                self._count_good_trial(target, now, latency_s)
        age_s = now - target.answered_at
        target.answered_at = target.waiting_since = now
        known_s = target.latency_s
        latency_s += LATENCY_FLOOR_S
        part = age_s / (age_s + _FALL_S)
        if latency_s > known_s:
            latency_s = min(latency_s, known_s * _RISE_FACTOR_MAX)
            part = max(part, _RISE)
        elif failed:
            return
        target.latency_s = known_s + (latency_s - known_s) * part

    def declined(self, target: TargetState) -> None:
        self._burden(target, _TROUBLE_STEP)
        self.released(target)

    def connect_failed(self, target: TargetState, now: float) -> None:
        target.in_flight -= 1
        target.calls += 1
        target.silences += 1
        target.waiting_since = now
        self._trouble(target, now, _TROUBLE_CONNECT_STEP, 0.0)

    def _status(self, target: TargetState, now: float) -> TargetStatus:
        return super()._status(target, now)._replace(latency_s=target.latency_s)

    def _pairs_without(self, tried: tuple[TargetState, ...]) -> list[tuple[TargetState, TargetState]]:
        left = [target for target in self._ready if target not in tried]
        return _as_targets(left)

    def _trouble(self, target: TargetState, now: float, step: float, latency_s: float) -> None:
        self._burden(target, step)
        self._count_failure(target, now, latency_s)

    def _burden(self, target: TargetState, step: float) -> None:
        target.trouble += (1.0 - target.trouble) * step
        _set_odds(target)

    def _relieve(self, target: TargetState, kept: float) -> None:
        target.trouble *= kept
        if target.trouble < _TROUBLE_GONE:
            target.trouble = 0.0
        _set_odds(target)

    def _learn(self, now: float) -> None:
        """Silence is news: with calls in flight it is a latency of its own, without any it forgives."""
        passed_s = now - self._learned_at
        if passed_s < REFRESH_S / 2:
            return
        self._learned_at = now
        best_s = min((target.latency_s for target in self.targets), default=LATENCY_FLOOR_S)
        latency_kept = exp(-passed_s / _IDLE_LATENCY_S)
        trouble_kept = exp(-passed_s / _IDLE_TROUBLE_S)
        for target in self.targets:
            if target.in_flight:
                silent_s = now - target.waiting_since
                if silent_s > target.latency_s:
                    target.latency_s = min(silent_s, target.latency_s * 2.0)
            elif now - target.answered_at > REFRESH_S:
                target.latency_s = max(best_s, target.latency_s * latency_kept)
            if target.trouble:
                self._relieve(target, trouble_kept)
        self._queue += (_warm_queue(self._ready) - self._queue) * _QUEUE_PART
        self._set_idle()

    def _set_idle(self) -> None:
        # A cold target gets no credit for being idle: it counts as busy as the others are on average, else
        # slow start would mean little under load.
        for target in self._ready:
            target.idle = 1.0 if target.ramp == 1.0 else 1.0 + self._queue

    def _arrange(self) -> None:
        for target in self._ready:
            _set_odds(target)
        self._set_idle()
        self._pairs = _as_targets(self._ready)
        self._pair_count = len(self._pairs)


def _as_targets(targets: Sequence[TargetState]) -> list[tuple[TargetState, TargetState]]:
    return [
        (targets[first], targets[second])
        for first, second in pair_table([target.share for target in targets])
    ]


def _warm_queue(targets: Sequence[TargetState]) -> float:
    """Mean calls in flight, by load, of the targets whose slow start is over; 0 if there is none."""
    queues = [target.in_flight * target.load for target in targets if target.ramp == 1.0]
    return sum(queues) / len(queues) if queues else 0.0


def _set_odds(target: TargetState) -> None:
    target.odds = target.share * 2.0 ** (-4.0 * _TROUBLE_DOUBLINGS * target.trouble)
