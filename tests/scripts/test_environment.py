"""When the environment is in order, when it is made anew, and what is said when it cannot be made; nothing is installed here."""

import os
import subprocess
import sys
from pathlib import Path

import environment
import pytest
from environment import ImpossibleError
from interpreters import Interpreter

WITHOUT_PIP = Interpreter("/usr/bin/python3.11", (3, 11, 2), 0.01, ensurepip=False, pip=False)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with the least that an environment depends on."""
    (tmp_path / "requirements").mkdir()
    for level in environment.LEVELS:
        (tmp_path / "requirements" / f"{level}.lock").write_text(f"{level}==1\n")
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\n[tool.ruff]\nline-length = 110\n')
    monkeypatch.setattr(environment, "CHECKOUT", tmp_path)
    for name in ("PYTHON", "VENV", "LOCKED"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def ready(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment at level ``dev``, whose Python this one pretends to be."""
    folder = checkout / ".venv"
    folder.mkdir()
    python = os.path.realpath(sys._base_executable)
    environment.write_note(
        folder, {"python": python, "level": "dev", "fingerprint": environment.fingerprint()}
    )
    monkeypatch.setattr(sys, "prefix", str(folder))
    return folder


@pytest.mark.parametrize(("level", "enough"), [("run", True), ("dev", True), ("bench", False)])
def test_an_environment_serves_its_level_and_those_below(ready: Path, level: str, enough: bool) -> None:
    assert environment.is_ready(ready, level) is enough


@pytest.mark.parametrize(
    ("file", "text", "same"),
    [
        ("requirements/dev.lock", "dev==2\n", False),
        ("pyproject.toml", '[project]\nname = "y"\n', False),
        ("pyproject.toml", '[project]\nname = "x"\n[tool.ruff]\nline-length = 99\n', True),
    ],
    ids=["a lock changed", "what is declared changed", "a tool's setting changed"],
)
def test_it_is_in_order_until_packages_change(
    checkout: Path, ready: Path, file: str, text: str, same: bool
) -> None:
    (checkout / file).write_text(text)
    assert environment.is_ready(ready, "run") is same


@pytest.mark.parametrize(("told_not_to", "kept"), [("1", True), ("", False)])
def test_bytecode_is_kept_where_python_would_not_write_it_by_itself(
    checkout: Path, ready: Path, monkeypatch: pytest.MonkeyPatch, told_not_to: str, kept: bool
) -> None:
    (checkout / "src").mkdir()
    (checkout / "src" / "module.py").write_text("PLACE = 1\n")
    (ready / "bin").mkdir()
    (ready / "bin" / "python").symlink_to(sys.executable)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", told_not_to)
    environment.keep_bytecode(ready)
    assert any((checkout / "src").rglob("*.pyc")) is kept


def test_an_unfinished_one_is_not_in_order(ready: Path) -> None:
    environment.write_note(ready, {"python": environment.read_note(ready)["python"]})
    assert not environment.is_ready(ready, "run")


@pytest.mark.parametrize(("program", "works"), [("exit 0", True), ("exit 1", False), (None, False)])
def test_one_whose_python_no_longer_runs_is_not_in_order(
    ready: Path, monkeypatch: pytest.MonkeyPatch, program: str | None, works: bool
) -> None:
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)  # environment.sh found another to run this
    if program is not None:
        (ready / "bin").mkdir()
        (ready / "bin" / "python").write_text(f"#!/bin/sh\n{program}\n")
        (ready / "bin" / "python").chmod(0o755)
    assert environment.is_ready(ready, "run") is works


def test_asking_for_another_python_or_for_no_locks_is_noticed(
    ready: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHON", sys.executable)
    assert environment.is_ready(ready, "run")
    environment.write_note(ready, environment.read_note(ready) | {"python": "/opt/other/python3"})
    assert not environment.is_ready(ready, "run")
    monkeypatch.delenv("PYTHON")
    assert environment.is_ready(ready, "run")
    monkeypatch.setenv("LOCKED", "no")
    assert not environment.is_ready(ready, "run")


def test_a_folder_that_is_no_environment_is_left_alone(checkout: Path) -> None:
    folder = checkout / "precious"
    folder.mkdir()
    (folder / "thesis.txt").write_text("x")
    with pytest.raises(ImpossibleError, match="not a virtual environment"):
        environment._fresh(folder, Interpreter(sys.executable, (3, 11, 2), 0.01, ensurepip=True, pip=True))
    assert (folder / "thesis.txt").exists()


def test_a_wrong_python_is_named(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHON", "/absent/python3")
    with pytest.raises(ImpossibleError, match="PYTHON=/absent/python3 is not a Python"):
        environment.find_interpreter()


@pytest.mark.parametrize(
    ("user", "apt_get"), [(1000, "/usr/bin/apt-get"), (0, None)], ids=["not root", "not Debian"]
)
def test_what_debian_splits_off_is_named_when_it_cannot_be_installed(
    user: int, apt_get: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment.os, "geteuid", lambda: user)
    monkeypatch.setattr(environment.shutil, "which", lambda _: apt_get)
    monkeypatch.setattr(environment.subprocess, "run", lambda *_, **__: pytest.fail("something was run"))
    with pytest.raises(ImpossibleError, match=r"as root: apt-get install python3\.11-venv$"):
        environment._with_ensurepip(WITHOUT_PIP)


def test_root_gets_it_installed_with_fresh_package_lists_when_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[list[str]] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        calls.append(command[1:])
        return subprocess.CompletedProcess(command, 100 if len(calls) == 1 else 0)

    fixed = Interpreter(WITHOUT_PIP.path, WITHOUT_PIP.version, 0.01, ensurepip=True, pip=False)
    monkeypatch.setattr(environment.os, "geteuid", lambda: 0)
    monkeypatch.setattr(environment.shutil, "which", lambda _: "/usr/bin/apt-get")
    monkeypatch.setattr(environment.subprocess, "run", run)
    monkeypatch.setattr(environment, "probe", lambda _: fixed)
    assert environment._with_ensurepip(WITHOUT_PIP) == fixed
    assert [call[0] for call in calls] == ["install", "update", "install"]
    assert calls[2][-1] == "python3.11-venv"


def test_installation_is_by_hash_and_then_offline(monkeypatch: pytest.MonkeyPatch, checkout: Path) -> None:
    commands: list[list[str]] = []
    monkeypatch.setattr(environment, "_run", lambda command, _: commands.append(command))
    environment._install(["pip"], "dev")
    locked, own = commands
    assert "--require-hashes" in locked
    assert [word for word in locked if word.endswith(".lock")] == [
        str(checkout / "requirements" / name) for name in ("run.lock", "dev.lock")
    ]
    assert {"--no-index", "--no-deps", "--no-build-isolation"} <= set(own)
    assert own[-2:] == ["-e", str(checkout)]


@pytest.mark.parametrize("arguments", [[], ["all"], ["run", "dev"]])
def test_wrong_usage_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert environment.main(arguments) == 2
    assert "usage" in capsys.readouterr().err
