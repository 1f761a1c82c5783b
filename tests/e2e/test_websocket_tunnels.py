"""Open WebSockets through the real gateway: bad frames, deaths of either side, places, back-pressure."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.e2e.websockets import ACME, ECHO, SCRIPTED, SWITCH, Chain, running, ws
from tests.support.client import RawClient, request
from tests.support.configuration import key_line
from tests.support.gateway import until
from tests.support.script import Cut, Gate, Reset, Stall, raw
from tests.support.websocket import CLOSE, PING, TEXT, frame, said, upgrade


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    with running(tmp_path_factory.mktemp("ws")) as made:
        yield made


@pytest.fixture(autouse=True)
def forgotten(chain: Chain) -> None:
    chain.upstream.clear()


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (frame(TEXT, b"unmasked"), "client_frame_mask"),
        (said(PING, b"x" * 126), "client_frame_control"),
        (said(3), "client_frame_opcode"),
        (said(0, b"x"), "client_frame_continuation"),
        (frame(TEXT, b"x", mask=b"abcd", bits=0x40), "client_frame_reserved_bits"),
    ],
)
def test_a_callers_bad_frame_ends_the_tunnel_with_1002_and_goes_nowhere(
    chain: Chain, bad: bytes, reason: str
) -> None:
    async def play() -> tuple[int, str]:
        async with ws(chain) as client:
            await client.open(ECHO, ACME)
            await client.echo(b"good")
            await client.send(bad)
            heard = await client.hear()
            assert heard is not None
            assert await client.hear() is None
            return heard.code, heard.reason

    before = len(chain.echo.visits)
    assert asyncio.run(play()) == (1002, reason)
    (visit,) = chain.echo.visits[before:]
    until(lambda: not visit.open, "the server's end")
    assert [heard.payload for heard in visit.frames if heard.opcode != CLOSE] == [b"good"]
    assert visit.frames[-1].code == 1001


def test_an_upstreams_bad_frame_ends_the_tunnel_and_does_not_reach_the_caller(chain: Chain) -> None:
    chain.upstream.script(SCRIPTED, raw(SWITCH, frame(TEXT, b"good") + said(TEXT, b"masked"), Stall()))

    async def play() -> list[tuple[int, bytes]]:
        async with ws(chain) as client:
            await client.open(SCRIPTED, ACME)
            heard = await client.hear()
            assert heard is not None
            code, reason = await client.closed()
            return [(heard.opcode, heard.payload), (code, reason.encode())]

    assert asyncio.run(play()) == [(TEXT, b"good"), (1001, b"upstream_frame_mask")]


@pytest.mark.parametrize(("end", "reset"), [(Cut(), False), (Reset(), True)])
def test_an_upstream_that_dies_is_seen_by_the_caller(chain: Chain, end: Cut | Reset, reset: bool) -> None:
    chain.upstream.script(SCRIPTED, raw(SWITCH, frame(TEXT, b"last words"), Gate(), end))
    gate = Gate()
    chain.upstream.script(SCRIPTED, raw(SWITCH, frame(TEXT, b"last words"), gate, end))

    async def play() -> None:
        async with ws(chain) as client:
            await client.open(SCRIPTED, ACME, f"X-Request-Id: dies-{reset}")
            heard = await client.hear()
            assert heard is not None
            assert heard.payload == b"last words"
            gate.open()
            if not reset:
                assert await client.hear() is None, "a Close frame that nobody sent"
                client.wire.half_close()
            else:
                assert await client.hear() is None

    asyncio.run(play())
    line = chain.gateway.log.of(f"dies-{reset}")
    assert line["reason"] == ("upstream_reset" if reset else "upstream_eof")
    assert (line["status"], line["outcome"]) == (101, "answered")


@pytest.mark.parametrize("how", ["half_close", "reset"])
def test_a_caller_that_dies_is_seen_by_the_upstream(chain: Chain, how: str) -> None:
    before = len(chain.echo.visits)

    async def play() -> None:
        async with ws(chain) as client:
            await client.open(ECHO, ACME, f"X-Request-Id: gone-{how}")
            await client.echo(b"here")
            if how == "reset":
                client.wire.reset_on_close()
            else:
                client.wire.half_close()
                assert await client.hear() is None

    asyncio.run(play())
    (visit,) = chain.echo.visits[before:]
    until(lambda: not visit.open, "the server to see it")
    line = chain.gateway.log.of(f"gone-{how}")
    assert line["reason"] == {"half_close": "client_eof", "reset": "client_reset"}[how]
    assert line["outcome"] == "answered"


def test_a_caller_that_ends_its_side_with_its_last_frame_still_hears_the_rest(chain: Chain) -> None:
    async def play() -> None:
        async with ws(chain) as client:
            await client.open(ECHO, ACME)
            await client.say(b"last")
            client.wire.half_close()
            heard = await client.hear()
            assert heard is not None
            assert heard.payload == b"last"
            assert await client.hear() is None

    asyncio.run(play())


def test_w13_a_consumer_has_no_more_than_its_places(chain: Chain) -> None:
    async def play() -> None:
        async with ws(chain) as one, ws(chain) as two, ws(chain) as three:
            await one.open(ECHO + "/few", ACME)
            await two.open(ECHO + "/few", ACME)
            answer = await three.ask(upgrade(ECHO + "/few", ACME))
            assert (answer.status, answer.problem["code"]) == (429, "concurrency_exceeded")
            assert answer.problem["parameter"] == "upgrade.connections"
            await three.open(ECHO + "/few", key_line("bare"))
            await one.part()
            async with ws(chain) as four:
                await asyncio.sleep(0.1)
                await four.open(ECHO + "/few", ACME)

    asyncio.run(play())


def test_a_tunnel_holds_its_consumers_place_in_the_plan(chain: Chain) -> None:
    single = key_line("single")

    async def play() -> None:
        async with ws(chain) as one, RawClient(chain.gateway.address) as other:
            await one.open(ECHO, single)
            answer = await other.ask(request("GET", "/ws/v1/plain", single))
            assert (answer.status, answer.problem["code"]) == (429, "concurrency_exceeded")
            await one.part()
            until(lambda: chain.gateway.metric("faregate_tunnels") == 0, "the end of the tunnel")
            assert (await other.ask(request("GET", "/ws/v1/plain", single))).status == 200

    asyncio.run(play())


def test_a_side_that_does_not_read_stops_the_other(chain: Chain) -> None:
    """Back-pressure: 64 MiB of echoes are on offer and the caller reads none; the worker holds what its buffers allow."""
    piece = said(2, bytes(1 << 20))
    before = chain.gateway.rss_bytes()

    async def play() -> tuple[int, int]:
        async with ws(chain, timeout_s=20) as client:
            await client.open(ECHO, ACME)
            sent = 0
            try:
                for _ in range(64):
                    async with asyncio.timeout(1):
                        await client.wire.send(piece)
                    sent += 1
            except TimeoutError:
                pass
            grown = chain.gateway.rss_bytes() - before
            client.wire.reset_on_close()
            return sent, grown

    sent, grown = asyncio.run(play())
    assert sent < 64, "everything was taken in although nobody reads"
    assert grown < 8 << 20
    until(lambda: chain.gateway.metric("faregate_tunnels") == 0, "the end of the tunnel")
