"""SPEC section 5, proven from outside: ``100/second`` never admits more than 100 in any window of one second, over four workers.

An admission lies somewhere between the caller's send and the upstream's receipt, both on this process's clock. A window of one second
that wholly contains more than 100 such spans is a violation beyond doubt, and nothing else is called one. The access log's own
times are swept as well where no worker died. Short form 6 s each; ``FAREGATE_PROOF=long`` runs 20 s.
"""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from datetime import datetime

import pytest

from tests.support.client import request
from tests.support.configuration import Tree, base, changed, consumer, key_line, with_payments
from tests.support.gateway import GatewayProcess, until
from tests.support.load import Load
from tests.support.script import sized
from tests.support.upstream import RecordingUpstream

LIMIT = 100
SECONDS = 20.0 if os.environ.get("FAREGATE_PROOF") == "long" else 6.0
AVERAGE_MIN = 97.0
WORKERS = 4

pytestmark = [pytest.mark.proof, pytest.mark.timeout(120)]
Disturb = Callable[[GatewayProcess], Awaitable[None]]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[GatewayProcess, RecordingUpstream]]:
    with ExitStack() as stack:
        upstream = stack.enter_context(RecordingUpstream())
        upstream.default = sized(b"{}")

        def make(port: int, manager_port: int) -> Tree:
            tree = with_payments(base(port, manager_port, upstream.url, workers=WORKERS))
            tree = changed(tree, "plans", "hundred", to={"limits": [f"{LIMIT}/second"]})
            for name in ("calm", "reloaded", "killed"):
                tree = changed(tree, "consumers", name, to=consumer(name, "payments:write", plan="hundred"))
            return tree

        yield stack.enter_context(GatewayProcess(tmp_path_factory.mktemp("limits"), make)), upstream


async def undisturbed(_: GatewayProcess) -> None:
    """Nothing happens."""


async def reloads(gateway: GatewayProcess) -> None:
    """A reload every second."""
    while True:
        await asyncio.sleep(1)
        gateway.reload()


async def one_worker_dies(gateway: GatewayProcess) -> None:
    await asyncio.sleep(SECONDS / 2)
    os.kill(gateway.worker_pids()[0], signal.SIGKILL)


def drive(pair: tuple[GatewayProcess, RecordingUpstream], name: str, disturb: Disturb) -> tuple[Load, float]:
    """Loads the gateway as consumer ``name``; the load and the seconds it lasted."""
    gateway, upstream = pair
    upstream.clear()

    def make(call: str) -> bytes:
        return request("POST", "/v2/payments", key_line(name), f"X-Request-Id: {name}-{call}", body=b"{}")

    load = Load(gateway.address, make, connections=64, pause_s=0.08)

    async def play() -> float:
        disturbing = asyncio.create_task(disturb(gateway))
        begun = time.monotonic()
        await load.run(SECONDS)
        lasted = time.monotonic() - begun
        if disturbing.done():
            await disturbing
        disturbing.cancel()
        await asyncio.gather(disturbing, return_exceptions=True)
        return lasted

    return load, asyncio.run(play())


def spans(upstream: RecordingUpstream, load: Load, name: str) -> list[tuple[float, float]]:
    """When each admitted call can have been admitted: not before its send, not after its receipt upstream."""
    sent = {f"{name}-{shot.name}": shot.sent for shot in load.shots}
    return sorted((sent[str(seen.header("x-request-id"))], seen.at) for seen in upstream.requests)


def fullest_window(admitted: list[tuple[float, float]], seconds: float = 1.0) -> int:
    """The most spans that lie wholly inside one window of ``seconds``; a fullest one begins at some span's begin."""
    most = 0
    for index, (begin, _) in enumerate(admitted):
        inside = 0
        for start, end in admitted[index:]:
            if start > begin + seconds:
                break
            inside += end <= begin + seconds
        most = max(most, inside)
    return most


def test_the_sweep_itself_tells_101_from_100() -> None:
    evenly = [(n / 101, n / 101 + 0.001) for n in range(300)]
    assert fullest_window([(n / 99, n / 99) for n in range(300)]) == 100
    assert fullest_window(evenly) == 101
    assert fullest_window([(0.9, 0.95)] * 100 + [(1.1, 1.15)] * 100) == 200


@pytest.mark.parametrize(
    ("name", "disturb"),
    [("calm", undisturbed), ("reloaded", reloads), ("killed", one_worker_dies)],
    ids=["calm", "reload every second", "worker killed"],
)
def test_no_window_of_a_second_admits_more_than_the_limit(
    pair: tuple[GatewayProcess, RecordingUpstream], name: str, disturb: Disturb
) -> None:
    gateway, upstream = pair
    assert len(gateway.worker_pids()) == WORKERS
    before = gateway.revision()
    load, lasted = drive(pair, name, disturb)
    admitted = spans(upstream, load, name)
    statuses = {
        status: sum(shot.status == status for shot in load.shots)
        for status in {shot.status for shot in load.shots}
    }
    fullest, average = fullest_window(admitted), len(admitted) / lasted
    print(
        f"{name}: {len(load.shots) / lasted:.0f} calls/s asked, {average:.1f}/s admitted, fullest second {fullest}, statuses {statuses}"
    )
    assert len(load.shots) / lasted > 2 * LIMIT, "the load was too weak to prove anything"
    assert fullest <= LIMIT
    assert average >= AVERAGE_MIN
    if name == "reloaded":
        until(lambda: gateway.revision() >= before + int(SECONDS) // 2, "the revisions of the reloads")
    if name == "killed":
        assert statuses.keys() <= {200, 429, 0}
        assert statuses.get(0, 0) <= 64, "more calls lost than were open"
        until(lambda: len(gateway.worker_pids()) == WORKERS, "the dead worker's replacement")
        return
    assert statuses.keys() == {200, 429}
    assert statuses[200] == len(admitted)
    check_log(gateway, name, statuses[200])


def check_log(gateway: GatewayProcess, name: str, count: int) -> None:
    """The log's own times, of which each is the reading that the decision was made on, cut to milliseconds."""

    def passed() -> list[float]:
        lines = gateway.log.read()
        ours = [line for line in lines if line.get("consumer") == name and line["status"] == 200]
        return sorted(datetime.fromisoformat(str(line["time"])).timestamp() for line in ours)

    until(lambda: len(passed()) == count, "every admitted call in the log")
    times = passed()
    fullest = fullest_window([(moment, moment) for moment in times], 0.999)
    print(f"{name}: fullest second by the log {fullest}")
    assert fullest <= LIMIT
