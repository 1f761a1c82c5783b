"""A caller's connection that is to end, and not because of the caller: what it still gets, and that it sees what was cut."""

from collections.abc import Iterator

import pytest

from faregate.gateway.lingering import FIRST_CALL_S
from tests.gateway.fakes import OK, World

GET = b"GET /v1/payments/p1 HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture
def world() -> Iterator[World]:
    with World() as made:
        yield made


def test_the_call_in_progress_is_the_last_and_says_so(world: World) -> None:
    caller = world.client()
    caller.deliver(GET + GET)
    world.run()
    (client,) = world.plane.clients
    client.drain()
    world.pool.connect().deliver(OK)
    world.run()
    assert b"\r\nConnection: close\r\n" in caller.take()
    assert caller.ended
    assert world.plane.begun == 1


@pytest.mark.parametrize(("how", "closes"), [("drain", False), ("leave", True)])
def test_a_call_of_which_a_part_has_come_begins_unless_its_caller_may_not(
    world: World, how: str, closes: bool
) -> None:
    caller = world.client()
    caller.deliver(GET[:20])
    (client,) = world.plane.clients
    getattr(client, how)()
    world.run()
    assert caller.lost is closes
    assert not caller.written


def test_at_the_very_end_who_has_everything_is_closed_and_not_reset(world: World) -> None:
    idle, busy = world.client(), world.client()
    busy.deliver(GET)
    world.run()
    world.plane.end_calls()
    world.plane.break_off()
    world.run()
    assert busy.take().startswith(b"HTTP/1.1 503 ")
    assert [(caller.lost, caller.aborted) for caller in (idle, busy)] == [(True, False)] * 2


def test_at_the_very_end_an_answer_that_is_not_out_is_seen_to_be_cut(world: World) -> None:
    caller = world.client()
    caller.deliver(GET)
    world.run()
    caller.stick()
    world.plane.end_calls()
    world.plane.break_off()
    assert caller.aborted


def test_a_connection_is_fresh_for_its_first_second(world: World) -> None:
    assert not world.plane.awaits_calls(world.time())
    world.client()
    assert world.plane.awaits_calls(world.time() + FIRST_CALL_S - 0.01)
    assert not world.plane.awaits_calls(world.time() + FIRST_CALL_S)
