"""Changes on their way to the workers: together when they come together, never half, and past a compiler that dies."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from faregate.kernel.changes import Answer, Change
from faregate.kernel.replica import NAME, Replica
from faregate.manager.publishing.publisher import SNAPSHOT, Publisher
from faregate.manager.publishing.service import Compiler, CompilerError
from faregate.manager.publishing.supervisor import Command, Reply, tell
from tests.compile.increments import base_tree

PLAN = Change("plans", "p1", {"limits": ["7/second"]})


class Written(Compiler):
    """A compiler that only remembers what it was told to write; ``fails`` are raised or answered first."""

    def __init__(self, *fails: Exception | Answer) -> None:
        super().__init__(Path("/nowhere"))
        self.fails = list(fails)
        self.revisions: list[int] = []
        self.restarts = 0
        self.holding: asyncio.Event | None = None

    async def write(self, path: Path, revision: int) -> Answer:
        if self.holding is not None:
            await self.holding.wait()
        self.revisions.append(revision)
        if self.fails:
            fail = self.fails.pop(0)
            if isinstance(fail, Exception):
                raise fail
            return fail
        path.write_bytes(b"snapshot")  # noqa: ASYNC240 - a test's
        return Answer(ok=True, revision=revision, base="base")

    def restart(self) -> None:
        self.restarts += 1


class Gateway:
    """A supervisor that takes what it is told, or answers ``replies`` first."""

    def __init__(self, *replies: Reply | OSError) -> None:
        self.replies = list(replies)
        self.commands: list[Command] = []

    async def tell(self, data: Path, command: Command, seconds: float) -> Reply:
        assert (data / SNAPSHOT).read_bytes() == b"snapshot"
        assert seconds > 0
        self.commands.append(command)
        await asyncio.sleep(0.001)
        if self.replies:
            reply = self.replies.pop(0)
            if isinstance(reply, OSError):
                raise reply
            return reply
        return Reply(ok=True, revision=command.revision)


def test_changes_that_come_while_one_is_on_its_way_go_together(tmp_path: Path) -> None:
    async def run() -> None:
        compiler, gateway = Written(), Gateway()
        publisher = Publisher(compiler, tmp_path, asyncio.Lock(), gateway.tell)
        first = asyncio.ensure_future(publisher.publish(5))
        while not gateway.commands:  # noqa: ASYNC110 - a few turns
            await asyncio.sleep(0)
        published = await asyncio.gather(first, *(publisher.publish(number) for number in (8, 6, 7)))
        assert [one.revision for one in published] == [5, 8, 8, 8]
        assert all(one.ok for one in published)
        assert compiler.revisions == [5, 8]
        assert [command.base for command in gateway.commands] == ["base", "base"]
        assert not (tmp_path / SNAPSHOT).exists()

    asyncio.run(run())


def test_no_snapshot_is_written_while_a_change_is_applied_and_not_committed(tmp_path: Path) -> None:
    async def run() -> None:
        compiler, gateway, writing = Written(), Gateway(), asyncio.Lock()
        publisher = Publisher(compiler, tmp_path, writing, gateway.tell)
        async with writing:
            publishing = asyncio.ensure_future(publisher.publish(5))
            await asyncio.sleep(0.01)
            assert compiler.revisions == []
        assert (await publishing).ok

    asyncio.run(run())


def test_a_caller_that_leaves_does_not_take_the_others_publication_along(tmp_path: Path) -> None:
    async def run() -> None:
        compiler, gateway = Written(), Gateway()
        compiler.holding = asyncio.Event()
        publisher = Publisher(compiler, tmp_path, asyncio.Lock(), gateway.tell)
        left, stays = asyncio.ensure_future(publisher.publish(5)), asyncio.ensure_future(publisher.publish(6))
        await asyncio.sleep(0)
        left.cancel()
        compiler.holding.set()
        assert (await stays).revision == 6
        await publisher.settle()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("compiler", "gateway", "expected"),
    [
        (Written(CompilerError("the compiler has ended")), Gateway(), (True, 5, [5, 5], 0)),
        (Written(), Gateway(Reply(ok=False, message="the file was put to work")), (True, 5, [5, 5], 1)),
        (Written(), Gateway(Reply(ok=False, message="a"), Reply(ok=False, message="b", revision=4)), (False, 4, [5, 5], 1)),
        (Written(CompilerError("a"), CompilerError("b")), Gateway(), (False, 0, [5, 5], 0)),
        (Written(Answer(ok=False, message="they do not fit")), Gateway(), (False, 0, [5], 0)),
        (Written(), Gateway(ConnectionRefusedError(111, "Connection refused")), (False, 0, [5], 0)),
    ],
)  # fmt: skip
def test_what_fails_is_tried_once_more_where_that_can_help_and_told_otherwise(
    tmp_path: Path, compiler: Written, gateway: Gateway, expected: tuple[bool, int, list[int], int]
) -> None:
    async def run() -> None:
        publisher = Publisher(compiler, tmp_path, asyncio.Lock(), gateway.tell)
        published = await publisher.publish(5)
        assert (published.ok, published.revision, compiler.revisions, compiler.restarts) == expected
        assert published.ok or published.message
        assert (await publisher.publish(6)).ok, "the next one is not held up"
        assert not (tmp_path / SNAPSHOT).exists()

    asyncio.run(run())


def test_there_is_an_answer_from_a_gateway_or_an_error(tmp_path: Path) -> None:
    async def run() -> None:
        with pytest.raises(FileNotFoundError):
            await tell(tmp_path, Command("status"), 1.0)
        ended = asyncio.Event()
        replies = [b'{"ok":true,"revision":7,"more":1}\n', b"", b"nonsense\n", None]

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readline()
            reply = replies.pop(0)
            if reply is None:
                await reader.read()
                ended.set()
            else:
                writer.write(reply)
            writer.close()

        server = await asyncio.start_unix_server(serve, tmp_path / "control")
        assert (await tell(tmp_path, Command("publish", "x", 7), 1.0)).revision == 7
        for _ in range(2):
            with pytest.raises(ConnectionResetError):
                await tell(tmp_path, Command("publish"), 1.0)
        with pytest.raises(TimeoutError):
            await tell(tmp_path, Command("publish"), 0.05)
        await ended.wait()
        await asyncio.sleep(0)  # the server's end closes
        server.close()
        await server.wait_closed()

    asyncio.run(run())


def with_compiler(data: Path, play: "Callable[[Compiler], object]", *program: str) -> None:
    async def run() -> None:
        compiler = Compiler(data, program=program)
        try:
            await play(compiler)  # type: ignore[misc]
        finally:
            await compiler.close()

    asyncio.run(run())


def test_the_compiler_starts_when_it_is_asked_and_is_kept(tmp_path: Path) -> None:
    base_tree(tmp_path)

    async def play(compiler: Compiler) -> None:
        assert compiler.pid is None
        answers = await asyncio.gather(
            compiler.apply([PLAN]), compiler.show("plans", "p1"), compiler.list("plans")
        )
        assert [item.name for item in answers[2].items] == ["p0", "p1"]
        pid = compiler.pid
        assert compiler.loaded is not None
        assert (await compiler.write(tmp_path / "out", 9)).revision == 9
        assert compiler.pid == pid is not None

    with_compiler(tmp_path, play)


def test_a_compiler_that_died_or_is_to_start_anew_has_what_the_replica_holds(tmp_path: Path) -> None:
    base_tree(tmp_path)

    async def play(compiler: Compiler) -> None:
        await compiler.apply([PLAN])
        assert compiler.pid is not None
        os.kill(compiler.pid, signal.SIGKILL)
        with pytest.raises(CompilerError, match="has ended"):
            await compiler.show("plans", "p1")
        assert (await compiler.show("plans", "p1")).items == [], "it was not kept"
        Replica(tmp_path / NAME).append([PLAN], 4)
        before = compiler.pid
        compiler.restart()
        assert [item.owner for item in (await compiler.show("plans", "p1")).items] == ["managed"]
        assert compiler.pid != before
        assert compiler.loaded is not None
        assert compiler.loaded.revision == 4

    with_compiler(tmp_path, play)


def test_a_compiler_that_talks_nonsense_or_cannot_start_is_an_error(tmp_path: Path) -> None:
    async def play(compiler: Compiler) -> None:
        for _ in range(2):
            with pytest.raises(CompilerError):
                await compiler.undo()

    with_compiler(tmp_path, play, sys.executable, "-c", "input(); print('nonsense')")
    with_compiler(tmp_path, play, sys.executable, "-c", "pass")
    with_compiler(tmp_path, play, "/nowhere/python")


def test_a_request_that_is_given_up_does_not_leave_its_answer_to_the_next(tmp_path: Path) -> None:
    base_tree(tmp_path)

    async def play(compiler: Compiler) -> None:
        await compiler.show("plans", "p0")
        pid = compiler.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)  # it has no answer before the request is given up
        asked = asyncio.ensure_future(compiler.list("plans"))
        await asyncio.sleep(0.05)
        asked.cancel()
        os.kill(pid, signal.SIGCONT)
        with pytest.raises(asyncio.CancelledError):
            await asked
        assert [item.name for item in (await compiler.show("consumers", "c0")).items] == ["c0"]

    with_compiler(tmp_path, play)


def test_who_looks_starts_no_compiler_while_a_change_is_between_apply_and_replica(tmp_path: Path) -> None:
    base_tree(tmp_path)

    async def run() -> None:
        writing = asyncio.Lock()
        compiler = Compiler(tmp_path, writing=writing)
        try:
            async with writing:
                assert (await compiler.apply([PLAN])).ok
                compiler.restart()
                looking = asyncio.ensure_future(compiler.show("plans", "p1"))
                await asyncio.sleep(0.05)
                assert not looking.done()
                Replica(tmp_path / NAME).append([PLAN], 3)
            assert [item.name for item in (await looking).items] == ["p1"]
            assert (await compiler.write(tmp_path / "out", 3)).ok
        finally:
            await compiler.close()

    asyncio.run(run())
