"""Deadlines of SPEC section 2 and http-rules.md section 3, with short configured values.

Each is for the whole phase: a peer that drips bytes gains nothing. A slow connection must be gone at the latest one second
after its deadline, and never before it.
"""

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.conftest import Bench
from tests.support.client import Answer, RawClient, ask, attempt, request
from tests.support.configuration import Tree, base, changed, public_api
from tests.support.gateway import GatewayProcess
from tests.support.script import Pause, Stall, head, raw
from tests.support.upstream import RecordingUpstream

HEADER_S, BODY_S, IDLE_S = 0.5, 0.7, 0.6
CONNECT_S, FIRST_BYTE_S, UPSTREAM_IDLE_S, TOTAL_S = 0.3, 0.5, 0.4, 1.2
LATE_S = 1.0
EARLY_S = 0.06
POST = b"POST /open/v1/t HTTP/1.1\r\nHost: api.test\r\n"


@contextmanager
def deaf_server() -> Iterator[str]:
    """A listener whose accept queue is full, so that the kernel leaves further connects unanswered."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[GatewayProcess, RecordingUpstream]]:
    with ExitStack() as stack:
        upstream = stack.enter_context(RecordingUpstream())
        deaf = stack.enter_context(deaf_server())
        timeouts = {"connect": "300ms", "first_byte": "500ms", "idle": "400ms", "total": "1200ms"}

        def make(port: int, manager_port: int) -> Tree:
            tree = base(port, manager_port, upstream.url)
            tree = changed(
                tree,
                "gateway",
                "limits",
                to={"header_timeout": "500ms", "body_timeout": "700ms", "idle_timeout": "600ms"},
            )
            tree = changed(tree, "upstreams", "main", "timeouts", to=dict(timeouts))
            tree = changed(
                tree,
                "upstreams",
                "deaf",
                to={
                    "targets": [deaf],
                    "timeouts": dict(timeouts),
                    "retry": {"attempts": 0, "on": ["connect_failure"]},
                },
            )
            return changed(tree, "apis", "deaf", to=public_api("deaf", "/deaf/v1"))

        yield stack.enter_context(GatewayProcess(tmp_path_factory.mktemp("timeouts"), make)), upstream


def in_time(took_s: float, deadline_s: float) -> None:
    assert deadline_s - EARLY_S <= took_s <= deadline_s + LATE_S, (
        f"{took_s:.2f} s for a deadline of {deadline_s} s"
    )


async def until_closed(client: RawClient, drip: bytes) -> tuple[float, Answer | None]:
    """Drips ``drip`` one byte every 50 ms until the gateway ends the connection; seconds passed and its answer."""

    async def send() -> None:
        for at in range(len(drip)):
            await client.send(drip[at : at + 1])
            await asyncio.sleep(0.05)

    begun = time.monotonic()
    sending = asyncio.create_task(send())
    try:
        answer = await client.answer()
        await client.ended()
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
    return time.monotonic() - begun, answer


@pytest.mark.parametrize("drip", [b"", b"X-Drip: " + b"a" * 200], ids=["silent", "dripping"])
def test_head_must_be_in_by_its_deadline(pair: tuple[GatewayProcess, RecordingUpstream], drip: bytes) -> None:
    gateway, upstream = pair
    upstream.clear()

    async def play() -> tuple[float, Answer | None]:
        async with RawClient(gateway.address) as client:
            await client.send(POST)
            return await until_closed(client, drip)

    took_s, answer = asyncio.run(play())
    in_time(took_s, HEADER_S)
    assert answer is None or (answer.status, answer.code) == (400, "malformed_request")
    assert upstream.requests == []


def test_dripping_head_on_a_kept_connection_has_the_same_deadline(
    pair: tuple[GatewayProcess, RecordingUpstream],
) -> None:
    gateway, _ = pair

    async def play() -> float:
        async with RawClient(gateway.address) as client:
            assert (await client.ask(request("GET", "/open/v1/t"))).status == 200
            await client.send(b"G")
            return (await until_closed(client, b"ET /open/v1/" + b"a" * 200))[0]

    in_time(asyncio.run(play()), HEADER_S)


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("drip", [b"", b"a" * 200], ids=["silent", "dripping"])
def test_body_must_be_in_by_its_deadline(
    pair: tuple[GatewayProcess, RecordingUpstream], framing: str, drip: bytes
) -> None:
    gateway, upstream = pair
    upstream.clear()
    start = POST + (
        b"Content-Length: 300\r\n\r\nabc"
        if framing == "length"
        else b"Transfer-Encoding: chunked\r\n\r\n12c\r\nabc"
    )

    async def play() -> tuple[float, Answer | None]:
        async with RawClient(gateway.address) as client:
            await client.send(start)
            return await until_closed(client, drip)

    took_s, answer = asyncio.run(play())
    in_time(took_s, BODY_S)
    assert answer is None or (answer.status, answer.code) == (400, "malformed_request")
    assert not any(seen.complete for seen in upstream.requests)
    for connection in map(upstream.connection, upstream.requests):
        upstream.wait(lambda connection=connection: not connection.open, "the aborted send to end")


def test_a_slow_body_is_gone_within_a_second_of_its_grace(bench: Bench) -> None:
    begun = time.monotonic()
    got = asyncio.run(attempt(bench.address, POST + b"Content-Length: 9\r\n\r\n"))
    took_s = time.monotonic() - begun
    assert got.status == 400
    assert got.closed
    assert 5.0 <= took_s <= 5.0 + 1.0 + 1.0 + LATE_S, "the grace, a second, one to linger, and others' tests"
    assert bench.gateway.log.of(got.answers[0].request_id)["reason"] == "body_too_slow"


@pytest.mark.parametrize("after_answer", [True, False], ids=["between requests", "fresh"])
def test_idle_connections_end(pair: tuple[GatewayProcess, RecordingUpstream], after_answer: bool) -> None:
    gateway, _ = pair

    async def play() -> tuple[float, bytes]:
        async with RawClient(gateway.address) as client:
            if after_answer:
                assert (await client.ask(request("GET", "/open/v1/t"))).status == 200
            begun = time.monotonic()
            rest = await client.ended()
            return time.monotonic() - begun, rest

    took_s, rest = asyncio.run(play())
    in_time(took_s, IDLE_S if after_answer else min(IDLE_S, HEADER_S))
    assert rest == b"" or rest.startswith(b"HTTP/1.1 400 ")


def test_first_byte_deadline_is_504_unknown(pair: tuple[GatewayProcess, RecordingUpstream]) -> None:
    gateway, upstream = pair
    upstream.clear()
    upstream.script("/open/v1/slow", raw(Stall()))
    begun = time.monotonic()
    answer = asyncio.run(ask(gateway.address, request("POST", "/open/v1/slow", body=b"{}")))
    in_time(time.monotonic() - begun, FIRST_BYTE_S)
    assert (answer.status, answer.code) == (504, "upstream_timeout")
    assert (answer.problem["outcome"], answer.problem["retry"]) == ("unknown", "after_query")
    (seen,) = upstream.requests
    upstream.wait(lambda: not upstream.connection(seen).open, "the end of its connection")
    line = gateway.log.of(answer.request_id)
    assert (line["outcome"], line["refusal"], line["status"], line["attempts"]) == (
        "unknown",
        "upstream_timeout",
        504,
        1,
    )


def test_an_upstream_that_drips_its_head_gains_nothing(
    pair: tuple[GatewayProcess, RecordingUpstream],
) -> None:
    """The first byte came, the head never ends: idle does not fire, the total deadline does."""
    gateway, upstream = pair
    drip = tuple(
        part
        for byte in b"HTTP/1.1 200 OK\r\nX-Long: aaaaaaaaaaaaaaaa"
        for part in (bytes([byte]), Pause(0.1))
    )
    upstream.script("/open/v1/drip", raw(*drip, Stall()))
    begun = time.monotonic()
    answer = asyncio.run(ask(gateway.address, request("GET", "/open/v1/drip")))
    took_s = time.monotonic() - begun
    assert FIRST_BYTE_S - EARLY_S <= took_s <= TOTAL_S + LATE_S
    assert (answer.status, answer.code, answer.problem["outcome"]) == (504, "upstream_timeout", "unknown")


@pytest.mark.parametrize(
    ("actions", "deadline_s"),
    [
        ((b"one", Stall()), UPSTREAM_IDLE_S),
        (tuple(part for _ in range(60) for part in (b"a", Pause(0.1))), TOTAL_S),
    ],
    ids=["idle", "total"],
)
def test_answers_that_stall_or_drip_break_the_connection(
    pair: tuple[GatewayProcess, RecordingUpstream],
    actions: tuple[bytes | Pause | Stall, ...],
    deadline_s: float,
) -> None:
    gateway, upstream = pair
    upstream.script("/open/v1/stall", raw(head(200, "Content-Length: 1000"), *actions))

    async def play() -> tuple[float, Answer | None]:
        async with RawClient(gateway.address) as client:
            begun = time.monotonic()
            await client.send(request("GET", "/open/v1/stall"))
            answer = await client.answer()
            return time.monotonic() - begun, answer

    took_s, answer = asyncio.run(play())
    in_time(took_s, deadline_s)
    assert answer is not None
    assert (answer.status, answer.body.complete) == (200, False)
    assert gateway.log.of(answer.request_id)["outcome"] == "unknown"


def test_connect_deadline_is_502_not_sent(pair: tuple[GatewayProcess, RecordingUpstream]) -> None:
    gateway, _ = pair
    begun = time.monotonic()
    answer = asyncio.run(ask(gateway.address, request("POST", "/deaf/v1/t", body=b"{}")))
    in_time(time.monotonic() - begun, CONNECT_S)
    assert (answer.status, answer.code, answer.problem["outcome"]) == (
        502,
        "upstream_unreachable",
        "not_sent",
    )


def test_slow_peers_within_their_deadlines_are_served(pair: tuple[GatewayProcess, RecordingUpstream]) -> None:
    gateway, upstream = pair
    upstream.clear()
    upstream.script(
        "/open/v1/t",
        raw(Pause(0.3), head(200, "Content-Length: 3"), b"a", Pause(0.25), b"b", Pause(0.25), b"c"),
    )

    async def play() -> Answer | None:
        async with RawClient(gateway.address) as client:
            for piece in (POST[:10], POST[10:], b"Content-Length: 2\r\n\r\n{", b"}"):
                await client.send(piece)
                await asyncio.sleep(0.1)
            return await client.answer("POST")

    answer = asyncio.run(play())
    assert answer is not None
    assert (answer.status, answer.text) == (200, b"abc")


def test_a_hundred_slow_heads_do_not_slow_a_normal_caller(
    pair: tuple[GatewayProcess, RecordingUpstream],
) -> None:
    gateway, _ = pair

    async def play() -> None:
        async with asyncio.TaskGroup() as group:
            started = asyncio.Barrier(101)

            async def slow() -> None:
                async with RawClient(gateway.address) as client:
                    await client.send(POST)
                    await started.wait()
                    await client.ended()

            for _ in range(100):
                group.create_task(slow())
            await started.wait()
            async with RawClient(gateway.address) as client:
                for _ in range(20):
                    begun = time.monotonic()
                    assert (await client.ask(request("GET", "/open/v1/quick"))).status == 200
                    assert time.monotonic() - begun < HEADER_S

    asyncio.run(play())
