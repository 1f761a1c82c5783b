"""``faregate run --json``: one object a line on standard output, from start to stop."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

GOOD = """\
gateway: {listen: [{address: "127.0.0.1:0"}], manager: off, workers: 1, data: data}
upstreams: {pay: {targets: [http://127.0.0.1:9001]}}
apis:
  payments:
    upstream: pay
    authenticate: []
    versions: {v1: {path: /v1}}
    routes: [{match: "GET /payments"}]
"""


class Run:
    def __init__(self, folder: Path) -> None:
        self.file = folder / "faregate.yaml"
        self.file.write_text(GOOD)
        command = [sys.executable, "-m", "faregate", "run", str(self.file), "--json"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def hear(self) -> dict[str, object]:
        assert self.process.stdout is not None
        told = json.loads(self.process.stdout.readline())
        assert list(told)[:5] == ["time", "event", "message", "level", "process"]
        return told

    def reload(self, text: str) -> None:
        self.file.write_text(text)
        self.process.send_signal(signal.SIGHUP)


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Run]:
    made = Run(tmp_path)
    try:
        yield made
    finally:
        made.process.kill()
        made.process.communicate()


def test_start_reload_and_stop_are_events(gateway: Run) -> None:
    started = gateway.hear()
    assert started["event"] == "started"
    assert {name: started[name] for name in ("manager", "workers", "routes", "revision")} == {
        "manager": None,
        "workers": 1,
        "routes": 1,
        "revision": 1,
    }
    assert started["listen"][0].startswith("127.0.0.1:")  # type: ignore[index]
    assert gateway.hear()["event"] == "memory"
    gateway.reload(GOOD.replace("GET /payments", "GET /payments/{id}"))
    reloaded = gateway.hear()
    assert (reloaded["event"], reloaded["revision"]) == ("reloaded", 2)
    gateway.reload(GOOD.replace("upstream: pay", "upstream: pai"))
    wrong, failed = gateway.hear(), gateway.hear()
    assert (wrong["event"], wrong["level"], wrong["code"]) == ("diagnostic", "error", "unresolved_reference")
    assert (wrong["line"], wrong["nearest"]) == (5, "pay")
    assert (failed["event"], failed["revision"]) == ("reload_failed", 2)
    gateway.process.send_signal(signal.SIGTERM)
    assert gateway.hear()["event"] == "stopping"
    stopped = gateway.hear()
    assert [stopped[name] for name in ("event", "pid", "status")] == ["stopped", gateway.process.pid, 0]
    assert gateway.process.wait(timeout=20) == 0
    assert gateway.process.stderr is not None
    assert gateway.process.stderr.read() == ""


@pytest.mark.parametrize(
    ("text", "events"), [("plan: {}\n", ["diagnostic", "failed"]), (None, ["failed"])], ids=["broken", "none"]
)
def test_a_start_that_fails_is_an_event_and_status_one(
    tmp_path: Path, text: str | None, events: list[str]
) -> None:
    file = tmp_path / "faregate.yaml"
    if text is not None:
        file.write_text(text)
    command = [sys.executable, "-m", "faregate", "run", str(file), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (1, "")
    assert [json.loads(line)["event"] for line in done.stdout.splitlines()] == events


AWAY = """\
issuers:
  id: {issuer: https://id.example, audience: pay, algorithms: [RS256], jwks: "https://127.0.0.1:1/keys"}
"""


def test_workers_speak_in_events_too_also_after_an_upgrade(gateway: Run) -> None:
    def heard_until(event: str, process: str) -> list[dict[str, object]]:
        heard = [gateway.hear()]
        while (heard[-1]["event"], heard[-1]["process"]) != (event, process):
            heard.append(gateway.hear())
        return heard

    heard_until("memory", "supervisor")
    gateway.reload(GOOD + AWAY)  # a key set that cannot be fetched is the worker's affair
    told = heard_until("log", "worker")[-1]
    assert (told["level"], told["worker"], told["logger"]) == ("warning", 0, "faregate.keysets")
    assert "key set not refreshed" in str(told["message"])
    command = [sys.executable, "-m", "faregate", "upgrade", str(gateway.file), "--json"]
    upgraded = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    pid = json.loads(upgraded.stdout)["pid"]
    try:
        after = heard_until("stopped", "supervisor")
        while not any(one.get("worker") == 1 for one in after):  # of the new generation
            after.append(gateway.hear())
    finally:
        os.kill(pid, signal.SIGINT)
    assert gateway.process.stderr is not None
    assert gateway.process.stderr.read() == ""  # once all who could write to it have ended
