"""Path, route and authorisation that disagree, and identity that callers write themselves."""

import asyncio
import itertools
from pathlib import Path

import pytest

from faregate.snapshot.data import Issuer
from faregate.stores.keysets import KeySets
from tests.conftest import Bench
from tests.policies.jwt import material
from tests.policies.jwt.material import FrozenClock, no_network
from tests.policies.rate_limit.test_limits import PLANS, build, consumer, passes, route
from tests.stores import table
from tests.support.client import attempt, request
from tests.support.configuration import key_line

SPELLINGS = (
    "/v2/payments/../payments/p1", "/v2/payments/./p1", "/v2//payments/p1", "/v2/payments;x/p1", "/v2/payments/..;/p1", "/v2/%70ayments%2Fp1",
    "/v2/payments/p1%00", "/v2/payments\\p1", "/v2/%2e%2e/open/v1/t", "/v2/%252e%252e/t", "/v2/payments/%c0%ae%c0%ae/t", "/v2/payments/p1#/open/v1/t",
    "/V2/payments/p1", "/open/v1/../../v2/payments/p1", "/open/v1/%2e%2e/%2e%2e/v2/payments/p1", "/open/v1/..%2f..%2fv2/payments/p1",
)  # fmt: skip


@pytest.mark.parametrize("target", SPELLINGS)
def test_reg_one_path_string(bench: Bench, target: str) -> None:
    """Envoy CVE-2019-9901 and a dozen since: a second spelling of a guarded path met no guard."""
    result = asyncio.run(attempt(bench.address, request("GET", target), finish=True))
    assert result.status in {400, 401, 404}
    assert bench.upstream.requests == [], "a spelling reached the upstream without a credential"


@pytest.mark.parametrize(
    "query", ["?/open/v1/t", "?x=/open/v1/t", "?%2Fopen%2Fv1", "?a=1;b=/open", "??/open/v1/"]
)
def test_reg_query_not_in_skip_rule(bench: Bench, query: str) -> None:
    """oauth2-proxy CVE-2025-54576: the pattern of public paths was held against the query too."""
    result = asyncio.run(attempt(bench.address, request("GET", "/v2/payments/p1" + query), finish=True))
    assert result.status == 401
    assert bench.upstream.requests == []


def test_reg_peer_address_only(bench: Bench) -> None:
    """APISIX CVE-2022-24112: a forged X-Real-IP opened the door that an address list guarded."""
    lies = [
        f"{name}: 203.0.113.7"
        for name in ("X-Real-IP", "X-Forwarded-For", "X-Client-IP", "True-Client-IP", "CF-Connecting-IP")
    ]
    lies.append("Forwarded: for=203.0.113.7")
    for count in (1, len(lies)):
        for some in itertools.combinations(lies, count):
            result = asyncio.run(
                attempt(
                    bench.address, request("GET", "/v2/payments/p1", key_line("fenced"), *some), finish=True
                )
            )
            assert (result.status, result.answers[0].code) == (403, "address_denied")
    assert bench.upstream.requests == []


@pytest.mark.parametrize(
    "line",
    [
        "X-Forwarded-For: 198.51.100.1",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: bank.test",
        "Forwarded: for=1.2.3.4;proto=https",
    ],
)
def test_reg_forwarded_untrusted(bench: Bench, line: str) -> None:
    """Traefik CVE-2026-35051 and others: what anybody writes was believed."""
    asyncio.run(attempt(bench.address, request("GET", "/open/v1/t", line), finish=True))
    (seen,) = bench.upstream.requests
    assert line.partition(": ")[2].encode() not in seen.head.raw
    assert seen.header("x-forwarded-for") == "127.0.0.1"
    assert seen.header("x-forwarded-proto") == "http"


@pytest.mark.parametrize(
    "spelling",
    [
        "X-Consumer-Id",
        "x-consumer-id",
        "X-CONSUMER-ID",
        "X-Forwarded-For",
        "Host",
        "x-request-ID",
        "traceparent",
    ],
)
@pytest.mark.parametrize("place", ["{}", "close, {}", "{} , keep-alive", "\t{}\t"])
def test_reg_connection_list_protected(bench: Bench, spelling: str, place: str) -> None:
    """Traefik CVE-2024-45410, again in CVE-2026-29054: Connection took the gateway's own fields away."""
    data = request("GET", "/v2/payments/p1", key_line("acme"), f"Connection: {place.format(spelling)}")
    assert asyncio.run(attempt(bench.address, data, finish=True)).status == 400
    assert bench.upstream.requests == []


def test_reg_error_page_no_credentials(bench: Bench) -> None:
    """Traefik CVE-2026-41181: Authorization and Cookie went to the page that told of the error. Ours is made here."""
    secrets = [
        "Authorization: Bearer fg_live_hunter2hunter2",
        "Cookie: sid=hunter2hunter2",
        "X-API-Key: fg_live_hunter2hunter2",
    ]
    for target, lines in (
        ("/nowhere", secrets),
        ("/v2/payments/p1", secrets[:2]),
        ("/v0/payments/p1", secrets),
    ):
        result = asyncio.run(attempt(bench.address, request("GET", target, *lines), finish=True))
        assert result.status in {400, 401, 404, 410}
        assert b"hunter2" not in result.answers[0].head.raw + result.answers[0].text
    assert bench.upstream.requests == []


def _issuer(name: str, url: str) -> Issuer:
    return material.issuer(name=name, issuer=f"https://{name}.example", jwks_url=url)


def test_reg_single_flight_key_tuple() -> None:
    """Traefik CVE-2026-71326: two identities fell on one key of the shared fetch. Each issuer has a source of its own."""
    keysets = KeySets(no_network, FrozenClock(), Path("/nonexistent"))
    pairs = [
        ("a", "https://x.example/b/c"),
        ("a/b", "https://x.example/c"),
        ("a-b", "https://x.example/b/c"),
        ("a", "https://x.example/b/c?d"),
    ]
    sources = [keysets.source_for(_issuer(name, url)) for name, url in pairs]
    assert len({id(source) for source in sources}) == len(pairs)


def test_reg_single_flight_key_tuple_limits_of_different_callers_never_share_a_count(
    tmp_path: object,
) -> None:
    """Names chosen so that they would run together if they were only joined."""
    counters = table.alone(tmp_path)
    try:
        step = build(route(), PLANS, counters)
        assert step is not None
        for name in ("ab", "a", "a.b", "b", "a:b", "203.0.113.7"):
            assert [passes(step, consumer(name=name)) for _ in range(6)] == [True] * 5 + [False], name
    finally:
        counters.close()
