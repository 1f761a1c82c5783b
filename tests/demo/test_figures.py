"""Percentiles, windows and the log's tail: the figures that the demo shows are right and bounded."""

import json

import pytest

from faregate.demo.figures import WINDOW_S, Histogram, LogLine, LogTail, Window


@pytest.mark.parametrize(("percent", "expected"), [(1, 0.001), (50, 0.050), (99, 0.099), (100, 0.100)])
def test_a_percentile_is_right_to_four_percent(percent, expected):
    histogram = Histogram()
    for milliseconds in range(1, 101):
        histogram.add(milliseconds / 1000)
    assert histogram.percentile(percent) == pytest.approx(expected, rel=0.04)


def test_an_empty_histogram_says_nought():
    assert Histogram().percentile(99) == 0.0


@pytest.mark.parametrize("seconds", [0.0, -1.0, 1e-9, 1e9])
def test_a_histogram_takes_any_duration_without_growing(seconds):
    histogram = Histogram()
    for _ in range(1000):
        histogram.add(seconds)
    assert (histogram.count, len(histogram._counts)) == (1000, 1)


def line(**fields):
    return LogLine(**({"status": 200, "outcome": "answered", "target": "a:1", "upstream_us": 5000} | fields))


def test_rates_cover_the_last_whole_seconds_and_the_total_covers_all():
    window = Window(100.0)
    for second in range(10):
        window.add_lines([line()] * (second + 1), 100.0 + second)
    recent, seconds = window.recent(110.0)
    assert (recent.calls, seconds) == (8 + 9 + 10, WINDOW_S)
    assert window.total.calls == 55


def test_the_second_that_still_runs_is_not_counted():
    window = Window(100.0)
    window.add_lines([line()] * 7, 100.2)
    assert window.recent(100.9)[0].calls == 0
    assert window.recent(101.0)[0].calls == 7
    assert window.recent(101.0)[1] == 1


def test_old_seconds_leave_the_window_when_nothing_happens():
    window = Window(100.0)
    window.add_lines([line()], 100.0)
    assert window.recent(100.0 + WINDOW_S + 1)[0].calls == 0


def test_refusals_and_targets_are_counted_apart():
    window = Window(0.0)
    window.add_lines([line(), line(target="b:2"), line(status=429, refusal="rate_limited", target="")], 0.5)
    recent = window.recent(1.0)[0]
    assert dict(recent.refusals) == {"rate_limited": 1}
    assert {name: histogram.count for name, histogram in recent.targets.items()} == {"a:1": 1, "b:2": 1}


def test_answers_and_missing_answers_are_counted_apart():
    window = Window(0.0)
    window.add_answer(0.010, 0.1)
    window.add_answer(None, 0.2)
    assert (window.total.latency.count, window.total.not_answered) == (1, 1)


def test_the_tail_begins_where_the_log_ended_and_waits_for_whole_lines(tmp_path):
    path = tmp_path / "access.jsonl"
    path.write_text(json.dumps({"status": 500, "outcome": "answered"}) + "\n")
    tail = LogTail(path)
    assert tail.read() == []
    with path.open("a") as file:
        file.write('{"status":200,"outcome":"answered","target":"a:1"}\n{"status":4')
        file.flush()
        assert [entry.status for entry in tail.read()] == [200]
        file.write('01,"refusal":"credential_missing"}\n')
    assert [entry.refusal for entry in tail.read()] == ["credential_missing"]
    assert tail.read() == []


def test_the_tail_waits_for_a_log_that_is_not_there_yet(tmp_path):
    tail = LogTail(tmp_path / "access.jsonl")
    assert tail.read() == []
    (tmp_path / "access.jsonl").write_text('{"status":200}\n')
    assert len(tail.read()) == 1


def test_an_unreadable_line_is_counted_and_the_others_are_read(tmp_path):
    tail = LogTail(tmp_path / "access.jsonl")
    (tmp_path / "access.jsonl").write_text('{"status":200}\nnot json\n{"status":201}\n')
    assert [entry.status for entry in tail.read()] == [200, 201]
    assert tail.unreadable == 1
