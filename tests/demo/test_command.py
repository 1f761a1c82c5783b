"""The command line of ``faregate demo``: options, and one clear line when it cannot run."""

import importlib.util

import pytest
import typer
from typer.testing import CliRunner

from faregate.cli import demo
from faregate.cli.app import main

app = typer.Typer()
app.command()(demo.command)


@pytest.fixture
def ran(monkeypatch):
    """What ``run_demo`` was called with, in place of running it."""
    from faregate.demo import run

    calls = []

    async def note(options, view):
        calls.append((options, type(view).__name__))

    monkeypatch.setattr(run, "run_demo", note)
    return calls


def invoke(*arguments):
    return CliRunner().invoke(app, list(arguments))


@pytest.mark.parametrize(
    ("arguments", "changed"),
    [
        ([], {}),
        (["--duration", "30s"], {"duration_s": 30.0}),
        (["--port", "8181"], {"port": 8181}),
        (["--no-traffic"], {"traffic": False}),
    ],
)
def test_options_arrive_and_the_rest_keeps_its_default(ran, arguments, changed):
    assert invoke(*arguments).exit_code == 0
    options = ran[0][0]
    expected = {"duration_s": 1800.0, "port": None, "directory": None, "traffic": True} | changed
    assert {name: getattr(options, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("arguments", "view"), [([], "PlainView"), (["--plain"], "PlainView"), (["--json"], "JsonView")]
)
def test_off_a_terminal_the_view_is_plain_or_json(ran, arguments, view):
    invoke(*arguments)
    assert ran[0][1] == view


@pytest.mark.parametrize("duration", ["30", "0s", "500ms", "13h", "1d", "soon"])
def test_a_duration_out_of_range_is_a_usage_error(ran, duration):
    result = invoke("--duration", duration)
    assert (result.exit_code, ran) == (2, [])


@pytest.mark.parametrize("missing", ["flask", "gunicorn"])
def test_a_missing_extra_is_one_line_that_says_how_to_install_it(ran, monkeypatch, capsys, missing):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        demo.importlib.util, "find_spec", lambda name: None if name == missing else find_spec(name)
    )
    assert (main(["demo"]), ran) == (1, [])
    assert (
        capsys.readouterr().err == f"faregate demo: the demo needs {missing}: pip install 'faregate[demo]'\n"
    )


def test_what_stops_the_demo_is_said_without_a_traceback(monkeypatch, capsys):
    from faregate.demo import run

    async def fail(_options, _view):
        raise run.DemoError("port 80 is taken")

    monkeypatch.setattr(run, "run_demo", fail)
    assert main(["demo"]) == 1
    assert capsys.readouterr().err == "faregate demo: port 80 is taken\n"
