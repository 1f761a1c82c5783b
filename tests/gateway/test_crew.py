"""The crew without processes: what it believes, whom it asks, whom it lets go."""

import asyncio
from pathlib import Path

import pytest

from faregate.gateway.control import Message
from faregate.gateway.crew import Crew
from faregate.gateway.places import WorkerPlace


class FakeLine:
    """Notes what is sent; ``answers`` says what comes back."""

    def __init__(self, crew: Crew, place: WorkerPlace, answers: dict[str, Message]) -> None:
        self.crew, self.place, self.answers = crew, place, answers
        self.sent: list[Message] = []
        self.descriptors: list[tuple[int, ...]] = []

    def send(self, message: Message, descriptors: tuple[int, ...] = ()) -> bool:
        self.sent.append(message)
        self.descriptors.append(tuple(descriptors))
        if message.what in self.answers:
            self.crew.heard(self.place, self.answers[message.what])
        return True

    def close(self) -> None:
        pass


def crew_of(count: int, answers: dict[str, Message]) -> tuple[Crew, list[FakeLine]]:
    crew = Crew(lambda index, line: None, lambda coroutine: None)  # type: ignore[arg-type, return-value]
    crew.sharers = count
    lines = []
    for index in range(count):
        place = WorkerPlace(index)
        line = FakeLine(crew, place, answers)
        place.line = line  # type: ignore[assignment]
        crew.places.append(place)
        crew.heard(place, Message("ready", revision=3))
        lines.append(line)
    return crew, lines


def test_a_revision_is_taken_when_every_worker_has_said_so() -> None:
    crew, lines = crew_of(2, {"reload": Message("reloaded", revision=4)})
    assert asyncio.run(crew.offer(Message("reload", snapshot="s", revision=4)))
    assert [place.revision for place in crew.places] == [4, 4]
    assert [len(line.sent) for line in lines] == [1, 1]


def test_one_refusal_ends_the_offer_and_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    crew, _ = crew_of(2, {"reload": Message("failed", revision=4, reason="why")})
    assert not asyncio.run(crew.offer(Message("reload", revision=4)))
    assert "worker 0: why" in capsys.readouterr().err
    assert crew.refusal == "why", "which status repeats"


def test_one_of_a_generation_speaks_and_stays_when_others_come_and_go() -> None:
    crew, _ = crew_of(2, {})
    del crew.places[:1]  # as after an upgrade: another generation held the lowest index
    assert crew.speaker() == 1
    crew.places.append(WorkerPlace(0))  # it is free again
    assert crew.speaker() == 1
    asyncio.run(crew.resize(1, 0.0))
    assert crew.speaker() == 1


def test_a_worker_that_starts_while_a_revision_is_offered_is_offered_it_too() -> None:
    crew, lines = crew_of(1, {})

    async def play() -> bool:
        offer = asyncio.ensure_future(crew.offer(Message("reload", revision=4)))
        await asyncio.sleep(0)
        lines[0].answers["reload"] = Message("reloaded", revision=4)
        crew.heard(crew.places[0], Message("ready", revision=3))
        return await offer

    assert asyncio.run(play())
    assert [message.what for message in lines[0].sent] == ["reload", "reload"]


def test_sharing_is_heard_by_all_before_it_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    crew, lines = crew_of(2, {"share": Message("shared")})
    assert asyncio.run(crew.share(4))
    assert [line.sent for line in lines] == [[Message("share", workers=4)]] * 2
    lines[1].answers.clear()
    crew.places[1].process = None
    monkeypatch.setattr("faregate.gateway.crew._ANSWER_S", 0.05)
    assert not asyncio.run(crew.share(5))


def test_fewer_workers_are_drained_and_get_no_successor() -> None:
    crew, lines = crew_of(3, {})
    gone = crew.places[1:]
    asyncio.run(crew.resize(1, 12.0))
    assert [place.index for place in crew.places] == [0]
    assert all(place.retired for place in gone)
    assert lines[0].sent == []
    assert [(line.sent[0].what, line.sent[0].grace) for line in lines[1:]] == [("drain", 12.0)] * 2


def test_descriptors_go_to_every_worker_that_is_there() -> None:
    crew, lines = crew_of(2, {"listen": Message("listening")})
    crew.places[1].ready.clear()  # it is starting, with the new listeners

    class Socket:
        def fileno(self) -> int:
            return 9

    assert asyncio.run(crew.listen(["a:1"], {"a:1": Socket()}))  # type: ignore[dict-item]
    assert lines[0].descriptors == [(9,)]
    assert lines[1].sent == []


def test_calls_that_were_cut_are_summed_for_the_end_and_said_at_once_of_a_worker_too_many(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    crew, _ = crew_of(2, {})
    crew.heard(crew.places[0], Message("cut", calls=1))
    assert "1 call was still running when the grace time ended" in capsys.readouterr().err
    crew.cut = 0
    crew.stopping.set()
    for place in crew.places:
        crew.heard(place, Message("cut", calls=2))
    assert (crew.cut, capsys.readouterr().err) == (4, "")
