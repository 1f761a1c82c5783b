"""The child process writes a snapshot whole or not at all."""

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from faregate.compile.program import write_private
from faregate.snapshot.encoded import decode
from tests.model.configs import API, PLAN, UPSTREAM, write


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "faregate.compile", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_good_file_gives_a_private_snapshot_and_silence(tmp_path: Path) -> None:
    file, out = write(tmp_path, UPSTREAM + PLAN + API), tmp_path / "snapshot"
    out.write_bytes(b"the one before")
    done = run(str(file), "--out", str(out), "--revision", "12")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert decode(out.read_bytes()).revision == 12
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["faregate.yaml", "snapshot"]


def test_a_bad_file_leaves_the_last_snapshot_and_says_why_as_json(tmp_path: Path) -> None:
    file, out = write(tmp_path, "plan: {}\n"), tmp_path / "snapshot"
    out.write_bytes(b"the one before")
    done = run(str(file), "--out", str(out), "--revision", "12", "--json")
    assert (done.returncode, done.stdout) == (1, "")
    assert [entry["code"] for entry in json.loads(done.stderr)] == ["unknown_key"]
    assert out.read_bytes() == b"the one before"


def test_wrong_usage_is_status_two() -> None:
    assert run("x.yaml").returncode == 2


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError):
        write_private(tmp_path / "taken", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
