"""http-rules.md W16: bodies of any size flow through, both ways, in constant memory.

The issue asks for 1 GiB both ways; the short form sends 128 MiB, ``FAREGATE_PROOF=long`` the whole.
"""

import asyncio
import hashlib
import os
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.support.client import RawClient
from tests.support.configuration import Tree, base, changed, public_api
from tests.support.gateway import GatewayProcess
from tests.support.script import AwaitBody, Gate, Stream, head, raw
from tests.support.upstream import RecordingUpstream
from tests.support.wire import Body

MIB = 1 << 20
TOTAL = (1024 if os.environ.get("FAREGATE_PROOF") == "long" else 128) * MIB
PIECE = bytes(range(256)) * 1024
GROWTH_MAX = 24 * MIB


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[GatewayProcess, RecordingUpstream]]:
    with ExitStack() as stack:
        upstream = stack.enter_context(RecordingUpstream())

        def make(port: int, manager_port: int) -> Tree:
            tree = changed(
                base(port, manager_port, upstream.url),
                "apis",
                "big",
                to=public_api("main", "/big/v1", body="1GiB"),
            )
            tree = changed(tree, "upstreams", "main", "timeouts", to={"first_byte": "5m", "total": "10m"})
            return changed(tree, "gateway", "limits", to={"body_timeout": "5m"})

        yield stack.enter_context(GatewayProcess(tmp_path_factory.mktemp("stream"), make)), upstream


def digest_of(total_bytes: int) -> str:
    digest = hashlib.sha256()
    for _ in range(total_bytes // len(PIECE)):
        digest.update(PIECE)
    return digest.hexdigest()


@pytest.mark.proof
@pytest.mark.beside
@pytest.mark.parametrize("chunks", [False, True], ids=["length", "chunked"])
def test_w16_large_bodies_both_ways_in_flat_memory(
    pair: tuple[GatewayProcess, RecordingUpstream], chunks: bool
) -> None:
    gateway, upstream = pair
    upstream.clear()
    framing = "Transfer-Encoding: chunked" if chunks else f"Content-Length: {TOTAL}"
    upstream.script(
        "/big/v1/t", raw(AwaitBody(), head(200, framing), Stream(TOTAL, 256 << 10, chunks=chunks), early=True)
    )
    peak = 0

    async def push(client: RawClient) -> None:
        await client.send(f"POST /big/v1/t HTTP/1.1\r\nHost: api.test\r\n{framing}\r\n\r\n".encode())
        for _ in range(TOTAL // len(PIECE)):
            await client.wire.send(b"%x\r\n%b\r\n" % (len(PIECE), PIECE) if chunks else PIECE)
        if chunks:
            await client.wire.send(b"0\r\n\r\n")

    async def watch() -> None:
        nonlocal peak
        while True:
            peak = max(peak, gateway.rss_bytes())
            await asyncio.sleep(0.05)

    async def play() -> Body:
        watching = asyncio.create_task(watch())
        try:
            async with RawClient(gateway.address, timeout_s=90) as client:
                await push(client)
                answer = await client.answer("POST")
                assert answer is not None
                return answer.body
        finally:
            watching.cancel()

    before = gateway.rss_bytes()
    body = asyncio.run(play())
    expected = digest_of(TOTAL)
    assert (body.length, body.digest, body.complete) == (TOTAL, expected, True)
    (seen,) = upstream.requests
    assert (seen.body.length, seen.body.digest) == (TOTAL, expected)
    print(
        f"{TOTAL // MIB} MiB each way, {'chunked' if chunks else 'sized'}: workers grew by {(peak - before) / MIB:.1f} MiB at most"
    )
    assert peak - before < GROWTH_MAX


def test_a_caller_that_does_not_read_stops_the_upstream(
    pair: tuple[GatewayProcess, RecordingUpstream],
) -> None:
    """Back-pressure: 64 MiB are on offer, the caller reads nothing, the worker holds only what its buffers allow."""
    gateway, upstream = pair
    upstream.clear()
    total = 64 * MIB
    upstream.script("/big/v1/t", raw(head(200, f"Content-Length: {total}"), Stream(total, 256 << 10)))
    before = gateway.rss_bytes()

    async def play() -> tuple[int, int]:
        async with RawClient(gateway.address, timeout_s=30) as client:
            await client.send(b"GET /big/v1/t HTTP/1.1\r\nHost: api.test\r\n\r\n")
            await upstream.awaits(lambda: bool(upstream.requests), "the request")
            held = 0
            for _ in range(10):
                await asyncio.sleep(0.05)
                held = max(held, gateway.rss_bytes() - before)
            answer = await client.answer()
            assert answer is not None
            return held, answer.body.length

    held, length = asyncio.run(play())
    assert length == total
    assert held < 16 * MIB, f"{held / MIB:.1f} MiB held for a caller that does not read"


def test_an_upstream_that_does_not_read_stops_the_caller(
    pair: tuple[GatewayProcess, RecordingUpstream],
) -> None:
    gateway, upstream = pair
    upstream.clear()
    gate = Gate()
    upstream.script("/big/v1/t", raw(gate, AwaitBody(), head(200, "Content-Length: 2") + b"ok", early=True))
    total = 64 * MIB
    before = gateway.rss_bytes()

    async def play() -> int:
        held = 0
        async with RawClient(gateway.address, timeout_s=30) as client:
            await client.send(
                f"POST /big/v1/t HTTP/1.1\r\nHost: api.test\r\nContent-Length: {total}\r\n\r\n".encode()
            )

            async def push() -> None:
                for _ in range(total // len(PIECE)):
                    await client.wire.send(PIECE)

            pushing = asyncio.create_task(push())
            for _ in range(10):
                await asyncio.sleep(0.05)
                held = max(held, gateway.rss_bytes() - before)
            assert not pushing.done(), "64 MiB went into a connection whose other end reads nothing"
            gate.open()
            await pushing
            answer = await client.answer("POST")
            assert answer is not None
            assert answer.status == 200
        return held

    held = asyncio.run(play())
    assert upstream.requests[0].body.length == total
    assert held < 16 * MIB, f"{held / MIB:.1f} MiB held for an upstream that does not read"
