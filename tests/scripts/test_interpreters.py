"""The Python that the environment is built on: found everywhere, old and broken ones passed over, the fastest preferred."""

import os
import sys
from pathlib import Path

import interpreters
import pytest
from interpreters import Interpreter


def make(path: str, seconds: float, *, ensurepip: bool = True, pip: bool = False) -> Interpreter:
    return Interpreter(path, (3, 11, 2), seconds, ensurepip, pip)


@pytest.mark.parametrize(
    ("found", "chosen"),
    [
        ([make("a", 1.0)], "a"),
        ([make("a", 1.0), make("b", 0.95)], "a"),  # within the spread of the measurement
        ([make("a", 1.0), make("b", 0.72)], "b"),
        ([make("a", 1.0), make("b", 0.76), make("c", 0.72)], "b"),
        ([make("a", 0.7, ensurepip=False), make("b", 1.0)], "b"),  # nothing could install into a's
        ([make("a", 0.7, ensurepip=False), make("b", 1.0, pip=True)], "a"),  # b's pip can
        ([make("a", 0.7, ensurepip=False)], "a"),  # apt-get may help
    ],
)
def test_the_first_that_no_other_clearly_beats_is_chosen(found: list[Interpreter], chosen: str) -> None:
    assert interpreters.choose(found).path == chosen


def test_without_any_python_there_is_nothing_to_choose() -> None:
    with pytest.raises(ValueError, match=r"3\.11"):
        interpreters.choose([])


def test_this_python_is_measured_and_told_by_its_real_path() -> None:
    found = interpreters.probe(sys.executable)
    assert found is not None
    assert found.version == sys.version_info[:3]
    assert found.path == os.path.realpath(sys._base_executable)
    assert 0 < found.seconds < 5


@pytest.mark.parametrize(
    "program",
    [
        "exit 1",
        "echo no json",
        """echo '{"path": "/old", "version": [3, 10, 9], "seconds": 0, "ensurepip": true, "pip": true}'""",
    ],
    ids=["fails", "talks nonsense", "too old"],
)
def test_what_is_no_usable_python_is_passed_over(program: str, tmp_path: Path) -> None:
    path = tmp_path / "python3"
    path.write_text(f"#!/bin/sh\n{program}\n")
    path.chmod(0o755)
    assert interpreters.probe(str(path)) is None
    assert interpreters.probe(str(tmp_path / "absent")) is None


def test_each_python_is_found_once_in_the_order_of_preference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, name in (
        ("one", "python3"),
        ("two", "python3.11"),
        ("two", "python3"),
        ("three", "python3.12"),
    ):
        program = tmp_path / folder / name
        program.parent.mkdir(exist_ok=True)
        real = "real" if name == "python3" else name
        program.write_text(
            f'#!/bin/sh\necho \'{{"path": "/{real}", "version": [3, 11, 0], "seconds": 1, '
            '"ensurepip": true, "pip": false}\'\n'
        )
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'one'}::{tmp_path / 'two'}:/bin")
    monkeypatch.setattr(interpreters, "FOLDERS", (str(tmp_path / "three"),))
    monkeypatch.setattr(interpreters, "COMMANDS", ("python3.12", "python3.11", "python3"))
    found = [each.path for each in interpreters.candidates()]
    assert found[:2] == ["/python3.12", "/python3.11"]
    assert found.count("/real") == 1
