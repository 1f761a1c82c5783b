"""Server-sent events: they pass as they come, under bounds of their own, and nobody takes a cut stream for a whole one."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.client import Answer, RawClient, request
from tests.support.configuration import Tree, base, changed, public_api
from tests.support.gateway import GatewayProcess
from tests.support.script import Action, Cut, Gate, Pause, Stall, head, raw
from tests.support.upstream import RecordingUpstream
from tests.support.wire import Body

PATH = "/open/v1/events"
EVENTS = "Content-Type: text/event-stream; charset=utf-8"


@pytest.fixture(scope="module")
def upstream() -> Iterator[RecordingUpstream]:
    with RecordingUpstream() as running:
        yield running


TIMES = {"idle": "300ms", "total": "700ms"}
OF_STREAMS = {"short_idle": {"stream_idle": "1s"}, "short_total": {"stream_total": "1s"}}
"""APIs whose upstream bounds its streams."""


def configuration(port: int, manager_port: int, url: str) -> Tree:
    """Ordinary times are short: 300 ms between two pieces, 700 ms in all."""
    tree = changed(base(port, manager_port, url), "upstreams", "main", "timeouts", to=dict(TIMES))
    for name, times in OF_STREAMS.items():
        upstream: Tree = {"targets": [url], "timeouts": {**TIMES, **times}, "health": {"breaker": "off"}}
        tree = changed(tree, "upstreams", name, to=upstream)
        tree = changed(tree, "apis", name, to=public_api(name, f"/{name}/v1"))
    return tree


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, upstream: RecordingUpstream) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("streams")
    with GatewayProcess(folder, lambda *ports: configuration(*ports, upstream.url)) as gateway:
        yield gateway


@pytest.fixture
def gateway(shared: GatewayProcess, upstream: RecordingUpstream) -> GatewayProcess:
    """The file's, before an upstream that has forgotten the last test."""
    upstream.clear()
    return shared


@pytest.fixture
def own(tmp_path: Path, upstream: RecordingUpstream) -> Iterator[GatewayProcess]:
    """A gateway of the test's own, to be stopped."""
    upstream.clear()
    with GatewayProcess(tmp_path, lambda *ports: configuration(*ports, upstream.url)) as gateway:
        yield gateway


def event(text: str) -> bytes:
    data = f"data: {text}\n\n".encode()
    return b"%x\r\n%b\r\n" % (len(data), data)


def stream(*actions: Action, content_type: str = EVENTS) -> tuple[Action, ...]:
    return head(200, "Transfer-Encoding: chunked", content_type), *actions


SLOW = [part for number in range(4) for part in (event(str(number)), Pause(0.5))]


def take(gateway: GatewayProcess, request_id: str, path: str = PATH) -> Answer:
    async def play() -> Answer:
        async with RawClient(gateway.address) as client:
            return await client.ask(request("GET", path, f"X-Request-Id: {request_id}"))

    return asyncio.run(play())


def test_events_pass_as_they_come(gateway: GatewayProcess, upstream: RecordingUpstream) -> None:
    gates = [Gate(), Gate()]
    upstream.script(
        PATH, raw(*stream(event("one"), gates[0], event("two"), gates[1], event("three"), b"0\r\n\r\n"))
    )

    async def play() -> None:
        async with RawClient(gateway.address) as client:
            await client.send(request("GET", PATH))
            async with asyncio.timeout(5):
                assert await client.wire.answer_head() is not None
                for wanted, gate in zip(("one", "two", "three"), [*gates, None], strict=True):
                    while event(wanted) not in client.wire.buffer:
                        assert await client.wire.fill()
                    client.wire.buffer.clear()
                    if gate is not None:
                        gate.open()

    asyncio.run(play())


@pytest.mark.parametrize("framing", ["chunked", "until close"])
def test_the_times_of_calls_do_not_cut_a_stream(
    gateway: GatewayProcess, upstream: RecordingUpstream, framing: str
) -> None:
    if framing == "chunked":
        upstream.script(PATH, raw(*stream(*SLOW, b"0\r\n\r\n")))
    else:
        upstream.script(PATH, raw(head(200, EVENTS), *SLOW, Cut()))
    name = f"slow-{framing.replace(' ', '-')}"
    answer = take(gateway, name)
    assert answer.body.complete
    assert answer.text.count(b"data: ") == 4
    line = gateway.log.of(name)
    assert (line["outcome"], line["duration_us"] > 1_500_000) == ("answered", True)


def test_an_answer_of_another_type_at_that_pace_is_cut(
    gateway: GatewayProcess, upstream: RecordingUpstream
) -> None:
    upstream.script(PATH, raw(*stream(*SLOW, b"0\r\n\r\n", content_type="Content-Type: text/plain")))
    assert not take(gateway, "plain-1").body.complete
    assert gateway.log.of("plain-1")["reason"] == "idle_timeout"


@pytest.mark.parametrize(
    ("api", "actions", "reason", "lasts"),
    [
        ("short_idle", (event("one"), Stall()), "stream_idle_timeout", 1.0),
        ("short_total", (*SLOW, *SLOW), "stream_total_timeout", 1.0),
    ],
)
def test_a_stream_has_bounds_of_its_own_and_their_passing_shows(
    gateway: GatewayProcess,
    upstream: RecordingUpstream,
    api: str,
    actions: tuple[Action, ...],
    reason: str,
    lasts: float,
) -> None:
    path = f"/{api}/v1/events"
    upstream.script(path, raw(*stream(*actions)))
    began = time.monotonic()
    answer = take(gateway, api, path)
    assert lasts - 0.1 < time.monotonic() - began < lasts + 1
    assert not answer.body.complete
    line = gateway.log.of(api)
    assert (line["outcome"], line["reason"]) == ("unknown", reason)


def test_the_callers_own_deadline_holds_for_a_stream_too(
    gateway: GatewayProcess, upstream: RecordingUpstream
) -> None:
    upstream.script(PATH, raw(*stream(*SLOW)))

    async def play() -> Answer:
        async with RawClient(gateway.address) as client:
            return await client.ask(request("GET", PATH, "X-Request-Id: own-1", "X-Request-Deadline: 600"))

    assert not asyncio.run(play()).body.complete
    line = gateway.log.of("own-1")
    assert line["reason"] == "stream_total_timeout"
    assert line["duration_us"] < 1_200_000


def test_a_stream_without_its_caller_has_the_times_of_a_call(
    gateway: GatewayProcess, upstream: RecordingUpstream
) -> None:
    """A POST is finished for its outcome (W08), but not for an hour."""
    upstream.script(PATH, raw(*stream(event("one"), Stall())))

    async def play() -> None:
        async with RawClient(gateway.address) as client:
            await client.send(request("POST", PATH, "X-Request-Id: left-1", body=b"{}"))
            async with asyncio.timeout(5):
                assert await client.wire.answer_head() is not None
            client.wire.reset_on_close()

    asyncio.run(play())
    line = gateway.log.of("left-1", 3)
    assert line["outcome"] == "client_gone"
    assert line["duration_us"] < 2_000_000


@pytest.mark.parametrize("ends", [True, False])
def test_a_stop_ends_a_stream_cleanly_only_if_its_upstream_does(
    own: GatewayProcess, upstream: RecordingUpstream, ends: bool
) -> None:
    gate = Gate()
    upstream.script(PATH, raw(*stream(event("one"), gate, event("two"), b"0\r\n\r\n")))

    async def play() -> Body:
        async with RawClient(own.address) as client:
            await client.send(request("GET", PATH, "X-Request-Id: stop-1"))
            answer = await client.wire.answer_head()
            assert answer is not None
            os.kill(own.pid, signal.SIGTERM)
            await asyncio.sleep(0.3)
            if ends:
                gate.open()
            else:
                os.kill(own.pid, signal.SIGINT)  # the grace is cut short
            body = Body()
            async with asyncio.timeout(8):
                await client.wire.read_chunks(body)
            return body

    body = asyncio.run(play())
    assert body.complete is ends
    assert b"data: one" in body.data
    assert own.wait_exit() == 0
    line = own.log.of("stop-1")
    assert line["outcome"] == ("answered" if ends else "unknown")
    own.process = None
