"""Calls held against an OpenAPI document: what is refused never reaches the upstream, and is told without the value."""

import asyncio
import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.validated import configuration
from tests.support.certificates import Authority
from tests.support.client import RawClient, request
from tests.support.configuration import Tree, key_line
from tests.support.gateway import GatewayProcess
from tests.support.http2_client import Http2Caller, Reply
from tests.support.live import LiveGateway
from tests.support.ports import free_ports
from tests.support.script import Script, head, in_chunks, sized
from tests.support.upstream import RecordingUpstream

GOOD: Final = {"amount": 1250, "currency": "EUR", "source": {"token": "tok_1"}}
PAID: Final = b'{"id":"pay_1234","status":"open","amount":1250,"currency":"EUR"}'


@pytest.fixture(scope="module")
def upstream() -> Iterator[RecordingUpstream]:
    with RecordingUpstream() as made:
        yield made


@pytest.fixture(scope="module")
def gateway(upstream: RecordingUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    folder = tmp_path_factory.mktemp("validation")
    with LiveGateway(
        folder, lambda port, manager: configuration(port, manager, upstream.url, folder)
    ) as made:
        yield made


class Told:
    """An answer."""

    def __init__(self, answer: http.client.HTTPResponse) -> None:
        self.status = answer.status
        self.body = answer.read()
        self.replayed = answer.getheader("Idempotent-Replayed")
        told = json.loads(self.body) if self.body.startswith(b'{"type"') else {}
        self.code, self.parameter = told.get("code"), told.get("parameter")
        self.outcome, self.detail = told.get("outcome"), told.get("detail")


def call(
    gateway: LiveGateway,
    method: str,
    target: str,
    content: object = None,
    *,
    chunked: bool = False,
    **fields: str,
) -> Told:
    name, _, value = key_line("acme").partition(": ")
    sent = {name: value} | {field.replace("_", "-"): text for field, text in fields.items()}
    body = content if isinstance(content, bytes) or content is None else json.dumps(content).encode()
    if body is not None:
        sent.setdefault("Content-Type", "application/json")
    connection = http.client.HTTPConnection(*gateway.address, timeout=10)
    try:
        pieces = iter([body[:7], body[7:]]) if chunked and body is not None else body
        connection.request(method, target, pieces, sent, encode_chunked=chunked)
        return Told(connection.getresponse())
    finally:
        connection.close()


_keys = iter(range(10_000))


def pay(gateway: LiveGateway, content: object, path: str = "/v2/payments", **fields: str) -> Told:
    fields.setdefault("Idempotency_Key", f"key-{next(_keys):08}")
    return call(gateway, "POST", path, content, chunked=False, **fields)


def reason(gateway: LiveGateway, wanted: str) -> dict[str, object]:
    lines = gateway.log.wait(lambda all_: any(one.get("reason") == wanted for one in all_), wanted)
    return next(one for one in lines if one.get("reason") == wanted)


def test_what_is_as_described_arrives_byte_for_byte(
    gateway: LiveGateway, upstream: RecordingUpstream
) -> None:
    upstream.clear()
    upstream.script("/v2/payments", sized(PAID, 201, "Content-Type: application/json"))
    body = (
        b'{ "currency":"EUR", "amount" : 1250,"fee_percent":1.10,"source":{"token":"tok_1"},"unknown":[1e2] }'
    )
    assert pay(gateway, body).status == 201
    told = call(gateway, "POST", "/v2/payments", body, chunked=True, Idempotency_Key="key-in-chunks")
    assert (told.status, told.body) == (201, PAID)
    assert [bytes(one.body.data) for one in upstream.requests] == [body, body]


@pytest.mark.parametrize(
    ("content", "parameter", "logged"),
    [
        ({**GOOD, "amount": "4111111111111111"}, "/amount", "body_type:/amount"),
        ({**GOOD, "amount": 0}, "/amount", "body_minimum:/amount"),
        ({**GOOD, "currency": "eur"}, "/currency", "body_pattern:/currency"),
        ({**GOOD, "fee_percent": 1.005}, "/fee_percent", "body_multiple_of:/fee_percent"),
        ({**GOOD, "fee_percent": 0}, "/fee_percent", "body_exclusive_minimum:/fee_percent"),
        ({"currency": "EUR", "source": {"token": "t"}}, "/amount", "body_required:/amount"),
        ({**GOOD, "source": {}}, "/source", "body_one_of:/source"),
        ({**GOOD, "metadata": {"4111111111111111": 5}}, "/metadata/*", "body_type:/metadata/*"),
        ({**GOOD, "lines": [{"name": "a", "amount": 1}, {"name": "b"}]}, "/lines/1/amount", "body_required:/lines/*/amount"),
        (b'{"amount":1,"amount":2,"currency":"EUR","source":{"token":"t"}}', "body", "body_doubled"),
        (b'{"amount":1', "body", "body_unreadable"),
        (b"[" * 70 + b"]" * 70, "body", "body_too_deep"),
        (b'{"amount":1e99}', "body", "body_number_too_long"),
        (b"", "body", "body_missing"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_its_place(
    gateway: LiveGateway, upstream: RecordingUpstream, content: object, parameter: str, logged: str
) -> None:
    upstream.clear()
    told = pay(gateway, content)
    assert (told.status, told.code, told.parameter) == (422, "validation_failed", parameter)
    assert b"4111" not in told.body
    assert upstream.requests == []
    line = reason(gateway, logged)
    assert line["refusal"] == "validation_failed"
    assert "4111" not in json.dumps(line)


def test_content_types_codings_and_forms(gateway: LiveGateway, upstream: RecordingUpstream) -> None:
    upstream.clear()
    upstream.script("/v2/payments", sized(PAID, 201, "Content-Type: application/json"))
    form = {"Content_Type": "application/x-www-form-urlencoded"}
    good = [pay(gateway, b"amount=12&currency=EUR&tags=a&tags=b%20c", **form)]
    good.append(pay(gateway, GOOD, Content_Type="application/json; charset=utf-8"))
    assert [one.status for one in good] == [201, 201]
    bad = {
        "Content-Type": pay(gateway, b"<x/>", Content_Type="application/xml"),
        "Content-Encoding": pay(gateway, GOOD, Content_Encoding="gzip"),
        "/amount": pay(gateway, b"amount=twelve&currency=EUR", **form),
        "body": pay(gateway, b"amount=1&amount=2&currency=EUR", **form),
        "/tags/0": pay(gateway, b"amount=1&currency=EUR&tags=abcdefghijk", **form),
    }
    assert {name: (told.status, told.parameter) for name, told in bad.items()} == {
        name: (422, name) for name in bad
    }
    assert len(upstream.requests) == 2


@pytest.mark.parametrize(
    ("target", "parameter"),
    [
        ("/v2/payments?limit=0", "limit"),
        ("/v2/payments?limit=010", "limit"),
        ("/v2/payments?limit=5&limit=6", "limit"),
        ("/v2/payments?status=open&status=stolen", "status"),
        ("/v2/payments?created=2026-11-01,2026-13-01", "created"),
        ("/v2/payments?live=yes", "live"),
        ("/v2/payments?filter=%7B%7D", "filter"),
        ("/v2/payments?limit=%zz", None),
        ("/v2/payments?limit=1&status=open&status=captured&created=2026-11-01&live=true&other=x", ""),
        ("/v2/payments?filter=%7B%22currency%22:1%7D", ""),
    ],
)  # fmt: skip
def test_parameters(
    gateway: LiveGateway, upstream: RecordingUpstream, target: str, parameter: str | None
) -> None:
    upstream.script("/v2/payments", sized(b'{"data":[]}', 200, "Content-Type: application/json"))
    told = call(gateway, "GET", target)
    if parameter is None:
        assert told.status == 400
    elif parameter:
        assert (told.status, told.parameter) == (422, parameter)
    else:
        assert told.status == 200


def test_path_and_header_parameters(gateway: LiveGateway, upstream: RecordingUpstream) -> None:
    upstream.script("/v2/payments/pay_1234", sized(PAID, 200, "Content-Type: application/json"))
    assert call(gateway, "GET", "/v2/payments/pay_1234").status == 200
    refused = call(gateway, "GET", "/v2/payments/4111111111111111")
    assert (refused.status, refused.parameter, b"4111" in refused.body) == (422, "payment_id", False)
    short = pay(gateway, GOOD, Idempotency_Key="short")
    assert (short.status, short.parameter) == (422, "idempotency-key")


def test_a_refused_body_holds_no_key(gateway: LiveGateway, upstream: RecordingUpstream) -> None:
    upstream.script("/v2/payments", sized(PAID, 201, "Content-Type: application/json"))
    first = pay(gateway, {**GOOD, "amount": -1}, Idempotency_Key="key-after-mending")
    second = pay(gateway, GOOD, Idempotency_Key="key-after-mending")
    assert (first.status, second.status, second.replayed) == (422, 201, None)


def test_answers_are_logged_where_they_do_not_fit(gateway: LiveGateway, upstream: RecordingUpstream) -> None:
    upstream.script(
        "/v2/payments",
        sized(
            b'{"data":[{"id":"4111111111111111","amount":1,"currency":"EUR"}]}',
            200,
            "Content-Type: application/json",
        ),
    )
    assert call(gateway, "GET", "/v2/payments?limit=7").status == 200
    line = reason(gateway, "answer_required:/data/*/status")
    assert (line["outcome"], "refusal" in line) == ("answered", False)


@pytest.mark.parametrize(
    ("script", "status"),
    [
        (sized(PAID, 200, "Content-Type: application/json"), 200),
        (in_chunks(PAID[:9], PAID[9:], headers=("Content-Type: application/json",)), 200),
        (sized(b'{"id":7}', 200, "Content-Type: application/json"), 502),
        (in_chunks(b'{"id"', b":7}", headers=("Content-Type: application/json",)), 502),
        (sized(b"<html>", 200, "Content-Type: text/html"), 502),
        (sized(b'{"id":"' + b"x" * (1 << 20) + b'"}', 200, "Content-Type: application/json"), 502),
        (sized(b"{}", 404, "Content-Type: application/json"), 404),
    ],
)
def test_answers_are_refused_where_that_is_asked(
    gateway: LiveGateway, upstream: RecordingUpstream, script: Script, status: int
) -> None:
    upstream.script("/v2/payments/pay_5678", script)
    told = call(gateway, "GET", "/v2/payments/pay_5678")
    assert told.status == status
    if status == 502:
        assert (told.code, told.outcome) == ("upstream_invalid_response", "unknown")
    else:
        assert told.code is None


def test_a_refused_answer_leaves_the_record_open(gateway: LiveGateway, upstream: RecordingUpstream) -> None:
    upstream.clear()
    upstream.script("/v3/payments", sized(b'{"id":7}', 201, "Content-Type: application/json"))
    first = pay(gateway, GOOD, "/v3/payments", Idempotency_Key="key-misfit")
    again = pay(gateway, GOOD, "/v3/payments", Idempotency_Key="key-misfit")
    assert (first.status, first.code, first.outcome) == (502, "upstream_invalid_response", "unknown")
    assert (again.status, again.code, again.outcome) == (409, "idempotency_in_flight", "unknown")
    assert len(upstream.requests) == 1
    upstream.script(
        "/v3/payments",
        Script(
            (
                head(201, "Content-Type: application/json", "Transfer-Encoding: chunked"),
                b"40\r\n",
                PAID,
                b"\r\n0\r\n\r\n",
            )
        ),
    )
    assert len(PAID) == 0x40
    assert [pay(gateway, GOOD, "/v3/payments", Idempotency_Key="key-sound").body for _ in range(2)] == [
        PAID
    ] * 2


def test_off_means_off(gateway: LiveGateway, upstream: RecordingUpstream) -> None:
    upstream.script("/v4/payments", Script((head(200, "Content-Length: 2"), b"{}")))
    assert call(gateway, "POST", "/v4/payments", b"not json").status == 200


def test_continue_is_said_once_the_parameters_are_good(
    gateway: LiveGateway, upstream: RecordingUpstream
) -> None:
    """A refund has no key: its body is collected for validation alone."""
    upstream.clear()
    upstream.script("/v2/payments/pay_1234/refunds", sized(b"", 201))
    body = b'{"amount":5}'
    start = (
        "POST /v2/payments/{}/refunds HTTP/1.1\r\nHost: a\r\n{}\r\nContent-Type: application/json\r\n"
        "Content-Length: 12\r\nExpect: 100-continue\r\n\r\n"
    )

    async def play() -> None:
        async with RawClient(gateway.address) as client:
            await client.send(start.format("pay_1234", key_line("acme")).encode())
            interim = await client.wire.answer_head()
            assert interim is not None
            assert interim.start[1] == b"100"
            assert (await client.ask(body, "POST")).status == 201
            assert (await client.ask(request("GET", "/v2/payments/bad!", key_line("acme")))).status == 422
        async with RawClient(gateway.address) as client:
            await client.send(
                b"POST /v2/payments HTTP/1.1\r\nHost: a\r\n%b\r\nIdempotency-Key: short\r\nContent-Length: 12\r\n"
                b"Expect: 100-continue\r\n\r\n" % key_line("acme").encode()
            )
            refused = await client.wire.answer_head()
            assert refused is not None
            assert refused.start[1] == b"422"

    asyncio.run(play())
    assert [bytes(one.body.data) for one in upstream.requests] == [body]


def test_a_slow_body_is_collected_and_a_caller_who_goes_leaves_nothing(
    gateway: LiveGateway, upstream: RecordingUpstream
) -> None:
    upstream.clear()
    upstream.script("/v2/payments/pay_1234/refunds", sized(b"", 201))
    start = (
        f"POST /v2/payments/pay_1234/refunds HTTP/1.1\r\nHost: a\r\n{key_line('acme')}\r\n"
        "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    ).encode()

    async def play() -> None:
        async with RawClient(gateway.address) as client:
            await client.send(start + b'5\r\n{"amo\r\n')
        async with RawClient(gateway.address) as client:
            await client.send(start + b'5\r\n{"amo\r\n')
            await asyncio.sleep(0.05)
            assert upstream.requests == []
            assert (await client.ask(b'7\r\nunt":5}\r\n0\r\n\r\n', "POST")).status == 201

    asyncio.run(play())
    assert [bytes(one.body.data) for one in upstream.requests] == [b'{"amount":5}']


@pytest.mark.parametrize(
    ("version", "sent", "status", "arrived", "told"),
    [
        ("2026-01-01", b'{"amount":5}', 201, b'{"total":5}', b'{"amount":7}'),
        ("2026-01-01", b'{"total":5}', 422, None, None),
        ("2026-06-01", b'{"total":5}', 201, b'{"total":5}', b'{"total":7}'),
        ("2026-06-01", b'{"amount":5}', 422, None, None),
    ],
)
def test_each_version_is_checked_in_its_callers_form(
    gateway: LiveGateway,
    upstream: RecordingUpstream,
    version: str,
    sent: bytes,
    status: int,
    arrived: bytes | None,
    told: bytes | None,
) -> None:
    upstream.clear()
    upstream.script("/dated/payments", sized(b'{"total":7}', 201, "Content-Type: application/json"))
    answer = call(gateway, "POST", "/dated/payments", sent, Api_Version=version)
    assert answer.status == status
    assert [bytes(one.body.data) for one in upstream.requests] == ([] if arrived is None else [arrived])
    if told is not None:
        assert answer.body == told


def test_over_http2_as_over_http1(upstream: RecordingUpstream, tmp_path: Path) -> None:
    upstream.clear()
    upstream.script("/v2/payments/pay_1234/refunds", sized(b"", 201))
    Authority().issue("CN=api", dns=("api.test",), client=False).write(tmp_path / "certs", "api")
    (secure,) = free_ports(1)

    def make(port: int, manager_port: int) -> Tree:
        tree = configuration(port, manager_port, upstream.url, tmp_path)
        tls: Tree = {"certificates": [{"chain": "certs/api.pem", "key": "certs/api.key"}]}
        listen = tree["gateway"]["listen"]  # type: ignore[index,call-overload]
        listen.append({"address": f"127.0.0.1:{secure}", "tls": tls})  # type: ignore[union-attr]
        return tree

    with GatewayProcess(tmp_path, make), Http2Caller(secure) as caller:

        def refund(body: bytes) -> Reply:
            fields = (key_line("acme"), "Content-Type: application/json")
            return caller.ask2("/v2/payments/pay_1234/refunds", *fields, method="POST", body=body)

        assert refund(b'{"amount":5}').status == 201
        refused = refund(b'{"amount":"5"}')
        assert (refused.status, refused.code) == (422, "validation_failed")
        assert refund(b'{"note":"' + b"x" * 100_000 + b'"}').status == 201
    assert [len(one.body.data) for one in upstream.requests] == [12, 100_011]
