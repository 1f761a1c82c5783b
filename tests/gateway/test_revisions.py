"""Snapshots on disk: numbers that grow across starts, one durable file of our own, and nothing read that is not whole."""

import asyncio
import errno
import os
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest
from msgspec import structs

from faregate.gateway import starting
from faregate.gateway.children import StartError
from faregate.gateway.revisions import NICE, CompileError, compile_file, put_to_work, revision_on_disk
from faregate.snapshot import encoded
from faregate.snapshot.data import FORMAT, Consumer, Gateway, Listener, Outline, Plan, Route, Snapshot


def snapshot(revision: int = 0, form: int = FORMAT) -> Snapshot:
    return Snapshot(form, revision, Gateway((), None, 1, ""), (), (), (), (), (), ())


def test_a_snapshot_gets_the_next_number_in_one_file_that_only_we_read(tmp_path: Path) -> None:
    path = tmp_path / "snapshot"
    for last in (0, 1, 41):
        assert put_to_work(encoded.encode(snapshot()), path, last).revision == last + 1
        assert encoded.decode(path.read_bytes()) == snapshot(last + 1)
        assert revision_on_disk(path) == last + 1
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert list(tmp_path.iterdir()) == [path]


def test_a_number_that_is_asked_for_is_given_where_it_is_beyond_the_last(tmp_path: Path) -> None:
    path = tmp_path / "snapshot"
    for number, wanted, given in ((0, 50, 50), (50, 50, 50), (0, 7, 8), (0, 3, 8), (0, 0, 8)):
        assert put_to_work(encoded.encode(snapshot(number)), path, 7, wanted).revision == given
        assert encoded.decode(path.read_bytes()) == snapshot(given)


def test_numbering_changes_nothing_but_the_number() -> None:
    gateway = Gateway((Listener("127.0.0.1", 80),), None, 2, "data")
    whole = Snapshot(
        FORMAT, 0, gateway, (), (), (Plan("standard"),), (Consumer("acme", "standard"),), (),
        (Route("a", 0, "GET", "/", "GET /", "u"),),
    )  # fmt: skip
    numbered = encoded.renumber(encoded.encode(whole), 70_000)
    assert encoded.decode(numbered) == structs.replace(whole, revision=70_000)
    assert encoded.decode_outline(numbered) == Outline(FORMAT, 70_000, gateway, 1)
    counted = encoded.decode_counted(numbered)
    assert (counted.plans, counted.consumers[0].plan, len(counted.routes)) == (whole.plans, "standard", 1)


@pytest.mark.parametrize(
    "content", [None, b"", b"\xff\xff", b"not a snapshot", encoded.encode(snapshot(5))[:-3]]
)
def test_an_unreadable_snapshot_counts_as_none(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "snapshot"
    if content is not None:
        path.write_bytes(content)
    assert revision_on_disk(path) == 0


def test_another_format_is_not_read(tmp_path: Path) -> None:
    other = encoded.encode(snapshot(9, FORMAT + 1))
    with pytest.raises(ValueError, match="format"):
        encoded.decode(other)
    with pytest.raises(ValueError, match="format"):
        encoded.decode_outline(other)
    (tmp_path / "snapshot").write_bytes(other)
    assert revision_on_disk(tmp_path / "snapshot") == 0


@pytest.mark.parametrize(
    ("content", "reason", "missing"),
    [
        (None, "no such file: ", True),
        (b"\xff", "the configuration cannot be read: ", False),
        (b"plan: {}\n", "the configuration has errors", False),
    ],
)
def test_a_refusal_says_the_true_reason(
    tmp_path: Path, content: bytes | None, reason: str, missing: bool
) -> None:
    config = tmp_path / "faregate.yaml"
    if content is not None:
        config.write_bytes(content)
    with pytest.raises(CompileError) as told:
        asyncio.run(compile_file(config, tmp_path / "out"))
    assert str(told.value) == (reason + str(config) if reason.endswith(" ") else reason)
    assert told.value.missing is missing


@pytest.mark.parametrize(("asked", "nice"), [({}, "10"), ({"nice": 0}, "0")])
def test_calls_go_before_a_compilation_unless_there_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: dict[str, int], nice: str
) -> None:
    told = tmp_path / "told"
    program = tmp_path / "program"
    program.write_text(f'#!/bin/sh\necho "$@" > {told}\nexit 1\n')
    program.chmod(0o700)
    monkeypatch.setattr("sys.executable", str(program))
    (tmp_path / "faregate.yaml").write_text("")
    with pytest.raises(CompileError):
        asyncio.run(compile_file(tmp_path / "faregate.yaml", tmp_path / "out", **asked))
    assert told.read_text().split()[-2:] == ["--nice", nice]


@pytest.mark.parametrize(("inherited", "nice"), [(None, 0), (object(), NICE)])
def test_only_a_successor_compiles_beside_calls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inherited: object, nice: int
) -> None:
    seen: list[int] = []

    async def compiled(*_: object, nice: int) -> None:
        seen.append(nice)
        raise CompileError("there is none", missing=True)

    monkeypatch.setattr(starting, "compile_file", compiled)
    running = SimpleNamespace(config=tmp_path, runtime=tmp_path, options=SimpleNamespace(strict=True))
    with pytest.raises(StartError):
        asyncio.run(starting._configuration(running, inherited))  # type: ignore[arg-type]
    assert seen == [nice]


def test_a_compilation_does_not_outlive_the_gateway_that_asked_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sleeper = tmp_path / "sleeper"
    sleeper.write_text("#!/bin/sh\nexec sleep 60\n")
    sleeper.chmod(0o700)
    monkeypatch.setattr("sys.executable", str(sleeper))
    children = Path(f"/proc/self/task/{os.getpid()}/children")

    async def run() -> None:
        before = children.read_text()  # noqa: ASYNC240 - a test
        task = asyncio.ensure_future(compile_file(tmp_path / "faregate.yaml", tmp_path / "out"))
        async with asyncio.timeout(5):
            while children.read_text() == before:  # noqa: ASYNC110, ASYNC240 - until it has been started
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert children.read_text() == before  # noqa: ASYNC240 - a test

    asyncio.run(run())


def test_a_full_disk_leaves_no_empty_file_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    compiled = encoded.encode(snapshot())
    monkeypatch.setattr("faregate.gateway.revisions.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        put_to_work(compiled, tmp_path / "snapshot", 0)
    assert list(tmp_path.iterdir()) == []
