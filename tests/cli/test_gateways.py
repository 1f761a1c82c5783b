"""Why no gateway is found, said as it is."""

import os
from pathlib import Path

import pytest

from faregate.cli import gateways
from faregate.cli.app import main
from faregate.cli.errors import CommandError


def refusal(file: Path, data: Path | None = None) -> str:
    with pytest.raises(CommandError) as caught:
        gateways.find(file, data)
    return str(caught.value)


def test_a_folder_without_the_file_is_told_of_the_file(tmp_path: Path) -> None:
    assert refusal(tmp_path / "faregate.yaml").startswith(f"no such file: {tmp_path}/faregate.yaml;")


def test_a_file_of_which_nothing_runs(tmp_path: Path) -> None:
    file = tmp_path / "faregate.yaml"
    file.write_text("gateway: {data: data}\n")
    assert refusal(file).startswith(f"no running gateway was found for {file}; `faregate run {file}` starts")
    assert refusal(file, tmp_path) == f"no gateway is running on {tmp_path}"


def test_another_users_folder_is_not_permitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    control = tmp_path / "data" / "control"
    control.parent.mkdir()
    control.write_text("")
    file = tmp_path / "faregate.yaml"
    file.write_text("gateway: {data: data}\n")
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may always
    words = f"not permitted: the gateway on {tmp_path}/data runs as another user (uid {os.getuid()})"
    assert refusal(file) == refusal(file, tmp_path / "data") == words


@pytest.mark.parametrize(
    ("arguments", "variable"),
    [(["run"], "FAREGATE_GRACE"), (["run"], "FAREGATE_DRAIN_WAIT"), (["demo"], "FAREGATE_DURATION")],
)
def test_a_bad_value_is_told_of_where_it_was_given(
    arguments: list[str], variable: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    option = "--" + variable.removeprefix("FAREGATE_").lower().replace("_", "-")
    assert main([*arguments, option, "abc"]) == 2
    assert f"Invalid value for {option}:" in capsys.readouterr().err
    monkeypatch.setenv(variable, "abc")
    assert main(arguments) == 2
    told = capsys.readouterr().err
    assert f"Invalid value for {variable}:" in told
    assert option not in told
