"""http-rules.md W06-W14 and F29: when connections end, wait, are used again or abandoned, and what is never sent twice."""

import asyncio

import pytest

from tests.conftest import Bench
from tests.support.client import RawClient, ask, attempt, request
from tests.support.script import AwaitBody, Gate, Pause, Reset, Script, head, raw


def test_f29_continue_comes_from_us_and_only_after_the_decision(bench: Bench) -> None:
    async def play() -> None:
        async with RawClient(bench.address) as client:
            start = b"POST /open/v1/t HTTP/1.1\r\nHost: api.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
            await client.send(start)
            interim = await client.wire.answer_head()
            assert interim is not None
            assert interim.start[1] == b"100"
            assert interim.fields == ()
            answer = await client.ask(b"hello", "POST")
            assert (answer.status, answer.interim) == (200, [])

    asyncio.run(play())
    (seen,) = bench.upstream.requests
    assert bytes(seen.body.data) == b"hello"
    assert seen.header("expect") is None


def test_f29_a_refused_call_gets_no_continue(bench: Bench) -> None:
    """reg_expect_non_1xx: the refusal ends the connection or waits for no body; bytes that follow are never a request."""
    start = (
        b"POST /v2/payments HTTP/1.1\r\nHost: api.test\r\nExpect: 100-continue\r\nContent-Length: 60\r\n\r\n"
    )
    result = asyncio.run(
        attempt(
            bench.address,
            start,
            b"GET /open/v1/smuggled HTTP/1.1\r\nHost: api.test\r\nX-Fill: 1\r\n\r\n"[:60],
            finish=True,
        )
    )
    assert [answer.status for answer in result.answers] == [401]
    assert result.answers[0].interim == []
    assert bench.upstream.requests == []


def test_f29_no_second_continue_when_the_body_is_already_here(bench: Bench) -> None:
    """The upstream's own 100 is swallowed as well (W10)."""
    bench.upstream.script(
        "/open/v1/t", raw(head(100), AwaitBody(), head(200, "Content-Length: 2") + b"ok", early=True)
    )
    data = request("POST", "/open/v1/t", "Expect: 100-continue", body=b"hello")
    answer = asyncio.run(ask(bench.address, data))
    assert answer.status == 200
    assert len(answer.interim) <= 1
    bench.upstream.clear()
    bench.upstream.script(
        "/open/v1/t", raw(head(100), AwaitBody(), head(200, "Content-Length: 2") + b"ok", early=True)
    )
    assert asyncio.run(ask(bench.address, request("POST", "/open/v1/t", body=b"hello"))).interim == []


def test_w06_early_answer_is_relayed_and_both_connections_end(bench: Bench) -> None:
    bench.upstream.script("/open/v1/early", raw(head(403, "Content-Length: 4") + b"stop", early=True))

    async def play() -> None:
        async with RawClient(bench.address) as client:
            await client.send(
                b"POST /open/v1/early HTTP/1.1\r\nHost: api.test\r\nContent-Length: 500000\r\n\r\n"
                + b"a" * 1000
            )
            answer = await client.answer("POST")
            assert answer is not None
            assert (answer.status, answer.text) == (403, b"stop")
            await client.ended(3)

    asyncio.run(play())
    (seen,) = bench.upstream.requests
    bench.upstream.wait(lambda: not bench.upstream.connection(seen).open, "the end of its connection")
    assert not seen.complete


def test_w06_early_answer_while_the_client_keeps_sending_is_not_lost(bench: Bench) -> None:
    bench.upstream.script("/open/v1/early", raw(head(403, "Content-Length: 4") + b"stop", early=True))
    start = b"POST /open/v1/early HTTP/1.1\r\nHost: api.test\r\nContent-Length: 1040000\r\n\r\n"
    result = asyncio.run(attempt(bench.address, start, *([b"a" * 10_000] * 100)))
    assert (result.status, result.answers[0].text, result.closed) == (403, b"stop", True)


def connections_used(bench: Bench) -> list[int]:
    return [seen.connection for seen in bench.upstream.requests]


def drain_pool(bench: Bench) -> None:
    """Makes the gateway throw its idle upstream connections away, so that a test knows which one it uses."""
    bench.upstream.stop()
    bench.upstream.listen()
    bench.upstream.clear()


def test_w07_finished_connections_are_used_again(bench: Bench) -> None:
    drain_pool(bench)

    async def play() -> None:
        async with RawClient(bench.address) as client:
            for _ in range(5):
                assert (await client.ask(request("POST", "/open/v1/t", body=b"{}"), "POST")).status == 200

    asyncio.run(play())
    assert len(set(connections_used(bench))) == 1


@pytest.mark.parametrize(
    "script",
    [
        raw(head(200, "Content-Length: 2", "Connection: close") + b"ok"),
        raw(head(200, "Content-Length: 2", "connection: Close, x") + b"ok"),
        raw(head(200, "Content-Length: 2", version="1.0") + b"ok"),
        raw(head(200, "Content-Length: 2") + b"okSURPLUS"),
        raw(head(200, "Content-Length: 2") + b"ok" + head(200, "Content-Length: 6") + b"poison"),
        raw(head(200, "Transfer-Encoding: chunked") + b"2\r\nok\r\n0\r\n\r\nX"),
        raw(head(204) + b"surplus"),
        raw(head(304) + b"surplus"),
    ],
    ids=[
        "close",
        "close in a list",
        "1.0",
        "surplus",
        "second answer",
        "after the last chunk",
        "after 204",
        "after 304",
    ],
)
def test_w07_doubtful_connections_are_not_used_again(bench: Bench, script: Script) -> None:
    bench.upstream.script("/open/v1/odd", script)

    async def play() -> None:
        async with RawClient(bench.address) as client:
            first = await client.ask(request("GET", "/open/v1/odd"))
            assert first.status in {200, 204, 304}
            assert b"S" not in first.text
            second = await client.ask(request("GET", "/open/v1/next"))
            assert (second.status, b"served_by" in second.text) == (200, True)

    asyncio.run(play())
    odd, after = connections_used(bench)
    assert odd != after


def test_w07_an_idle_connection_that_became_readable_is_discarded(bench: Bench) -> None:
    """The upstream speaks unasked on an idle connection; what it said must answer nobody."""
    gate = Gate()
    bench.upstream.script(
        "/open/v1/odd",
        raw(head(200, "Content-Length: 2") + b"ok", gate, head(200, "Content-Length: 6") + b"poison"),
    )

    async def play() -> None:
        async with RawClient(bench.address) as client:
            assert (await client.ask(request("GET", "/open/v1/odd"))).text == b"ok"
            gate.open()
            used = bench.upstream.connection(bench.upstream.requests[0])
            await bench.upstream.awaits(lambda: not used.open, "the discarded connection to end")
            for _ in range(3):
                assert b"served_by" in (await client.ask(request("GET", "/open/v1/next"))).text

    asyncio.run(play())


def test_w07_w14_connections_that_died_idle_cost_no_caller_an_error(bench: Bench) -> None:
    """Idle connections are reset while nobody looks; each of the following calls is answered, and sent exactly once."""

    async def play() -> list[int]:
        statuses = []
        for number in range(10):
            await ask(bench.address, request("GET", "/open/v1/warm"))
            await asyncio.to_thread(bench.upstream.stop)
            bench.upstream.listen()
            answer = await ask(bench.address, request("POST", f"/open/v1/dead{number}", body=b"{}"))
            statuses.append(answer.status)
        return statuses

    assert asyncio.run(play()) == [200] * 10
    assert all(len(bench.upstream.of_path(f"/open/v1/dead{number}")) == 1 for number in range(10))


def test_w08_half_closed_post_is_answered(bench: Bench) -> None:
    bench.upstream.script("/open/v1/t", raw(Pause(0.2), head(201, "Content-Length: 4") + b"done"))
    result = asyncio.run(attempt(bench.address, request("POST", "/open/v1/t", body=b"{}"), finish=True))
    assert (result.status, result.answers[0].text, result.closed) == (201, b"done", True)


@pytest.mark.parametrize("how", ["fin", "reset"])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_w08_end_inside_the_body_aborts_the_send(bench: Bench, how: str, framing: str) -> None:
    field = "Content-Length: 100" if framing == "length" else "Transfer-Encoding: chunked"
    start = f"POST /open/v1/cut HTTP/1.1\r\nHost: api.test\r\nX-Request-Id: cut-{how}-{framing}\r\n{field}\r\n\r\n".encode()

    async def play() -> None:
        async with RawClient(bench.address) as client:
            await client.send(start + (b"a" * 50 if framing == "length" else b"32\r\n" + b"a" * 50 + b"\r\n"))
            await bench.upstream.awaits(lambda: bool(bench.upstream.requests), "the head")
            if how == "reset":
                client.wire.reset_on_close()
            else:
                client.wire.half_close()
                await client.ended(3)

    asyncio.run(play())
    (seen,) = bench.upstream.requests
    bench.upstream.wait(lambda: not bench.upstream.connection(seen).open, "the abort")
    assert not seen.complete
    assert bench.gateway.log.of(f"cut-{how}-{framing}")["outcome"] in {"client_gone", "refused", "unknown"}


@pytest.mark.parametrize("how", ["fin", "reset"])
def test_w08_caller_gone_after_the_send_leaves_the_call_to_finish(bench: Bench, how: str) -> None:
    gate = Gate()
    bench.upstream.script("/open/v1/t", raw(gate, head(201, "Content-Length: 4") + b"done"))

    async def play() -> None:
        async with RawClient(bench.address) as client:
            await client.send(request("POST", "/open/v1/t", f"X-Request-Id: gone-{how}", body=b"{}"))
            await bench.upstream.awaits(
                lambda: any(seen.complete for seen in bench.upstream.requests), "the whole request"
            )
            if how == "reset":
                client.wire.reset_on_close()
        gate.open()

    asyncio.run(play())
    line = bench.gateway.log.of(f"gone-{how}")
    assert line["status"] == 201
    assert line["outcome"] in {"answered", "client_gone"}
    assert bench.upstream.requests[0].complete


def test_w10_head_has_no_body_whatever_its_fields_say(bench: Bench) -> None:
    drain_pool(bench)
    bench.upstream.script("/open/v1/t", raw(head(200, "Content-Length: 1234", "X-A: 1")))

    async def play() -> None:
        async with RawClient(bench.address) as client:
            for _ in range(3):
                answer = await client.ask(request("HEAD", "/open/v1/t"), "HEAD")
                assert (answer.status, answer.header("content-length"), answer.header("x-a")) == (
                    200,
                    "1234",
                    "1",
                )
            assert await client.silent(0.1)

    asyncio.run(play())
    # A body that comes late after all must not be read as the next caller's answer.
    assert len(set(connections_used(bench))) == 3


def test_w12_upgrade_is_ignored_and_an_unasked_101_is_no_tunnel(bench: Bench) -> None:
    bench.upstream.script(
        "/open/v1/t", raw(head(101, "Upgrade: websocket", "Connection: Upgrade") + b"tunnel bytes")
    )
    data = request(
        "GET", "/open/v1/t", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"
    )
    answer = asyncio.run(ask(bench.address, data))
    assert (answer.status, answer.code) == (502, "upstream_invalid_response")
    assert not {"upgrade"} & set(bench.upstream.requests[0].head.names)
    assert b"tunnel" not in answer.text


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "POST"])
def test_w14_a_call_that_may_have_been_received_is_never_sent_again(bench: Bench, method: str) -> None:
    """The connection dies after the request was read, without an answer: 502 unknown, and one request upstream."""
    bench.upstream.script("/open/v1/t", raw(Reset()))
    answer = asyncio.run(ask(bench.address, request(method, "/open/v1/t")))
    assert (answer.status, answer.code, answer.problem["outcome"]) == (
        502,
        "upstream_invalid_response",
        "unknown",
    )
    assert len(bench.upstream.requests) == 1
