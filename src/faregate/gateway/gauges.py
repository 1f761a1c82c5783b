"""What a worker shows of itself at each report: calls in flight, connections, targets."""

from collections.abc import Mapping
from typing import Final

from faregate.gateway.plane import Plane
from faregate.gateway.upstream_readings import upstream_readings
from faregate.records.frames import Reading
from faregate.stores.counters_locks import CountersStats

_HOUR_S: Final = 3600
_WARNED_DAYS: Final = (7, 1)


def overload_readings(plane: Plane) -> list[Reading]:
    """What was turned away, by which bound, and how near the others are."""
    readings = [
        Reading("faregate_connections_refused_total", (cap,), count)
        for cap, count in plane.doorkeeper.refused.items()
    ]
    readings += [
        Reading("faregate_calls_shed_total", labels, count)
        for labels, count in plane.admission.refused.items()
    ]
    readings.append(Reading("faregate_calls_in_flight_limit", (), plane.admission.limit))
    readings.append(Reading("faregate_event_loop_lag_seconds", (), plane.overload.lag_s))
    readings.append(Reading("faregate_memory_bound_bytes", (), plane.overload.watched_bytes))
    return readings


def expiring(ends: Mapping[int, int], wall: float, days: int) -> int:
    """How many credentials end within ``days`` of ``wall`` (seconds since the epoch), to the hour. ``ends``:
    how many do in each hour since the epoch.
    """
    hour = int(wall) // _HOUR_S
    return sum([ends.get(hour + ahead, 0) for ahead in range(24 * days + 1)]) if ends else 0


def gauges(plane: Plane, counters: CountersStats) -> list[Reading]:
    """The readings of this moment; labels come from configuration only."""
    now = plane.monotonic()
    readings = [
        Reading("faregate_calls_in_flight", (), plane.in_flight),
        Reading("faregate_tunnels", (), len(plane.tunnels.open)),
        Reading("faregate_connections", ("client",), len(plane.clients)),
        *overload_readings(plane),
        Reading("faregate_http2_faults_total", (), plane.http2_faults),
        Reading("faregate_answers_misfit_total", (), plane.answers_misfit),
        Reading("faregate_limit_overflows_total", (), counters.overflows),
        Reading("faregate_limit_lock_timeouts_total", (), counters.timeouts),
    ]
    wall = now + plane.wall_offset
    for days in _WARNED_DAYS:
        ending = expiring(plane.runtime.ends, wall, days)
        readings.append(Reading("faregate_credentials_expiring", (str(days),), ending))
    upstream_connections = 0
    for upstream in plane.runtime.upstreams.values():
        name = upstream.data.name
        upstream_connections += sum(pool.open_count for pool in upstream.pools)
        readings += upstream_readings(upstream, now)
        for status in upstream.balancer.states(now):
            readings.append(
                Reading("faregate_target_up", (name, status.name), 1.0 if status.state == "up" else 0.0)
            )
            readings.append(Reading("faregate_target_in_flight", (name, status.name), status.in_flight))
        readings += [
            Reading("faregate_target_concurrency_limit", (name, target.name), target.gate.limit)
            for target in upstream.balancer.targets
            if target.gate is not None
        ]
    readings.append(Reading("faregate_connections", ("upstream",), upstream_connections))
    return readings
