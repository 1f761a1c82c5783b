"""How grave an event is stands in it: a program that watches the gateway may leave out what is ``info``."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from faregate.gateway import voice
from faregate.gateway.counting import Counting
from faregate.stores.counters_prepare import Capacity

SMALL = Capacity(0, 0)
Told = Callable[[], list[tuple[str, str]]]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Told:
    """Event and level of each that was said since the last time."""
    monkeypatch.setattr(voice.Voice, "events", True)

    def read() -> list[tuple[str, str]]:
        events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        return [(one["event"], one["level"]) for one in events]

    return read


def test_the_level_is_that_of_the_event_unless_it_is_told(told: Told) -> None:
    voice.say("a")
    voice.say("b", "worker_ended", worker=1)
    voice.say("c", level="warning")
    voice.say("d", "reloaded", level="error")
    assert told() == [
        ("notice", "info"),
        ("worker_ended", "warning"),
        ("notice", "warning"),
        ("reloaded", "error"),
    ]


def test_counts_that_begin_anew_are_a_warning(told: Told, tmp_path: Path) -> None:
    saved = tmp_path / "counters.bin"
    saved.write_bytes(b"torn")
    Counting.begin(saved, SMALL).end(save=False)
    assert told() == [("counters_unreadable", "warning")]


def test_counters_that_cannot_be_saved_are_a_warning(told: Told, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    counting = Counting.begin(folder / "counters.bin", SMALL)
    shutil.rmtree(folder)
    counting._save_long()
    assert told() == [("counters_unsaved", "warning")]
    counting.end(save=True)
    assert told()[-1] == ("counters_lost", "error")
