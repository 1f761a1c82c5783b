"""What an ended tunnel leaves in memory: nothing."""

import asyncio
import gc
from collections.abc import Iterator

import pytest

from faregate.gateway.exchange import Exchange
from faregate.gateway.tunnel import Tunnel
from faregate.gateway.tunnel_end import End
from tests.gateway.tunnelled import Tunnelled
from tests.support.websocket import CLOSE, closing, frame, said


@pytest.fixture
def world() -> Iterator[Tunnelled]:
    with Tunnelled() as made:
        yield made


@pytest.mark.parametrize("how", ["both_close", "caller_lost", "upstream_lost", "idle", "drain"])
def test_a_tunnel_that_is_over_is_freed_without_the_garbage_collector(world: Tunnelled, how: str) -> None:
    """A worker collects rarely: what waits for it, 20 objects a tunnel, let a soak's worker grow for half an hour."""
    caller, there = world.open()
    gc.collect()
    match how:
        case "both_close":
            caller.deliver(said(CLOSE, closing(1000)))
            there.deliver(frame(CLOSE, closing(1000)))
        case "caller_lost":
            caller.lose()
        case "upstream_lost":
            there.lose()
        case "idle":
            world.pass_time(400)
        case _:
            world.plane.drain()
            world.run()
    world.pass_time(120)
    world.assert_nothing_left()
    caller.protocol = there.protocol = asyncio.Protocol()  # event loops let go of theirs
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        gc.collect()
        left = [one for one in gc.garbage if isinstance(one, Tunnel | End | Exchange)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
    assert len(world.calls) == 1
    assert left == []
