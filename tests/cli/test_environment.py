"""Every option may stand in the environment as ``FAREGATE_<NAME>``; what the command line says wins."""

import contextlib
import functools
import io
import json
import os
from pathlib import Path

import pytest
import typer

from faregate.cli.app import COMMANDS, _command, environment_name, main
from tests.model.configs import API, PLAN, UPSTREAM, write


@functools.cache
def commands_of(name: str) -> "list[tuple[str, typer.core.TyperCommand]]":
    """A command, or those that it has: what is typed, and what runs."""
    command = _command(name).commands[name]
    if not isinstance(command, typer.core.TyperGroup):
        return [(name, command)]
    return [(f"{name} {word}", one) for word, one in command.commands.items()]


OPTIONS = [
    (words, parameter)
    for name in COMMANDS
    for words, command in commands_of(name)
    for parameter in command.params
]  # what a command takes, ``--help`` aside
IDS = [f"{words} {parameter.opts[0]}" for words, parameter in OPTIONS]


def context_of(words: str, arguments: list[str]) -> typer.Context:
    """As typed; what else the command cannot do without stands in the environment."""
    command = dict(commands_of(words.split(maxsplit=1)[0]))[words]
    with pytest.MonkeyPatch.context() as patched:
        for one in command.params:
            if isinstance(one, typer.core.TyperArgument) and one.required and one.envvar not in os.environ:
                patched.setenv(str(one.envvar), "other")
        return command.make_context(words, arguments)


def words_before(words: str, parameter: object) -> int:
    """How many words are typed before this one."""
    command = dict(commands_of(words.split(maxsplit=1)[0]))[words]
    typed = [one.name for one in command.params if isinstance(one, typer.core.TyperArgument)]
    return typed.index(parameter.name)  # type: ignore[attr-defined]


@functools.cache
def help_of(words: str) -> str:
    """What ``--help`` says, asked for once a command."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert main([*words.split(), "--help"]) == 0
    return said.getvalue()


def given(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(environment_name(name), value)


def test_names_are_those_of_the_long_options() -> None:
    assert environment_name("new-key") == "FAREGATE_NEW_KEY"
    assert {parameter.envvar for name, parameter in OPTIONS if name == "demo"} == {
        f"FAREGATE_{name}" for name in ("DURATION", "PORT", "DIR", "NO_TRAFFIC", "PLAIN", "JSON")
    }
    assert {parameter.envvar for name, parameter in OPTIONS if name == "run"} == {
        f"FAREGATE_{name}" for name in ("FILE", "WATCH", "STRICT", "GRACE", "DRAIN_WAIT", "JSON")
    }


def value_for(parameter: object) -> tuple[str, object]:
    if getattr(parameter, "is_flag", False):
        return "1", True
    if parameter.opts == ["--port"]:  # type: ignore[attr-defined]
        return "8181", 8181
    if parameter.opts == ["--limit"]:  # type: ignore[attr-defined]
        return "81", 81
    return "given", ["given"] if getattr(parameter, "multiple", False) else "given"


@pytest.mark.parametrize(("name", "parameter"), OPTIONS, ids=IDS)
def test_each_is_read_from_the_environment_and_shown_in_the_help(
    name: str, parameter: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    variable = parameter.envvar  # type: ignore[attr-defined]
    text, value = value_for(parameter)
    monkeypatch.setenv(variable, text)
    context = context_of(name, [])
    found = context.params[parameter.name]  # type: ignore[attr-defined]
    assert (str(found) if isinstance(found, Path) else found) == value
    assert variable in help_of(name)


@pytest.mark.parametrize(
    ("name", "parameter"),
    [one for one in OPTIONS if not getattr(one[1], "is_flag", False)],
    ids=[label for label, one in zip(IDS, OPTIONS, strict=True) if not getattr(one[1], "is_flag", False)],
)
def test_what_the_command_line_says_wins(
    name: str, parameter: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    option = max(parameter.opts, key=len)  # type: ignore[attr-defined]
    monkeypatch.setenv(parameter.envvar, "not-this")  # type: ignore[attr-defined]
    arguments = [option, "7"] if option.startswith("--") else ["id"] * words_before(name, parameter) + ["7"]
    found = context_of(name, arguments).params[parameter.name]  # type: ignore[attr-defined]
    assert str(found[0] if isinstance(found, list) else found) == "7"


def test_a_whole_command_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = write(tmp_path, UPSTREAM + PLAN + API), tmp_path / "bad.yaml"
    bad.write_text("plan: {}\n")
    given(monkeypatch, "file", str(bad))
    given(monkeypatch, "json", "true")
    assert main(["check"]) == 1
    assert json.loads(capsys.readouterr().out)[0]["code"] == "unknown_key"
    assert main(["check", str(good)]) == 0
    assert json.loads(capsys.readouterr().out) == []
    given(monkeypatch, "json", "0")
    assert main(["check"]) == 1
    assert "unknown_key: `plan` has no meaning here" in capsys.readouterr().out


def test_an_empty_variable_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, UPSTREAM + PLAN + API)
    given(monkeypatch, "file", "")
    assert main(["check"]) == 0


def test_a_wrong_value_is_wrong_usage_and_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given(monkeypatch, "port", "tcp://10.0.0.7:8080")  # what Kubernetes sets for a Service named faregate
    assert main(["demo"]) == 2
    assert "FAREGATE_PORT" in capsys.readouterr().err
    assert main(["check", "--help"]) == 0  # and who has no such option does not care


def test_the_version_heeds_no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAREGATE_VERSION", "1")
    assert isinstance(_command("check"), typer.core.TyperGroup)
    assert [one.envvar for one in _command("check").params if "--version" in one.opts] == [None]
