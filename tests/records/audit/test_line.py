"""The line from a process to the tree's writer: ended calls wait for each other, nothing else waits for them."""

import threading
import time
from pathlib import Path

import pytest

from faregate.records.audit import leaf, line
from faregate.records.audit.line import Line, Waiting
from faregate.records.audit.wire import Batch, Told


class Heard(Line):
    """Keeps what would be sent."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.batches: list[Batch] = []
        self.came = threading.Semaphore(0)

    def _asked(self, batch: Batch, events: list[Waiting]) -> tuple[Told | None, bool]:
        self.batches.append(batch)
        self.came.release()
        return Told(batch.number, kept=[(0, b"")] * len(events)), True

    def hear(self) -> Batch:
        assert self.came.acquire(timeout=10)
        return self.batches[-1]


@pytest.fixture
def heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Heard:
    monkeypatch.setattr(line, "_GATHER_S", 60.0)  # none ends by itself
    return Heard(tmp_path)


def event() -> Waiting:
    entry = leaf.entry("test.act", "user:ann", "act:1", {}, leaf.time_text(0))
    return Waiting(entry, time.monotonic() + 60, lambda told: None)


def test_calls_wait_for_each_other_and_an_event_takes_them_along_at_once(heard: Heard) -> None:
    for _ in range(2):  # the second time after calls that came while others were sent
        heard.put_calls(b"one\n", 1)
        heard.put_calls(b"two\n", 1)
        assert not heard.came.acquire(timeout=0.1)
        heard.put(event())
        batch = heard.hear()
        assert (batch.calls, len(batch.entries)) == ([b"one\n", b"two\n"], 1)
    assert heard.close(10)


def test_a_whole_batch_waits_for_nothing(heard: Heard) -> None:
    heard.put_calls(b"one\n", 1)
    assert not heard.came.acquire(timeout=0.1)
    heard.put_calls(b"x" * (256 << 10), 1)
    assert len(heard.hear().calls) == 2
    assert heard.close(10)


def test_the_end_waits_for_nothing_and_loses_none(heard: Heard) -> None:
    heard.put_calls(b"one\n", 1)
    assert not heard.came.acquire(timeout=0.1)
    assert heard.close(10)
    assert heard.hear().calls == [b"one\n"]
    assert (heard.records, heard.lost) == (1, 0)
