"""A manager for the commands over the admin API, and a way to run them as typed."""

import json
import shlex
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from faregate.cli.app import main
from tests.manager.served import Served


class Ran(NamedTuple):
    """What a command came to."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> Any:
        return json.loads(self.err)["error"]


Run = Callable[[str], Ran]


def runner(manager: Served, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs command lines against ``manager`` as the machine's owner."""
    monkeypatch.setenv("FAREGATE_MANAGER", manager.url)
    monkeypatch.setenv("FAREGATE_TOKEN", manager.token)

    def run(line: str) -> Ran:
        status = main(shlex.split(line))
        captured = capsys.readouterr()
        return Ran(status, captured.out, captured.err)

    return run
