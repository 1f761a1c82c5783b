"""What all balancing methods share: who is ready, passive ejection, slow start, health, the books of calls in
flight.

The methods differ in one thing, which of the ready targets gets the call; they override ``pick`` and
``_arrange``. Nothing runs on a timer: ``pick`` calls ``_refresh`` when 100 ms have passed, so an idle
upstream costs nothing. Two balancers may share states for a while (the old one serves the calls it began);
both re-read them at each refresh.
"""

from collections import deque
from collections.abc import Sequence
from random import Random
from typing import Final

from faregate.gateway.balance.state import TargetState, TargetStatus
from faregate.snapshot.data import Upstream

REFRESH_S: Final = 0.1
SLOW_START_S: Final = 10.0
"""A new or returning target rises from ``SLOW_START_FROM`` to its full share in this time: caches and pools
are cold.
"""
SLOW_START_FROM: Final = 0.1
_SLOW_START_STEPS: Final = 20
EJECTION_GROWTH_MAX: Final = 4
"""The k-th ejection in a row lasts k x ``eject_for``, up to this many times."""


def slow_start_ramp(age_s: float) -> float:
    """Part of its full share that a target gets ``age_s`` after it came (back), in 20 steps so that tables
    live long.
    """
    if age_s >= SLOW_START_S:
        return 1.0
    step = int(max(age_s, 0.0) / SLOW_START_S * _SLOW_START_STEPS)
    return SLOW_START_FROM + (1.0 - SLOW_START_FROM) * step / _SLOW_START_STEPS


def ejected_max(targets: int, share_percent: int) -> int:
    """How many of ``targets`` may be out at once: the share rounded down, but one of two or more unless it is
    0 %.
    """
    if targets < 2 or share_percent <= 0:
        return 0
    return max(1, targets * share_percent // 100)


class Balancer:
    """Chooses a target per call and learns from how calls end. One per upstream and worker, for one event
    loop.

    Each target that ``pick`` returns is given back exactly once: by ``finished``, ``released`` or
    ``connect_failed``. ``now`` is monotonic seconds and does not go back.
    """

    __slots__ = (
        "_ejected_max",
        "_passive",
        "_random",
        "_ready",
        "_refresh_at",
        "_refreshed_at",
        "targets",
        "upstream",
    )

    def __init__(
        self, upstream: Upstream, targets: Sequence[TargetState], now: float, random: Random
    ) -> None:
        self.upstream = upstream
        self.targets = tuple(targets)
        self._passive = upstream.passive
        self._random = random
        self._ready: tuple[TargetState, ...] = ()
        self._refresh_at = 0.0
        self._refreshed_at = now
        self._ejected_max = (
            ejected_max(len(self.targets), upstream.passive.max_ejected) if upstream.passive else 0
        )
        for target in self.targets:
            target.failures = deque(
                target.failures, maxlen=max(1, upstream.passive.failures if upstream.passive else 1)
            )
            if upstream.active is None:
                target.healthy = True  # nobody would ever call it healthy again
        self._bring_back_surplus(now)
        self._refresh(now)

    # The hot path

    def pick(self, now: float, key: bytes, tried: tuple[TargetState, ...]) -> TargetState | None:
        """A ready target that is not in ``tried``, its ``in_flight`` raised by one; None when there is none.

        ``key`` decides for ``hash`` only. Without ``tried``, None means that active checks call every target
        unhealthy.
        """
        raise NotImplementedError

    def finished(self, target: TargetState, now: float, latency_s: float, failed: bool) -> None:  # noqa: ARG002, FBT001
        """The call ended. ``latency_s``: until the first byte of the answer, or until it was given up.

        ``failed``: reset, timeout, invalid answer, or status 502, 503 or 504. Not 500, which may be the
        request's own doing, and not 429, which says that the target is well and busy.
        """
        target.in_flight -= 1
        if failed:
            self._count_failure(target, now)

    def released(self, target: TargetState) -> None:
        """The call ended before anything was learned about the target."""
        target.in_flight -= 1

    def connect_failed(self, target: TargetState, now: float) -> None:
        """No connection came about: nothing was sent, and it counts as a failure."""
        target.in_flight -= 1
        self._count_failure(target, now)

    # Health

    def set_active_health(self, target: TargetState, healthy: bool, now: float) -> None:  # noqa: FBT001 - contract
        """What active checks say now. A target that comes back starts slowly."""
        if healthy == target.healthy:
            return
        target.healthy = healthy
        if healthy:
            target.returned_at = now
        self._refresh(now)

    def states(self, now: float | None = None) -> list[TargetStatus]:
        """Every target as of ``now``, or of the last refresh; in the order of the configuration."""
        moment = self._refreshed_at if now is None else now
        return [self._status(target, moment) for target in self.targets]

    def _status(self, target: TargetState, now: float) -> TargetStatus:
        if not target.healthy:
            return TargetStatus(target.name, "unhealthy", target.in_flight, 0.0)
        return TargetStatus(
            target.name, "ejected" if target.ejected_until > now else "up", target.in_flight, 0.0
        )

    # Passive ejection

    def _count_failure(self, target: TargetState, now: float) -> None:
        passive = self._passive
        if passive is None or target.ejected_until or not target.healthy:
            return
        failures = target.failures
        failures.append(now)
        if (
            len(failures) == failures.maxlen
            and now - failures[0] <= passive.within
            and self._may_eject(target)
        ):
            self._eject(target, now, passive.eject_for)

    def _may_eject(self, target: TargetState) -> bool:
        """Under the ceiling, and another target is ready: ejection alone never leaves an upstream without
        one.
        """
        ejected = sum(1 for other in self.targets if other.ejected_until)
        return ejected < self._ejected_max and any(
            other is not target and other.healthy and not other.ejected_until for other in self.targets
        )

    def _eject(self, target: TargetState, now: float, eject_for_s: float) -> None:
        # In a row: it was in service for a shorter time than it had been out.
        in_a_row = target.ejections > 0 and now - target.returned_at < target.ejected_for_s
        target.ejections = target.ejections + 1 if in_a_row else 1
        target.ejected_for_s = eject_for_s * min(target.ejections, EJECTION_GROWTH_MAX)
        target.ejected_until = now + target.ejected_for_s
        self._refresh(now)

    def _bring_back_surplus(self, now: float) -> None:
        """After a reload with fewer targets or a lower ceiling: those whose time is nearest its end come back
        now.
        """
        ejected = sorted(
            (target for target in self.targets if target.ejected_until), key=lambda each: each.ejected_until
        )
        for target in ejected[: max(0, len(ejected) - self._ejected_max)]:
            target.ejected_until = now

    # Refresh

    def _refresh(self, now: float) -> None:
        """Ends ejections, advances slow starts, and re-arranges the method's tables if anything changed."""
        self._refresh_at = now + REFRESH_S
        self._refreshed_at = now
        ready: list[TargetState] = []
        changed = False
        for target in self.targets:
            if target.ejected_until and target.ejected_until <= now:
                target.ejected_until = 0.0
                target.failures.clear()
                target.returned_at = now
            ramp = slow_start_ramp(now - target.returned_at)
            if ramp != target.ramp:
                target.ramp = ramp
                changed = True
            if target.healthy and not target.ejected_until:
                ready.append(target)
        if not ready:
            # The last ready one turned unhealthy while others sit out an ejection: a doubtful target beats
            # none.
            ready = [target for target in self.targets if target.healthy]
        self._learn(now)
        if changed or tuple(ready) != self._ready:
            self._ready = tuple(ready)
            self._weigh()
            self._arrange()

    def _weigh(self) -> None:
        ready = self._ready
        mean = sum(target.data.weight for target in ready) / len(ready) if ready else 1.0
        for target in ready:
            target.share = target.data.weight * target.ramp
            target.load = mean / target.share

    def _learn(self, now: float) -> None:
        """For methods that keep estimates: what the passing of time alone says."""

    def _arrange(self) -> None:
        """For methods that keep tables: ``_ready`` or a share has changed."""
