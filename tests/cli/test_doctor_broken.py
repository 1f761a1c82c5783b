"""``faregate doctor`` on a file that is broken: all that can be known without it is still told."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from faregate.cli.app import main
from faregate.snapshot.encoded import encode
from tests.model.configs import API, UPSTREAM, compiled, write
from tests.support.configuration import Tree, base
from tests.support.gateway import GatewayProcess, until

GATEWAY = "gateway: {listen: [{address: 127.0.0.1:0}], manager: off, data: ./data}\n"
BROKEN = {
    "meaning": GATEWAY + UPSTREAM + API.replace("upstream: pay", "upstream: pai"),
    "text": GATEWAY + "apis: {a: [}\n",
    "gateway": GATEWAY.replace("manager: off", "manager: perhaps") + UPSTREAM + API,
}
MACHINE = {"python", "libraries", "open_files", "processors", "backlog", "temporary", "clock", "time_zone"}


def told(file: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, tuple[str, str]]:
    """Level and message by check; a broken file is a problem in any case."""
    capsys.readouterr()
    assert main(["doctor", str(file), "--json"]) == 1
    findings = json.loads(capsys.readouterr().out)["findings"]
    assert all(one["advice"] for one in findings if one["level"] != "ok")
    return {one["check"]: (one["level"], one["message"]) for one in findings}


def last_good(folder: Path) -> None:
    """As a run of a good file leaves it."""
    snapshot = compiled(folder, GATEWAY + UPSTREAM.replace("9001", "1") + API)
    (folder / "data").mkdir(mode=0o700)
    (folder / "data" / "snapshot").write_bytes(encode(snapshot))


def test_without_a_former_run_the_machine_ports_and_data_folder_are_judged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = told(write(tmp_path, BROKEN["meaning"]), capsys)
    assert set(found) >= MACHINE | {"configuration", "last_good", "data", "disk", "port"}
    assert found["configuration"][0] == "problem"
    assert found["last_good"][0] == "warning"
    assert "`faregate run` does not start" in found["last_good"][1]
    assert found["port"] == ("ok", "127.0.0.1:0 is free")
    assert str(tmp_path / "data") in found["data"][1]
    assert "targets" not in found, "there is nothing to know them by"


@pytest.mark.parametrize("what", BROKEN)
def test_the_last_good_snapshot_stands_in(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    last_good(tmp_path)
    found = told(write(tmp_path, BROKEN[what]), capsys)
    assert set(found) >= MACHINE | {"last_good", "data", "disk", "port", "memory", "targets"}
    level, message = found["last_good"]
    assert (level, f"({tmp_path / 'data' / 'snapshot'})" in message) == ("warning", True)
    assert found["targets"][0] == "problem", "its targets are asked"
    assert str(tmp_path / "data") in found["data"][1]


def test_a_snapshot_that_is_none_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "snapshot").write_bytes(b"\x93broken")
    assert "no snapshot of a former run" in told(write(tmp_path, BROKEN["meaning"]), capsys)["last_good"][1]


def test_the_gateway_that_runs_is_found_and_what_it_runs_is_told(
    run_gateway: Callable[[Callable[[int, int], Tree]], GatewayProcess], capsys: pytest.CaptureFixture[str]
) -> None:
    gateway = run_gateway(lambda port, manager: base(port, manager, "http://127.0.0.1:1"))
    good = gateway.file.read_text()
    gateway.file.write_text(good + "\nplan: {}\n")
    level, message = told(gateway.file, capsys)["gateway"]
    assert (level, message.startswith(f"process {gateway.pid}, version ")) == ("ok", True)
    gateway.reload()
    stale = "runs the last good revision, not the file: the configuration has errors"
    until(lambda: stale in told(gateway.file, capsys)["gateway"][1], "the refused reload")
    assert told(gateway.file, capsys)["gateway"][0] == "warning"
    found = told(gateway.file, capsys)
    assert found["data"][1].endswith("is in use by a running gateway")
    assert "is held by a running Faregate" in found["port"][1]
    gateway.file.write_text(good)
