"""The data plane answers alike in both its forms, compiled and as it is written."""

import asyncio
from pathlib import Path

import pytest

from faregate import compiled
from tests.support import configuration
from tests.support.client import ask, chunked, request
from tests.support.configuration import bearer, key_line
from tests.support.gateway import GatewayProcess
from tests.support.upstream import RecordingUpstream

CHUNKED = b"POST /open/v1/t HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(
    b"ab", b"c"
)
CALLS = (
    request("GET", "/v2/payments/pay_1", bearer("acme")),
    request("GET", "/v2/payments/pay_1", bearer("nobody")),
    request("GET", "/v2/payments/pay_1", key_line("acme")),
    request("POST", "/v2/payments", bearer("acme"), "Content-Type: application/json", body=b'{"a": 1}'),
    *(
        request("GET", "/v2/payments/pay_1", f"Authorization: {value}")
        for value in (
            "",
            "x",
            "Bearer",
            "Bearer ",
            "Bearer .",
            "Bearer ..",
            "Bearer a.b.c",
            "Bearer fg_",
            "Basic eDp5",
        )
    ),
    request("GET", "/open/v1/t", "Authorization: x"),
    request("GET", "/nowhere"),
    request("DELETE", "/open/v1/t/%2e%2e/x"),
    request("GET", "/open/v1/t", "X-Request-Id: mine", "traceparent: 00-1-2-3"),
    request("GET", "/open/v1/t", version="1.0"),
    b"GET  / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"\r\n\r\nGET / HTTP/1.1\r\n\r\n",
    CHUNKED,
)


def told(folder: Path, upstream: RecordingUpstream) -> tuple[bool, list[object]]:
    """Whether the worker runs compiled modules, and what it answered and wrote down for each call."""

    def make(port: int, manager_port: int) -> configuration.Tree:
        return configuration.with_payments(configuration.base(port, manager_port, upstream.url))

    folder.mkdir()
    seen: list[object] = []
    with GatewayProcess(folder, make) as gateway:
        (worker,) = gateway.worker_pids()
        extensions = "faregate-compiled" in Path(f"/proc/{worker}/maps").read_text()
        for data in CALLS:
            answer = asyncio.run(ask(gateway.address, data))
            code = answer.code if answer.header("content-type") == "application/problem+json" else answer.text
            seen.append((answer.status, code))
        lines = gateway.log.wait(lambda lines: len(lines) == len(CALLS), "a line for each call")
    seen.extend((list(line), line["status"], line.get("reason")) for line in lines)
    return extensions, seen


def test_both_forms_answer_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with RecordingUpstream() as upstream:
        as_written = told_with(monkeypatch, compiled.OFF, tmp_path / "written", upstream)
        as_built = told_with(monkeypatch, "", tmp_path / "built", upstream)
    assert not as_written[0]
    assert as_built[0] is bool(compiled.extensions(compiled.home() / compiled.build_name()))
    assert as_built[1] == as_written[1]
    if not as_built[0]:
        pytest.skip("no compiled build fits these sources here: python -m faregate.compiled says why")


def told_with(
    monkeypatch: pytest.MonkeyPatch, switch: str, folder: Path, upstream: RecordingUpstream
) -> tuple[bool, list[object]]:
    monkeypatch.setenv(compiled.SWITCH, switch)
    return told(folder, upstream)
