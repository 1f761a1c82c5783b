"""What a worker shows of its upstreams, and that what never happened shows nothing."""

import asyncio

import pytest

from faregate.gateway.assembly import ReadyUpstream
from faregate.gateway.balance import make_balancer
from faregate.gateway.upstream_readings import upstream_readings
from faregate.records.families import FAMILIES
from faregate.snapshot.data import GatewayLimits, Target, Upstream, UpstreamTls
from tests.gateway.fakes import OK, World

GET = b"GET /v1/payments/p1 HTTP/1.1\r\nHost: a\r\n\r\n"


def shown(world: World) -> dict[str, float]:
    found = upstream_readings(world.upstream, world.time())
    for reading in found:
        assert len(reading.labels) == len(FAMILIES[reading.name].labels), reading
    return {reading.name: reading.value for reading in found}


def test_in_good_order_there_is_no_series_of_faults() -> None:
    with World() as world:
        world.exchange_bytes(GET)
        assert shown(world) == {
            "faregate_upstream_retries_total": 0,
            "faregate_upstream_retries_denied_total": 0,
            "faregate_breaker_openings_total": 0,
            "faregate_target_out": 0.0,
        }


def test_faults_show_where_they_happened() -> None:
    with World() as world:
        pool = world.pool
        pool.dial_failures = 3
        pool.dialler.addresses.failures = 2
        for _ in range(20):
            world.client().deliver(GET)
            pool.fail()
        found = shown(world)
        assert found["faregate_target_dial_failures_total"] == 3
        assert found["faregate_target_name_failures_total"] == 2
        assert found["faregate_breaker_openings_total"] == 1
        assert found["faregate_target_out"] == 1.0
        assert found["faregate_upstream_retries_total"] == 14, "ten, and a fifth of twenty"
        assert found["faregate_upstream_retries_denied_total"] == 6
        world.time.now += 60.0
        world.client().deliver(GET)
        assert shown(world)["faregate_target_out"] == 0.5
        pool.connect().deliver(OK)


@pytest.mark.parametrize(
    ("tls", "verify", "value"), [(False, True, None), (True, True, 0.0), (True, False, 1.0)]
)
def test_what_is_not_verified_shows(tls: bool, verify: bool, value: float | None) -> None:
    loop = asyncio.new_event_loop()
    declared = Upstream("u", (Target("t:1", "127.0.0.1", 1, tls=tls),), tls=UpstreamTls(verify=verify))
    upstream = ReadyUpstream(declared, make_balancer(declared, None, 0.0), loop, GatewayLimits())
    found = {reading.name: reading.value for reading in upstream_readings(upstream, 0.0)}
    assert found.get("faregate_upstream_unverified") == value
    loop.close()


def test_x2_a_target_that_is_out_keeps_no_idle_connection() -> None:
    with World(targets=2, balance="round_robin") as world:
        for _ in range(2):
            world.client().deliver(GET)
        for pool in world.pools:
            pool.connect().deliver(OK)
        assert [pool.idle_count for pool in world.pools] == [1, 1]
        first = world.balancer.targets[0]
        for _ in range(5):
            first.in_flight += 1
            world.balancer.finished(first, world.time(), 0.001, failed=True)
        world.upstream.reap(world.time())
        world.run()
        assert [pool.idle_count for pool in world.pools] == [0, 1]
        assert world.pools[0].open_count == 0
