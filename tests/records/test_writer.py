"""The log's writer never blocks, never tears another's line, and counts what it could not write."""

import errno
import os
import threading
from pathlib import Path

import pytest

from faregate.records.lines import Batch
from faregate.records.writer import LogWriter


def batch(*lines: str) -> Batch:
    return Batch("".join(f"{line}\n" for line in lines).encode(), (), len(lines))


class Complaints(list[str]):
    """Collects what would go to stderr."""


def test_batches_are_appended_in_order_and_flushed_by_close(tmp_path: Path) -> None:
    path = tmp_path / "access.jsonl"
    path.write_text("before\n")
    writer = LogWriter(path)
    for index in range(50):
        writer.put(batch(f"{index} a", f"{index} b"))
    assert writer.close()
    assert path.read_text().splitlines() == ["before", *(f"{i} {x}" for i in range(50) for x in "ab")]
    assert writer.lines_lost == 0


def test_a_file_that_a_killed_writer_left_torn_is_gone_on_with_on_a_new_line(tmp_path: Path) -> None:
    path = tmp_path / "access.jsonl"
    path.write_text("whole\nto")
    writer = LogWriter(path)
    writer.put(batch("next", "last"))
    assert writer.close()
    assert path.read_text().splitlines() == ["whole", "to", "next", "last"]


def test_two_writers_do_not_mix_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "access.jsonl"
    writers = [LogWriter(path), LogWriter(path)]
    for index in range(200):
        for name, writer in zip("xy", writers, strict=True):
            writer.put(batch(*[f"{name}{index}" * 20] * 5))
    assert all(writer.close() for writer in writers)
    lines = path.read_text().splitlines()
    assert len(lines) == 2000
    assert all(line == line[: len(line) // 20] * 20 for line in lines)


def test_a_renamed_file_is_opened_anew_after_at_most_a_second(tmp_path: Path) -> None:
    path, now = tmp_path / "access.jsonl", [100.0]
    writer = LogWriter(path, monotonic=lambda: now[0])

    def put_and_wait(line: str) -> None:
        done = threading.Event()
        writer.put(batch(line))
        writer.put(_Signal(done))  # type: ignore[arg-type]
        assert done.wait(5)

    put_and_wait("one")
    path.rename(tmp_path / "access.jsonl.1")
    put_and_wait("two")  # within the second: still the old file
    now[0] += 1.0
    put_and_wait("three")
    path.unlink()
    now[0] += 1.0
    put_and_wait("four")
    assert writer.close()
    assert (tmp_path / "access.jsonl.1").read_text() == "one\ntwo\n"
    assert path.read_text() == "four\n"
    assert path.stat().st_mode & 0o007 == 0, "not for everybody's eyes"


class _Signal:
    """An empty batch that tells when the thread has come to it."""

    deferred = ()
    lines = 0
    bytes_held = 0

    def __init__(self, done: threading.Event) -> None:
        self._done = done

    @property
    def data(self) -> bytes:
        self._done.set()
        return b""


def test_a_full_queue_counts_lines_as_lost_and_does_not_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_write = threading.Event()
    real_write = os.write

    def stuck(file: int, data: bytes) -> int:
        assert may_write.wait(10)
        return real_write(file, data)

    monkeypatch.setattr(os, "write", stuck)
    writer = LogWriter(tmp_path / "access.jsonl", queue_bytes_max=64)
    writer.put(batch("a" * 40))
    writer.put(batch("b" * 40, "c"))
    assert writer.lines_lost == 2
    may_write.set()
    assert writer.close()
    assert (tmp_path / "access.jsonl").read_text() == "a" * 40 + "\n"


def test_a_stuck_disk_bounds_close(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    may_write = threading.Event()
    monkeypatch.setattr(os, "write", lambda _, data: may_write.wait(10) and len(data))
    writer = LogWriter(tmp_path / "access.jsonl")
    writer.put(batch("a"))
    assert not writer.close(timeout_s=0.01)
    may_write.set()
    assert writer.close(timeout_s=5)


def test_a_refused_write_is_counted_and_said_once_a_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "write", full)
    complaints = Complaints()
    writer = LogWriter(tmp_path / "access.jsonl", monotonic=lambda: 5.0, complain=complaints.append)
    for _ in range(3):
        writer.put(batch("a", "b"))
    assert writer.close()
    assert writer.lines_lost == 6
    assert complaints == [
        f"faregate: access log {tmp_path}/access.jsonl: No space left on device; 2 lines lost so far"
    ]


def test_it_is_said_once_when_lines_are_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_write, refusals = os.write, iter([True, True, False, False])

    def healing(file: int, data: bytes) -> int:
        if next(refusals):
            raise OSError(errno.ENOSPC, "full")
        return real_write(file, data)

    monkeypatch.setattr(os, "write", healing)
    complaints = Complaints()
    writer = LogWriter(tmp_path / "access.jsonl", monotonic=lambda: 5.0, complain=complaints.append)
    for line in "abcd":
        writer.put(batch(line))
    assert writer.close()
    assert complaints[1:] == [
        f"faregate: access log {tmp_path}/access.jsonl: written again; 2 lines were lost"
    ]
    assert (tmp_path / "access.jsonl").read_text() == "c\nd\n"


def test_a_partial_write_is_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: real_write(file, bytes(data)[:3]))
    writer = LogWriter(tmp_path / "access.jsonl")
    writer.put(batch("hello", "world"))
    assert writer.close()
    assert (tmp_path / "access.jsonl").read_text() == "hello\nworld\n"
    assert writer.lines_lost == 0


def test_a_torn_line_is_ended_before_the_next_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_write, room = os.write, [9]

    def filling(file: int, data: bytes) -> int:
        taken = bytes(data)[: room[0]]
        if not taken:
            room[0] = 1000
            raise OSError(errno.ENOSPC, "full")
        room[0] -= len(taken)
        return real_write(file, taken)

    monkeypatch.setattr(os, "write", filling)
    complaints = Complaints()
    writer = LogWriter(tmp_path / "access.jsonl", complain=complaints.append)
    writer.put(batch("first", "second", "third"))
    writer.put(batch("fourth"))
    assert writer.close()
    assert (tmp_path / "access.jsonl").read_text() == "first\nsec\nfourth\n"
    assert writer.lines_lost == 2


def test_a_missing_directory_loses_lines_but_raises_nothing(tmp_path: Path) -> None:
    complaints = Complaints()
    writer = LogWriter(tmp_path / "none" / "access.jsonl", complain=complaints.append)
    writer.put(batch("a"))
    assert writer.close()
    assert writer.lines_lost == 1
    assert len(complaints) == 1


def test_after_close_lines_are_counted_as_lost(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path / "access.jsonl")
    assert writer.close()
    writer.put(batch("late"))
    assert writer.lines_lost == 1
