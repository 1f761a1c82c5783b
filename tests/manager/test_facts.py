"""What the supervisor tells the manager: believed line by line, and nothing else is."""

import asyncio
import os
from collections.abc import Callable

import msgspec
import pytest

from faregate.manager.facts import Facts
from faregate.manager.totals import Totals
from faregate.snapshot.managing import GroupGrant, Managing, SigningIn


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110 - what comes by the pipe
            await asyncio.sleep(0.001)


def play(lines: list[bytes], holds: Callable[[Totals, Facts], bool], *, end: bool = False) -> None:
    async def run() -> None:
        reading, writing = os.pipe()
        totals = Totals(1)
        facts = Facts(totals)
        facts.hear(reading)
        for line in lines:
            os.write(writing, line)
        if end:
            os.close(writing)
        await until(lambda: holds(totals, facts))
        asyncio.get_running_loop().remove_reader(reading)
        os.close(reading)
        if not end:
            os.close(writing)

    asyncio.run(run())


def test_it_is_told_how_many_workers_there_shall_be() -> None:
    play([b'{"workers":3}\n'], lambda totals, facts: totals.expected == 3 and facts.released.is_set())


def test_a_line_may_come_in_pieces_and_nonsense_between() -> None:
    play([b'{"work', b'ers":3}\nnonsense\n{"stale":true}\n'], lambda totals, _: totals.stale)


def test_a_stopping_gateway_is_not_ready_whatever_its_workers_say() -> None:
    def holds(totals: Totals, _: Facts) -> bool:
        return totals.readiness().lacks.startswith("the gateway is stopping")

    play([b'{"stopping":true}\n'], holds)


def test_who_is_held_waits_for_the_word_or_the_others_end() -> None:
    play([b'{"hold":true}\n'], lambda _, facts: facts.held and not facts.released.is_set())
    play([b'{"hold":true}\n{"hold":false}\n'], lambda _, facts: facts.released.is_set())
    play([b'{"hold":true}\n'], lambda _, facts: facts.released.is_set(), end=True)


def test_it_hears_what_runs_and_every_time_the_file_was_put_to_work() -> None:
    def said(*lines: bytes) -> tuple[int, int]:
        heard: list[int] = []

        async def run() -> int:
            reading, writing = os.pipe()
            facts = Facts(Totals(1))
            facts.reloaded = lambda: heard.append(1)
            os.write(writing, b"".join(lines) + b'{"stopping":true}\n')
            facts.hear(reading)
            asyncio.get_running_loop().remove_reader(reading)
            os.close(reading)
            os.close(writing)
            return facts.revision

        return asyncio.run(run()), len(heard)

    assert said(b'{"revision":4,"file_loads":0}\n', b'{"revision":5,"file_loads":0}\n') == (5, 0)
    assert said(b'{"revision":4,"file_loads":1}\n', b'{"revision":4,"file_loads":1}\n') == (4, 1)
    assert said(b'{"revision":4,"file_loads":1}\n', b'{"revision":6,"file_loads":2}\n') == (6, 2)


@pytest.mark.parametrize("descriptor", [-1, 10_000])
def test_without_a_line_nothing_is_heard(descriptor: int) -> None:
    async def run() -> None:
        facts = Facts(Totals(1))
        facts.hear(descriptor)
        assert not facts.held

    asyncio.run(run())


def test_the_longest_sign_in_by_a_provider_is_heard_at_once() -> None:
    group = "g" * 128
    grants = tuple(GroupGrant(f"{n:03}{group}"[:128], "operator", "api:" + "a" * 128) for n in range(100))
    told = SigningIn(
        "https://id.example",
        "c" * 255,
        b"s" * 1024,
        "https://gw.example/sign-in/oidc/callback",
        "openid",
        "groups",
        grants,
    )
    line = msgspec.json.encode({"hold": True, "managing": Managing(sign_in=told)}) + b"\n"
    play(
        [line],
        lambda _, facts: facts.held and facts.managing.sign_in == told and facts.public == "gw.example",
    )
