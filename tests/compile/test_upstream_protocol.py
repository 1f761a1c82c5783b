"""``protocol: h2`` reaches the snapshot, and what cannot go with it is an error at its place."""

from pathlib import Path

import pytest

from tests.model.configs import API, brief, check, compiled

UPSTREAM = "upstreams:\n  pay:\n    targets: ['http://bank.test']\n"


def test_the_protocol_is_http_1_1_unless_written(tmp_path: Path) -> None:
    for text, protocol in (("", "http1"), ("    protocol: http1\n", "http1"), ("    protocol: h2\n", "h2")):
        assert compiled(tmp_path, UPSTREAM + text + API).upstreams[0].protocol == protocol


def test_active_checks_of_targets_that_would_not_understand_them_are_refused(tmp_path: Path) -> None:
    text = "    protocol: h2\n    health:\n      active: {path: /healthz}\n"
    found = check(tmp_path, UPSTREAM + text + API)
    assert brief(found) == [("bad_value", 6, 7)]
    assert "HTTP/2" in found[0].message


@pytest.mark.parametrize("health", ["{passive: {failures: 3}}", "{active: {path: /healthz}}"])
def test_other_checks_and_other_protocols_are_fine(tmp_path: Path, health: str) -> None:
    protocol = "http1" if "active" in health else "h2"
    assert check(tmp_path, UPSTREAM + f"    protocol: {protocol}\n    health: {health}\n" + API) == []


def test_other_words_are_refused(tmp_path: Path) -> None:
    assert "bad_value" in {found.code for found in check(tmp_path, UPSTREAM + "    protocol: http2\n" + API)}


ROUTED = """\
upstreams:
  pay: {targets: ['http://bank.test'], protocol: h2}
  ws: {targets: ['http://bank.test']}
apis:
  one:
    upstream: %s
    authenticate: []
    versions:
      v1: {path: /v1}
      v2: {path: /v2%s}
    routes:
      - match: GET /live
        upgrade: websocket
"""


@pytest.mark.parametrize(
    ("api", "version", "refused"),
    [("pay", "", True), ("ws", ", upstream: pay", True), ("ws", "", False)],
)
def test_a_websocket_is_not_opened_by_http_2_upstreams(
    tmp_path: Path, api: str, version: str, refused: bool
) -> None:
    found = check(tmp_path, ROUTED % (api, version))
    found = [one for one in found if one.level.value == "error"]
    assert brief(found) == ([("bad_value", 13, 9)] if refused else [])
    assert not refused or "HTTP/1.1" in found[0].message


def test_a_version_with_routes_of_its_own_is_looked_into(tmp_path: Path) -> None:
    version = ", upstream: pay, routes: [{match: GET /own, upgrade: websocket}]"
    found = check(tmp_path, ROUTED % ("ws", version))
    assert [one.line for one in found if one.code == "bad_value"] == [10]
