"""X2: a port that drops or resets. Dead pooled connections are found before a call is lost on them; the pool empties."""

import asyncio

from tests.faults.conftest import Rig
from tests.support.chaos import Faults
from tests.support.client import RawClient
from tests.support.gateway import until

AT_ONCE = 12


async def _together(rig: Rig, label: str) -> list[int]:
    async def one(number: int) -> int:
        async with RawClient(rig.gateway.address) as client:
            return (await client.ask(rig.call(f"{label}-{number}"), "POST")).status

    return await asyncio.gather(*(one(number) for number in range(AT_ONCE)))


def test_x2_a_pool_whose_connections_were_all_reset_costs_no_call(rig: Rig) -> None:
    rig.proxy.down = Faults(delay_ms=50)  # so that each call has a connection of its own
    assert set(asyncio.run(_together(rig, "x2-fill"))) == {200}
    opened = rig.proxy.accepted
    rig.proxy.reset_all()
    assert set(asyncio.run(_together(rig, "x2-after"))) == {200}
    assert rig.proxy.accepted > opened, "a dead connection was used"
    assert {rig.seen(f"x2-after-{number}") for number in range(AT_ONCE)} == {(1, 1)}


def test_x2_a_connection_that_swallowed_a_call_is_not_used_again(rig: Rig) -> None:
    assert rig.post("x2-before").status == 200
    rig.proxy.up = Faults(silent=True)  # as a firewall that forgot the connection
    answer = rig.post("x2-swallowed")
    assert (answer.status, answer.problem["outcome"]) == (504, "unknown")
    opened = rig.proxy.accepted
    rig.proxy.heal()
    assert rig.post("x2-next").status == 200
    assert rig.proxy.accepted == opened + 1
    assert rig.seen("x2-swallowed")[0] == 0


def test_x2_a_refusing_port_is_told_as_not_sent_and_heals_by_itself(rig: Rig) -> None:
    rig.proxy.refuse()
    try:
        told = [rig.post(f"x2-refused-{number}") for number in range(5)]
    finally:
        rig.proxy.listen()
    outcomes = {(answer.status, answer.problem["outcome"]) for answer in told}
    assert outcomes <= {(502, "not_sent"), (503, "not_sent")}
    assert [rig.seen(f"x2-refused-{number}") for number in range(5)] == [(0, 0)] * 5
    until(lambda: rig.post("x2-healed").status == 200, "calls after the port came back", 5)
