"""What a worker shows of its upstreams: breakers, retries, failures to connect and to resolve, verification.

Read at each report from figures that are kept anyway; no call counts for it. What never happened to a target
has no series, so that a thousand targets in good order cost nothing.
"""

from typing import TYPE_CHECKING, Final

from faregate.gateway.pool import Pool
from faregate.records.frames import Reading

if TYPE_CHECKING:
    from faregate.gateway.assembly import ReadyUpstream
    from faregate.gateway.balance import TargetState

_BREAKER: Final = {"open": 1.0, "ejected": 1.0, "trial": 0.5}


def upstream_readings(upstream: "ReadyUpstream", now: float) -> list[Reading]:
    """The readings of one upstream; labels come from configuration only."""
    name = upstream.data.name
    balancer = upstream.balancer
    budget = balancer.budget
    readings = [
        Reading("faregate_upstream_retries_total", (name,), budget.taken),
        Reading("faregate_upstream_retries_denied_total", (name,), budget.refused),
        Reading("faregate_breaker_openings_total", (name,), balancer.opened),
    ]
    if any(target.tls for target in upstream.data.targets):
        readings.append(
            Reading("faregate_upstream_unverified", (name,), 0.0 if upstream.data.tls.verify else 1.0)
        )
    readings += [
        Reading("faregate_target_out", (name, status.name), _BREAKER.get(status.state, 0.0))
        for status in balancer.states(now)
    ]
    for target in balancer.targets:
        readings += _dial_readings(name, target)
    return readings


def _dial_readings(upstream: str, target: "TargetState") -> list[Reading]:
    pool = target.pool
    if not isinstance(pool, Pool):
        return []
    labels = (upstream, target.name)
    found = (
        ("faregate_target_dial_failures_total", pool.dial_failures),
        ("faregate_target_name_failures_total", pool.dialler.addresses.failures),
    )
    return [Reading(family, labels, count) for family, count in found if count]
