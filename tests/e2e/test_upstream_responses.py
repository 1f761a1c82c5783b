"""http-rules.md W09-W11 and X10: answers that are not HTTP become 502, truncation shows, interim answers are bounded.

The table is sent whole and byte by byte. After each row a valid call on the same client connection, where it survived, or a new
one must be answered by the upstream: a bad answer leaves nothing behind.
"""

import asyncio

import pytest

from tests.conftest import Bench
from tests.support.client import RawClient, ask, attempt, request
from tests.support.configuration import key_line
from tests.support.script import Cut, Gate, Pause, Reset, Script, Stall, head, in_chunks, raw, until_close

OK = b"HTTP/1.1 200 OK\r\n"
SIZED = b"Content-Length: 2\r\n\r\nok"
TE = b"Transfer-Encoding: chunked\r\n"

INVALID_HEADS: dict[str, bytes] = {
    "garbage": b"\x00\x01\x02 garbage that is no HTTP\r\n\r\n",
    "html": b"<html>Bad Gateway</html>\r\n\r\n",
    "a request": b"GET / HTTP/1.1\r\n\r\n",
    "tls alert": b"\x15\x03\x01\x00\x02\x02\x28\r\n\r\n",
    "status 099": b"HTTP/1.1 099 Low\r\n" + SIZED,
    "status 600": b"HTTP/1.1 600 High\r\n" + SIZED,
    "status 999": b"HTTP/1.1 999 High\r\n" + SIZED,
    "status 20": b"HTTP/1.1 20 Short\r\n" + SIZED,
    "status 2000": b"HTTP/1.1 2000 Long\r\n" + SIZED,
    "no status": b"HTTP/1.1 OK\r\n" + SIZED,
    "negative status": b"HTTP/1.1 -200 OK\r\n" + SIZED,
    "version 2.0": b"HTTP/2.0 200 OK\r\n" + SIZED,
    "version 1.2": b"HTTP/1.2 200 OK\r\n" + SIZED,
    "version 0.9": b"HTTP/0.9 200 OK\r\n" + SIZED,
    "protocol": b"RTSP/1.0 200 OK\r\n" + SIZED,
    "lower-case http": b"http/1.1 200 OK\r\n" + SIZED,
    "control in the reason": b"HTTP/1.1 200 O\x01K\r\n" + SIZED,
    "no colon": OK + b"NoColon\r\n" + SIZED,
    "empty name": OK + b": x\r\n" + SIZED,
    "blank before the colon": OK + b"X-A : 1\r\n" + SIZED,
    "name no token": OK + b"X(A): 1\r\n" + SIZED,
    "folded line": OK + b"X-A: 1\r\n 2\r\n" + SIZED,
    "bare LF": OK + b"X-A: 1\n" + SIZED,
    "bare LF ends the head": b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    "bare CR": OK + b"X-A: 1\r2\r\n" + SIZED,
    "NUL": OK + b"X-A: \x00\r\n" + SIZED,
    "control": OK + b"X-A: \x01\r\n" + SIZED,
    "129 fields": OK + b"".join(b"X-%d: 1\r\n" % n for n in range(129)) + SIZED,
    "long line": OK + b"X-A: " + b"a" * 17_000 + b"\r\n" + SIZED,
    "header bomb": OK + b"".join(b"X-%d: %b\r\n" % (n, b"a" * 1000) for n in range(100)) + SIZED,
    "endless head": OK + b"X-A: 1\r\n" * 20_000,
    "length +2": OK + b"Content-Length: +2\r\n\r\nok",
    "length 02": OK + b"Content-Length: 02\r\n\r\nok",
    "length 0x2": OK + b"Content-Length: 0x2\r\n\r\nok",
    "length empty": OK + b"Content-Length:\r\n\r\nok",
    "length negative": OK + b"Content-Length: -1\r\n\r\nok",
    "length list": OK + b"Content-Length: 2, 2\r\n\r\nok",
    "length 2^63": OK + b"Content-Length: 9223372036854775808\r\n\r\nok",
    "two lengths": OK + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nok",
    "two unequal lengths": OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nok",
    "length and chunked": OK + b"Content-Length: 2\r\n" + TE + b"\r\n2\r\nok\r\n0\r\n\r\n",
    "chunked and length": OK + TE + b"Content-Length: 2\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "chunked twice": OK + TE + TE + b"\r\n2\r\nok\r\n0\r\n\r\n",
    "gzip, chunked": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "identity": OK + b"Transfer-Encoding: identity\r\n\r\nok",
    "chunked in 1.0": b"HTTP/1.0 200 OK\r\n" + TE + b"\r\n2\r\nok\r\n0\r\n\r\n",
    "early end": b"",
    "end inside the status line": b"HTTP/1.1 20",
    "end inside the head": OK + b"Content-Le",
    "nine interim answers": head(103, "Link: </a>") * 9 + head(200, "Content-Length: 2") + b"ok",
    "endless interim answers": head(102) * 500,
    "interim answer with a bad field": b"HTTP/1.1 103 Hints\r\nX-A : 1\r\n\r\n" + OK + SIZED,
    "101 that nobody asked for": head(101, "Upgrade: x", "Connection: upgrade") + b"tunnel",
}


@pytest.mark.parametrize("slice_bytes", [0, 1], ids=["whole", "byte by byte"])
def test_w09_invalid_answers_become_502_unknown(bench: Bench, slice_bytes: int) -> None:
    numbered = list(enumerate(INVALID_HEADS.items()))

    async def one(number: int, name: str, data: bytes) -> str:
        path = f"/open/v1/bad{number}"
        step = slice_bytes if len(data) < 1000 else slice_bytes * 997
        bench.upstream.script(path, Script((data, Cut()), slice_bytes=step))
        async with RawClient(bench.address) as client:
            answer = await client.ask(request("POST", path, body=b"{}"), "POST")
            if (answer.status, answer.code, answer.problem["outcome"]) != (
                502,
                "upstream_invalid_response",
                "unknown",
            ):
                return f"{name}: {answer.status} {answer.text[:80]!r}"
            if (
                answer.header("connection") != "close"
                and (await client.ask(request("GET", "/open/v1/next"))).status != 200
            ):
                return f"{name}: the next call fails"
        line = await asyncio.to_thread(bench.gateway.log.of, answer.request_id)
        fit = (line["outcome"], line["refusal"]) == ("unknown", "upstream_invalid_response")
        return "" if fit and line.get("reason") else f"{name}: {line}"

    async def every() -> list[str]:
        return [await one(number, name, data) for number, (name, data) in numbered]

    faults = [fault for fault in asyncio.run(every()) if fault]
    assert not faults, "\n".join(faults)
    sent_twice = [
        number for number, _ in numbered if len(bench.upstream.of_path(f"/open/v1/bad{number}")) != 1
    ]
    assert sent_twice == []


BROKEN_BODIES: dict[str, Script] = {
    "length not reached, FIN": raw(head(200, "Content-Length: 10") + b"12345", Cut()),
    "length not reached, RST": raw(head(200, "Content-Length: 10") + b"12345", Pause(0.05), Reset()),
    "no last chunk, FIN": raw(head(200, "Transfer-Encoding: chunked") + b"5\r\n12345\r\n", Cut()),
    "no last chunk, RST": raw(head(200, "Transfer-Encoding: chunked") + b"5\r\n12345\r\n", Pause(0.05), Reset()),
    "inside a chunk": raw(head(200, "Transfer-Encoding: chunked") + b"a\r\n12345", Cut()),
    "bad chunk size": raw(head(200, "Transfer-Encoding: chunked") + b"5\r\n12345\r\n", Pause(0.05), b"0x5\r\n12345\r\n0\r\n\r\n"),
    "chunk size of 17 digits": raw(head(200, "Transfer-Encoding: chunked") + b"5\r\n12345\r\n", Pause(0.05), b"00000000000000005\r\n12345\r\n0\r\n\r\n"),
    "chunk not closed": raw(head(200, "Transfer-Encoding: chunked") + b"5\r\n12345\r\n", Pause(0.05), b"5\r\n67890XX0\r\n\r\n"),
    "bare LF in a chunk line": raw(head(200, "Transfer-Encoding: chunked") + b"5\r\n12345\r\n", Pause(0.05), b"5\n67890\r\n0\r\n\r\n"),
    "folded trailer": raw(head(200, "Transfer-Encoding: chunked") + b"5\r\n12345\r\n", Pause(0.05), b"0\r\nX-A: 1\r\n 2\r\n\r\n"),
    "framing in a trailer": raw(head(200, "Transfer-Encoding: chunked") + b"5\r\n12345\r\n", Pause(0.05), b"0\r\nContent-Length: 5\r\n\r\n"),
    "endless trailers": raw(head(200, "Transfer-Encoding: chunked") + b"5\r\n12345\r\n0\r\n", Pause(0.05), b"X-A: 1\r\n" * 20_000, Stall()),
    "close-delimited, RST": raw(head(200) + b"12345", Pause(0.05), Reset()),
}  # fmt: skip


def test_w11_truncated_bodies_break_the_caller_connection(bench: Bench) -> None:
    async def one(name: str, script: Script, number: int) -> str:
        path = f"/open/v1/cut{number}"
        bench.upstream.script(path, script)
        result = await attempt(
            bench.address,
            request("POST", path, f"X-Request-Id: cut{number}", body=b"{}")
            + request("GET", "/open/v1/after"),
        )
        if len(result.answers) != 1 or not result.closed:
            return f"{name}: {[(answer.status, answer.text) for answer in result.answers]}, closed {result.closed} {result.error}"
        (answer,) = result.answers
        if answer.status == 502:
            return ""  # the fault came before the head had left
        complete = answer.body.complete and not (answer.body.framing == "close" and result.reset)
        return f"{name}: looks complete: {answer.head.raw!r} {answer.text!r}" if complete else ""

    async def every() -> list[str]:
        return await asyncio.gather(
            *(one(name, script, number) for number, (name, script) in enumerate(BROKEN_BODIES.items()))
        )

    faults = [fault for fault in asyncio.run(every()) if fault]
    assert not faults, "\n".join(faults)
    assert bench.upstream.of_path("/open/v1/after") == []
    for number in range(len(BROKEN_BODIES)):
        line = bench.gateway.log.of(f"cut{number}")
        assert line["outcome"] == "unknown", line
    assert asyncio.run(ask(bench.address, request("GET", "/open/v1/next"))).status == 200


def test_w11_close_delimited_answer_is_complete_after_a_clean_end(bench: Bench) -> None:
    bench.upstream.script("/open/v1/t", until_close(b"until the end", "Content-Type: a/b"))

    async def play() -> None:
        async with RawClient(bench.address) as client:
            for _ in range(2):
                answer = await client.ask(request("GET", "/open/v1/t"))
                assert (answer.text, answer.body.complete) == (b"until the end", True)
                assert answer.body.framing in {"chunked", "length"}

    asyncio.run(play())


def test_w11_no_chunks_to_a_1_0_caller(bench: Bench) -> None:
    bench.upstream.script("/open/v1/t", in_chunks(b"one", b"two"))
    result = asyncio.run(attempt(bench.address, request("GET", "/open/v1/t", version="1.0")))
    assert (result.status, result.answers[0].text, result.closed, result.reset) == (
        200,
        b"onetwo",
        True,
        False,
    )
    assert result.answers[0].header("transfer-encoding") is None


def test_w01_chunked_answers_are_framed_anew_without_extensions_and_trailers(bench: Bench) -> None:
    bench.upstream.script(
        "/open/v1/t",
        raw(
            head(200, "Transfer-Encoding: chunked", "Trailer: X-T")
            + b'3;a="b"\r\none\r\n3\r\ntwo\r\n0\r\nX-T: 1\r\n\r\n'
        ),
    )

    async def play() -> None:
        async with RawClient(bench.address) as client:
            answer = await client.ask(request("GET", "/open/v1/t"))
            assert (answer.text, answer.body.trailers) == (b"onetwo", ())
            assert answer.header("trailer") is None
            assert (await client.ask(request("GET", "/open/v1/next"))).status == 200

    asyncio.run(play())


@pytest.mark.parametrize(
    ("status", "extra"),
    [
        (204, ()),
        (304, ()),
        (204, ("Content-Length: 0",)),
        (304, ("Content-Length: 5",)),
        (205, ("Content-Length: 0",)),
    ],
)
def test_w10_bodyless_answers_keep_the_connection_in_step(
    bench: Bench, status: int, extra: tuple[str, ...]
) -> None:
    bench.upstream.script("/open/v1/t", raw(head(status, *extra)))

    async def play() -> None:
        async with RawClient(bench.address) as client:
            for _ in range(3):
                answer = await client.ask(request("GET", "/open/v1/t"))
                assert (answer.status, answer.text) == (status, b"")
            assert b"served_by" in (await client.ask(request("GET", "/open/v1/next"))).text

    asyncio.run(play())


def test_w10_a_body_on_205_is_not_passed_on(bench: Bench) -> None:
    bench.upstream.script("/open/v1/t", raw(head(205, "Content-Length: 2") + b"no"))
    answer = asyncio.run(ask(bench.address, request("GET", "/open/v1/t")))
    assert answer.status in {205, 502}
    assert b"no" not in answer.text or answer.status == 502


def test_w10_interim_answers_are_relayed_up_to_eight(bench: Bench) -> None:
    bench.upstream.script(
        "/open/v1/t", raw(head(103, "Link: </a>; rel=preload") * 8 + head(200, "Content-Length: 2") + b"ok")
    )
    answer = asyncio.run(ask(bench.address, request("GET", "/open/v1/t")))
    assert (answer.status, answer.text) == (200, b"ok")
    assert [int(interim.start[1]) for interim in answer.interim] == [103] * 8


def test_w10_no_interim_answer_to_a_1_0_caller(bench: Bench) -> None:
    bench.upstream.script("/open/v1/t", raw(head(103, "Link: </a>") + head(200, "Content-Length: 2") + b"ok"))
    result = asyncio.run(attempt(bench.address, request("GET", "/open/v1/t", version="1.0")))
    assert (result.status, result.answers[0].interim) == (200, [])


def test_w10_interim_answers_leave_at_once(bench: Bench) -> None:
    """An early hint that waited for the final answer would help nobody."""
    gate = Gate()
    bench.upstream.script(
        "/open/v1/t", raw(head(103, "Link: </a>"), gate, head(200, "Content-Length: 2") + b"ok")
    )

    async def play() -> None:
        async with RawClient(bench.address) as client:
            await client.send(request("GET", "/open/v1/t"))
            async with asyncio.timeout(3):
                interim = await client.wire.answer_head()
            assert interim is not None
            assert interim.start[1] == b"103"
            gate.open()
            answer = await client.answer()
            assert answer is not None
            assert answer.status == 200

    asyncio.run(play())


def test_w02_hop_by_hop_fields_of_answers_are_removed(bench: Bench) -> None:
    lines = [
        "Connection: X-Hop, keep-alive",
        "X-Hop: 1",
        "Keep-Alive: timeout=5",
        "Proxy-Connection: x",
        "Upgrade: h2c",
        "X-Stays: 1",
        "Set-Cookie: a=1",
        "Set-Cookie: b=2",
    ]
    bench.upstream.script("/open/v1/t", raw(head(200, "Content-Length: 2", *lines) + b"ok"))
    answer = asyncio.run(ask(bench.address, request("GET", "/open/v1/t")))
    assert not {"x-hop", "keep-alive", "proxy-connection", "upgrade"} & set(answer.head.names)
    assert answer.header("x-stays") == "1"
    assert answer.head.all("set-cookie") == [b"a=1", b"b=2"]


def test_answer_bodies_stream_while_the_upstream_is_still_sending(bench: Bench) -> None:
    gate = Gate()
    bench.upstream.script("/open/v1/t", raw(head(200, "Content-Length: 6") + b"one", gate, b"two"))

    async def play() -> None:
        async with RawClient(bench.address) as client:
            await client.send(request("GET", "/open/v1/t"))
            first = await client.wire.answer_head()
            assert first is not None
            while bytes(client.wire.buffer) != b"one":
                async with asyncio.timeout(3):
                    assert await client.wire.fill()
            gate.open()
            while len(client.wire.buffer) < 6:
                async with asyncio.timeout(3):
                    assert await client.wire.fill()
            assert bytes(client.wire.buffer) == b"onetwo"

    asyncio.run(play())


@pytest.mark.parametrize("status", [200, 201, 301, 404, 409, 422, 429, 500, 503])
def test_upstream_statuses_pass_as_they_are(bench: Bench, status: int) -> None:
    """An error of the upstream is its answer, not ours: body, headers and outcome say so."""
    bench.upstream.script(
        "/v2/payments",
        raw(head(status, "Content-Length: 4", "X-Up: 1", "Content-Type: text/plain") + b"mine"),
    )
    answer = asyncio.run(ask(bench.address, request("POST", "/v2/payments", key_line("acme"), body=b"{}")))
    assert (answer.status, answer.text, answer.header("x-up")) == (status, b"mine", "1")
    line = bench.gateway.log.of(answer.request_id)
    assert (line["outcome"], line["status"], line.get("refusal")) == ("answered", status, None)
