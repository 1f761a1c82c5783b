"""The supervisor's saving of the counters: what is said when the disk takes nothing, and that nothing of it stops the gateway."""

import errno
import os
from pathlib import Path

import pytest

from faregate.gateway import counting as module
from faregate.gateway.counting import Counting
from faregate.policies.quota.step import Calendar, Quota
from faregate.stores.counters import Counters
from faregate.stores.counters_prepare import Capacity


@pytest.fixture
def counting(tmp_path: Path) -> Counting:
    made = Counting.begin(tmp_path / "counters.bin", Capacity(0, 0))
    counters = Counters.open(made.memory, 0, 1)
    quota = Quota(counters, counters.owner(b"acme"), "quota", 5, Calendar(0))
    assert quota.check(1, 1_800_000_000.0) == 0
    quota.take()
    counters.close()
    return made


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), ValueError("a defect")])
def test_what_hinders_saving_is_said_once_and_at_a_stop_and_raises_nothing(
    counting: Counting, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    def fails(*_: object, **__: object) -> int:
        raise error

    real = module.save
    monkeypatch.setattr(module, "save", fails)
    counting._save_long()
    counting._save_long()
    said = capsys.readouterr().err
    assert said.count("cannot save the counters") == 1
    assert "at a stop or a crash is lost" in said
    monkeypatch.setattr(module, "save", real)
    counting._save_long()
    assert "saved again" in capsys.readouterr().err
    monkeypatch.setattr(module, "save", fails)
    counting.end(save=True)
    assert "were NOT saved" in capsys.readouterr().err


def test_whoever_left_the_counters_to_another_process_saves_them_no_more(
    counting: Counting, tmp_path: Path
) -> None:
    counting.leave()
    counting._save_long()
    assert not (tmp_path / "counters.bin").exists()
    counting.end(save=False)
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(counting.memory)
    assert not (tmp_path / "counters.bin").exists()
