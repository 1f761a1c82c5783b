"""Values of the command line are read without pydantic, and whatever is wrong in typer's words."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer import BadParameter

from faregate.cli.app import _command, main

REFUSING = """
import sys
sys.modules["pydantic"] = None  # whoever imports it is refused
from faregate.cli.app import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ["run", "/nowhere/faregate.yaml", "--watch", "--grace", "2s"],
            "no such file: /nowhere/faregate.yaml",
        ),
        (["status", "--data", "/nowhere"], "no gateway is running on /nowhere"),
        (["reload", "--data", "/nowhere"], "no gateway is running on /nowhere"),
        (["ledger", "--help"], "settle"),
    ],
    ids=["run", "status", "reload", "ledger"],
)
def test_a_command_that_needs_no_model_loads_none(arguments: list[str], told: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", REFUSING, *arguments], capture_output=True, text=True, check=False, timeout=30
    )
    assert told in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr


def values(name: str, *arguments: str) -> dict[str, object]:
    return _command(name).commands[name].make_context(name, list(arguments)).params


def test_values_have_the_types_that_commands_declare(tmp_path: Path) -> None:
    file = tmp_path / "some.yaml"
    assert values("run", str(file), "--grace", "2s") == {
        "file": file,
        "watch": False,
        "strict": False,
        "grace": "2s",
        "drain_wait": "0s",
        "json": False,
    }
    assert values("demo", "--port", "8181")["port"] == 8181
    assert values("demo")["directory"] is None


def test_what_is_wrong_is_worded_by_typer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BadParameter, match="valid integer"):
        values("demo", "--port", "eighty")
    assert main(["demo", "--port", "eighty"]) == 2
    assert "--port" in capsys.readouterr().err


def test_a_file_that_nobody_may_read_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "some.yaml"
    file.touch()
    monkeypatch.setattr("os.access", lambda *_: False)  # root may read everything
    with pytest.raises(BadParameter, match="is not readable"):
        values("run", str(file))
