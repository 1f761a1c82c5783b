"""Names, several addresses and callers' deadlines through the real gateway: X9, W14 and ``X-Request-Deadline``."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from tests.support.client import Answer, ask, request
from tests.support.configuration import Tree, Value, base, changed, public_api
from tests.support.gateway import GatewayProcess
from tests.support.script import Stall, raw
from tests.support.upstream import RecordingUpstream


@dataclass
class Chain:
    gateway: GatewayProcess
    upstream: RecordingUpstream

    def call(self, api: str, *lines: str, path: str = "t") -> Answer:
        return asyncio.run(
            ask(self.gateway.address, request("POST", f"/{api}/v1/{path}", *lines, body=b"{}"))
        )


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    with ExitStack() as stack:
        upstream = stack.enter_context(RecordingUpstream())

        def make(port: int, manager_port: int) -> Tree:
            tree = base(port, manager_port, upstream.url)
            targets = {
                "named": f"http://localhost:{upstream.address[1]}",
                "unknown": "http://no-such-host.invalid:80",
            }
            for name, url in targets.items():
                settings: dict[str, Value] = {"targets": [url], "timeouts": {"connect": "1s"}}
                tree = changed(tree, "upstreams", name, to=settings)
                tree = changed(tree, "apis", name, to=public_api(name, f"/{name}/v1"))
            return tree

        yield Chain(stack.enter_context(GatewayProcess(tmp_path_factory.mktemp("dialling"), make)), upstream)


@pytest.fixture(autouse=True)
def _clean(chain: Chain) -> None:
    chain.upstream.clear()


def test_x9_a_name_with_an_address_that_nobody_listens_at_is_reached_by_the_other(chain: Chain) -> None:
    """``localhost`` is often ``::1`` first, and the upstream listens on 127.0.0.1 alone."""
    for _ in range(3):
        began = time.monotonic()
        assert chain.call("named").status == 200
        assert time.monotonic() - began < 1.0
    assert len(chain.upstream.requests) == 3


def test_x9_a_name_that_does_not_exist_is_not_sent(chain: Chain) -> None:
    answer = chain.call("unknown")
    assert (answer.status, answer.code, answer.problem["outcome"]) == (
        502,
        "upstream_unreachable",
        "not_sent",
    )
    line = chain.gateway.log.of(answer.request_id)
    # A machine without a resolver that answers takes longer than the connect timeout.
    assert line["reason"] in {"name_not_resolved", "connect_timeout"}


def test_the_upstream_is_told_how_long_it_has(chain: Chain) -> None:
    chain.call("open")
    chain.call("open", "X-Request-Deadline: 1500")
    chain.call("open", "X-Request-Deadline: 99999999")
    chain.call("open", "X-Request-Deadline: tomorrow")
    told = [int(seen.header("x-request-deadline") or 0) for seen in chain.upstream.requests]
    assert 59_000 <= told[0] <= 60_000
    assert 1_400 <= told[1] <= 1_500
    assert told[2:] == [60_000, 60_000]


def test_a_callers_deadline_holds_within_a_tenth_and_a_bit(chain: Chain) -> None:
    chain.upstream.script("/open/v1/slow", raw(Stall()))
    chain.call("open")
    began = time.monotonic()
    answer = chain.call("open", "X-Request-Deadline: 500", path="slow")
    took_s = time.monotonic() - began
    assert (answer.status, answer.code, answer.problem["outcome"]) == (504, "upstream_timeout", "unknown")
    assert 0.45 <= took_s < 1.0
    assert chain.gateway.log.of(answer.request_id)["reason"] == "total_timeout"


def test_no_time_left_is_told_and_nothing_is_sent(chain: Chain) -> None:
    answer = chain.call("open", "X-Request-Deadline: 0")
    assert (answer.status, answer.code, answer.problem["outcome"]) == (
        502,
        "upstream_unreachable",
        "not_sent",
    )
    assert chain.upstream.requests == []
