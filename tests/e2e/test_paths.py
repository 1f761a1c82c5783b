"""http-rules.md section 2.1: one normalised path decides; what could be read in two ways is refused; the target travels as received."""

import asyncio

import pytest

from tests.conftest import Bench
from tests.e2e.framing_cases import END, HOST, Case
from tests.e2e.framing_checks import PROBE, fault_of, report, try_all
from tests.support.client import ask, request
from tests.support.configuration import key_line

REFUSED = (
    "%2f", "%2F", "a%2fb", "%5c", "%5C", "a%5Cb", "%00", "a%00", "%2e%2e", "%2E%2e", "%2E%2E", ".%2e", "%2e.", "%2E.", "%2e", "%2E", "a/%2e%2e/b",
    ";", "a;b", "a;v=1", "..;", "..;/a", ";/..", "a\\b", "\\", "a#b", "/", "/a", "a//b", "a//", "%252f", "%252F", "%255c", "%2500", "%252e%252e",
    "%2541", "%25ab", ".", "..", "./a", "../a", "a/.", "a/..", "a/./b", "a/../b", "../../etc/passwd", "a/..;/b", "%2e%2e%2f", "..%2f", "..%5c",
    "%ff", "%c0%af", "%c0%ae%c0%ae", "%e0%80%af", "%c3", "%c3x", "%80", "%ed%a0%80", "%f4%90%80%80", "%f8%88%80%80%80", "%u002e", "%", "%2", "a%",
    "%23x%00",
)  # fmt: skip

LOGGED = (
    ("/open/v1/plain", "/open/v1/plain"),
    ("/open/v1/%41%7a%2D%2e%5F%7e", "/open/v1/Az-._~"),
    ("/open/v1/caf%c3%a9", "/open/v1/caf%C3%A9"),
    ("/open/v1/%20x", "/open/v1/%20x"),
    ("/open/v1/a..b", "/open/v1/a..b"),
    ("/open/v1/.well-known", "/open/v1/.well-known"),
    ("/open/v1/...", "/open/v1/..."),
    ("/open/v1/a%25", "/open/v1/a%25"),
    ("/open/v1/a%3f", "/open/v1/a%3F"),
    ("/%6fpen/v1/x", "/open/v1/x"),
    ("/open/v1/a:@!$&'()*+,=b", "/open/v1/a:@!$&'()*+,=b"),
)

QUERIES = (
    "",
    "?",
    "?a=1",
    "?a=%2f..//;x=%2e%2e&b",
    "?//../",
    "?%41",
    "?a=%ff%00",
    "??",
    "?q=/../",
    "?a=b%20c+d",
)


def cases(*, prefix: str) -> list[Case]:
    return [Case(part, f"POST {prefix}{part} HTTP/1.1\r\n".encode() + HOST + END, (400,)) for part in REFUSED]


@pytest.mark.parametrize("prefix", ["/open/v1/", "/open/v1/x/", "/v2/payments/"])
def test_ambiguous_paths_are_refused(bench: Bench, prefix: str) -> None:
    results = asyncio.run(try_all(bench, cases(prefix=prefix)))
    faults = [f"{prefix}{case.name}: {fault}" for case, _, done in results if (fault := fault_of(case, done))]
    assert asyncio.run(ask(bench.address, PROBE)).status == 200
    assert [seen.path for seen in bench.upstream.requests] == ["/open/v1/probe"]
    report(faults)


@pytest.mark.parametrize(("target", "logged"), LOGGED)
def test_target_travels_as_received_and_the_log_shows_the_one_path(
    bench: Bench, target: str, logged: str
) -> None:
    answer = asyncio.run(ask(bench.address, request("GET", target)))
    assert answer.status == 200, answer.text
    assert [seen.target for seen in bench.upstream.requests] == [target]
    assert bench.gateway.log.of(answer.request_id)["path"] == logged


@pytest.mark.parametrize("query", QUERIES)
def test_query_goes_through_byte_for_byte_and_decides_nothing(bench: Bench, query: str) -> None:
    answer = asyncio.run(ask(bench.address, request("GET", "/v2/payments/p1" + query, key_line("reader"))))
    assert answer.status == 200, answer.text
    assert [seen.target for seen in bench.upstream.requests] == ["/v2/payments/p1" + query]
    line = bench.gateway.log.of(answer.request_id)
    assert (line["path"], line["route"]) == ("/v2/payments/p1", "GET /payments/{id}")


@pytest.mark.parametrize(
    "target",
    [
        "/OPEN/v1/x",
        "/Open/v1/x",
        "/open/V1/x",
        "/V2/payments/p1",
        "/v2/Payments/p1",
        "/v2x/payments/p1",
        "/",
        "/v2",
        "/v2/",
    ],
)
def test_matching_is_case_sensitive_and_whole(bench: Bench, target: str) -> None:
    answer = asyncio.run(ask(bench.address, request("GET", target, key_line("acme"))))
    assert (answer.status, answer.code) == (404, "no_route")
    assert bench.upstream.requests == []


@pytest.mark.parametrize("target", ["/%762/payments/p1", "/v2/%70ayments/p1", "/v2/payments/%701"])
def test_needlessly_encoded_paths_meet_the_same_guard(bench: Bench, target: str) -> None:
    """A spelling of a guarded path is that path: without a credential 401, with one it is passed as received."""
    assert asyncio.run(ask(bench.address, request("GET", target))).code == "credential_missing"
    assert asyncio.run(ask(bench.address, request("GET", target, key_line("reader")))).status == 200
    assert [seen.target for seen in bench.upstream.requests] == [target]


def test_literal_beats_parameter_and_parameter_beats_rest(bench: Bench) -> None:
    """``POST /payments/{id}/refunds`` needs a permission that ``acme`` lacks; no looser route lets the call through."""
    answer = asyncio.run(
        ask(bench.address, request("POST", "/v2/payments/p1/refunds", key_line("acme"), body=b"{}"))
    )
    assert (answer.status, answer.code) == (403, "permission_denied")
    assert bench.upstream.requests == []
