"""Ends that are not in good order: a stop with a payment in flight, a second signal, a revision that workers refuse."""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.client import RawClient, ask, request
from tests.support.configuration import Tree, base, changed
from tests.support.gateway import GatewayProcess, until
from tests.support.script import Stall, raw
from tests.support.upstream import RecordingUpstream

pytestmark = pytest.mark.apart

Start = Callable[[Callable[[int, int], Tree]], GatewayProcess]


@pytest.fixture
def run_gateway(tmp_path: Path) -> Iterator[Start]:
    """Starts gateways that the test itself ends; what is left of them is killed."""
    with ExitStack() as stack:

        def start(make: Callable[[int, int], Tree]) -> GatewayProcess:
            gateway = GatewayProcess(tmp_path / "gateway", make)
            stack.callback(gateway.kill)
            gateway.launch()
            gateway.wait_ready()
            return gateway

        yield start


@pytest.mark.parametrize("caller_stays", [True, False])
def test_a_sent_payment_is_recorded_as_unknown_when_the_gateway_stops_at_once(
    run_gateway: Start, caller_stays: bool
) -> None:
    with RecordingUpstream() as upstream:
        upstream.script("/open/v1/held", raw(Stall()))
        gateway = run_gateway(lambda port, manager: base(port, manager, upstream.url))

        async def play() -> None:
            async with RawClient(gateway.address) as client:
                await client.send(request("POST", "/open/v1/held", "X-Request-Id: held", body=b"{}"))
                await upstream.awaits(lambda: bool(upstream.of_path("/open/v1/held")), "the held call")
                if caller_stays:
                    os.kill(gateway.pid, signal.SIGINT)
                    answer = await client.answer("POST")
                    assert answer is not None
                    assert (answer.status, answer.problem["outcome"]) == (504, "unknown")
            if not caller_stays:
                await asyncio.sleep(0)
                os.kill(gateway.pid, signal.SIGINT)

        asyncio.run(play())
        assert gateway.wait_exit() == 0
        line = gateway.log.of("held")
        assert (line["outcome"], line["reason"]) == ("unknown", "gateway_stopped")


def test_a_second_signal_ends_a_drain(run_gateway: Start) -> None:
    with RecordingUpstream() as upstream:
        upstream.script("/open/v1/held", raw(Stall()))
        gateway = run_gateway(lambda port, manager: base(port, manager, upstream.url))

        async def play() -> float:
            async with RawClient(gateway.address) as client:
                await client.send(request("POST", "/open/v1/held", body=b"{}"))
                await upstream.awaits(lambda: bool(upstream.of_path("/open/v1/held")), "the held call")
                os.kill(gateway.pid, signal.SIGTERM)
                await asyncio.to_thread(until, lambda: "stopping" in gateway.stderr, "the drain", 3)
                begun = time.monotonic()
                os.kill(gateway.pid, signal.SIGINT)
                await asyncio.to_thread(gateway.wait_exit)
                return time.monotonic() - begun

        assert asyncio.run(play()) < 3


def test_a_revision_that_workers_refuse_changes_nothing_for_those_to_come(
    run_gateway: Start, tmp_path: Path
) -> None:
    """The file checks, the workers cannot use it: the former revision serves on, also in a worker started later."""
    bad = tmp_path / "not-a-certificate.pem"
    bad.write_text("no certificate at all")
    with RecordingUpstream() as upstream:
        trees: list[Tree] = []

        def make(port: int, manager: int) -> Tree:
            trees.append(base(port, manager, upstream.url))
            return trees[0]

        gateway = run_gateway(make)
        issuer = {
            "issuer": "https://id.example",
            "jwks": "https://127.0.0.1:1/jwks",
            "audience": "a",
            "algorithms": ["RS256"],
            "tls": {"ca": str(bad)},
        }
        gateway.reload(changed(trees[0], "issuers", to={"late": issuer}))  # type: ignore[arg-type]
        until(lambda: "revision 1 stays" in gateway.stderr, "the refusal", 10)
        (victim,) = gateway.worker_pids()
        os.kill(victim, signal.SIGKILL)
        until(lambda: gateway.worker_pids() not in ([], [victim]), "another worker", 5)
        until(lambda: asyncio.run(_status(gateway)) == 200, "the former revision to serve", 5)
        assert gateway.revision() == 1
        assert "Traceback" not in gateway.stderr


async def _status(gateway: GatewayProcess) -> int:
    try:
        return (await ask(gateway.address, request("GET", "/open/v1/t"))).status
    except (OSError, AssertionError):
        return 0
