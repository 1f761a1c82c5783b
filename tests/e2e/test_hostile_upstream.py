"""X10: an upstream that floods, bombs, begins and breaks, or never ends: every one is cut in time, told truly, and leaves the pool clean."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from tests.support.client import RawClient, request
from tests.support.configuration import Tree, base, changed
from tests.support.gateway import GatewayProcess, until
from tests.support.script import Cut, Reset, Script, Stall, Stream, head, raw
from tests.support.upstream import RecordingUpstream

CHUNKED = head(200, "Transfer-Encoding: chunked")
MIB = 1 << 20


@dataclass
class Bench:
    gateway: GatewayProcess
    upstream: RecordingUpstream


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with ExitStack() as stack:
        upstream = stack.enter_context(RecordingUpstream())

        def make(port: int, manager_port: int) -> Tree:
            times = {"connect": "500ms", "first_byte": "500ms", "idle": "500ms", "total": "1500ms"}
            tree = base(port, manager_port, upstream.url)
            return changed(tree, "upstreams", "main", "timeouts", to=times)  # type: ignore[arg-type]

        gateway = stack.enter_context(GatewayProcess(tmp_path_factory.mktemp("hostile"), make))
        yield Bench(gateway, upstream)


BEFORE_THE_HEAD: dict[str, Script] = {
    "interim flood": raw(*[head(103, "Link: </a>") * 100] * 50),
    "fields without number": raw(b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 60_000 + b"\r\n"),
    "one field without end": raw(b"HTTP/1.1 200 OK\r\nX-A: ", *[b"a" * 65_536] * 64),
    "status line without end": raw(b"HTTP/1.1 200 ", *[b"a" * 65_536] * 64),
    "garbage": raw(bytes(range(256)) * 512),
    "another protocol": raw(b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76" + b"\0" * 122, Cut()),
    "h2 preface": raw(b"\0\0\x12\x04\0\0\0\0\0" + b"\0" * 18, Cut()),
    "reset at once": raw(Reset()),
    "length beyond all bounds": raw(head(200, "Content-Length: 99999999999999999999")),
    "silence": raw(Stall()),
}
AFTER_THE_HEAD: dict[str, Script] = {
    "200 and reset": raw(head(200, "Content-Length: 100") + b"some", Reset()),
    "chunks and reset": raw(CHUNKED + b"4\r\nsome\r\n", Reset()),
    "endless trailers": raw(CHUNKED + b"4\r\nsome\r\n0\r\n", *[b"x-t: " + b"a" * 1000 + b"\r\n"] * 500),
    "chunk extension without end": raw(CHUNKED + b"4;", *[b"a" * 65_536] * 64),
    "chunk size without end": raw(CHUNKED + b"0" * 100_000),
    "chunk not closed": raw(CHUNKED + b"4\r\nsomething\r\n0\r\n\r\n"),
    "body that stalls": raw(head(200, "Content-Length: 100") + b"some", Stall()),
    "body without end": Script((head(200), Stream(10_000 * MIB, 1 << 16))),
}


def play(bench: Bench, name: str, script: Script) -> tuple[int, bool, dict[str, object]]:
    """Status, whether the answer was whole, and the log line of one POST that meets ``script``."""
    path = "/open/v1/" + name.replace(" ", "-")
    bench.upstream.clear()
    bench.upstream.script(path, script)

    async def call() -> tuple[int, bool, str]:
        async with RawClient(bench.gateway.address, timeout_s=6.0) as client:
            await client.send(request("POST", path, body=b"{}"))
            answer = await client.answer("POST")
            assert answer is not None
            return answer.status, answer.body.complete, answer.request_id

    status, complete, request_id = asyncio.run(call())
    return status, complete, bench.gateway.log.of(request_id)


def assert_clean(bench: Bench, name: str) -> None:
    """The connection is gone, nothing was sent twice, and the next call is answered by the one it asked."""
    path = "/open/v1/" + name.replace(" ", "-")
    assert len(bench.upstream.of_path(path)) == 1, "sent once"
    hostile = bench.upstream.connection(bench.upstream.of_path(path)[0])
    bench.upstream.wait(lambda: not hostile.open, "the end of the hostile connection")

    async def next_call() -> bytes:
        async with RawClient(bench.gateway.address) as client:
            return (await client.ask(request("GET", "/open/v1/next"))).text

    assert b"/open/v1/next" in asyncio.run(next_call())
    until(lambda: bench.gateway.metric("faregate_calls_in_flight") == 0, "no call left over")


@pytest.mark.parametrize("name", BEFORE_THE_HEAD)
def test_x10_what_comes_in_place_of_a_head_is_502_or_504_and_unknown(bench: Bench, name: str) -> None:
    status, complete, line = play(bench, name, BEFORE_THE_HEAD[name])
    assert (status, complete) == (504 if name == "silence" else 502, True)
    assert line["outcome"] == "unknown"
    assert line["reason"]
    assert_clean(bench, name)


@pytest.mark.parametrize("name", AFTER_THE_HEAD)
def test_x10_what_breaks_after_the_head_breaks_the_callers_connection_visibly(
    bench: Bench, name: str
) -> None:
    status, complete, line = play(bench, name, AFTER_THE_HEAD[name])
    assert (status, complete) == (200, False)
    assert line["outcome"] == "unknown"
    assert line["reason"]
    assert_clean(bench, name)


def test_x10_none_of_it_costs_memory(bench: Bench) -> None:
    for name in ("fields without number", "one field without end", "garbage"):
        play(bench, name, BEFORE_THE_HEAD[name])
    before = bench.gateway.rss_bytes()
    for turn in range(30):
        name = ("fields without number", "one field without end", "garbage")[turn % 3]
        play(bench, name, BEFORE_THE_HEAD[name])
    assert bench.gateway.rss_bytes() - before < 16 * MIB
