"""The command line: quick, plain, with stable exit statuses."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from faregate import VERSION
from faregate.cli.app import COMMANDS, available_commands, main
from tests.model.configs import API, PLAN, UPSTREAM, write

ROOT = Path(__file__).parents[2]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "faregate", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def used_seconds(*arguments: str) -> float:
    """Processor time of the whole process, the best of three: what a machine doing nothing else would take."""
    best = float("inf")
    for _ in range(3):
        before = os.times()
        run(*arguments)
        after = os.times()
        best = min(
            best, after.children_user + after.children_system - before.children_user - before.children_system
        )
    return best


def test_a_good_file_is_one_line_and_status_zero(capsys: pytest.CaptureFixture[str]) -> None:
    file = str(ROOT / "examples/faregate.yaml")
    assert main(["check", file]) == 0
    told = capsys.readouterr().out
    assert told.startswith(f"{file}: ok, 1 API, 2 versions, 6 routes, 1 upstream, 1 consumer (0.")
    assert told.count("\n") == 1


def test_errors_are_shown_with_their_lines_and_status_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path, "plans:\n  a: {limts: []}\n")
    assert main(["check", str(file)]) == 1
    told = capsys.readouterr().out
    assert (
        f"{file}:2:7: unknown_key: `limts` has no meaning here\n      a: {{limts: []}}\n          ^\n" in told
    )
    assert "did you mean `limits`?" in told
    assert f"{file}: 1 error" in told


def test_warnings_are_shown_and_status_zero(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path, UPSTREAM + PLAN + API.replace("[api_key]", "[]").replace("GET", "POST"))
    assert main(["check", str(file)]) == 0
    told = capsys.readouterr().out
    assert ": warning: open_write: " in told
    assert "; 1 warning (0." in told


@pytest.mark.parametrize(
    ("text", "codes", "status"), [(PLAN, [], 0), ("a: 1\nb: 2\n", ["unknown_key", "unknown_key"], 1)]
)
def test_json_is_an_array_of_objects_of_one_shape(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, codes: list[str], status: int
) -> None:
    assert main(["check", "--json", str(write(tmp_path, text))]) == status
    entries = json.loads(capsys.readouterr().out)
    assert [entry["code"] for entry in entries] == codes
    for entry in entries:
        assert list(entry) == [
            "level",
            "code",
            "file",
            "line",
            "column",
            "path",
            "message",
            "expected",
            "nearest",
        ]


def test_a_missing_file_is_an_error_like_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(tmp_path / "none.yaml")]) == 1
    assert (
        "none.yaml:1:1: file_unreadable: cannot be read: No such file or directory" in capsys.readouterr().out
    )


@pytest.mark.parametrize("arguments", [["chek"], ["check", "--jsn"], ["check", "a", "b"], ["--nothing"]])
def test_wrong_usage_is_status_two(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err


def test_an_unknown_command_is_answered_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    main(["chek"])
    assert "did you mean `check`?" in capsys.readouterr().err


def test_every_available_command_stands_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    told = capsys.readouterr().out
    assert {"check", "schema"} <= set(available_commands()) <= set(COMMANDS)
    for name in available_commands():
        assert f"\n  {name} " in told


def test_schema_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "Faregate configuration"


def test_output_is_plain_when_it_is_not_a_terminal(tmp_path: Path) -> None:
    done = run("check", str(write(tmp_path, "a: 1\n")))
    assert "\x1b" not in done.stdout + done.stderr


def test_a_reader_that_goes_away_causes_no_traceback(tmp_path: Path) -> None:
    file = write(tmp_path, "".join(f"k{n}: 1\n" for n in range(2000)))
    command = f"{sys.executable} -m faregate check {file} | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""


def test_version_is_quick_and_imports_next_to_nothing() -> None:
    assert run("--version").stdout == f"faregate {VERSION}\n"
    assert used_seconds("--version") < 0.15


def test_help_is_quick() -> None:
    assert used_seconds("--help") < 0.3


def test_two_hundred_routes_are_checked_within_half_a_second(tmp_path: Path) -> None:
    routes = "".join(
        f"      - match: POST /r{n}/{{id}}\n        require: payments:write\n        limits: [20/second]\n        body: 64KiB\n"
        for n in range(199)
    )
    file = write(tmp_path, UPSTREAM + PLAN + API + routes)
    began = time.perf_counter()
    assert "200 routes" in run("check", str(file)).stdout
    assert time.perf_counter() - began < 10  # however busy the machine is
    assert used_seconds("check", str(file)) < 0.5
