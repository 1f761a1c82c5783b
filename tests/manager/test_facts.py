"""What the supervisor tells the manager: believed line by line, and nothing else is."""

import asyncio
import os
from collections.abc import Callable

import pytest

from faregate.manager.facts import Facts
from faregate.manager.totals import Totals


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


@pytest.mark.parametrize("descriptor", [-1, 10_000])
def test_without_a_line_nothing_is_heard(descriptor: int) -> None:
    async def run() -> None:
        facts = Facts(Totals(1))
        facts.hear(descriptor)
        assert not facts.held

    asyncio.run(run())
