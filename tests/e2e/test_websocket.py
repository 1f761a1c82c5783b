"""WebSockets through the real gateway: http-rules.md F30, W12, W13, and `tunnel_after_101`, `connect_never_pooled` of section 9."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.e2e.websockets import ACME, ECHO, SCRIPTED, SWITCH, Chain, ask_once, running, ws
from tests.support.client import Answer, RawClient, request
from tests.support.configuration import bearer, key_line
from tests.support.gateway import until
from tests.support.script import Gate, Stall, head, raw, sized
from tests.support.websocket import ACCEPT, CLOSE, PING, PONG, TEXT, closing, frame, said, upgrade


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    with running(tmp_path_factory.mktemp("ws")) as made:
        yield made


@pytest.fixture(autouse=True)
def forgotten(chain: Chain) -> None:
    chain.upstream.clear()


def test_bytes_pass_both_ways_and_one_line_tells_of_it(chain: Chain) -> None:
    async def play() -> str:
        async with ws(chain) as client:
            await client.open(ECHO, ACME, "Origin: https://app.example", "X-Request-Id: ws-line-1")
            assert client.head.one("x-request-id") == b"ws-line-1"
            assert client.head.one("via") is not None
            await client.echo(b"hello")
            await client.echo(bytes(range(256)) * 1024, opcode=2)
            await client.say(b"p", PING)
            heard = await client.hear()
            assert heard is not None
            assert (heard.opcode, heard.payload) == (PONG, b"p")
            until(lambda: chain.gateway.metric("faregate_tunnels") == 1, "the gauge of open tunnels")
            assert chain.gateway.metric("faregate_calls_in_flight") == 0, "a tunnel is no call in progress"
            return str(await client.part())

    assert asyncio.run(play()) == "1000"
    line = chain.gateway.log.of("ws-line-1")
    assert (line["status"], line["outcome"], line["reason"]) == (101, "answered", "client_closed")
    assert line["consumer"] == "acme"
    assert line["request_bytes"] > 256 * 1024
    assert line["response_bytes"] > 256 * 1024
    assert line["duration_us"] > 0
    until(lambda: chain.gateway.metric("faregate_tunnels") == 0, "the tunnel's end")


def test_w02_connection_and_upgrade_are_said_anew_and_the_credential_stays(chain: Chain) -> None:
    chain.upstream.script(SCRIPTED, raw(SWITCH, Stall()))

    async def play() -> None:
        async with ws(chain) as client:
            await client.ask(
                upgrade(
                    SCRIPTED, ACME, "X-Consumer-Id: root", "TE: trailers", "Sec-WebSocket-Protocol: chat",
                ).replace(b"Connection: Upgrade", b"Connection: keep-alive, Upgrade, TE, X-Private")
                .replace(b"TE: trailers\r\n", b"TE: trailers\r\nX-Private: 1\r\n")
            )  # fmt: skip

    asyncio.run(play())
    (seen,) = chain.upstream.requests
    assert seen.head.all("connection") == [b"Upgrade"]
    assert seen.head.all("upgrade") == [b"websocket"]
    assert seen.head.all("x-consumer-id") == [b"acme"]
    assert seen.head.all("sec-websocket-version") == [b"13"]
    assert seen.head.all("sec-websocket-protocol") == [b"chat"]
    assert not {"x-request-deadline", "te", "x-private", "x-api-key", "keep-alive"} & set(seen.head.names)


@pytest.mark.parametrize(
    ("data", "status", "code", "reason"),
    [
        (upgrade(SCRIPTED), 401, "credential_missing", ""),
        (upgrade(SCRIPTED, "X-API-Key: fg_test_none"), 401, "credential_invalid", ""),
        (upgrade(SCRIPTED, bearer("acme", exp=1)), 401, "credential_invalid", ""),
        (upgrade(SCRIPTED, bearer("acme", scope="other")), 403, "permission_denied", ""),
        (upgrade(SCRIPTED, key_line("paused")), 403, "consumer_suspended", ""),
        (upgrade(SCRIPTED, key_line("fenced")), 403, "address_denied", ""),
        (
            upgrade(SCRIPTED, ACME, "Origin: https://evil.example"),
            403,
            "permission_denied",
            "origin_not_allowed",
        ),
        (upgrade(SCRIPTED, ACME, "Origin: null"), 403, "permission_denied", "origin_not_allowed"),
        (upgrade(SCRIPTED, ACME, version="8"), 400, "malformed_request", "websocket_version"),
        (upgrade(SCRIPTED, ACME, key="c2hvcnQ="), 400, "malformed_request", "websocket_key"),
        (
            upgrade(SCRIPTED, ACME).replace(b"Connection: Upgrade", b"Connection: keep-alive"),
            400,
            "malformed_request",
            "upgrade_not_in_connection",
        ),
        (upgrade(SCRIPTED, ACME, "Content-Length: 3") + b"abc", 400, "malformed_request", "body_not_allowed"),
        (
            upgrade(SCRIPTED, ACME, "Content-Length: 3").replace(b"GET", b"POST") + b"abc",
            400,
            "malformed_request",
            "upgrade_with_body",
        ),
    ],
    ids=lambda value: str(value) if not isinstance(value, bytes) else "",
)
def test_w13_f30_nothing_goes_upstream_unless_all_is_right(
    chain: Chain, data: bytes, status: int, code: str, reason: str
) -> None:
    (answer,) = ask_once(chain, data)
    assert (answer.status, answer.problem["code"]) == (status, code)
    assert chain.upstream.requests == []
    if reason:
        line = chain.gateway.log.of(str(answer.header("x-request-id")))
        assert line["reason"] == reason
    if reason == "origin_not_allowed":
        assert (answer.problem["parameter"], answer.problem["detail"]) == (
            "upgrade.origins",
            "The page's origin (Origin) is not among those that this route takes WebSockets from.",
        )
    if reason == "websocket_version":
        assert answer.header("sec-websocket-version") == "13"


@pytest.mark.parametrize(
    "data",
    [
        upgrade("/ws/v1/plain", ACME),
        upgrade(SCRIPTED, ACME).replace(b"Upgrade: websocket", b"Upgrade: h2c"),
        upgrade(SCRIPTED, ACME).replace(b"HTTP/1.1", b"HTTP/1.0"),
        upgrade(SCRIPTED, ACME).replace(b"GET", b"POST"),
    ],
    ids=["route without", "other protocol", "HTTP/1.0", "route of another method"],
)
def test_f30_an_upgrade_that_is_not_enabled_is_ignored(chain: Chain, data: bytes) -> None:
    (answer,) = ask_once(chain, data)
    assert answer.status == 200
    (seen,) = chain.upstream.requests
    assert not {"upgrade", "connection"} & set(seen.head.names)


def test_a_plain_call_of_the_route_is_a_plain_call(chain: Chain) -> None:
    (answer,) = ask_once(chain, request("GET", SCRIPTED, ACME))
    assert answer.status == 200


@pytest.mark.parametrize("status", [200, 302, 403, 426])
def test_w12_another_answer_than_101_is_an_ordinary_one_and_the_bytes_behind_are_requests(
    chain: Chain, status: int
) -> None:
    """tunnel_after_101: what came behind the request is judged as the next request, and no byte of it went on unseen."""
    gate = Gate()
    chain.upstream.script(SCRIPTED, raw(gate, *sized(b"{}", status).actions))

    async def play() -> tuple[Answer | None, Answer | None]:
        async with RawClient(chain.gateway.address) as client:
            await client.send(upgrade(SCRIPTED, ACME) + request("GET", f"/ws/v1/plain?behind={status}"))
            await chain.upstream.awaits(lambda: bool(chain.upstream.requests), "the handshake")
            gate.open()
            return await client.answer(), await client.answer()

    first, second = asyncio.run(play())
    assert first is not None
    assert second is not None
    assert (first.status, second.status) == (status, 401), "the second has no credential of its own"
    (seen,) = chain.upstream.requests
    assert b"behind" not in chain.upstream.connection(seen).received


def test_w12_bytes_sent_early_wait_for_the_101(chain: Chain) -> None:
    gate = Gate()
    chain.upstream.script(SCRIPTED, raw(gate, SWITCH + frame(TEXT, b"at once"), Stall()))
    early = said(TEXT, b"early")

    async def play() -> None:
        async with ws(chain) as client:
            await client.send(upgrade(SCRIPTED, ACME) + early)
            await chain.upstream.awaits(lambda: bool(chain.upstream.requests), "the handshake")
            (seen,) = chain.upstream.requests
            received = chain.upstream.connection(seen).received
            assert bytes(received).endswith(b"\r\n\r\n"), "a byte went ahead of the 101"
            gate.open()
            answer = await client.answer()
            assert answer is not None
            assert answer.status == 101
            heard = await client.hear()
            assert heard is not None
            assert heard.payload == b"at once"
            await chain.upstream.awaits(lambda: bytes(received).endswith(early), "the early frame")

    asyncio.run(play())


@pytest.mark.parametrize(
    ("switch", "reason"),
    [
        (head(101, "Upgrade: websocket", "Connection: Upgrade"), "websocket_accept"),
        (
            head(101, "Upgrade: h2c", "Connection: Upgrade", f"Sec-WebSocket-Accept: {ACCEPT}"),
            "switching_to_another",
        ),
        (SWITCH[:-2] + b"Sec-WebSocket-Protocol: x\r\n\r\n", "websocket_protocol"),
        (SWITCH[:-2] + b"Content-Length: 3\r\n\r\nabc", "interim_with_body"),
    ],
)
def test_w12_a_wrong_101_is_an_invalid_answer(chain: Chain, switch: bytes, reason: str) -> None:
    chain.upstream.script(SCRIPTED, raw(switch, Stall()))
    (answer,) = ask_once(chain, upgrade(SCRIPTED, ACME))
    assert (answer.status, answer.problem["code"]) == (502, "upstream_invalid_response")
    assert chain.gateway.log.of(str(answer.header("x-request-id")))["reason"] == reason


def test_w12_a_101_that_nobody_asked_for_is_an_invalid_answer(chain: Chain) -> None:
    chain.upstream.script(SCRIPTED, raw(SWITCH, Stall()))
    (answer,) = ask_once(chain, request("GET", SCRIPTED, ACME))
    assert (answer.status, answer.problem["code"]) == (502, "upstream_invalid_response")


def test_connect_never_pooled_the_next_call_gets_a_connection_of_its_own(chain: Chain) -> None:
    chain.upstream.script(SCRIPTED, raw(SWITCH, frame(CLOSE, closing(1000)), Stall()))

    async def play() -> None:
        async with ws(chain) as client:
            await client.open(SCRIPTED, ACME)
            assert await client.closed() == (1000, "")

    asyncio.run(play())
    (tunnelled,) = chain.upstream.requests
    for _ in range(3):
        (answer,) = ask_once(chain, request("GET", "/ws/v1/plain", ACME))
        assert answer.status == 200
    others = {seen.connection for seen in chain.upstream.of_path("/ws/v1/plain")}
    assert tunnelled.connection not in others
    chain.upstream.wait(
        lambda: not chain.upstream.connection(tunnelled).open, "the tunnel's connection to end"
    )
