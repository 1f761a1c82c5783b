"""The writer at work on a disk that fails, with reporters that repeat themselves, and a second place that is away."""

import asyncio
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from faregate.kernel.unix_sockets import connect, listen
from faregate.records.audit import checkpoints, leaf, server, tree, wire
from faregate.records.audit.calls import CallRecords
from faregate.records.audit.checkpoints import Publisher
from faregate.records.audit.client import Audit, AuditError
from faregate.records.audit.line import Line
from faregate.records.audit.reading import lines_of
from faregate.records.audit.server import Server
from faregate.records.audit.verifying import verify
from faregate.records.audit.wire import Batch, Told
from tests.records.audit.program import START_S, call_lines
from tests.records.audit.test_process import until
from tests.records.audit.test_tree import FullDisk
from tests.records.audit.trees import Made, event, opened


@dataclass
class Served:
    """A server in a thread, on a disk that can be filled."""

    folder: Path
    server: Server
    made: Made
    disk: FullDisk
    said: list[str] = field(default_factory=list)
    over: bool = False

    def records(self) -> list[leaf.Leaf]:
        return [leaf.read(line.content) for line in lines_of(self.folder)]

    def until(self, what: str) -> None:
        deadline = time.monotonic() + START_S
        while not any(what in one for one in self.said):
            assert time.monotonic() < deadline, self.said
            time.sleep(0.005)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    folder = tmp_path / "audit"
    disk = FullDisk()
    found = opened(folder, disk)
    said: list[str] = []
    made = Server(found, CallRecords(b"k" * 32), listen(folder / "socket"), said.append)
    made.begin()
    one = Served(folder, made, Made(folder, found.signer.verifier), disk, said)

    def run() -> None:
        while not one.over:
            made.turn(0.01)
        made.end()

    thread = threading.Thread(target=run)
    thread.start()
    yield one
    one.over = True
    thread.join(START_S)
    assert not thread.is_alive()


def test_on_a_full_disk_acts_are_refused_calls_wait_and_all_goes_on_when_there_is_room(
    served: Served, tmp_path: Path
) -> None:
    complaints: list[str] = []

    async def play() -> None:
        audit = Audit(tmp_path, line=Line(served.folder, complain=complaints.append))
        await audit.append("a.b", "user:ann", "before", {})
        served.disk.room = 5
        with pytest.raises(AuditError, match="audit_disk"):
            await audit.append("a.b", "user:ann", "refused", {})
        audit.put_calls(call_lines(0, 3))
        await until(lambda: bool(complaints))
        with pytest.raises(AuditError, match="audit_disk"):
            await audit.append("a.b", "user:ann", "refused too", {}, within_s=0.3)
        assert (audit.records, audit.lost) == (0, 0)
        served.disk.room = 1 << 20
        await audit.append("a.b", "user:ann", "after", {}, within_s=START_S)
        await until(lambda: audit.records == 3)
        assert audit.lost == 0
        audit.close()

    asyncio.run(play())
    served.until("written again")
    assert "No space left" in " ".join(served.said)
    assert "audit_disk" in complaints[0]
    about = [record.object for record in served.records()]
    assert sorted(about[2:]) == ["after", "call:r0", "call:r1", "call:r2"]
    assert "refused" not in " ".join(about)


def ask(served: Served, batch: Batch, sock=None) -> Told | None:  # type: ignore[no-untyped-def]
    own = sock or connect(served.folder / "socket", START_S)
    try:
        own.sendall(wire.framed(batch))
        data = b""
        while len(data) < 4 or len(data) < 4 + wire.length_of(data, 0):
            piece = own.recv(1 << 16)
            if not piece:
                return None
            data += piece
        return wire.read_told(data[4:])
    finally:
        if sock is None:
            own.close()


def batch(number: int, *, again: bool = False, source: bytes = b"source-1") -> Batch:
    lines = ["".join(call_lines(number * 10, 2)).encode()]
    return Batch(wire.VERSION, source, number, again, lines, [tuple(event(number))])  # type: ignore[list-item]


def test_a_batch_that_is_sent_again_is_kept_once_and_told_the_same(served: Served) -> None:
    first = ask(served, batch(1))
    assert first is not None
    before = len(served.records())
    assert ask(served, batch(1, again=True)) == first
    assert ask(served, batch(2, again=True)) is not None, "of which nothing was kept"
    found = served.records()
    assert len(found) == before + 3
    assert found[first.kept[0][0]].object == "thing:1"


def test_a_batch_that_was_left_behind_is_not_kept_beside_the_one_sent_again(served: Served) -> None:
    assert ask(served, batch(3, again=True)) is not None
    before = len(served.records())
    assert ask(served, batch(3)) is None, "its connection was given up long ago"
    assert len(served.records()) == before
    assert ask(served, batch(3, source=b"source-2")) is not None
    assert len(served.records()) == before + 3


def test_an_event_that_is_no_record_is_refused_with_its_batch(served: Served) -> None:
    broken = Batch(wire.VERSION, b"s", 1, False, [], [(b'{"actor":1.5,"prev":"', b"}")])
    told = ask(served, broken)
    assert told is not None
    assert (told.error, told.kept) == (wire.BROKEN, [])
    other = Batch(wire.VERSION + 1, b"s", 2, False, [], [])
    assert ask(served, other) is None
    served.until("version")


def test_segments_follow_each_other_and_a_tree_that_grows_meanwhile_verifies(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree, "SEGMENT_BYTES", 3_000)
    monkeypatch.setattr(server, "_SIGNED_APART_S", 0.0)
    served.server.every_records = 3
    sizes: list[int] = []

    async def play() -> None:
        audit = Audit(tmp_path)
        for number in range(200):
            await audit.append("a.b", "user:ann", f"act:{number}", {}, within_s=START_S)
            if number % 10 == 0:
                found = await asyncio.to_thread(verify, served.folder, served.made.verifier)
                assert found.fault is None, found.fault
                sizes.append(found.size)
        audit.close()

    async def both() -> None:
        await asyncio.gather(play(), asyncio.to_thread(verifying))

    def verifying() -> None:
        for _ in range(40):
            found = verify(served.folder, served.made.verifier)
            assert found.fault is None, found.fault

    asyncio.run(both())
    assert len(list((served.folder / "log").glob("*.jsonl"))) > 10
    assert sizes[-1] > 190


def test_while_the_second_place_is_away_the_newest_checkpoint_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "_RETRY_S", 0.01)
    found = opened(tmp_path / "audit")
    said: list[str] = []
    place = tmp_path / "place"
    place.write_text("in the way")
    publisher = Publisher(place, found.signer.verifier, said.append)
    for number in range(3):
        found.tree.append([event(number)])
        publisher.publish(found.checkpoints.sign(found.tree, "2026-03-02T02:15:30.000000Z"))
    deadline = time.monotonic() + START_S
    while not said:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    assert "cannot publish" in said[0]
    place.unlink()
    publisher.close(START_S)
    found.tree.close()
    name = f"checkpoint-{found.signer.verifier.id.hex()}"
    while not (place / name).exists():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    assert "\n3\n" in (place / name).read_text()
    assert verify(tmp_path / "audit", found.signer.verifier, place).fault is None
