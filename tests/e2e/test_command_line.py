"""The command line over the admin API of a real gateway: a file applied runs, a key works and is revoked, a call is
tried, made, followed and explained.
"""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from faregate.cli.app import main
from tests.support.gateway import until
from tests.support.live import LiveGateway
from tests.support.managed import bare, call
from tests.support.upstream import RecordingUpstream

pytestmark = pytest.mark.apart

FILE = """
upstreams: {{web: {{targets: ["{url}"]}}}}
plans: {{gold: {{limits: ["3/minute"]}}}}
consumers: {{acme: {{plan: gold, permissions: [web:read]}}}}
apis:
  web:
    upstream: web
    authenticate: [api_key]
    versions: {{v1: {{path: /v1}}}}
    routes:
      - {{match: "GET /things/{{id}}", require: web:read}}
      - {{match: "POST /things", require: web:write, idempotency: required}}
"""


@pytest.fixture(scope="module")
def upstream() -> Iterator[RecordingUpstream]:
    with RecordingUpstream() as made:
        yield made


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[LiveGateway]:
    with LiveGateway(tmp_path, bare) as one:
        until((tmp_path / "data" / "control").exists, "the socket that commands come by")
        yield one


class Shell:
    """``faregate`` as an operator types it, in the gateway's folder."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.said = ""

    def __call__(self, line: str, status: int = 0) -> str:
        """Standard output, or standard error where there is none; ``said``: the latter."""
        assert main(shlex.split(line)) == status, line
        captured = self._capsys.readouterr()
        self.said = captured.err
        return captured.out or captured.err


@pytest.fixture
def shell(gateway: LiveGateway, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    monkeypatch.chdir(gateway.folder)
    return Shell(capsys)


def test_a_file_is_planned_applied_called_explained_and_taken_back(
    gateway: LiveGateway, shell: Shell, upstream: RecordingUpstream
) -> None:
    (gateway.folder / "web.yaml").write_text(FILE.format(url=upstream.url))
    assert shell("plan web.yaml", 2).splitlines()[-1] == "+4 ~0 -0"
    applied = json.loads(shell("apply web.yaml --reason first --json"))
    assert applied["published"] is True
    assert shell("plan web.yaml") == "no changes\n"

    key = shell("key create acme --note e2e").strip()
    assert [call(gateway, "/v1/things/7", key) for _ in range(2)] == [200, 200]
    tried = json.loads(shell("try GET /v1/things/7 --consumer acme --json"))
    assert [(one["name"], one["left"]) for one in tried["limits"]] == [("plan.gold.3/minute", 0)]
    assert call(gateway, "/v1/things/7", key) == 200  # which trying has not counted
    assert call(gateway, "/v1/things/7", key) == 429
    refused = json.loads(shell("try GET /v1/things/7 --consumer acme --json", 1))
    assert (refused["refusal"], refused["parameter"]) == ("rate_limited", "plan.gold.3/minute")

    lines = gateway.log.wait(lambda found: len(found) >= 4, "4 lines")
    (last,) = [line for line in lines if line["status"] == 429]
    assert last["revision"] == applied["revision"] + 1
    told = shell(f"explain {last['request_id']}")
    assert told.startswith("429 rate_limited: ")
    assert "a limit was reached: plan.gold.3/minute" in told
    shown = shell("tail 'status=429' --no-follow")
    assert shown.splitlines()[-1].endswith(last["request_id"])

    name = json.loads(shell("key list acme --json"))[0]["id"]
    shell(f"key revoke {name} --yes")
    assert call(gateway, "/v1/things/7", key) == 401
    assert "[not_found]" in shell(f"key revoke {name} --yes", 1)

    assert "would be removed" in shell("rollback 0", 2)
    shell("rollback 0 --yes")
    assert call(gateway, "/v1/things/7", key) == 404
    kinds = [one["kind"] for one in json.loads(shell("history --json"))]
    assert kinds == ["rollback", "credential", "credential", "apply"]


def test_the_gateway_of_the_file_is_told_and_its_entries_stay_the_files(
    gateway: LiveGateway, shell: Shell
) -> None:
    assert shell("plan faregate.yaml") == "no changes\n"
    file = gateway.folder / "faregate.yaml"
    (gateway.folder / "other.yaml").write_text(file.read_text().replace("workers: 2", "workers: 9"))
    assert shell("plan other.yaml") == "no changes\n"
    assert "and differs from it: change it there, and reload" in shell.said


def test_a_gateway_that_has_ended_is_said(gateway: LiveGateway, shell: Shell) -> None:
    shell("history")
    gateway.stop()
    told = shell("history", 1)
    assert told.startswith("faregate: no running gateway was found for faregate.yaml")
    assert "no_route" in shell("try GET /nowhere", 1)
