"""The bench against itself: what it claims to send, record and break is what happens. Without this, a silent bench proves nothing."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.chaos import ChaosProxy, Faults
from tests.support.client import RawClient, ask, attempt, chunked, request
from tests.support.ports import free_ports
from tests.support.records import FIELDS, parse_line, parse_metrics, total
from tests.support.script import (
    AwaitBody,
    Cut,
    Gate,
    Reset,
    Stall,
    Stream,
    head,
    in_chunks,
    raw,
    sized,
    until_close,
)
from tests.support.upstream import RecordingUpstream
from tests.support.wire import WireError, parse_fields, sliced


@pytest.fixture
def upstream() -> Iterator[RecordingUpstream]:
    with RecordingUpstream() as running:
        yield running


@pytest.fixture
def proxy(upstream: RecordingUpstream) -> Iterator[ChaosProxy]:
    with ChaosProxy(upstream.address) as running:
        yield running


def test_every_byte_is_recorded(upstream: RecordingUpstream) -> None:
    data = request("POST", "/a?b=c", "X-A: 1", body=b"\x00\xff")

    async def play() -> None:
        async with RawClient(upstream.address) as client:
            await client.send(data, slice_bytes=1)
            assert await client.answer("POST") is not None

    asyncio.run(play())
    assert bytes(upstream.connections[0].received) == data
    (seen,) = upstream.requests
    assert (seen.method, seen.target, seen.path, bytes(seen.body.data), seen.complete) == (
        "POST",
        "/a?b=c",
        "/a",
        b"\x00\xff",
        True,
    )


def test_half_a_request_is_recorded_as_incomplete(upstream: RecordingUpstream) -> None:
    asyncio.run(attempt(upstream.address, b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nab", finish=True))
    assert [seen.complete for seen in upstream.requests] == [False]


@pytest.mark.parametrize(
    ("script", "text", "complete", "reset"),
    [
        (sized(b"abc"), b"abc", True, False),
        (in_chunks(b"ab", b"c"), b"abc", True, False),
        (until_close(b"abc"), b"abc", True, False),
        (raw(head(200, "Content-Length: 5") + b"abc", Cut()), b"abc", False, False),
        (raw(head(200, "Transfer-Encoding: chunked") + b"3\r\nabc\r\n", Cut()), b"abc", False, False),
        (raw(head(200, "Content-Length: 1000000"), Stream(1_000_000)), None, True, False),
        (raw(head(200, "Transfer-Encoding: chunked"), Stream(1_000_000, chunks=True)), None, True, False),
        (raw(Reset()), None, False, True),
    ],
)  # fmt: skip
def test_scripts_are_carried_out(
    upstream: RecordingUpstream, script: object, text: bytes | None, complete: bool, reset: bool
) -> None:
    upstream.script("/t", script)  # type: ignore[arg-type]
    result = asyncio.run(attempt(upstream.address, request("GET", "/t"), finish=True, timeout_s=3))
    assert result.reset == reset
    if reset:
        assert result.answers == []
        return
    assert result.answers[0].body.complete == complete
    assert text is None or result.answers[0].text == text


def test_early_answers_gates_and_stalls(upstream: RecordingUpstream) -> None:
    gate = Gate()
    upstream.script(
        "/early", raw(head(100), gate, AwaitBody(), head(200, "Content-Length: 2") + b"ok", early=True)
    )
    upstream.script("/stall", raw(Stall()))

    async def play() -> None:
        async with RawClient(upstream.address) as client:
            await client.send(b"POST /early HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
            assert (await client.wire.answer_head()) is not None
            assert await client.silent(0.05)
            gate.open()
            answer = await client.ask(chunked(b"ab", b"cd"), "POST")
            assert answer.text == b"ok"
        async with RawClient(upstream.address) as client:
            await client.send(request("GET", "/stall"))
            assert await client.silent(0.05)

    asyncio.run(play())
    assert bytes(upstream.requests[0].body.data) == b"abcd"


def test_a_stopped_upstream_resets_and_refuses_and_can_return(upstream: RecordingUpstream) -> None:
    async def play() -> None:
        async with RawClient(upstream.address) as client:
            assert (await client.ask(request("GET", "/t"))).status == 200
            await asyncio.to_thread(upstream.stop)
            await client.ended()
            assert client.wire.reset
        with pytest.raises(ConnectionRefusedError):
            await ask(upstream.address, request("GET", "/t"))
        upstream.listen()
        assert (await ask(upstream.address, request("GET", "/t"))).status == 200

    asyncio.run(play())


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\nContent-Length: 0\n\n", b"HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n", b"HTTP/1.1  200 OK\r\n\r\n", b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nNoColon\r\n\r\n", b"HTTP/1.1 200 OK\r\nX : 1\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: 1\r\n 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\na", b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", b"HTTP/1.1 204 No\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;x\r\na\r\n0\r\n\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
        b"HTTP/1.1 100 C\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 20",
    ],
)  # fmt: skip
def test_the_client_takes_nothing_but_plain_http(upstream: RecordingUpstream, answer: bytes) -> None:
    upstream.script("/t", raw(answer, Cut()))
    with pytest.raises(WireError):
        asyncio.run(ask(upstream.address, request("GET", "/t")))


def test_proxy_passes_bytes_unchanged_in_slices_with_delay(
    upstream: RecordingUpstream, proxy: ChaosProxy
) -> None:
    proxy.up = proxy.down = Faults(slice_bytes=7, delay_ms=1, jitter_ms=1)
    begun = time.monotonic()
    answer = asyncio.run(ask(proxy.address, request("POST", "/t", body=b"x" * 300)))
    assert answer.status == 200
    assert time.monotonic() - begun > 0.05
    assert bytes(upstream.requests[0].body.data) == b"x" * 300


@pytest.mark.parametrize(("faults", "reset"), [(Faults(cut_after=50), False), (Faults(reset_after=50), True)])
def test_proxy_cuts_and_resets_after_so_many_bytes(
    upstream: RecordingUpstream, proxy: ChaosProxy, faults: Faults, reset: bool
) -> None:
    upstream.script("/t", sized(b"y" * 500))
    proxy.down = faults
    result = asyncio.run(attempt(proxy.address, request("GET", "/t")))
    assert result.reset == reset
    assert not any(answer.body.complete for answer in result.answers)


def test_proxy_refuses_stays_mute_and_heals(upstream: RecordingUpstream, proxy: ChaosProxy) -> None:
    async def play() -> None:
        async with RawClient(proxy.address) as client:
            assert (await client.ask(request("GET", "/t"))).status == 200
            await asyncio.to_thread(proxy.refuse)
            await client.ended()
        with pytest.raises(ConnectionRefusedError):
            await ask(proxy.address, request("GET", "/t"))
        proxy.listen()
        proxy.mute = True
        async with RawClient(proxy.address) as client:
            await client.send(request("GET", "/t"))
            assert await client.silent(0.1)
        proxy.heal()
        assert (await ask(proxy.address, request("GET", "/t"))).status == 200

    asyncio.run(play())


def test_log_lines_out_of_order_unknown_or_empty_are_errors() -> None:
    good = '{"time":"2026-11-23T02:49:02.123Z","request_id":"a","status":200}'
    assert parse_line(good)["status"] == 200
    bad_lines = (
        good.replace('"request_id":"a","status":200', '"status":200,"request_id":"a"'),
        good.replace("status", "statuz"),
        good.replace('"a"', '""'),
        good.replace("200", "null"),
        good.replace(".123Z", "Z"),
        good.replace('"status":200', '"status":200,"status":200'),
    )
    for bad in bad_lines:
        with pytest.raises(AssertionError):
            parse_line(bad)
    assert len(set(FIELDS)) == 29


def test_metrics_are_read_with_their_labels() -> None:
    samples = parse_metrics('# HELP a b\n# TYPE a counter\na{x="1",y="q\\"r"} 2\na{x="2"} 3\nb 1e3\n')
    assert (total(samples, "a"), total(samples, "a", x="2"), total(samples, "b")) == (5, 3, 1000)


def test_small_helpers() -> None:
    assert sliced(b"abcde", 2) == [b"ab", b"cd", b"e"]
    assert parse_fields([b"A:  b \t"]) == ((b"A", b"b"),)
    assert chunked(b"ab", b"", b"c") == b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"


def test_ports_for_processes_are_none_that_a_connection_could_take_meanwhile() -> None:
    ports = [port for _ in range(20) for port in free_ports(3)]
    assert len(set(ports)) == 60
    given = Path("/proc/sys/net/ipv4/ip_local_port_range")
    if given.exists():
        assert max(ports) < int(given.read_text().split()[0])
