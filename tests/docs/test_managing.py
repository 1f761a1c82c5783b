"""The guide to managing is what happens: its commands are run in their order, and print what it shows."""

import itertools
import json
import os
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from faregate.cli.app import main
from faregate.compile import compile_config
from faregate.model.load import load
from faregate.snapshot import encoded
from tests.docs.pages import DOCS, blocks
from tests.manager.served import Served, served

PAGE = DOCS / "guides" / "managing.md"
SAMPLES = DOCS / "reference" / "samples"
ID = "01a209288ec8dcafb2c8eafd00000003"
CALLS = [
    {
        "time": "2026-11-23T16:06:22.664Z", "request_id": ID, "client_ip": "203.0.113.7", "consumer": "acme",
        "credential": "key_7Q2", "api": "payments", "version": "v2", "route": "POST /payments", "method": "POST",
        "path": "/v2/payments", "status": 403, "outcome": "refused", "refusal": "permission_denied",
        "reason": "consumer_lacks_permission", "duration_us": 34, "gateway_us": 34, "request_bytes": 0,
        "response_bytes": 0, "revision": 1,
    }
]  # fmt: skip
"""What the guide explains."""


def plain(text: str) -> list[str]:
    """Without what differs from run to run."""
    for pattern, name in (
        (r"fg_live_\w+", "fg_live_KEY"),
        (r"key_[0-9a-f]{12}", "key_ID"),
        (r"\d{4}-\d\d-\d\dT[0-9:.]+Z", "TIME"),
        (r"\b[0-9a-f]{32}\b", "ETAG"),
        (r"\(\d+\.\d+ s\)", "(s)"),
        (r"\*\*\* [0-9a-f]{16}\b", "*** HASH"),
    ):
        text = re.sub(pattern, name, text)
    return [line.rstrip() for line in text.rstrip().splitlines()]


def shown() -> Iterator[tuple[str, str]]:
    """Each command of the page, and what it is shown to print."""
    for block in blocks("console"):
        if block.page == PAGE:
            for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
                command, _, output = part.partition("\n")
                yield command, output


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    data = tmp_path / "data"
    data.mkdir()
    for name in ("payments.yaml", "slower.yaml"):
        shutil.copy(SAMPLES / name, tmp_path)
    snapshot, found = compile_config(load(tmp_path / "payments.yaml", {}), 1)
    assert snapshot is not None, found
    (data / "snapshot").write_bytes(encoded.encode(snapshot))
    (data / "access.jsonl").write_text(
        "".join(json.dumps(one, separators=(",", ":")) + "\n" for one in CALLS)
    )
    monkeypatch.chdir(tmp_path)
    with served(data) as one:
        for name, value in (("MANAGER", one.url), ("TOKEN", one.token), ("DATA", str(data))):
            monkeypatch.setenv(f"FAREGATE_{name}", value)
        yield one


def run(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    program, *arguments = shlex.split(command)
    assert program == "faregate"
    main(arguments)
    captured = capsys.readouterr()
    return captured.out + captured.err


def test_what_the_guide_types_prints_what_it_shows(
    manager: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    told = [(command, run(command, capsys)) for command, _ in shown()]
    if os.environ.get("FAREGATE_WRITE_PAGES"):
        write(told)
    for (command, printed), (_, output) in zip(told, shown(), strict=True):
        assert plain(printed) == plain(output), f"{command}: FAREGATE_WRITE_PAGES=1 writes the page as it is"


def write(told: list[tuple[str, str]]) -> None:
    """Puts into the page what the commands print."""
    left = iter(told)

    def block(match: re.Match[str]) -> str:
        commands = re.findall(r"^\$ .*$", match[1], re.MULTILINE)
        parts = [f"$ {command}\n{output}" for command, output in itertools.islice(left, len(commands))]
        return "```console\n" + "".join(parts) + "```"

    page = PAGE.read_text()
    PAGE.write_text(re.sub(r"^```console\n(.*?)^```$", block, page, flags=re.MULTILINE | re.DOTALL))


def test_the_python_of_the_guide_runs(
    manager: Served, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    main(["apply", "payments.yaml"])
    capsys.readouterr()
    (sample,) = [block.text for block in blocks("python") if block.page == PAGE]
    (tmp_path / "faregate-data").mkdir()
    shutil.copy(tmp_path / "data" / "manager.token", tmp_path / "faregate-data")
    monkeypatch.setattr("faregate.gateway.commands.ask", lambda *_: {"manager": manager.url})
    exec(compile(sample, "sample", "exec"), {})
    assert capsys.readouterr().out.splitlines() == [
        "gold database",
        "trial database",
        "412 stale",
        "till 4 {'secret': '***'}",
    ]
    assert (tmp_path / "key.txt").read_text().startswith("fg_live_")
