"""Tunnels at their seams: a start that fails, verdicts that cross a reload, and a 101 that comes too early or to nobody."""

import asyncio
from collections.abc import Iterator
from math import inf

import pytest

from faregate.gateway import tunnel as tunnels
from faregate.gateway.upgrading import Upgrading
from faregate.kernel.problems import Refusal
from faregate.snapshot.call import Call, Verdict
from tests.gateway.test_tunnel import close_of
from tests.gateway.tunnelled import PATH, SWITCH, Tunnelled
from tests.support.websocket import TEXT, frame, upgrade


@pytest.fixture
def world() -> Iterator[Tunnelled]:
    with Tunnelled() as made:
        yield made


@pytest.mark.parametrize("where", ["watch", "_arm"])
def test_a_tunnel_whose_start_fails_ends_once(
    world: Tunnelled, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("made by a test")

    caller = world.client()
    caller.deliver(upgrade(PATH))
    world.run()
    there = world.pool.connect()
    monkeypatch.setattr(tunnels.Tunnel, where, fails)
    there.take()
    there.deliver(SWITCH + frame(TEXT, b"hello"))
    monkeypatch.undo()
    world.run()
    world.pass_time(2)
    assert [(call.status, call.reason) for call in world.calls] == [(101, "internal_error")]
    assert caller.aborted
    assert there.aborted
    world.assert_nothing_left()


class Asked:
    """Keys that have to be fetched: what each asking comes to is said later."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.waiting: list[asyncio.Future[Refusal | None]] = []

    async def _later(self) -> Refusal | None:
        self.waiting.append(self._loop.create_future())
        return await self.waiting[-1]

    def step(self, _: Call) -> Verdict:
        return self._later()


def test_the_verdict_of_an_older_revision_does_not_overrule_that_of_a_newer_one(world: Tunnelled) -> None:
    caller, _ = world.open()
    keys = Asked(world.loop)
    world.route.upgrade = Upgrading(world.settings, (keys.step,), lambda _: inf)
    world.plane.tunnels.reloaded()
    world.run()
    world.route.upgrade = Upgrading(world.settings, (), lambda _: inf)  # lets everybody in
    world.plane.tunnels.reloaded()
    world.run()
    keys.waiting[0].set_result(Refusal("credential_invalid", reason="unknown_key"))
    world.run()
    assert caller.take() == b""
    assert world.plane.tunnels.open


def test_of_two_verdicts_that_are_waited_for_the_newer_one_holds(world: Tunnelled) -> None:
    caller, _ = world.open()
    keys = Asked(world.loop)
    world.route.upgrade = Upgrading(world.settings, (keys.step,), lambda _: inf)
    for _ in range(2):
        world.plane.tunnels.reloaded()
        world.run()
    old, new = keys.waiting
    new.set_result(Refusal("permission_denied", reason="x"))
    world.run()
    old.set_result(None)
    world.run()
    assert close_of(caller.take()) == (1008, "permission_denied")
    assert len(keys.waiting) == 2


@pytest.mark.parametrize("framing", ["Content-Length: 5", "Transfer-Encoding: chunked"])
def test_f30_no_101_can_come_before_a_handshake_s_body_for_it_may_have_none(
    world: Tunnelled, framing: str
) -> None:
    """The rest of a body would pass for frames."""
    caller = world.client()
    caller.deliver(upgrade(PATH, framing))
    world.run()
    assert caller.take().startswith(b"HTTP/1.1 400 ")
    assert not world.pool.asked


def test_a_101_ahead_of_the_handshake_costs_its_connection(world: Tunnelled) -> None:
    caller = world.client()
    caller.deliver(upgrade(PATH))
    world.run()
    early = world.pool.new_connection()
    early.deliver(SWITCH)
    world.pool.asked.pop().connected(early.protocol, world.time())  # type: ignore[arg-type]
    world.run()
    assert caller.take().startswith(b"HTTP/1.1 502 ")
    assert [(call.reason, call.outcome) for call in world.calls] == [("closed_before_use", "not_sent")]
