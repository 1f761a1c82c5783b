"""The tree's process and those who report to it: what was acknowledged is there, whoever was killed."""

import asyncio
import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from faregate.kernel.folder_lock import FolderLock
from faregate.records.audit import leaf
from faregate.records.audit.client import Appended, Audit, AuditError, LeafError
from faregate.records.audit.line import Line
from faregate.records.audit.merkle import leaf_hash
from faregate.records.audit.places import PUBLIC_KEY, folder_in, read_verifier
from faregate.records.audit.reading import lines_of
from faregate.records.audit.verifying import Verified, verify
from tests.records.audit.program import START_S, Program, call_lines

pytestmark = pytest.mark.timeout(120)


def records(data: Path) -> list[leaf.Leaf]:
    return [leaf.read(line.content) for line in lines_of(folder_in(data))]


def verified(data: Path) -> Verified:
    folder = folder_in(data)
    found = verify(folder, read_verifier(folder / PUBLIC_KEY))
    assert found.fault is None, found.fault
    return found


async def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_S
    while not holds():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


def test_what_is_appended_is_durable_and_says_its_place(tmp_path: Path) -> None:
    async def play() -> None:
        audit = Audit(tmp_path, wall=lambda: 1_700_000_000.25)
        detail = {"revision": 7, "note": "card 4111111111111111"}
        first = await audit.append("revision.applied", "user:ann", "revision:7", detail, within_s=START_S)
        many = await asyncio.gather(
            *[audit.append("user.changed", "user:ann", f"user:{number}", {}) for number in range(300)]
        )
        assert len({one.seq for one in many}) == 300
        found = {record.seq: record for record in records(tmp_path)}
        assert found[first.seq].detail["revision"] == 7
        assert "4111111111111111" not in str(found[first.seq].detail)
        assert found[first.seq].time == "2023-11-14T22:13:20.250000Z"
        lines = [line.content for line in lines_of(folder_in(tmp_path))]
        assert all(leaf_hash(lines[one.seq]) == one.leaf_hash for one in [first, *many])
        with pytest.raises(LeafError, match="float"):
            await audit.append("a.b", "user:ann", "x", {"amount": 1.5})
        assert audit.personal("ann@bank.example") == audit.personal("ann@bank.example")
        assert "ann" not in audit.personal("ann@bank.example")
        assert audit.close()
        with pytest.raises(AuditError):
            await audit.append("a.b", "user:ann", "x", {})

    with Program(tmp_path) as program:
        asyncio.run(play())
        assert program.stop() == ""
    assert verified(tmp_path).signed == verified(tmp_path).size
    assert [records(tmp_path)[place].type for place in (0, -1)] == ["audit.started", "audit.stopped"]


def test_without_a_writer_an_append_fails_in_time_and_calls_are_kept_for_the_next(tmp_path: Path) -> None:
    said: list[str] = []

    async def play() -> None:
        line = Line(folder_in(tmp_path), complain=said.append)
        audit = Audit(tmp_path, line=line)
        began = time.monotonic()
        audit.put_calls(call_lines(0, 5))
        with pytest.raises(AuditError, match="audit_away"):
            await audit.append("a.b", "user:ann", "x", {}, within_s=0.2)
        assert time.monotonic() - began < 1.0
        with Program(tmp_path) as program:
            await until(lambda: audit.records == 5)
            program.stop()
        assert audit.lost == 0
        audit.close()

    asyncio.run(play())
    assert "held back" in said[0]
    assert "kept again" in said[1]
    kinds = [record.type for record in records(tmp_path)]
    assert kinds == ["audit.started", *["call"] * 5, "audit.stopped"], "and nothing of what was refused"


def test_calls_that_find_no_room_or_no_writer_until_the_end_are_counted(tmp_path: Path) -> None:
    line = Line(tmp_path, complain=lambda _: None)
    line.put_calls(b"x" * (17 << 20), 100)
    assert line.lost == 100
    line.put_calls(b"x\n", 1)
    assert line.close(0.2)
    assert line.lost == 101
    line.put_calls(b"x\n", 1)
    assert line.lost == 102


def test_a_writer_that_hears_nonsense_drops_who_says_it_and_goes_on(tmp_path: Path) -> None:
    from faregate.kernel.unix_sockets import connect

    async def play() -> None:
        audit = Audit(tmp_path)
        await audit.append("a.b", "user:ann", "x", {}, within_s=START_S)
        for nonsense in (b"\xff" * 100, b"\x05\x00\x00\x00hello", b"\x01\x00\x00\x00\x95"):
            with connect(folder_in(tmp_path) / "socket", 5.0) as stranger:
                stranger.sendall(nonsense)
                assert stranger.recv(10) == b""
        audit.put_calls(["no line\n", *call_lines(0, 1)])
        await until(lambda: audit.records == 1)
        assert audit.lost == 1
        await audit.append("a.b", "user:ann", "y", {})
        audit.close()

    with Program(tmp_path) as program:
        asyncio.run(play())
        said = program.stop()
    assert said.count("drops a connection") == 3
    assert "refuses the record of a call" in said
    verified(tmp_path)


def test_checkpoints_are_published_and_follow_what_the_supervisor_says(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"

    async def play(program: Program) -> None:
        audit = Audit(tmp_path)
        await audit.append("a.b", "user:ann", "x", {}, within_s=START_S)
        assert not elsewhere.exists()
        program.tell(publish=str(elsewhere), every_s=0.05)
        await audit.append("a.b", "user:ann", "y", {})
        await until(lambda: elsewhere.exists() and len(list(elsewhere.iterdir())) == 2)
        audit.close()

    with Program(tmp_path, origin="gateway.example/tree") as program:
        asyncio.run(play(program))
        program.tell(leave=True)
        program.let_go()
    folder = folder_in(tmp_path)
    verifier = read_verifier(folder / PUBLIC_KEY)
    assert verifier.name == "gateway.example/tree"
    found = verify(folder, verifier, elsewhere)
    assert found.fault is None
    assert found.checkpoints >= 4
    note = (elsewhere / f"checkpoint-{verifier.id.hex()}").read_text()
    assert note == (folder / "checkpoint").read_text()
    assert f"\n{found.size}\n" in note


def test_a_second_writer_waits_for_the_first_and_goes_on_where_it_ended(tmp_path: Path) -> None:
    async def play(first: Program) -> None:
        audit = Audit(tmp_path)
        before = await audit.append("a.b", "user:ann", "x", {}, within_s=START_S)
        with Program(tmp_path) as second:
            first.stop()
            after = await audit.append("a.b", "user:ann", "y", {}, within_s=START_S)
            assert after.seq == before.seq + 3  # the first one's end, the second one's start
            audit.close()
            second.stop()

    with Program(tmp_path) as first:
        asyncio.run(play(first))
    verified(tmp_path)


def test_it_leaves_when_its_supervisor_and_everybody_else_have(tmp_path: Path) -> None:
    async def play() -> None:
        audit = Audit(tmp_path)
        await audit.append("a.b", "user:ann", "x", {}, within_s=START_S)
        assert program.process.stdin is not None
        program.process.stdin.close()
        await audit.append("a.b", "user:ann", "y", {})
        audit.close()

    with Program(tmp_path) as program:
        asyncio.run(play())
        assert program.process.wait(START_S) == 0
    lock = FolderLock.take(folder_in(tmp_path), lambda _: False)
    assert lock is not None
    lock.free()


def test_a_damaged_tree_is_not_served(tmp_path: Path) -> None:
    with Program(tmp_path) as program:
        asyncio.run(_one(tmp_path))
        program.stop()
    path = folder_in(tmp_path) / "log" / "000000000000.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"x"', b'"z"'))
    with Program(tmp_path) as program:
        assert program.process.wait(START_S) == 1
        said = program.let_go()
    assert "damaged" in said
    assert "faregate audit verify" in said


async def _one(data: Path) -> None:
    audit = Audit(data)
    await audit.append("a.b", "user:ann", "x", {}, within_s=START_S)
    audit.close()


LONG = os.environ.get("FAREGATE_PROOF") == "long"
KILLS = 200 if LONG else 6


@pytest.mark.proof
@pytest.mark.beside
@pytest.mark.timeout(600)
def test_killed_again_and_again_while_it_writes_it_loses_nothing_that_was_acknowledged(
    tmp_path: Path,
) -> None:
    """200 times with ``FAREGATE_PROOF=long``."""
    chance = random.Random(5)
    acknowledged: dict[int, str] = {}
    put = 0

    async def report(audit: Audit, name: int, over: asyncio.Event) -> None:
        number = 0
        while not over.is_set():
            number += 1
            try:
                kept: Appended = await audit.append(
                    "test.act", f"user:{name}", f"act:{name}-{number}", {}, within_s=START_S
                )
            except AuditError:
                continue
            assert kept.seq not in acknowledged
            acknowledged[kept.seq] = f"act:{name}-{number}"

    async def play() -> None:
        nonlocal put
        audit, over = Audit(tmp_path), asyncio.Event()
        reporters = [asyncio.ensure_future(report(audit, name, over)) for name in range(8)]
        for _ in range(KILLS):
            before = len(acknowledged)
            await until(lambda before=before: len(acknowledged) > before + 3)  # type: ignore[misc]
            audit.put_calls(call_lines(put, 20))
            put += 20
            await asyncio.sleep(chance.random() * 0.05)
            await asyncio.to_thread(program.kill)
            program.start()
        over.set()
        await asyncio.gather(*reporters)
        await until(lambda: audit.records == put)
        assert audit.lost == 0
        audit.close()

    with Program(tmp_path, every_s=0.2) as program:
        asyncio.run(play())
        program.stop()
    found = verified(tmp_path)
    stand = records(tmp_path)
    assert found.size == len(stand) == found.signed
    assert [record.seq for record in stand] == list(range(len(stand))), "no gap"
    for seq, about in acknowledged.items():
        assert stand[seq].object == about
    acts = [record.object for record in stand if record.type == "test.act"]
    assert len(acts) == len(set(acts)), "none twice, though reports were sent again"
    calls = [record.object for record in stand if record.type == "call"]
    assert sorted(calls) == sorted(f"call:r{number}" for number in range(put))
    started = sum(record.type == "audit.started" for record in stand)
    assert 2 <= started <= KILLS + 1, "one that is killed before it could say so has not"
    assert sum(record.type == "audit.recovered" for record in stand) == len(
        list((folder_in(tmp_path) / "torn").iterdir())
    )
