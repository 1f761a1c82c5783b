"""What all balancing methods share: who is ready, ejection, breakers, trials, slow start, health, and the
books of calls in flight.

A target is up, out for a time (``ejected`` by a count of failures, ``open`` by its breaker's ratio), then on
trial with a few calls at once until these go well, then up again with a slow start; active checks call it
unhealthy beside that. Every change passes ``changed``, the one place where others may listen.

The methods differ in one thing, which of the ready targets gets the call; they override ``pick`` and
``_arrange``. Nothing runs on a timer: ``pick`` calls ``_refresh`` when 100 ms have passed, so an idle
upstream costs nothing. Two balancers may share states for a while (the old one serves the calls it began);
both re-read them at each refresh.
"""

from collections import deque
from collections.abc import Callable, Sequence
from random import Random
from typing import Final, TypeAlias

from faregate.gateway.balance.breaker import (
    BROKEN_SHARE,
    LAST_OPEN_S,
    TRIALS_MAX,
    failed_shares,
    forget,
    mark,
)
from faregate.gateway.balance.budget import RetryBudget
from faregate.gateway.balance.slow_start import SLOW_START_FROM, slow_start_ramp
from faregate.gateway.balance.state import Outage, TargetState, TargetStatus, TargetWord
from faregate.snapshot.data import Upstream

Listener: TypeAlias = Callable[["Balancer", TargetState, str, str], None]
"""Told of a target's new state (a ``TargetWord``) and the reason in lower_snake_case."""
Gate: TypeAlias = Callable[["Balancer", TargetState, Outage, float], bool]
"""Asked, with the time, whether a target may be taken out; it publishes what it allows."""

REFRESH_S: Final = 0.1
EJECTED_SHARE: Final = 50
"""Per cent of the targets that may be out at once where ``passive`` is off and says nothing of it."""
EJECTION_GROWTH_MAX: Final = 4
"""The k-th ejection in a row lasts k x ``eject_for``, up to this many times."""


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

    Each target that ``pick`` returns is given back exactly once: by ``finished``, ``released``,
    ``declined`` or ``connect_failed``. ``now`` is monotonic seconds and does not go back.
    """

    __slots__ = (
        "_breaker",
        "_ejected_max",
        "_passive",
        "_random",
        "_ready",
        "_refresh_at",
        "_refreshed_at",
        "budget",
        "gate",
        "listener",
        "opened",
        "targets",
        "upstream",
    )

    def __init__(
        self, upstream: Upstream, targets: Sequence[TargetState], now: float, random: Random
    ) -> None:
        self.upstream = upstream
        self.targets = tuple(targets)
        self.listener: Listener | None = None
        self.gate: Gate | None = None
        self.opened = 0
        self.budget = RetryBudget(now)
        self._breaker = upstream.breaker
        self._passive = upstream.passive
        self._random = random
        self._ready: tuple[TargetState, ...] = ()
        self._refresh_at = 0.0
        self._refreshed_at = now
        share = upstream.passive.max_ejected if upstream.passive else EJECTED_SHARE
        self._ejected_max = ejected_max(len(self.targets), share)
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

        ``key`` decides for ``hash`` only. Without ``tried``, None means that every target is
        unhealthy by its checks, or broken.
        """
        raise NotImplementedError

    def finished(self, target: TargetState, now: float, latency_s: float, failed: bool) -> None:  # noqa: FBT001 - contract
        """The call ended. ``latency_s``: until the first byte of the answer, or until it was given up.

        ``failed``: reset, timeout, invalid answer, or status 502, 503 or 504. Not 500, which may be the
        request's own doing, and not 429, which says that the target is well and busy.
        """
        target.in_flight -= 1
        target.calls += 1
        if failed:
            self._count_failure(target, now, latency_s)
        elif target.trial:
            self._count_good_trial(target, now, latency_s)

    def unanswered(self, target: TargetState, now: float, latency_s: float) -> None:
        """The call was sent and got no valid answer: reset, timeout, bytes that are no HTTP."""
        target.silences += 1
        self.finished(target, now, latency_s, True)  # noqa: FBT003 - its contract

    def released(self, target: TargetState) -> None:
        """The call ended before anything was learned about the target."""
        target.in_flight -= 1
        if target.trial:
            self._refresh_at = 0.0

    def declined(self, target: TargetState) -> None:
        """The target did not take the call, which it may do when it is busy: no failure. Methods that weigh
        targets pass it over for a while.
        """
        self.released(target)

    def connect_failed(self, target: TargetState, now: float) -> None:
        """No connection came about: nothing was sent, and it counts as a failure."""
        target.in_flight -= 1
        target.calls += 1
        target.silences += 1
        self._count_failure(target, now, 0.0)

    def may_retry(self, now: float) -> bool:
        """Whether the budget has room for one more try of a call that was not sent (W14); it is then
        spent.
        """
        return self.budget.take(now, self._calls())

    def _calls(self) -> int:
        return sum([target.calls for target in self.targets])

    # Health

    def changed(self, target: TargetState, state: TargetWord, reason: str) -> None:
        """A target's state is another from now on; every change that this worker decided passes here."""
        if state == "open":
            self.opened += 1
        if self.listener is not None:
            self.listener(self, target, state, reason)

    def adopt(
        self,
        target: TargetState,
        healthy: bool,  # noqa: FBT001 - contract
        outage: Outage | None,
        since: float,
        now: float,
    ) -> None:
        """Takes over what workers agreed on; without ``outage`` the target is back ``since``. Not told to
        ``listener``.
        """
        if healthy and not target.healthy:
            target.returned_at = now
        target.healthy = healthy or self.upstream.active is None
        if outage is None:
            if target.ejected_until or target.trial:
                self._return(target, now)
            target.returned_at = max(target.returned_at, min(since, now))
        else:
            target.out_as, until, target.ejections, target.broken = outage
            if until > now:
                target.ejected_for_s = until - now
                target.ejected_until = until
                target.trial = 0
            elif not target.trial:
                self._begin_trial(target, now)
        self._refresh_at = 0.0  # once for all that is adopted now, at the next pick

    def set_active_health(self, target: TargetState, healthy: bool, now: float) -> None:  # noqa: FBT001 - contract
        """What active checks say now. A target that comes back starts slowly."""
        if healthy == target.healthy:
            return
        target.healthy = healthy
        if healthy:
            target.returned_at = now
        self._refresh(now)
        self.changed(target, self._word(target, now), "check_passed" if healthy else "check_failed")

    def states(self, now: float | None = None) -> list[TargetStatus]:
        """Every target as of ``now``, or of the last refresh; in the order of the configuration."""
        moment = self._refreshed_at if now is None else now
        return [self._status(target, moment) for target in self.targets]

    def _status(self, target: TargetState, now: float) -> TargetStatus:
        return TargetStatus(target.name, self._word(target, now), target.in_flight, 0.0)

    def _word(self, target: TargetState, now: float) -> TargetWord:
        if not target.healthy:
            return "unhealthy"
        if target.ejected_until > now:
            return target.out_as
        return "trial" if target.trial or target.ejected_until else "up"

    # Out and back again

    def _count_failure(self, target: TargetState, now: float, latency_s: float) -> None:
        target.faults += 1
        if target.trial:
            self._refresh_at = 0.0
            if now - latency_s < target.returned_at:
                target.trial_floor -= 1  # a call from before the trial
            else:
                self._fail_trial(target, now)
            return
        if not target.healthy or (target.ejected_until and target.broken):
            return
        breaker = self._breaker
        share, silent = (0.0, 0.0) if breaker is None else failed_shares(target, now, breaker)
        if breaker is not None and silent >= BROKEN_SHARE and not self.may_eject(target):
            self._open(target, now, breaker.open_for, broken=True)
        elif target.ejected_until:
            return
        elif breaker is not None and share * 100.0 >= breaker.ratio and self.may_eject(target):
            self._open(target, now, breaker.open_for, broken=False)
        elif self._passive is not None:
            failures = target.failures
            failures.append(now)
            if (
                len(failures) == failures.maxlen
                and now - failures[0] <= self._passive.within
                and self.may_eject(target)
            ):
                self._eject(target, now, self._passive.eject_for)

    def _in_use(self, target: TargetState) -> bool:
        return target.healthy and not target.ejected_until and not target.broken

    def may_eject(self, target: TargetState) -> bool:
        """Under the ceiling, and another target is ready: ejection alone never leaves an upstream without
        one.
        """
        out = sum(1 for other in self.targets if other.ejected_until and other is not target)
        return out < self._ejected_max and any(
            other is not target and self._in_use(other) for other in self.targets
        )

    def _eject(self, target: TargetState, now: float, eject_for_s: float) -> bool:
        # In a row: it was in service for a shorter time than it had been out.
        in_a_row = target.ejections > 0 and now - target.returned_at < target.ejected_for_s
        ejections = target.ejections + 1 if in_a_row else 1
        for_s = eject_for_s * min(ejections, EJECTION_GROWTH_MAX)
        return self._take_out(target, now, Outage("ejected", now + for_s, ejections, target.broken))

    def _open(self, target: TargetState, now: float, open_for_s: float, *, broken: bool) -> bool:
        others = any(other is not target and self._in_use(other) for other in self.targets)
        for_s = open_for_s if others else min(open_for_s, LAST_OPEN_S)
        return self._take_out(target, now, Outage("open", now + for_s, target.ejections, broken))

    def _take_out(self, target: TargetState, now: float, outage: Outage) -> bool:
        """False: other workers took this one, or as many as may be, out meanwhile."""
        if self.gate is not None and not self.gate(self, target, outage, now):
            return False
        target.out_as, target.ejected_until, target.ejections, target.broken = outage
        target.ejected_for_s = outage.until - now
        target.trial = 0
        self._refresh(now)
        self.changed(target, outage.out_as, "failures" if outage.out_as == "ejected" else "failure_ratio")
        return True

    def _begin_trial(self, target: TargetState, now: float) -> None:
        target.ejected_until = 0.0
        target.trial = TRIALS_MAX
        target.trial_floor = target.in_flight
        target.returned_at = now
        forget(target, now)

    def _fail_trial(self, target: TargetState, now: float) -> None:
        if target.broken or self.may_eject(target):
            passive, breaker = self._passive, self._breaker
            if target.out_as == "open" and breaker is not None:
                if self._open(target, now, breaker.open_for, broken=target.broken):
                    return
            elif passive is not None and self._eject(target, now, passive.eject_for):
                return
        if not target.ejected_until:
            target.trial = TRIALS_MAX  # others are out in its place: the trickle goes on

    def _count_good_trial(self, target: TargetState, now: float, latency_s: float) -> None:
        self._refresh_at = 0.0
        if now - latency_s < target.returned_at:
            target.trial_floor -= 1
            return
        target.trial -= 1
        if not target.trial:
            self._return(target, now)
            self.changed(target, self._word(target, now), "trial_passed")

    def _return(self, target: TargetState, now: float) -> None:
        target.ejected_until = 0.0
        target.trial = 0
        target.broken = False
        target.returned_at = now
        forget(target, now)

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
        if self.budget.is_due(now):
            self.budget.turn(now, self._calls())
        breaker = self._breaker
        ready: list[TargetState] = []
        changed = False
        for target in self.targets:
            if breaker is not None:
                mark(target, now, breaker.within)
            if target.ejected_until and target.ejected_until <= now:
                self._begin_trial(target, now)
                self.changed(target, self._word(target, now), "time_served")
            ramp = SLOW_START_FROM if target.trial else slow_start_ramp(now - target.returned_at)
            if ramp != target.ramp:
                target.ramp = ramp
                changed = True
            if target.healthy and not target.ejected_until and self._has_room(target):
                ready.append(target)
        if not ready:
            # A doubtful target beats none, but for those that are broken beyond doubt.
            ready = [target for target in self.targets if target.healthy and not target.broken]
        self._learn(now)
        if changed or tuple(ready) != self._ready:
            self._ready = tuple(ready)
            self._weigh()
            self._arrange()

    def _has_room(self, target: TargetState) -> bool:
        if not target.trial:
            return True
        target.trial_floor = max(0, min(target.trial_floor, target.in_flight))
        return target.in_flight - target.trial_floor < TRIALS_MAX

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
