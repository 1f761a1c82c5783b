"""The balancer's choice stands: a target that has no connection yet gets its turn like one that has."""

import asyncio
from collections.abc import Callable
from contextlib import ExitStack

from tests.support.client import ask, request
from tests.support.configuration import Tree, base, changed
from tests.support.gateway import GatewayProcess
from tests.support.upstream import RecordingUpstream


def test_round_robin_opens_a_connection_where_the_turn_falls(
    run_gateway: Callable[[Callable[[int, int], Tree]], GatewayProcess],
) -> None:
    with ExitStack() as stack:
        upstreams = [stack.enter_context(RecordingUpstream()) for _ in range(3)]

        def make(port: int, manager_port: int) -> Tree:
            tree = base(port, manager_port, upstreams[0].url)
            main = {"targets": [upstream.url for upstream in upstreams], "balance": "round_robin"}
            return changed(tree, "upstreams", "main", to=main)  # type: ignore[arg-type]

        gateway = run_gateway(make)

        async def play() -> list[int]:
            return [(await ask(gateway.address, request("GET", "/open/v1/t"))).status for _ in range(9)]

        assert asyncio.run(play()) == [200] * 9
        assert [len(upstream.requests) for upstream in upstreams] == [3, 3, 3]
