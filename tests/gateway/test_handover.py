"""What passes between a gateway and its successor, without either process."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from faregate.gateway.children import StartError
from faregate.gateway.control import Message
from faregate.gateway.handover import FORM, Handover, Predecessor, _report_path
from faregate.gateway.line import Line
from faregate.gateway.revisions import Report, take_report
from faregate.gateway.running import Options

if TYPE_CHECKING:
    from faregate.gateway.crew import Crew


def handover(line: int, form: int = FORM) -> Handover:
    return Handover(
        form, "/c.yaml", "/data", line, 0, 0, 0, {}, {}, [0, 1], 2, 7, "1.1 me", Options(grace=5.0)
    )


def test_the_settings_survive_the_command_line() -> None:
    settings = handover(9)
    assert msgspec.json.decode(msgspec.json.encode(settings).decode(), type=Handover) == settings


def play(scenario: Callable[[Predecessor, Line, list[Message]], Awaitable[None]]) -> None:
    async def run() -> None:
        ours, theirs = socket.socketpair()
        heard: list[Message] = []
        former = Line(
            ours, asyncio.get_running_loop(), lambda message, _: heard.append(message), lambda: None
        )
        predecessor = Predecessor(handover(theirs.detach()))
        await scenario(predecessor, former, heard)
        former.close()
        predecessor._line.close()

    asyncio.run(run())


def test_a_successor_says_that_it_is_ready_and_waits_for_the_word() -> None:
    async def scenario(predecessor: Predecessor, former: Line, heard: list[Message]) -> None:
        asking = asyncio.ensure_future(predecessor.ask_consent())
        async with asyncio.timeout(5):
            while not heard:  # noqa: ASYNC110 - what comes by the line
                await asyncio.sleep(0.001)
        assert heard[0].what == "ready"
        assert not asking.done()
        former.send(Message("yours"))
        await asyncio.wait_for(asking, 5)

    play(scenario)


def test_the_end_of_the_former_gateway_is_as_good_as_its_word() -> None:
    async def scenario(predecessor: Predecessor, former: Line, heard: list[Message]) -> None:
        asking = asyncio.ensure_future(predecessor.ask_consent())
        await asyncio.sleep(0)
        former.close()
        await asyncio.wait_for(asking, 5)
        assert predecessor.gone.is_set()

    play(scenario)


def test_nobody_counts_without_locks_before_the_last_of_the_former_workers_has_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("faregate.gateway.handover._LOOK_S", 0.001)
    alive, told = {1}, []

    class FakeCrew:
        places: list[object] = [object.__new__(type("Place", (), {"index": 5}))]  # noqa: RUF012

        def is_free(self, index: int) -> bool:
            return index not in alive

        async def share(self, sharers: int) -> bool:
            told.append(sharers)
            return True

    async def scenario(predecessor: Predecessor, former: Line, heard: list[Message]) -> None:
        crew: Crew = FakeCrew()  # type: ignore[assignment]
        waiting = asyncio.ensure_future(predecessor.alone(crew))
        former.close()
        await asyncio.sleep(0.02)
        assert told == []
        alive.clear()
        await asyncio.wait_for(waiting, 5)
        assert told == [1]

    play(scenario)


def test_another_form_is_refused_in_words(tmp_path: Path) -> None:
    async def run() -> None:
        with pytest.raises(StartError, match="hands over in form"):
            Predecessor(handover(0, FORM + 1))

    asyncio.run(run())


def test_the_errors_of_the_file_reach_whoever_asked_however_many(tmp_path: Path) -> None:
    async def run() -> None:
        ours, theirs = socket.socketpair()
        heard: list[Message] = []
        loop = asyncio.get_running_loop()
        former = Line(ours, loop, lambda message, _: heard.append(message), lambda: None)
        settings = msgspec.structs.replace(handover(theirs.detach()), data=str(tmp_path))
        predecessor = Predecessor(settings)
        report = Report([{"code": "unknown_key"}] * 2000, "text" * 10_000)
        predecessor.failed("the file is broken", report)
        async with asyncio.timeout(5):
            while not heard:  # noqa: ASYNC110 - what comes by the line
                await asyncio.sleep(0.001)
        assert (heard[0].what, heard[0].reason) == ("failed", "the file is broken")
        assert take_report(_report_path(tmp_path)) == report
        former.close()
        predecessor._line.close()

    asyncio.run(run())
    assert list(tmp_path.iterdir()) == []
