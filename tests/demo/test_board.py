"""What is shown follows from the figures, in all three forms."""

import io
import json

import msgspec
import pytest
from rich.console import Console

from faregate.demo.board import make_board, make_summary, read_target_states
from faregate.demo.figures import LogLine, Window
from faregate.demo.scenario import Server
from faregate.demo.views import JsonView, PlainView, drawn, plain_line, summary_text

SERVERS = [Server(1, 9001, None), Server(2, 9002, None)]


@pytest.fixture
def window():
    window = Window(100.0)
    sent = LogLine(
        status=200,
        outcome="answered",
        target="127.0.0.1:9001",
        duration_us=5300,
        upstream_us=5000,
    )
    other = LogLine(
        status=200,
        outcome="answered",
        target="127.0.0.1:9002",
        duration_us=9300,
        upstream_us=9000,
        idempotency="replayed",
    )
    refused = LogLine(status=429, outcome="refused", refusal="rate_limited", duration_us=30)
    for second in (100.5, 101.5):
        window.add_lines([sent] * 6 + [other] * 2 + [refused] * 2, second)
        for _ in range(8):
            window.add_answer(0.007, second)
    return window


@pytest.fixture
def board(window):
    return make_board(
        window, 102.0, "target 1 killed", SERVERS, {"127.0.0.1:9001": True, "127.0.0.1:9002": False}
    )


def test_a_board_holds_rates_shares_and_percentiles(board):
    assert (board.elapsed_s, board.calls_per_second) == (2, 10.0)
    assert board.p50_ms == pytest.approx(7, rel=0.04)
    assert [(row.name, row.status, row.share, row.calls_per_second) for row in board.targets] == [
        ("target 1", "up", 0.75, 6.0),
        ("target 2", "down", 0.25, 2.0),
    ]
    assert board.targets[1].p50_ms == pytest.approx(9, rel=0.04)
    assert [(row.code, row.per_second, row.total) for row in board.refusals] == [("rate_limited", 2.0, 4)]
    assert [(row.result, row.per_second, row.total) for row in board.keyed] == [("replayed", 2.0, 4)]


def test_without_callers_latency_is_what_the_gateway_logged():
    window = Window(100.0)
    window.add_lines([LogLine(status=200, outcome="answered", duration_us=20_000)], 100.0)
    assert make_board(window, 101.0, "", SERVERS, {}).p50_ms == pytest.approx(20, rel=0.04)


def test_a_target_the_metrics_do_not_name_is_unknown(window):
    assert [row.status for row in make_board(window, 102.0, "", SERVERS, {}).targets] == [
        "unknown",
        "unknown",
    ]


def test_target_states_are_read_from_metrics_whatever_the_order_of_labels():
    metrics = (
        "# HELP faregate_target_up up\n"
        'faregate_target_up{target="127.0.0.1:9001",upstream="payments",worker="0"} 0\n'
        'faregate_target_up{upstream="payments",target="127.0.0.1:9001",worker="1"} 1\n'
        'faregate_target_up{upstream="payments",target="127.0.0.1:9002"} 0\n'
        'faregate_target_in_flight{upstream="payments",target="127.0.0.1:9003"} 4\n'
    )
    assert read_target_states(metrics) == {"127.0.0.1:9001": True, "127.0.0.1:9002": False}


def test_the_plain_line_is_one_line_with_everything_in_it(board):
    line = plain_line(board)
    assert "\n" not in line
    for part in (
        "10 calls/s",
        "target 1 up 75%",
        "target 2 down 25%",
        "rate_limited 2/s",
        "replayed 4",
        "target 1 killed",
    ):
        assert part in line


def test_the_live_panel_shows_the_same_figures(board):
    screen = io.StringIO()
    Console(file=screen, width=100, force_terminal=True, color_system=None).print(drawn(board))
    for part in (
        "10 calls/s",
        "target 1",
        "75%",
        "127.0.0.1:9002",
        "down",
        "rate_limited",
        "replayed",
        "target 1 killed",
    ):
        assert part in screen.getvalue()


def test_plain_and_json_views_write_once_a_second_from_the_first_whole_one(board, capsys):
    for view in (PlainView(), JsonView()):
        for elapsed_s in (0, 0, 1, 1):
            view.show(msgspec.structs.replace(board, elapsed_s=elapsed_s))
        assert len(capsys.readouterr().out.splitlines()) == 1


def test_the_json_view_writes_json(board, capsys):
    JsonView().show(board)
    assert json.loads(capsys.readouterr().out)["now"]["targets"][0]["share"] == 0.75


def test_the_summary_sets_the_log_beside_the_callers(window):
    summary = make_summary(window, 2.0, 20, 0, (0.42, True))
    assert (summary.calls_logged, summary.calls_made) == (20, 20)
    assert summary.outcomes == {"answered": 16, "refused": 4}
    text = summary_text(summary)
    for part in (
        "made 20 calls, the access log holds 20",
        "rate_limited 4",
        "with an idempotency key: replayed 4\n",
        "stopped in 0.4 s",
    ):
        assert part in text
    assert "could not be read" not in text
    assert "could not be read: 3" in summary_text(make_summary(window, 2.0, 20, 3, (0.42, True)))
