"""The whole demo as a user starts it: real gateway, real servers, real traffic, and nothing left behind."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

START_S_MAX = 10


def descendants(pid):
    """Ids of all processes that ``pid`` started, and that these started."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue  # ended meanwhile
    found, last = set(), {pid}
    while last:
        last = {child for child, parent in parents.items() if parent in last}
        found |= last
    return found


def alive(pids):
    """Those of ``pids`` that still run."""
    left = set()
    for pid in pids:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX":
                left.add(pid)
        except OSError:
            continue
    return left


def until(condition, seconds):
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "did not happen in time"
        time.sleep(0.02)  # other processes: there is nothing to wait on but the clock


@contextmanager
def demo(*arguments):
    """The demo in a session of its own, as a terminal would start it; yields it and its JSON lines."""
    command = [sys.executable, "-m", "faregate", "demo", "--json", *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, text=True
    ) as process:
        try:
            yield process, (json.loads(line) for line in process.stdout)
        finally:
            if process.poll() is None:
                process.kill()


def test_traffic_flows_the_slow_target_is_spared_and_ctrl_c_ends_all(tmp_path):
    began = time.monotonic()
    with demo("--dir", str(tmp_path / "demo"), "--duration", "15s") as (process, lines):
        first = next(lines)
        assert time.monotonic() - began < START_S_MAX
        assert first["started"]["folder"] == str(tmp_path / "demo")
        boards = []
        for line in lines:
            boards.append(line["now"])
            if line["now"]["scene"].startswith("target 1 quick again"):
                break
        slow = [board for board in boards if "10x slower" in board["scene"]][-1]
        assert slow["calls_per_second"] > 50
        assert slow["targets"][1]["share"] > 0.6
        children = descendants(process.pid)
        asked = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)  # what Ctrl-C does: to the terminal's whole foreground group
        summary = list(lines)[-1]["summary"]
        assert process.wait(5) == 0
        assert time.monotonic() - asked < 3
        assert process.stderr.read() == ""
    assert summary["calls_made"] == summary["calls_logged"] > 500
    assert summary["not_answered"] == 0
    assert summary["stopped_by_themselves"] is True
    assert set(summary["refusals"]) == {
        "rate_limited",
        "permission_denied",
        "credential_invalid",
        "credential_missing",
    }
    assert len(children) >= 6  # supervisor, worker, manager or so; two servers of two processes each
    assert alive(children) == set()
    log = (tmp_path / "demo" / "faregate-data" / "access.jsonl").read_text()
    assert "4242424242424242" not in log
    assert "eyJ" not in log


def test_a_killed_demo_leaves_no_process_behind(tmp_path):
    with demo("--dir", str(tmp_path / "demo"), "--duration", "60s") as (process, lines):
        next(lines)
        children = descendants(process.pid)
        assert len(children) >= 6
        process.kill()
        process.wait()
        until(lambda: not alive(children), seconds=10)


def test_a_taken_port_is_one_clear_line():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        with demo("--port", port) as (process, _lines):
            assert process.wait(10) == 1
            error = json.loads(process.stderr.read())["error"]
            expected = f"port {port} is taken; choose another with --port, or leave --port out"
            assert (error["status"], error["message"]) == (1, expected)


def test_a_reader_that_goes_away_ends_the_demo():
    with demo("--duration", "60s") as (process, lines):
        folder = next(lines)["started"]["folder"]
        children = descendants(process.pid)
        process.stdout.close()
        assert process.wait(10) in {0, 1}
        assert "Traceback" not in process.stderr.read()
    assert not Path(folder).exists()
    assert alive(children) == set()


@pytest.mark.parametrize("arguments", [["--duration", "forever"], ["--port", "0"]])
def test_a_wrong_option_is_a_usage_error(arguments):
    with demo(*arguments) as (process, _lines):
        assert process.wait(10) == 2
