"""Tunnels asked about anew: by steps that know nothing now, and by steps that must wait."""

from collections.abc import Coroutine, Generator, Iterator
from math import inf

import pytest

from faregate.gateway.upgrading import Upgrading
from faregate.kernel.problems import Refusal
from faregate.snapshot.call import Call, Verdict
from tests.gateway.test_tunnel import close_of
from tests.gateway.tunnelled import Tunnelled
from tests.support.websocket import PING, frame


@pytest.fixture
def world() -> Iterator[Tunnelled]:
    with Tunnelled() as made:
        yield made


def test_what_cannot_be_known_is_asked_again_in_a_minute_and_not_at_every_tick(world: Tunnelled) -> None:
    caller, _ = world.open()
    asked = []

    def step(call: Call) -> Refusal:
        asked.append(call.now)
        return Refusal("store_unavailable", reason="keys_unavailable")

    world.route.upgrade = Upgrading(world.settings, (step,), lambda _: inf)
    world.pass_time(50)
    caller.deliver(frame(PING, mask=b"mask"))
    world.pass_time(50)
    assert len(asked) == 1


class BuiltCoroutine:
    """A coroutine as mypyc makes them (decision 0010): it waits as others do and is of a type of its own."""

    def __init__(self, inner: Coroutine[None, None, Refusal | None]) -> None:
        self._inner = inner

    def send(self, value: None) -> object:
        return self._inner.send(value)

    def throw(self, error: BaseException) -> object:
        return self._inner.throw(error)

    def close(self) -> None:
        self._inner.close()

    def __await__(self) -> Generator[None, None, Refusal | None]:
        return self._inner.__await__()


def test_a_step_that_must_wait_is_waited_for_in_its_compiled_form_too(world: Tunnelled) -> None:
    caller, _ = world.open()

    async def later() -> Refusal | None:
        return Refusal("credential_invalid", reason="unknown_key")

    def step(_: Call) -> Verdict:
        return BuiltCoroutine(later())

    world.route.upgrade = Upgrading(world.settings, (step,), lambda _: inf)
    world.plane.tunnels.reloaded()
    world.run()
    assert close_of(caller.take()) == (1008, "credential_invalid")


def test_what_stands_behind_a_step_that_had_to_wait_is_asked_as_well(world: Tunnelled) -> None:
    caller, _ = world.open()
    known = False

    async def later() -> Refusal | None:
        nonlocal known
        known = True
        return None

    def waits(_: Call) -> Verdict:
        return None if known else later()

    def bars(_: Call) -> Verdict:
        return Refusal("permission_denied", reason="x")

    world.route.upgrade = Upgrading(world.settings, (waits, bars), lambda _: inf)
    world.plane.tunnels.reloaded()
    world.run()
    assert close_of(caller.take()) == (1008, "permission_denied")
