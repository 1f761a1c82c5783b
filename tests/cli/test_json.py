"""``--json`` everywhere (SPEC section 7): every command has it, and failures speak it too."""

import json
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from faregate import VERSION
from faregate.cli.app import COMMANDS, _app, main
from faregate.cli.errors import CommandError, wants_json
from tests.cli.test_check import run
from tests.model.configs import API, PLAN, UPSTREAM, write


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_takes_it(name: str) -> None:
    command = get_command(_app([name], list(COMMANDS))).commands[name]  # type: ignore[attr-defined]
    for one in getattr(command, "commands", {name: command}).values():
        assert "--json" in {option for parameter in one.params for option in parameter.opts}


@pytest.mark.parametrize(
    ("arguments", "command", "status", "said"),
    [
        (["chek", "--json"], "chek", 2, "did you mean `check`?"),
        (["check", "--json", "--jsn"], "check", 2, "--jsn"),
        (["check", "a", "b", "--json"], "check", 2, "b"),
        (["run", "a", "b", "--json"], "run", 2, "b"),
        (["schema", "--json", "x"], "schema", 2, "x"),
        (["doctor", "--json", "--of"], "doctor", 2, "--of"),
        (["token", "--json"], "token", 2, "--issuer"),
        (["token", "--json", "--expires", "1y", "--issuer", "i"], "token", 2, "--expires"),
        (["token", "--json", "--issuer", "i", "--config", "none.yaml"], "token", 1, "none.yaml has errors"),
        (["token", "--json", "--new-key", "/dev/null/x"], "token", 1, "/dev/null/x"),
        (["demo", "--json", "--duration", "soon"], "demo", 2, "--duration"),
        (["demo", "--json", "--port", "0"], "demo", 2, "--port"),
    ],
)
def test_a_failure_is_one_object_on_standard_error(
    arguments: list[str],
    command: str,
    status: int,
    said: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == status
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    error = json.loads(captured.err)["error"]
    assert (error["command"], error["status"]) == (command, status)
    assert said in error["message"]


def test_a_token_for_a_broken_configuration_names_its_errors(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = write(tmp_path, "plan: {}\n")
    assert main(["token", "--json", "--issuer", "i", "--config", str(file)]) == 1
    (diagnostic,) = json.loads(capsys.readouterr().err)["error"]["diagnostics"]
    assert (diagnostic["code"], diagnostic["line"], diagnostic["nearest"]) == ("unknown_key", 1, "plans")


def test_the_version_is_an_object_too() -> None:
    assert json.loads(run("--version", "--json").stdout) == {"faregate": VERSION}


def test_the_demo_that_cannot_start_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from faregate.demo import run as module

    async def fail(_options: object, _view: object) -> None:
        raise module.DemoError("port 80 is taken")

    monkeypatch.setattr(module, "run_demo", fail)
    assert main(["demo", "--json"]) == 1
    assert json.loads(capsys.readouterr().err) == {
        "error": {"command": "demo", "status": 1, "message": "port 80 is taken"}
    }


def test_what_succeeds_says_nothing_on_standard_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", "--json", str(write(tmp_path, UPSTREAM + PLAN + API))]) == 0
    captured = capsys.readouterr()
    assert (json.loads(captured.out), captured.err) == ([], "")


@pytest.mark.parametrize(
    ("arguments", "environ", "wanted"),
    [
        ([], {}, False),
        (["check", "--json"], {}, True),
        (["check", "--", "--json"], {}, False),
        (["check"], {"FAREGATE_JSON": "1"}, True),
        (["check"], {"FAREGATE_JSON": " ON "}, True),
        (["check"], {"FAREGATE_JSON": "0"}, False),
        (["check"], {"FAREGATE_JSON": ""}, False),
        (["check"], {"FAREGATE_JSON": "maybe"}, False),
        (["check", "--json"], {"FAREGATE_JSON": "0"}, True),
    ],
)
def test_when_failures_are_json(arguments: list[str], environ: dict[str, str], wanted: bool) -> None:
    assert wants_json(arguments, environ) is wanted


def test_a_commands_failure_is_an_exception_of_the_command_line() -> None:
    assert issubclass(CommandError, typer.TyperException)
