"""Versions as callers see them: the real gateway and an upstream that writes down every byte. Which version a call gets, what
is changed on its way there and back, which calls another version runs, and when a version does not answer."""

import http.client
from collections.abc import Iterator

import pytest

from tests.e2e.versioned import (
    ANSWER,
    BODY,
    CARRIED,
    JSON,
    MIDDLE,
    NEW,
    NEXT,
    OLD,
    TOLD,
    Caller,
    Told,
    configuration,
)
from tests.support.certificates import Authority
from tests.support.configuration import key_line
from tests.support.gateway import GatewayProcess
from tests.support.http2_client import Http2Caller
from tests.support.ports import free_ports
from tests.support.script import in_chunks, sized
from tests.support.upstream import RecordingUpstream


@pytest.fixture(scope="module")
def upstream() -> Iterator[RecordingUpstream]:
    with RecordingUpstream() as made:
        made.script("/api/payments/p1", sized(ANSWER, 200, JSON, "X-New: 1", 'ETag: "e"'))
        made.script("/api/payments/chunks", in_chunks(ANSWER[:9], ANSWER[9:], headers=(JSON,)))
        made.script("/api/payments/failed", sized(ANSWER, 422, JSON, "X-New: 1"))
        made.script("/api/payments/text", sized(ANSWER, 200, "Content-Type: text/plain"))
        made.script("/api/payments/broken", sized(ANSWER[:-1], 200, JSON))
        made.script("/api/payments/brotli", sized(ANSWER, 200, JSON, "Content-Encoding: br"))
        made.script("/api/payments/long", sized(b'"%b"' % (b"a" * (1 << 20)), 200, JSON))
        made.script("/api/payments/long-chunks", in_chunks(*[b"a" * 65536] * 17, headers=(JSON,)))
        yield made


@pytest.fixture(scope="module")
def secure() -> int:
    return free_ports(1)[0]


@pytest.fixture(scope="module")
def gateway(
    upstream: RecordingUpstream, secure: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("versions")
    Authority().issue("CN=api", dns=("api.test",), client=False).write(folder / "certs", "api")
    with GatewayProcess(
        folder, lambda port, manager: configuration(port, manager, upstream.url, secure)
    ) as made:
        yield made


@pytest.fixture(scope="module")
def call(gateway: GatewayProcess, upstream: RecordingUpstream) -> Caller:
    return Caller(gateway, upstream)


# which version


@pytest.mark.parametrize(
    ("who", "asked", "version"),
    [
        ("pinned", None, MIDDLE),
        ("late", None, NEW),
        ("free", None, MIDDLE),  # the oldest that is served
        ("pinned", NEW, NEW),
        ("free", NEW, NEW),
        ("preview", NEXT, NEXT),
    ],
)
def test_the_header_counts_then_the_pin_then_the_default(
    call: Caller, who: str, asked: str | None, version: str
) -> None:
    told = call(who, "GET", "/api/payments/p2", asked)
    assert (told.status, told.version, told.headers["Vary"]) == (200, version, "Api-Version")
    assert told.sent is not None
    assert told.sent.header("X-Api-Version") == version
    assert told.line["version"] == version
    assert told.line["route"] == "GET /payments/{id}"


@pytest.mark.parametrize(
    ("who", "asked"), [("free", "2026-11-02"), ("free", NEXT), ("free", ""), ("old", "a\xe9")]
)
def test_what_names_no_version_of_the_caller_is_refused(call: Caller, who: str, asked: str) -> None:
    told = call(who, "GET", "/api/payments/p2", asked)
    assert (told.status, told.code, told.parameter) == (422, "validation_failed", "Api-Version")
    assert told.line["reason"] == "unknown_version"
    assert told.sent is None


@pytest.mark.parametrize("asked", [None, "2026-11-02", NEXT, NEW])
def test_a_stranger_learns_nothing_of_versions(call: Caller, asked: str | None) -> None:
    told = call("", "GET", "/api/payments/p2", asked)
    assert (told.status, told.code) == (401, "credential_missing")


def test_a_doubled_header_is_refused(gateway: GatewayProcess) -> None:
    connection = http.client.HTTPConnection(*gateway.address, timeout=20)
    connection.putrequest("GET", "/api/payments/p2")
    for name, value in (key_line("free").split(": ", 1), ("Api-Version", NEW), ("api-version", NEW)):
        connection.putheader(name, value)
    connection.endheaders()
    assert connection.getresponse().status == 422
    connection.close()


@pytest.mark.parametrize(("who", "asked"), [("free", OLD), ("old", None)])
def test_a_retired_version_is_gone_by_name_and_by_pin(call: Caller, who: str, asked: str | None) -> None:
    told = call(who, "GET", "/api/payments/p2", asked)
    assert (told.status, told.code, told.version) == (410, "version_retired", OLD)
    assert told.headers["Link"] == f'</api>; rel="successor-version"; title="{MIDDLE}"'


def test_routes_are_those_of_the_version(call: Caller) -> None:
    assert call("preview", "GET", "/api/payments/search", NEXT).line["route"] == "GET /payments/search"
    assert call("preview", "GET", "/api/payments/search", NEW).line["route"] == "GET /payments/{id}"
    missing = call("free", "DELETE", "/api/payments/p2", NEW)
    assert (missing.status, missing.headers["Allow"]) == (405, "GET, PUT")
    assert call("free", "GET", "/api/nothing", NEW).status == 404


def test_a_public_api_has_a_default_for_all_and_may_choose_by_the_gateways_own_header(call: Caller) -> None:
    assert call("", "GET", "/open/things").line["version"] == NEW
    other = call("", "GET", "/open/things", X_Api_Version=MIDDLE)
    assert other.line["version"] == other.headers["X-Api-Version"] == MIDDLE
    assert other.sent is not None
    assert other.sent.header("X-Api-Version") == MIDDLE
    assert call("", "GET", "/open/things", X_Api_Version="v9").code == "validation_failed"


def test_the_body_is_bounded_by_the_route_that_was_settled(call: Caller) -> None:
    assert call("free", "PUT", "/api/payments/p2", None, b"a" * 64, Content_Type="text/plain").status == 200
    told = call("free", "PUT", "/api/payments/p2", None, b"a" * 65)
    assert (told.status, told.code, told.sent) == (413, "body_too_large", None)


def test_what_every_answer_says_of_a_deprecated_version(call: Caller) -> None:
    told = call("pinned", "GET", "/api/payments/p2")
    assert told.headers["Deprecation"] == "@1790812800"
    assert told.headers["Sunset"] == "Wed, 30 Jun 2027 00:00:00 GMT"
    assert told.headers.get_all("Link") == [
        f'</api>; rel="successor-version"; title="{NEW}"',
        '<https://acme.example/ends>; rel="deprecation"; type="text/html"',
        '<https://acme.example/ends>; rel="sunset"; type="text/html"',
    ]


# changes


def test_a_request_is_carried_to_the_newest_form(call: Caller) -> None:
    told = call("pinned", "POST", "/api/payments", None, BODY, X_Shop="7", Content_Digest="sha-256=:AA==:")
    assert told.sent is not None
    assert bytes(told.sent.body.data) == CARRIED
    assert told.sent.header("X-Merchant") == "7"
    assert told.sent.header("X-Shop") is None
    assert told.sent.header("Content-Digest") is None
    assert told.sent.header("Content-Length") == str(len(CARRIED))
    assert told.line["request_bytes"] == len(BODY)


def test_each_version_is_carried_only_through_what_came_after_it(call: Caller) -> None:
    body = b'{ "amount": 1, "total": 2.50 }'
    newer = call("free", "POST", "/api/payments", NEW, body)
    assert newer.sent is not None
    assert bytes(newer.sent.body.data) == b'{"amount":1,"total":{"value":2.50}}'
    newest = call("preview", "POST", "/api/payments", NEXT, body)
    assert newest.sent is not None
    assert bytes(newest.sent.body.data) == body


def test_what_no_operation_concerns_passes_byte_for_byte(call: Caller) -> None:
    body = b'{ "other" : 1e400 }'
    told = call("free", "POST", "/api/payments", NEW, body, Content_Digest="sha-256=:AA==:")
    assert told.sent is not None
    assert bytes(told.sent.body.data) == body
    assert told.sent.header("Content-Digest") == "sha-256=:AA==:"
    form = call("pinned", "POST", "/api/payments", None, BODY, Content_Type="text/json")
    assert form.sent is not None
    assert bytes(form.sent.body.data) == BODY


@pytest.mark.parametrize(
    ("body", "encoding", "parameter"),
    [(b'{"amount":1,"amount":2}', None, "body"), (b"{", None, "body"), (BODY, "gzip", "Content-Encoding")],
)
def test_a_body_that_cannot_be_read_is_refused(
    call: Caller, body: bytes, encoding: str | None, parameter: str
) -> None:
    more = {} if encoding is None else {"Content_Encoding": encoding}
    told = call("pinned", "POST", "/api/payments", None, body, **more)
    assert (told.status, told.code, told.parameter, told.sent) == (422, "validation_failed", parameter, None)


def test_a_chunked_request_is_carried_too(
    call: Caller, gateway: GatewayProcess, upstream: RecordingUpstream
) -> None:
    connection = http.client.HTTPConnection(*gateway.address, timeout=20)
    name, _, value = key_line("pinned").partition(": ")
    pieces = iter([BODY[:20], BODY[20:]])
    connection.request(
        "POST",
        "/api/payments",
        pieces,
        {name: value, "Content-Type": "application/json"},
        encode_chunked=True,
    )
    told = Told(connection.getresponse(), upstream, gateway)
    connection.close()
    assert told.sent is not None
    assert bytes(told.sent.body.data) == CARRIED
    assert told.sent.body.framing == "length"


@pytest.mark.parametrize("place", ["p1", "chunks"])
def test_an_answer_is_carried_back(call: Caller, place: str) -> None:
    told = call("pinned", "GET", f"/api/payments/{place}", Accept_Encoding="gzip")
    assert (told.status, told.body, told.headers["Content-Length"]) == (200, TOLD, str(len(TOLD)))
    assert told.headers["X-New"] is None
    assert told.sent is not None
    assert told.sent.header("Accept-Encoding") is None
    assert told.line["response_bytes"] == len(TOLD)
    newest = call("preview", "GET", f"/api/payments/{place}", NEXT)
    assert newest.body == ANSWER


@pytest.mark.parametrize(("place", "status"), [("failed", 422), ("text", 200)])
def test_other_answers_pass_as_they_are(call: Caller, place: str, status: int) -> None:
    told = call("pinned", "GET", f"/api/payments/{place}")
    assert (told.status, told.body) == (status, ANSWER)


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("broken", "answer_not_json"),
        ("brotli", "answer_encoded"),
        ("long", "answer_too_long"),
        ("long-chunks", "answer_too_long"),
    ],
)
def test_an_answer_that_cannot_be_carried_back_is_not_told(call: Caller, place: str, reason: str) -> None:
    told = call("pinned", "GET", f"/api/payments/{place}")
    assert (told.status, told.code, told.line["reason"]) == (502, "upstream_invalid_response", reason)
    assert call("pinned", "GET", "/api/payments/p1").status == 200


def test_a_repeat_gets_what_was_told(call: Caller, upstream: RecordingUpstream) -> None:
    upstream.script("/api/payments", sized(ANSWER, 201, JSON))
    try:
        first = call("pinned", "POST", "/api/payments", None, BODY, Idempotency_Key="k-1")
        again = call("pinned", "POST", "/api/payments", None, BODY, Idempotency_Key="k-1")
    finally:
        upstream.script("/api/payments", sized(b"{}"))
    assert (first.status, first.body) == (again.status, again.body) == (201, TOLD)
    assert first.sent is not None
    assert first.sent.header("Idempotency-Key") == "k-1"
    assert bytes(first.sent.body.data) == CARRIED
    assert again.sent is None
    assert again.headers["Idempotent-Replayed"] == "true"
    other = call("pinned", "POST", "/api/payments", NEW, BODY, Idempotency_Key="k-1")
    assert (other.status, other.code) == (422, "idempotency_mismatch")


def test_an_answer_that_cannot_be_told_leaves_the_payment_open(
    call: Caller, upstream: RecordingUpstream
) -> None:
    upstream.script("/api/payments", sized(ANSWER[:-1], 201, JSON))
    try:
        first = call("pinned", "POST", "/api/payments", None, BODY, Idempotency_Key="k-2")
        again = call("pinned", "POST", "/api/payments", None, BODY, Idempotency_Key="k-2")
    finally:
        upstream.script("/api/payments", sized(b"{}"))
    assert (first.status, first.line["idempotency"]) == (502, "unknown")
    assert (again.status, again.retry, again.sent) == (409, "after_query", None)


def test_http2_callers_get_the_same(
    gateway: GatewayProcess, secure: int, upstream: RecordingUpstream
) -> None:
    with Http2Caller(secure) as caller:
        told = caller.ask2("/api/payments/p1", key_line("pinned"))
        newest = caller.ask2("/api/payments/p1", key_line("preview"), f"Api-Version: {NEXT}")
        unknown = caller.ask2("/api/payments/p1", key_line("pinned"), "Api-Version: v1")
        sent = caller.ask2("/api/payments", key_line("pinned"), JSON, method="POST", body=BODY)
    assert (told.body, told.headers[b"api-version"]) == (TOLD, MIDDLE.encode())
    assert newest.body == ANSWER
    assert (unknown.status, unknown.code) == (422, "validation_failed")
    assert sent.status == 200
    assert bytes(upstream.requests[-1].body.data) == CARRIED
    assert gateway.log.of(told.headers[b"x-request-id"].decode())["version"] == MIDDLE


# shares


def test_a_caller_stays_on_its_side_of_a_split(call: Caller) -> None:
    sides = set()
    for who in ("pinned", "old", "free", "preview", "late"):
        told = [call(who, "GET", f"/v2/things/{number}?q=/v2/") for number in range(3)]
        assert len({one.line["version"] for one in told}) == 1
        sides.add(told[0].line["version"])
        sent = told[1].sent
        assert sent is not None
        ran = told[0].line["version"]
        assert sent.target == f"/{ran}/things/1?q=/v2/"
        assert sent.header("X-Api-Version") == ran
        assert told[0].line.get("version_asked") == (None if ran == "v2" else "v2")
        assert told[0].line["path"] == "/v2/things/0"
    assert sides == {"v2", "v3"}
    assert call("pinned", "GET", "/v3/things/1").line["version"] == "v3"


def test_a_share_keeps_a_payment_one(call: Caller) -> None:
    for who in ("pinned", "free", "old", "late", "preview"):
        first = call(who, "POST", "/v2/payments", None, b"{}", Idempotency_Key=f"s-{who}")
        again = call(who, "POST", "/v2/payments", None, b"{}", Idempotency_Key=f"s-{who}")
        assert (first.status, again.status, again.sent) == (200, 200, None)
        assert first.body == again.body


# times


def test_a_brownout_says_when_it_ends(call: Caller) -> None:
    told = call("", "GET", "/ends/v1/things")
    assert (told.status, told.code, told.retry) == (410, "version_retired", "after")
    assert 500 < int(told.headers["Retry-After"]) <= 570
    assert told.line["reason"] == "brownout"
    assert told.headers["Link"] == '</ends/v2>; rel="successor-version"'
    assert told.headers["Deprecation"] == "@1790812800"


def test_a_sunset_retires_only_what_says_so(call: Caller) -> None:
    assert call("", "GET", "/ends/v2/things").status == 410
    served = call("", "GET", "/ends/v3/things")
    assert (served.status, served.headers["Sunset"]) == (200, "Sat, 31 Jan 2026 00:00:00 GMT")
    assert call("", "GET", "/ends/v4/things").status == 200
