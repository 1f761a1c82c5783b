"""Framing and reuse: what broke other proxies between one request and the next."""

import asyncio

import pytest

from tests.conftest import Bench
from tests.support.client import RawClient, attempt, request
from tests.support.script import Stall, head, raw, sized

HIDDEN = b"GET /open/v1/hidden HTTP/1.1\r\nHost: evil.test\r\n\r\n"
GET = request("GET", "/open/v1/t")


@pytest.mark.parametrize(
    ("target", "status"),
    [("/nowhere", 404), ("/v2/payments", 401), ("/narrow/v1/t", 413)],
    ids=["no route", "no credential", "too large"],
)
def test_reg_drain_before_reuse_a_refused_calls_body_is_never_the_next_request(
    bench: Bench, target: str, status: int
) -> None:
    """Pingora CVE-2025-4366: an answer that needed no upstream left the request's body to be read as a request."""
    body = HIDDEN * 40

    async def play() -> list[int]:
        result = await attempt(
            bench.address, request("POST", target, body=body), GET, finish=True, timeout_s=4
        )
        return [answer.status for answer in result.answers]

    statuses = asyncio.run(play())
    assert statuses[0] == status
    assert statuses[1:] in ([], [200])
    assert bench.upstream.of_path("/open/v1/hidden") == []


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize(
    "lines",
    [
        ("Content-Length: 5", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: chunked", "Content-Length: 0"),
        ("Transfer-Encoding: identity",),
        ("Transfer-Encoding: chunked, chunked",),
        ("Transfer-Encoding: xchunked",),
        ("Content-Length: 5", "Content-Length: 5"),
        ("Content-Length: 5, 5",),
    ],
)
def test_reg_framing_by_rfc(bench: Bench, version: str, lines: tuple[str, ...]) -> None:
    """Pingora CVE-2026-2835: rules of its own for 1.0 bodies, and for both framing fields at once."""
    data = request("DELETE", "/open/v1/t", *lines, version=version) + b"0\r\n\r\n" + HIDDEN
    result = asyncio.run(attempt(bench.address, data, finish=True, timeout_s=4))
    assert result.status in {400, 501}
    assert result.closed
    assert bench.upstream.requests == []


@pytest.mark.parametrize("target", ["api.test:443", "/open/v1/t", "*"])
def test_reg_connect_never_pooled_connect_opens_nothing(bench: Bench, target: str) -> None:
    """Traefik CVE-2026-71324: the next user read what a tunnel had left. Ours knows no CONNECT at all."""
    result = asyncio.run(
        attempt(bench.address, b"CONNECT %b HTTP/1.1\r\nHost: api.test\r\n\r\n" % target.encode() + GET)
    )
    assert result.status in {400, 501}
    assert result.closed
    assert bench.upstream.requests == []


def test_reg_tunnel_after_101_a_200_to_an_upgrade_is_no_tunnel(bench: Bench) -> None:
    """Pingora CVE-2026-2833, Envoy CVE-2024-23326: bytes behind an upgrade that was not answered by 101 are requests."""
    upgrade = request(
        "GET", "/open/v1/t", "Connection: upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"
    )

    async def play() -> list[int]:
        async with RawClient(bench.address) as client:
            await client.send(upgrade + request("GET", "/open/v1/second"))
            first, second = await client.answer(), await client.answer()
            assert first is not None
            assert second is not None
            return [first.status, second.status]

    assert asyncio.run(play()) == [200, 200]
    (second,) = bench.upstream.of_path("/open/v1/second")
    assert second.header("via") is not None, "passed on as bytes, not as a request"


@pytest.mark.parametrize("expect", ["100-continue, x", "200-ok", "100-continue;q=1", ""])
def test_reg_expect_non_1xx_a_refused_expect_poisons_nothing(bench: Bench, expect: str) -> None:
    """Go CVE-2024-24791: after a refused Expect, the body that came nonetheless was read as a request."""
    data = request("POST", "/open/v1/t", f"Expect: {expect}", body=HIDDEN)
    result = asyncio.run(attempt(bench.address, data, GET, finish=True, timeout_s=4))
    assert [answer.status for answer in result.answers] in ([417], [400])
    assert bench.upstream.requests == []


@pytest.mark.parametrize("status", [417, 401, 500])
def test_reg_expect_non_1xx_an_upstream_that_answers_at_once_leaves_no_body_behind(
    bench: Bench, status: int
) -> None:
    """The same seen from the other side: the upstream connection with an unfinished body is not lent again."""
    bench.upstream.script("/open/v1/early", raw(head(status, "Content-Length: 0"), Stall(), early=True))

    async def play() -> tuple[int, int]:
        async with RawClient(bench.address) as client:
            whole = request("POST", "/open/v1/early", body=HIDDEN * 2000)
            await client.send(whole[: len(whole) // 2])
            answer = await client.answer("POST")
            assert answer is not None
        async with RawClient(bench.address) as client:
            return answer.status, (await client.ask(GET)).status

    assert asyncio.run(play()) == (status, 200)
    assert bench.upstream.of_path("/open/v1/hidden") == []


@pytest.mark.parametrize("line", [b": value", b" : value", b":"])
def test_reg_empty_name(bench: Bench, line: bytes) -> None:
    """HAProxy CVE-2023-25725: an empty field name ended the list, and all behind it was lost to the rules."""
    data = b"GET /open/v1/t HTTP/1.1\r\nHost: api.test\r\n%b\r\nContent-Length: 5\r\n\r\nhello" % line
    assert asyncio.run(attempt(bench.address, data)).status == 400
    assert bench.upstream.requests == []


@pytest.mark.parametrize(
    "line",
    [
        b"Content-Length:",
        b"Content-Length: ",
        b"Content-Length: \t",
        b"Content-Length:,",
        b"Content-Length: ,0",
    ],
)
def test_reg_empty_length(bench: Bench, line: bytes) -> None:
    """HAProxy CVE-2023-40225: an empty Content-Length was passed on, and the next server read it in its own way."""
    data = b"POST /open/v1/t HTTP/1.1\r\nHost: api.test\r\n%b\r\n\r\n" % line
    assert asyncio.run(attempt(bench.address, data)).status == 400
    assert bench.upstream.requests == []


@pytest.mark.parametrize("length", [255, 256, 257, 270, 511, 512, 4096])
def test_reg_name_length_overflow(bench: Bench, length: int) -> None:
    """HAProxy CVE-2021-40346: the length of a name wrapped an integer of eight bits, and Content-Length hid in the carry."""
    name = b"Content-Length0" + b"a" * (length - 15)
    data = b"POST /open/v1/t HTTP/1.1\r\nHost: api.test\r\n%b:\r\nContent-Length: %d\r\n\r\n%b" % (
        name,
        len(HIDDEN),
        HIDDEN,
    )
    result = asyncio.run(attempt(bench.address, data, finish=True))
    assert result.status == 200
    (seen,) = bench.upstream.requests
    assert bytes(seen.body.data) == HIDDEN
    assert seen.head.all(name.decode()) == [b""]


def test_reg_framing_by_rfc_a_sized_answer_never_becomes_another_callers(bench: Bench) -> None:
    """An answer longer than it said ends its connection; the surplus belongs to nobody."""
    surplus = head(200, "Content-Length: 5") + b"stale"
    bench.upstream.script("/open/v1/long", raw(head(200, "Content-Length: 2") + b"{}" + surplus))

    async def play() -> list[bytes]:
        async with RawClient(bench.address) as client:
            return [
                (await client.ask(request("GET", path))).text
                for path in ("/open/v1/long", "/open/v1/t", "/open/v1/t")
            ]

    first, *others = asyncio.run(play())
    assert first == b"{}"
    assert all(b'"target": "/open/v1/t"' in text for text in others)


def test_reg_cache_key_full_no_answer_is_kept_for_another(bench: Bench) -> None:
    """Pingora CVE-2026-2836: a key without host or identity. Ours keeps no answers: each call reaches the upstream."""
    bench.upstream.script(
        "/open/v1/kept", sized(b"{}", 200, "Cache-Control: public, max-age=3600", 'ETag: "a"')
    )

    async def play() -> None:
        async with RawClient(bench.address) as client:
            for host in ("one.test", "two.test", "one.test"):
                assert (await client.ask(request("GET", "/open/v1/kept", host=host))).status == 200

    asyncio.run(play())
    assert len(bench.upstream.of_path("/open/v1/kept")) == 3
