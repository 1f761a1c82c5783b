"""The crew without processes: what it believes, whom it asks, whom it lets go."""

import asyncio
import errno
import os
from collections.abc import Coroutine
from pathlib import Path

import pytest

from faregate.gateway.children import StartError
from faregate.gateway.control import Message
from faregate.gateway.crew import Crew
from faregate.gateway.places import WorkerPlace
from faregate.stores.shared_counts import CONNECTIONS, SharedCounts, create


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
        line.sent.clear()
        place.unheard = 0
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
    assert [message.what for message in lines[0].sent] == ["reload", "share", "reload"]


def test_sharing_is_heard_by_all_before_it_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    crew, lines = crew_of(2, {"share": Message("shared")})
    assert asyncio.run(crew.share(4))
    assert [line.sent for line in lines] == [[Message("share", workers=4)]] * 2
    lines[1].answers.clear()
    crew.places[1].process = None
    monkeypatch.setattr("faregate.gateway.crew._ANSWER_S", 0.05)
    assert not asyncio.run(crew.share(5))


def test_an_answer_to_a_former_number_of_sharers_is_none_to_the_last() -> None:
    crew, lines = crew_of(1, {})

    async def play() -> None:
        first = asyncio.ensure_future(crew.share(1))
        await asyncio.sleep(0)
        second = asyncio.ensure_future(crew.share(2))
        await asyncio.sleep(0)
        crew.heard(crew.places[0], Message("shared", workers=1))
        await asyncio.sleep(0.03)
        assert not second.done(), "the worker may still count without locks"
        crew.heard(crew.places[0], Message("shared", workers=2))
        assert await first
        assert await second

    asyncio.run(play())
    assert [message.workers for message in lines[0].sent] == [1, 2]


def test_a_worker_counts_with_locks_until_it_has_said_that_it_is_ready_and_is_alone() -> None:
    crew, (line,) = crew_of(1, {})
    crew.places[0].left()  # it died
    crew.heard(crew.places[0], Message("ready", revision=3))
    assert line.sent == [Message("share", workers=1)]
    crew.sharers = 2  # as when it starts while a successor does
    crew.heard(crew.places[0], Message("ready", revision=3))
    assert line.sent == [Message("share", workers=1)]


class Process:
    """A worker that ends when it is told to; ``pid`` is nobody's."""

    def __init__(self) -> None:
        self.pid, self.returncode = 0, None
        self.ended = asyncio.Event()
        self.killed = False

    async def wait(self) -> int:
        await self.ended.wait()
        return 0

    def kill(self) -> None:
        self.killed = True
        self.ended.set()


class Processes:
    """A crew whose workers are made here: ready at once, and ended by ``end``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[Process] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.told: list[int] = []
        self.crew = Crew(lambda index, line: None, self.keep)  # type: ignore[arg-type, return-value]
        monkeypatch.setattr("faregate.gateway.crew.start_worker", self.start)
        monkeypatch.setattr(self.crew, "is_free", lambda index: True)
        monkeypatch.setattr(self.crew, "_is_freed", lambda index: True)
        monkeypatch.setattr(self.crew, "_free_places", lambda index: None)
        monkeypatch.setattr(self.crew, "_ask", self.ask)

    def keep(self, coroutine: Coroutine[object, object, None]) -> None:
        self.tasks.append(asyncio.ensure_future(coroutine))  # type: ignore[arg-type]

    async def start(self, settings: object) -> Process:
        self.made.append(Process())
        return self.made[-1]

    async def ask(self, message: Message, answer: str) -> bool:
        self.told.append(message.workers)
        return True

    async def run(self, count: int) -> None:
        self.crew.sharers = count
        self.crew.start(count)
        while not all(place.line for place in self.crew.places):  # noqa: ASYNC110 - tasks that run
            await asyncio.sleep(0)
        for place in self.crew.places:
            self.crew.heard(place, Message("ready", revision=1))

    async def end(self, number: int) -> None:
        self.made[number].ended.set()
        await asyncio.wait(self.tasks, timeout=0.02)

    async def close(self) -> None:
        await self.crew.kill()
        await asyncio.wait_for(asyncio.gather(*self.tasks), 5)


def test_who_drains_still_counts_and_keeps_its_index(monkeypatch: pytest.MonkeyPatch) -> None:
    async def play() -> None:
        processes = Processes(monkeypatch)
        crew = processes.crew
        await processes.run(2)
        await crew.resize(1, 30.0)
        assert (crew.sharers, crew.held()) == (2, {0, 1})
        await crew.share(crew.sharers + 1)  # as for a successor
        await processes.end(1)
        assert processes.told == [3, 2], "never 1 while the successor's worker counts"
        assert (crew.held(), crew.retired) == ({0}, [])
        await processes.close()

    asyncio.run(play())


def test_who_drains_is_waited_for() -> None:
    crew, _ = crew_of(2, {})

    async def play() -> bool:
        await crew.resize(1, 30.0)
        crew.retired[0].process = Process()  # type: ignore[assignment]
        return await crew.wait(0.01)

    assert not asyncio.run(play())


def test_who_drains_ends_with_the_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    async def play() -> None:
        processes = Processes(monkeypatch)
        await processes.run(2)
        await processes.crew.resize(1, 30.0)
        await processes.close()
        assert [process.killed for process in processes.made] == [True, True]

    asyncio.run(play())


def test_indexes_of_another_generation_are_not_taken_and_count_until_they_are_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("faregate.gateway.crew._FREE_LOOK_S", 0.001)
    alive = {0, 3}

    async def play() -> None:
        processes = Processes(monkeypatch)
        crew = processes.crew
        monkeypatch.setattr(crew, "is_free", lambda index: index not in alive)
        crew.foreign.update({0, 3})
        await processes.run(2)
        assert [place.index for place in crew.places] == [1, 2]
        crew.sharers += 2
        crew.foreign.clear()  # as of a successor that did not become ready: they are found
        waiting = asyncio.ensure_future(crew.outlive({0, 1, 2, 3, 4}, 2))
        await asyncio.sleep(0.01)
        alive.clear()
        alive.add(3)
        await asyncio.sleep(0.01)
        assert (crew.held(), crew.sharers, processes.told) == ({1, 2, 3}, 4, [])
        alive.clear()
        await asyncio.wait_for(waiting, 5)
        assert (crew.held(), crew.sharers, processes.told) == ({1, 2}, 2, [2])
        await processes.close()

    asyncio.run(play())


def test_no_worker_comes_beside_one_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("faregate.gateway.crew._ANSWER_S", 0.02)
    crew, _ = crew_of(1, {})  # it may go on without locks
    with pytest.raises(StartError, match="a worker does not answer"):
        asyncio.run(crew.resize(2, 1.0))
    assert (len(crew.places), crew.sharers) == (1, 1)


def test_an_index_is_not_taken_for_free_when_that_cannot_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(memory: int, index: int) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr("faregate.gateway.crew.clear_worker", fails)
    crew, _ = crew_of(1, {})
    memory = create()
    worker, crew.connections = SharedCounts(memory, 1), SharedCounts(memory)
    os.close(memory)
    worker.add(CONNECTIONS, "192.0.2.1")
    try:
        assert not crew.is_free(1)
        with pytest.raises(StartError, match="cannot look who uses the counters: Too many open files"):
            crew.start(1)
        assert worker.total(CONNECTIONS) == 1
    finally:
        worker.close()
        crew.connections.close()


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
