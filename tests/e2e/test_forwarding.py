"""http-rules.md section 2.2, the way up: what arrives at the upstream is what was sent, minus hop-by-hop, minus lies, plus ours."""

import asyncio
import hashlib
import re

import pytest

from tests.conftest import Bench
from tests.support.client import RawClient, ask, attempt, chunked, request
from tests.support.configuration import bearer, key_line
from tests.support.script import sized
from tests.support.upstream import RecordedRequest

ADDED = {
    "x-request-deadline",
    "x-request-id",
    "traceparent",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-api-version",
    "via",
}
IDENTITY = {"x-consumer-id", "x-consumer-plan", "x-credential-id"}


def seen_after(bench: Bench, data: bytes, status: int = 200) -> RecordedRequest:
    """The only request that the upstream saw for ``data``."""
    answer = asyncio.run(ask(bench.address, data))
    assert answer.status == status, answer.text
    (seen,) = bench.upstream.requests
    return seen


def test_w01_bodies_arrive_byte_for_byte_with_one_framing(bench: Bench) -> None:
    body = bytes(range(256)) * 200
    by_length = seen_after(bench, request("POST", "/open/v1/t", "Content-Type: a/b", body=body))
    assert (by_length.body.framing, bytes(by_length.body.data)) == ("length", body)
    bench.upstream.clear()
    start = b"POST /open/v1/t HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n"
    in_chunks = seen_after(bench, start + chunked(body[:1], body[1:5000], body[5000:]))
    assert (in_chunks.body.framing, bytes(in_chunks.body.data)) == ("chunked", body)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_w01_an_empty_body_stays_empty(bench: Bench, method: str) -> None:
    seen = seen_after(
        bench, request(method, "/open/v1/t", "Content-Length: 0" if method == "DELETE" else "X-A: 1")
    )
    assert seen.body.length == 0
    assert seen.header("transfer-encoding") is None


def test_w01_other_headers_arrive_unchanged_and_in_order(bench: Bench) -> None:
    lines = [
        "X-First: 1",
        "Accept: */*",
        "X-Twice: a",
        "x-TWICE: b",
        "X-Opaque: caf\xe9 \t x",
        "Cookie: a=b; c=d",
        "User-Agent: e2e/1",
        "X-Last:",
    ]
    seen = seen_after(bench, request("GET", "/open/v1/t?q=1", *lines))
    sent = [tuple(part.strip().encode("latin-1") for part in line.split(":", 1)) for line in lines]
    kept = [
        (name.lower(), value)
        for name, value in seen.head.fields
        if name.lower().decode() not in ADDED | {"host"}
    ]
    assert kept == [(name.lower(), value) for name, value in sent]
    assert (seen.method, seen.target, seen.header("host")) == ("GET", "/open/v1/t?q=1", "api.test")


def test_gateway_headers_are_added(bench: Bench) -> None:
    seen = seen_after(bench, request("GET", "/v2/payments/p1", bearer("acme")))
    assert set(seen.head.names) >= (ADDED - {"via"}) | IDENTITY
    assert seen.header("x-consumer-id") == "acme"
    assert seen.header("x-consumer-plan") == "roomy"
    assert seen.header("x-credential-id") == "jwt:acme-id:acme"
    assert seen.header("x-api-version") == "v2"
    assert seen.header("x-forwarded-for") == "127.0.0.1"
    assert seen.header("x-forwarded-proto") == "http"
    assert seen.header("x-forwarded-host") == "api.test"
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", seen.header("traceparent") or "")


def test_trace_is_continued_under_a_new_span(bench: Bench) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    seen = seen_after(bench, request("GET", "/open/v1/t", f"traceparent: 00-{trace}-00f067aa0ba902b7-01"))
    _, trace_id, span, flags = (seen.header("traceparent") or "").split("-")
    assert (trace_id, flags) == (trace, "01")
    assert span != "00f067aa0ba902b7"


@pytest.mark.parametrize("value", ["00-" + "0" * 32 + "-00f067aa0ba902b7-01", "garbage", "00-ABC-1-1", ""])
def test_a_bad_trace_is_replaced(bench: Bench, value: str) -> None:
    seen = seen_after(bench, request("GET", "/open/v1/t", f"traceparent: {value}"))
    assert re.fullmatch(
        r"00-(?!0{32})[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", seen.header("traceparent") or ""
    )


@pytest.mark.parametrize("given", ["abc-123", "~" * 128, "!"])
def test_request_id_of_the_caller_is_kept(bench: Bench, given: str) -> None:
    answer = asyncio.run(ask(bench.address, request("GET", "/open/v1/t", f"X-Request-Id: {given}")))
    assert answer.request_id == given
    assert bench.upstream.requests[0].header("x-request-id") == given


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, "caf\xe9"])
def test_request_id_that_is_not_visible_ascii_is_replaced(bench: Bench, given: str) -> None:
    answer = asyncio.run(ask(bench.address, request("GET", "/open/v1/t", f"X-Request-Id: {given}")))
    assert answer.request_id != given
    assert re.fullmatch(r"[!-~]{1,128}", answer.request_id)
    assert bench.upstream.requests[0].header("x-request-id") == answer.request_id


@pytest.mark.parametrize("credential", [bearer("acme"), key_line("acme")], ids=["jwt", "api_key"])
def test_credential_is_not_forwarded(bench: Bench, credential: str) -> None:
    seen = seen_after(bench, request("GET", "/v2/payments/p1", credential))
    assert not {"authorization", "x-api-key"} & set(seen.head.names)
    assert credential.rsplit(" ", 1)[1].encode() not in seen.head.raw


@pytest.mark.parametrize(
    "spell", [str, str.lower, str.upper, str.title], ids=["as written", "lower", "upper", "title"]
)
def test_w03_spoofed_identity_headers_are_removed_in_any_case(bench: Bench, spell: "type[str]") -> None:
    names = [
        "X-Consumer-Id",
        "X-Consumer-Plan",
        "X-Credential-Id",
        "X-Api-Version",
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Forwarded-Host",
    ]
    lies = [f"{spell(name)}: spoofed{twice}" for name in names for twice in ("", "-again")]
    for target, lines in (("/open/v1/t", []), ("/v2/payments/p1", [key_line("acme")])):
        bench.upstream.clear()
        seen = seen_after(bench, request("GET", target, *lies, *lines))
        assert b"spoofed" not in seen.head.raw
        assert seen.header("x-consumer-id") == ("acme" if lines else None)
        assert seen.header("x-forwarded-for") == "127.0.0.1"
    log = bench.gateway.log.of(
        asyncio.run(ask(bench.address, request("GET", "/open/v1/t", *lies))).request_id
    )
    assert log["client_ip"] == "127.0.0.1"


HOP_BY_HOP = (
    "Keep-Alive: timeout=5", "Proxy-Connection: keep-alive", "TE: gzip", "TE: trailers, deflate", "Trailer: X-Checksum", "Upgrade: h2c",
    "HTTP2-Settings: AAMAAABkAAQAAP", "Proxy-Authorization: Basic c2VjcmV0", "Connection: close", "Connection: keep-alive",
)  # fmt: skip


@pytest.mark.parametrize("line", HOP_BY_HOP)
def test_w02_hop_by_hop_fields_are_removed(bench: Bench, line: str) -> None:
    name, value = line.split(": ", 1)
    seen = seen_after(bench, request("GET", "/open/v1/t", line))
    assert all(has.decode() != value for has in seen.head.all(name)), seen.head.raw
    assert set(seen.head.names) <= ADDED | {"host", "connection", "te"}


def test_w02_fields_that_connection_lists_are_removed(bench: Bench) -> None:
    lines = [
        "Connection: X-Hop, keep-alive ,x-other",
        "X-HOP: 1",
        "X-Other: 2",
        "X-Stays: 3",
        "Connection: x-third",
        "X-Third: 4",
    ]
    seen = seen_after(bench, request("GET", "/open/v1/t", *lines))
    assert not {"x-hop", "x-other", "x-third"} & set(seen.head.names)
    assert seen.header("x-stays") == "3"


PROTECTED = (
    "Host", "Content-Length", "Content-Type", "Content-Encoding", "Authorization", "Cookie", "Date", "Cache-Control", "Idempotency-Key",
    "traceparent", "Forwarded", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Real-IP", "X-Consumer-Id",
    "X-Consumer-Plan", "X-Credential-Id", "X-Api-Version", "X-Request-Id",
)  # fmt: skip


def test_w02_connection_that_lists_a_protected_field_is_refused(bench: Bench) -> None:
    """reg_connection_list_protected: in every letter case, alone, in a list and in a second Connection line."""

    async def play() -> list[str]:
        faults = []
        for name in PROTECTED:
            for listed in (
                name,
                name.lower(),
                name.upper(),
                f"close, {name}",
                f"{name.swapcase()} ,x",
                f"x\r\nConnection: {name}",
            ):
                result = await attempt(bench.address, request("GET", "/open/v1/t", f"Connection: {listed}"))
                if (result.status, result.closed) != (400, True):
                    faults.append(f"{listed!r}: {result.status}")
        return faults

    assert asyncio.run(play()) == []
    assert bench.upstream.requests == []


def test_w04_via_is_appended(bench: Bench) -> None:
    first = seen_after(bench, request("GET", "/open/v1/t"))
    ours = first.header("via")
    assert ours is not None
    assert re.fullmatch(r"1\.1 [^ ,]+", ours)
    bench.upstream.clear()
    second = seen_after(bench, request("GET", "/open/v1/t", "Via: 1.0 fred, 1.1 p.example"))
    joined = b", ".join(second.head.all("via")).decode()
    assert joined == f"1.0 fred, 1.1 p.example, {ours}"


@pytest.mark.parametrize("around", ["{}", "1.0 fred, {}", "{}, 1.1 p.example", "1.0 fred\r\nVia: {}"])
def test_w04_our_own_name_in_via_is_a_loop(bench: Bench, around: str) -> None:
    ours = seen_after(bench, request("GET", "/open/v1/t")).header("via") or ""
    bench.upstream.clear()
    answer = asyncio.run(ask(bench.address, request("GET", "/open/v1/t", f"Via: {around.format(ours)}")))
    assert (answer.status, answer.code) == (508, "loop_detected")
    assert bench.upstream.requests == []


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (request("GET", "/nowhere/<script>"), 404),
        (request("GET", "/nowhere/%3Cscript%3E"), 404),
        (request("GET", "/v2/payments/1"), 401),
        (request("PURGE", "/open/v1/<script>"), 501),
        (request("GET", "/open/v1/../<script>"), 400),
    ],
)
def test_w15_own_answers_have_one_length_one_date_and_nosniff(bench: Bench, data: bytes, status: int) -> None:
    answer = asyncio.run(ask(bench.address, data))
    assert answer.status == status
    assert answer.header("content-length") == str(len(answer.text))
    assert re.fullmatch(
        r"[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9:]{8} GMT", answer.header("date") or ""
    )
    assert answer.header("x-content-type-options") == "nosniff"
    assert b"<script>" not in answer.text


@pytest.mark.parametrize("target", ["/nowhere", "/v2/payments/p1", "/open/v1/../x"])
def test_w10_refusals_to_head_have_no_body(bench: Bench, target: str) -> None:
    """A caller that asked by HEAD reads none: what follows the head would be taken for the next answer."""

    async def play() -> bool:
        async with RawClient(bench.address) as client:
            answer = await client.ask(request("HEAD", target), "HEAD")
            assert answer.status in {400, 401, 404, 405}
            return await client.silent(0.1) or (client.wire.ended and not client.wire.buffer)

    assert asyncio.run(play()), "bytes follow the head"


def test_w15_forwarded_answers_without_a_date_get_one(bench: Bench) -> None:
    """RFC 9110 section 6.6.1: a recipient with a clock adds the time of receipt before it forwards."""
    assert asyncio.run(ask(bench.address, request("GET", "/open/v1/t"))).header("date") is not None


def test_w15_forwarded_answers_keep_the_date_of_the_upstream(bench: Bench) -> None:
    date = "Mon, 23 Nov 2026 02:49:02 GMT"
    bench.upstream.script("/open/v1/t", sized(b"{}", 200, f"Date: {date}"))
    assert asyncio.run(ask(bench.address, request("GET", "/open/v1/t"))).header("date") == date


@pytest.mark.parametrize("encoding", ["gzip", "br", "identity, x"])
def test_w16_encoded_bodies_pass_untouched(bench: Bench, encoding: str) -> None:
    body = hashlib.sha256(b"any bytes").digest() * 100
    bench.upstream.script("/open/v1/t", sized(body[::-1], 200, f"Content-Encoding: {encoding}"))
    answer = asyncio.run(
        ask(bench.address, request("POST", "/open/v1/t", f"Content-Encoding: {encoding}", body=body))
    )
    assert bytes(bench.upstream.requests[0].body.data) == body
    assert answer.text == body[::-1]
    assert answer.header("content-encoding") == encoding
