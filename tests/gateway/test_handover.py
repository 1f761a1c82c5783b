"""What passes between a gateway and its successor, without either process."""

import asyncio
import json
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from faregate.gateway import succeed
from faregate.gateway.children import StartError
from faregate.gateway.control import Message
from faregate.gateway.crew import Crew
from faregate.gateway.handover import FORM, Handover, Predecessor, _handover, _report_path, read_handover
from faregate.gateway.line import Line
from faregate.gateway.places import WorkerPlace
from faregate.gateway.revisions import Report, take_report
from faregate.gateway.running import Options, Running
from faregate.gateway.voice import Voice


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
    monkeypatch.setattr("faregate.gateway.crew._FREE_LOOK_S", 0.001)
    alive, told = {1}, []
    crew = Crew(lambda index, line: None, lambda coroutine: None)  # type: ignore[arg-type, return-value]
    crew.places.append(WorkerPlace(5))
    crew.retired.append(WorkerPlace(6))  # ours; it drains
    crew.sharers = 4

    async def ask(message: Message, answer: str) -> bool:
        told.append(message.workers)
        return True

    monkeypatch.setattr(crew, "is_free", lambda index: index not in alive)
    monkeypatch.setattr(crew, "_ask", ask)

    async def scenario(predecessor: Predecessor, former: Line, heard: list[Message]) -> None:
        waiting = asyncio.ensure_future(predecessor.alone(crew))
        former.close()
        await asyncio.sleep(0.02)
        assert told == []
        alive.clear()
        await asyncio.wait_for(waiting, 5)
        assert told == [2]

    play(scenario)


def test_another_form_is_refused_in_words() -> None:
    other = msgspec.json.encode(handover(0, FORM + 1)).decode()
    with pytest.raises(StartError, match=f"hands over in form {FORM + 1}, this one reads {FORM}"):
        read_handover(other)


def test_a_form_with_other_fields_is_refused_in_words_and_by_events(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Voice, "events", False)
    monkeypatch.setattr(succeed, "speak_in_events", lambda process: None)
    monkeypatch.setattr(sys, "argv", ["succeed", '{"form":1,"config":"/c.yaml","line":7,"events":true}'])
    assert succeed.main() == 1
    said = json.loads(capsys.readouterr().out)
    assert said["event"] == "failed"
    assert "hands over in form 1" in said["message"]


def test_what_is_handed_over_counts_whoever_drains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    running = Running(tmp_path / "faregate.yaml", Options(), lambda coroutine: None)
    running.runtime.rmdir()
    crew = running.crew
    crew.places.append(WorkerPlace(4))
    crew.retired.append(WorkerPlace(2))
    crew.foreign.add(0)
    gateway = type("Gateway", (), {"manager": None})()
    running.snapshot = type("Outline", (), {"gateway": gateway})()  # type: ignore[assignment]
    with (tmp_path / "lock").open("ab") as running.lock:
        handed = _handover(running, 9, 3)
    assert (handed.indexes, handed.sharers) == ([0, 2, 4], 3)


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
