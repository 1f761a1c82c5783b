"""A canary as the supervisor keeps it: what it is refused for, whose number it has, and what ends it."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from pathlib import Path

import pytest

from faregate.gateway import canarying, reloading
from faregate.gateway.commands import Request, Share
from faregate.gateway.control import Message
from faregate.gateway.running import Options, Running
from faregate.snapshot import encoded
from faregate.snapshot.data import Outline
from tests.gateway.test_crew import crew_of
from tests.gateway.test_reloading import FREE, gateway, written


class Stage:
    """A supervisor's state with two workers that take what they are told, or do not."""

    def __init__(self, folder: Path) -> None:
        self.kept: list[Coroutine[object, object, None]] = []
        self.running = Running(folder / "faregate.yaml", Options(), self.kept.append)
        self.running.enter_data_folder(folder)
        self.running.snapshot = Outline(1, 7, gateway(folder), 0)
        self.running.numbered = 7
        self.answer = Message("canary", revision=8)
        self.crew, self.lines = crew_of(2, {})
        self.running.crew = self.crew
        self.running.base_digest = lambda: "base"  # type: ignore[method-assign]
        self.path = folder / "made"
        self.path.write_bytes(written(gateway(folder)))

    def takes(self, answer: Message) -> None:
        for line in self.lines:
            line.answers["canary"] = answer

    async def publish(self, revision: int, share: Share | None, base: str = "base") -> reloading.Reloaded:
        request = Request("publish", path=str(self.path), revision=revision, base=base, canary=share)
        return await reloading.publish(self.running, request)

    def told(self) -> list[tuple[str, int]]:
        return [(one.what, one.revision) for one in self.lines[0].sent]

    def close(self) -> None:
        for one in self.kept:
            one.close()
        self.running.runtime.rmdir()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path)
    yield made
    made.close()


def play(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(test())  # type: ignore[arg-type]


def test_it_runs_once_every_worker_has_it_and_those_that_start_later_get_it(stage: Stage) -> None:
    async def test() -> None:
        stage.takes(Message("canary", revision=8))
        result = await stage.publish(8, Share(5, ["acme"]))
        assert (result.ok, result.revision) == (True, 8)
        sent = stage.lines[1].sent[0]
        assert (sent.percent, sent.consumers, sent.snapshot) == (
            5,
            ["acme"],
            str(stage.running.data / canarying.NAME),
        )
        path = stage.running.data / canarying.NAME
        assert encoded.decode_outline(path.read_bytes()).revision == 8
        assert stage.running.snapshot is not None
        assert stage.running.snapshot.revision == 7, "a start goes on with the revision"
        place = stage.crew.places[0]
        stage.crew.heard(place, Message("ready", revision=7))
        assert stage.told()[-1] == ("canary", 8)
        assert canarying.keep(stage.running, 8)
        assert not canarying.keep(stage.running, 9)
        canarying.end(stage.running, "enough")
        assert stage.told()[-1] == ("canary", 0)
        assert not path.exists()
        assert not canarying.keep(stage.running, 8)
        stage.crew.heard(place, Message("ready", revision=7))
        assert stage.told()[-1] == ("canary", 0)

    play(test)


@pytest.mark.parametrize("base", ["base", "another"])
def test_what_a_worker_refuses_or_a_file_has_overtaken_does_not_run(stage: Stage, base: str) -> None:
    async def test() -> None:
        stage.takes(Message("failed", revision=8, reason="no such key"))
        result = await stage.publish(8, Share(5), base)
        assert (result.ok, result.revision, stage.running.canary) == (False, 7, None)
        if base == "base":
            assert result.message == "no such key; revision 7 stays"
            assert stage.told() == [("canary", 8), ("canary", 0)]
        else:
            assert stage.told() == []
        assert not (stage.running.data / canarying.NAME).exists()

    play(test)


def test_without_a_word_it_ends_when_its_lease_does(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    async def test() -> None:
        stage.takes(Message("canary", revision=8))
        await stage.publish(8, Share(5, lease=1e9))
        canary = stage.running.canary
        assert canary is not None
        assert canary.lease == canarying.LEASE_S, "nobody is granted more"
        watching = asyncio.ensure_future(stage.kept.pop())
        await asyncio.sleep(0)
        assert not watching.done()
        canary.kept_at -= canarying.LEASE_S
        await asyncio.wait_for(watching, 2)
        assert stage.running.canary is None
        assert stage.told()[-1] == ("canary", 0)

    play(test)
    assert "canary 8 has ended: the manager has not asked for it in 30 s" in capsys.readouterr().err


@pytest.mark.parametrize(("wanted", "runs"), [(8, 8), (9, 9)])
def test_it_keeps_its_part_while_it_is_promoted_and_loses_it_to_any_other_revision(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, wanted: int, runs: int
) -> None:
    async def taken(message: Message) -> bool:
        offered.append((message.what, message.revision, stage.told()[-1]))
        return True

    async def resize(count: int, grace: float) -> None: ...

    offered: list[object] = []
    monkeypatch.setattr(stage.crew, "offer", taken)
    monkeypatch.setattr(stage.crew, "resize", resize)
    stage.running.listening.settle([FREE], stage.running.listening.open_missing([FREE]))

    async def test() -> None:
        stage.takes(Message("canary", revision=8))
        await stage.publish(8, Share(5))
        result = await stage.publish(wanted, None)
        assert (result.ok, result.revision, stage.running.numbered) == (True, runs, runs)
        last = ("canary", 8) if wanted == 8 else ("canary", 0)
        assert offered == [("reload", runs, last)]
        assert stage.running.canary is None
        assert stage.crew.canary is None

    play(test)
    stage.running.listening.close()
