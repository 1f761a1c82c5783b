"""Makes the balancer that an upstream declares, with what its predecessor knew.

The one place that knows the names of the methods. On a reload each target that stays (by name) keeps its
state: latency, health, ejection, calls in flight, the exchange's pool. New ones start slowly, unless all are
new.
"""

from random import Random
from typing import Final

from faregate.gateway.balance.adaptive import AdaptiveBalancer
from faregate.gateway.balance.base import Balancer
from faregate.gateway.balance.hashing import HashBalancer
from faregate.gateway.balance.plain import LeastRequestsBalancer, RandomBalancer, RoundRobinBalancer
from faregate.gateway.balance.slow_start import slow_start_ramp
from faregate.gateway.balance.state import TargetState
from faregate.snapshot.data import Upstream

METHODS: Final[dict[str, type[Balancer]]] = {
    "adaptive": AdaptiveBalancer,
    "least_requests": LeastRequestsBalancer,
    "round_robin": RoundRobinBalancer,
    "random": RandomBalancer,
    "hash": HashBalancer,
}


def make_balancer(
    upstream: Upstream, previous: Balancer | None, now: float, random: Random | None = None
) -> Balancer:
    """A balancer for ``upstream``; states of targets that ``previous`` had by the same name are taken over.

    ``random`` is for tests. Raises KeyError on an unknown method, ValueError on a weight below 1 or two
    targets of one name; ``compile`` reports all three with their place first. The caller closes the pools of
    targets that are in ``previous.targets`` and no longer in the new one's.
    """
    method = METHODS[upstream.balance]
    names = {target.name for target in upstream.targets}
    if len(names) < len(upstream.targets) or any(target.weight < 1 for target in upstream.targets):
        raise ValueError(f"upstream {upstream.name}: target names must differ and weights be at least 1")
    kept = {state.name: state for state in previous.targets if state.name in names} if previous else {}
    states = []
    for target in upstream.targets:
        state = kept.get(target.name)
        if state is None:
            state = TargetState(target, now)
            if kept:
                state.returned_at = now
                state.ramp = slow_start_ramp(0.0)
                # As good as the best known: worse and it would not be tried, better and it would be flooded.
                state.latency_s = min(known.latency_s for known in kept.values())
        state.data = target
        states.append(state)
    balancer = method(upstream, states, now, random or Random())  # noqa: S311 - spreads load, guards nothing
    if previous is not None:
        balancer.listener = previous.listener
        balancer.gate = previous.gate
        balancer.budget = previous.budget
        balancer.opened = previous.opened
    return balancer
