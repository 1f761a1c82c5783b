"""What the soak keeps on record: the log through renames and torn lines, memory through processes that are replaced, the plan's lanes."""

from pathlib import Path

import pytest

from tests.soak import faults, lifecycle, log_index
from tests.soak.log_index import LogIndex
from tests.soak.memory import Memory, Point, pooled_slope, settled
from tests.soak.schedule import HARMLESS, Plan, chosen
from tests.support.load_keyed import Told, problem

LINE = b'{"time":"2026-11-23T08:00:00.000Z","request_id":"%b","status":200,"outcome":"answered"}\n'


def test_the_log_is_followed_through_a_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_index, "KEPT_S", 0.0)
    path = tmp_path / "access.jsonl"
    path.write_bytes(LINE % b"one")
    log = LogIndex(path)
    assert log.read() == 1
    with path.open("ab") as former:
        log.turn()
        former.write(LINE % b"two")
    path.write_bytes(LINE % b"three")
    assert log.read() == 3
    assert [file.name for file in tmp_path.iterdir()] == ["access.jsonl"], "what was read is removed"
    log.close()


def test_a_torn_line_is_a_stump_and_one_of_another_form_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "access.jsonl"
    path.write_bytes((LINE % b"one")[:30] + b"\n" + LINE % b"two" + b'{"status":200}\n' + LINE % b"three")
    log = LogIndex(path)
    assert (log.read(), len(log.stumps), len(log.wrong)) == (2, 1, 1)
    log.close()


def test_a_log_that_leads_to_a_device_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "access.jsonl"
    path.symlink_to("/dev/zero")
    log = LogIndex(path)
    assert log.read() == 0
    log.turn()
    assert path.is_symlink()


def rising(kib_per_second: float, seconds: int, level: float = 20_000) -> list[Point]:
    """Twenty MiB, more in its first minutes, then rising."""
    return [(float(at), level - max(0, 200 - at) * 50 + at * kib_per_second) for at in range(seconds)]


def test_the_slope_leaves_out_the_warm_time_and_the_levels_of_processes() -> None:
    assert settled(rising(1, 400)) == []
    series = [settled(rising(0.5, 600)), settled(rising(0.5, 900, level=50_000))]
    assert round(pooled_slope(series), 6) == 0.5


@pytest.mark.parametrize(
    ("seconds", "kib_per_second", "long", "word"),
    [
        (900, 0.1, True, ""),
        (900, 1.8, True, "in 10 minutes"),
        (500, 0.1, True, "no slope"),
        (60, 1, False, ""),
        (60, 300, False, "grew"),
    ],
)
def test_memory_is_judged(seconds: int, kib_per_second: float, long: bool, word: str) -> None:
    memory = Memory({("worker", 1): rising(kib_per_second, seconds)})
    _, violations = memory.report(long=long)
    assert (bool(violations), word in "".join(violations)) == (bool(word), True)


def test_upgrades_leave_the_middle_of_a_long_run_to_one_generation() -> None:
    plan = Plan(1800, 1)
    assert [plan.upgrades_at(at) for at in (0, 299, 301, 1499, 1501)] == [True, True, False, False, True]
    assert all(Plan(60, 1).upgrades_at(at) for at in (0, 30, 59))


def test_faults_are_chosen_by_name_and_every_harmless_one_exists() -> None:
    everything = [*faults.FAULTS, *lifecycle.LIFECYCLE]
    names = [name for name, _ in everything]
    assert len(set(names)) == len(names)
    assert set(names) >= HARMLESS
    assert [name for name, _ in chosen(Plan(9, 1, only="upgraded,cut_up"), everything)] == [
        "cut_up",
        "upgraded",
    ]
    with pytest.raises(ValueError, match="faults are"):
        chosen(Plan(9, 1, only="earthquake"), everything)


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ({"outcome": "unknown", "retry": "after_query"}, False),
        ({"outcome": "unknown", "retry": "same_request"}, True),
        ({"outcome": "not_sent", "retry": "same_request"}, False),
        ({"outcome": "not_sent", "retry": "same_request", "request_id": "another"}, True),
    ],
)
def test_a_problem_must_be_ones_own_and_tell_the_truth_about_sending_again(
    said: dict[str, object], fault: bool
) -> None:
    told = Told("k-1", 0.0)
    problem(told, {"code": "c", "request_id": "k-1", **said})
    assert bool(told.fault) == fault
