"""The tutorial says what is so: its configuration, options, credentials and sample lines are the demo's."""

import inspect
import json
import re
from pathlib import Path

import pytest

from faregate.cli import demo
from faregate.demo.callers import cast
from faregate.demo.folder import KEY_HOLDERS, SUBJECTS, Credentials, Ports, configuration
from faregate.kernel.problems import PROBLEMS

TEXT = (Path(__file__).parents[2] / "docs" / "tutorial.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize("block", blocks("yaml"))
def test_each_piece_of_configuration_stands_in_the_file_the_demo_writes(block):
    assert block in configuration(Ports())


def test_the_options_are_all_and_only_those_of_the_command():
    source = inspect.getsource(demo.command)
    parameters = set(inspect.signature(demo.command).parameters)
    described = set(re.findall(r"^\| `--([a-z-]+)", TEXT, re.MULTILINE))
    named = {
        "dir" if name == "directory" else name.replace("_", "-") for name in parameters if name != "context"
    }
    assert described == named
    assert '"--dir"' in source


def test_each_refusal_code_is_of_the_table_and_each_caller_is_of_the_cast():
    assert set(re.findall(r"^\| `([a-z_]+)` \|", TEXT, re.MULTILINE)) <= set(PROBLEMS)
    credentials = Credentials(dict.fromkeys(SUBJECTS, "t"), dict.fromkeys(KEY_HOLDERS, "k"), "e", "f")
    names = {caller.name for caller in cast(credentials)}
    assert {"hasty-bot", "ledger-report"} <= names
    assert {name for name in names if f"`{name}`" in TEXT} == {"hasty-bot", "ledger-report"}


def test_the_log_line_shows_no_card_number():
    line = json.loads(blocks("json")[0])
    assert json.loads(line["request_body"])["card"]["number"] == "424242******4242"
    assert "4242424242424242" not in TEXT
