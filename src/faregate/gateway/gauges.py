"""What a worker shows of itself at each report: calls in flight, connections, targets."""

from faregate.gateway.plane import Plane
from faregate.records.frames import Reading
from faregate.stores.counters_locks import CountersStats


def gauges(plane: Plane, counters: CountersStats) -> list[Reading]:
    """The readings of this moment; labels come from configuration only."""
    now = plane.monotonic()
    readings = [
        Reading("faregate_calls_in_flight", (), plane.in_flight),
        Reading("faregate_connections", ("client",), len(plane.clients)),
        Reading("faregate_connections_refused_total", (), plane.clients_refused),
        Reading("faregate_limit_overflows_total", (), counters.overflows),
        Reading("faregate_limit_lock_timeouts_total", (), counters.timeouts),
    ]
    upstream_connections = 0
    for upstream in plane.runtime.upstreams.values():
        name = upstream.data.name
        upstream_connections += sum(pool.open_count for pool in upstream.pools)
        for status in upstream.balancer.states(now):
            readings.append(
                Reading("faregate_target_up", (name, status.name), 1.0 if status.state == "up" else 0.0)
            )
            readings.append(Reading("faregate_target_in_flight", (name, status.name), status.in_flight))
    readings.append(Reading("faregate_connections", ("upstream",), upstream_connections))
    return readings
