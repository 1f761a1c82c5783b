"""X1 and http-rules.md section 7: a breaker opens on a real upstream that fails, refusals come fast, and healing is noticed."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from tests.support.chaos import ChaosProxy, Faults
from tests.support.client import Answer, ask, request
from tests.support.configuration import Tree, Value, base, changed, public_api
from tests.support.gateway import GatewayProcess, until
from tests.support.script import sized
from tests.support.upstream import RecordingUpstream

SEED = 20261123
OPEN_FOR_S = 1.0


@dataclass
class Chain:
    gateway: GatewayProcess
    proxies: dict[str, ChaosProxy]
    upstream: RecordingUpstream

    def call(self, api: str, method: str = "POST") -> Answer:
        body = b"{}" if method == "POST" else b""
        return asyncio.run(ask(self.gateway.address, request(method, f"/{api}/v1/t", body=body)))

    def calls(self, api: str, count: int) -> Counter[tuple[int, str]]:
        async def play() -> list[Answer]:
            answers = []
            for start in range(0, count, 8):
                wave = [
                    ask(self.gateway.address, request("POST", f"/{api}/v1/t", body=b"{}"))
                    for _ in range(min(8, count - start))
                ]
                answers += await asyncio.gather(*wave)
            return answers

        return Counter(
            (answer.status, answer.code if answer.status >= 500 else "") for answer in asyncio.run(play())
        )


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    with ExitStack() as stack:
        upstream = stack.enter_context(RecordingUpstream())
        proxies = {
            name: stack.enter_context(ChaosProxy(upstream.address, SEED))
            for name in ("alone", "left", "right")
        }

        def make(port: int, manager_port: int) -> Tree:
            tree = base(port, manager_port, upstream.url)
            health: dict[str, Value] = {
                "passive": "off",
                "breaker": {"ratio": "50%", "calls": 20, "within": "2s", "open_for": f"{OPEN_FOR_S:.0f}s"},
            }
            groups = {"alone": ["alone"], "pair": ["left", "right"]}
            for name, members in groups.items():
                settings: dict[str, Value] = {
                    "targets": [proxies[member].url for member in members],
                    "balance": "round_robin",
                    "timeouts": {"connect": "300ms", "first_byte": "300ms", "total": "2s"},
                    "health": health,
                }
                tree = changed(tree, "upstreams", name, to=settings)
                tree = changed(tree, "apis", name, to=public_api(name, f"/{name}/v1"))
            return tree

        gateway = stack.enter_context(GatewayProcess(tmp_path_factory.mktemp("breaker"), make))
        yield Chain(gateway, proxies, upstream)


@pytest.mark.parametrize("fault", ["silence", "refusal"])
def test_x1_a_dead_upstream_is_refused_fast_and_truly_and_is_back_soon_after_it_heals(
    chain: Chain, fault: str
) -> None:
    proxy = chain.proxies["alone"]
    assert chain.call("alone").status == 200
    proxy.reset_all()
    told = (504, "upstream_timeout") if fault == "silence" else (502, "upstream_unreachable")
    if fault == "silence":
        proxy.down = Faults(silent=True)
    else:
        proxy.refuse()
    results: Counter[tuple[int, str]] = Counter()
    until(
        lambda: results.update(chain.calls("alone", 24)) or results[503, "no_healthy_target"] > 0, "open", 8
    )
    assert set(results) == {told, (503, "no_healthy_target")}
    before = len(chain.upstream.requests)
    began = time.monotonic()
    answer = chain.call("alone")
    took_s = time.monotonic() - began
    assert (answer.status, answer.code, answer.problem["outcome"]) == (503, "no_healthy_target", "not_sent")
    assert answer.header("retry-after") is not None
    assert took_s < 0.2, "no waiting for a timeout"
    assert len(chain.upstream.requests) == before
    assert chain.gateway.metric("faregate_target_out", upstream="alone") == 1
    assert chain.gateway.metric("faregate_breaker_openings_total", upstream="alone") >= 1
    if fault == "silence":
        proxy.heal()
        proxy.reset_all()
    else:
        proxy.listen()
    healed = time.monotonic()
    until(lambda: chain.call("alone").status == 200, "the target to be tried and found well", 4)
    until(lambda: chain.calls("alone", 16) == {(200, ""): 16}, "all calls to pass", 4)
    assert time.monotonic() - healed < 4


def test_a_429_is_not_ill_health(chain: Chain) -> None:
    chain.upstream.script("/alone/v1/t", sized(b"{}", 429, "Retry-After: 1"))
    try:
        assert chain.calls("alone", 60) == {(429, ""): 60}
    finally:
        chain.upstream.clear()
    assert chain.call("alone").status == 200


def test_w14_the_well_target_of_two_takes_the_calls_and_retries_stay_in_their_budget(chain: Chain) -> None:
    chain.proxies["left"].refuse()
    try:
        results = chain.calls("pair", 240)
        assert results[200, ""] >= 230, results
        retries = chain.gateway.metric("faregate_upstream_retries_total", upstream="pair")
        assert 5 <= retries <= 10 + 0.2 * 240 + 20
        out = chain.gateway.metric("faregate_target_out", upstream="pair")
        assert out in {0.5, 1}, "out, or on trial where the calls took long"
        assert chain.gateway.metric("faregate_target_dial_failures_total", upstream="pair") >= 5
    finally:
        chain.proxies["left"].listen()
    until(lambda: chain.calls("pair", 8) == {(200, ""): 8}, "both to serve")
