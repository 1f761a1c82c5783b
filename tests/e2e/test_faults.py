"""http-rules.md section 10, X1 and X2, and W14: a bad network between gateway and upstream, from a seeded proxy.

What a caller is told must be true: ``answered`` and ``unknown`` calls reached the upstream at most once, a ``not_sent`` one never did.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from tests.support.chaos import ChaosProxy, Faults
from tests.support.client import RawClient, ask, request
from tests.support.configuration import Tree, base, changed, public_api
from tests.support.gateway import GatewayProcess, until
from tests.support.ports import closed_port
from tests.support.upstream import RecordingUpstream

SEED = 20261123
CALLS = 240


@dataclass
class Chain:
    gateway: GatewayProcess
    proxy: ChaosProxy
    upstream: RecordingUpstream


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    with ExitStack() as stack:
        upstream = stack.enter_context(RecordingUpstream())
        proxy = stack.enter_context(ChaosProxy(upstream.address, SEED))
        closed = stack.enter_context(closed_port())

        def make(port: int, manager_port: int) -> Tree:
            tree = base(port, manager_port, proxy.url)
            tree = changed(
                tree,
                "upstreams",
                "main",
                "timeouts",
                to={"connect": "300ms", "first_byte": "400ms", "idle": "400ms", "total": "2s"},
            )
            half = {
                "targets": [f"http://127.0.0.1:{closed}", upstream.url],
                "balance": "round_robin",
                "health": {"passive": "off"},
            }
            tree = changed(tree, "upstreams", "half", to=half)  # type: ignore[arg-type]
            return changed(tree, "apis", "half", to=public_api("half", "/half/v1"))

        yield Chain(
            stack.enter_context(GatewayProcess(tmp_path_factory.mktemp("faults"), make)), proxy, upstream
        )


@pytest.fixture
def chain(running: Chain) -> Iterator[Chain]:
    running.upstream.clear()
    yield running
    running.proxy.heal()


@pytest.mark.parametrize("slice_bytes", [1, 3, 7])
def test_x1_sliced_and_delayed_bytes_change_nothing(chain: Chain, slice_bytes: int) -> None:
    chain.proxy.up = chain.proxy.down = Faults(slice_bytes=slice_bytes)
    body = bytes(range(256)) * 2
    answer = asyncio.run(ask(chain.gateway.address, request("POST", "/open/v1/t", body=body)))
    assert answer.status == 200
    assert bytes(chain.upstream.requests[0].body.data) == body


@pytest.mark.parametrize("reset", [False, True], ids=["cut", "reset"])
@pytest.mark.parametrize("after", [1, 20, 60])
def test_x1_answers_that_end_inside_the_head_are_unknown(chain: Chain, after: int, reset: bool) -> None:
    chain.proxy.reset_all()
    chain.proxy.down = Faults(reset_after=after) if reset else Faults(cut_after=after)
    answer = asyncio.run(ask(chain.gateway.address, request("POST", "/open/v1/t", body=b"{}")))
    assert (answer.status, answer.code, answer.problem["outcome"]) == (
        502,
        "upstream_invalid_response",
        "unknown",
    )
    assert len(chain.upstream.requests) == 1


def test_x1_silence_ends_at_the_first_byte_deadline(chain: Chain) -> None:
    chain.proxy.down = Faults(silent=True)
    answer = asyncio.run(ask(chain.gateway.address, request("POST", "/open/v1/t", body=b"{}")))
    assert (answer.status, answer.code) == (504, "upstream_timeout")
    assert len(chain.upstream.requests) == 1


def test_x2_refused_connections_are_not_sent_and_the_next_call_after_healing_works(chain: Chain) -> None:
    chain.proxy.refuse()
    try:
        answer = asyncio.run(ask(chain.gateway.address, request("POST", "/open/v1/t", body=b"{}")))
    finally:
        chain.proxy.listen()
    assert (answer.status, answer.code, answer.problem["outcome"]) == (
        502,
        "upstream_unreachable",
        "not_sent",
    )
    assert chain.upstream.requests == []
    assert asyncio.run(ask(chain.gateway.address, request("POST", "/open/v1/t", body=b"{}"))).status == 200


def test_w14_a_refused_connect_goes_to_another_target(chain: Chain) -> None:
    """One of two targets is closed: every call is answered by the other, the log counts the attempts."""

    async def play() -> list[tuple[int, str]]:
        answers = [
            await ask(chain.gateway.address, request("POST", "/half/v1/t", body=b"{}")) for _ in range(12)
        ]
        return [(answer.status, answer.request_id) for answer in answers]

    results = asyncio.run(play())
    assert {status for status, _ in results} == {200}
    attempts = {chain.gateway.log.of(request_id)["attempts"] for _, request_id in results}
    assert attempts == {1, 2}
    assert len(chain.upstream.requests) == 12


def test_w14_under_random_faults_every_call_is_told_the_truth(chain: Chain) -> None:
    dice = random.Random(SEED)
    told: dict[str, tuple[int, str]] = {}

    async def call(number: int) -> None:
        name = f"fault-{number}"
        async with RawClient(chain.gateway.address) as client:
            await client.send(
                request("POST", "/open/v1/pay", f"X-Request-Id: {name}", body=b'{"amount_minor":100}')
            )
            answer = await client.answer("POST")
        assert answer is not None, "every caller gets an answer"
        if not answer.body.complete:
            told[name] = (answer.status, "cut")
        else:
            told[name] = (
                answer.status,
                "answered" if answer.status == 200 else str(answer.problem["outcome"]),
            )

    def stir() -> None:
        """Another fault, or none."""
        chain.proxy.heal()
        fault = dice.choice(
            [
                Faults(), Faults(), Faults(cut_after=dice.randrange(400)), Faults(reset_after=dice.randrange(400)), Faults(silent=True),
                Faults(delay_ms=20, jitter_ms=30), Faults(slice_bytes=5),
            ]
        )  # fmt: skip
        setattr(chain.proxy, dice.choice(["up", "down"]), fault)
        if dice.random() < 0.3:
            chain.proxy.reset_all()

    async def play() -> None:
        for start in range(0, CALLS, 12):
            await asyncio.to_thread(stir)
            if dice.random() < 0.15:
                await asyncio.to_thread(chain.proxy.refuse)
                await asyncio.gather(*(call(number) for number in range(start, start + 12)))
                await asyncio.to_thread(chain.proxy.listen)
            else:
                await asyncio.gather(*(call(number) for number in range(start, start + 12)))

    asyncio.run(play())
    reached = Counter(seen.header("x-request-id") for seen in chain.upstream.requests)
    kinds = Counter(told.values())
    print(f"seed {SEED}: {dict(kinds)}")
    assert len(told) == CALLS
    assert len(kinds) >= 4, "the faults were too tame to prove anything"
    assert max(reached.values()) == 1, "a call was sent twice"
    assert [name for name, (_, outcome) in told.items() if outcome == "not_sent" and reached[name]] == []
    assert [
        name for name, (_, outcome) in told.items() if outcome in {"answered", "cut"} and not reached[name]
    ] == []
    logged = {name: chain.gateway.log.of(name) for name in told}
    assert [name for name, (status, _) in told.items() if logged[name]["status"] != status] == []
    wrong = [
        (name, told[name], logged[name]["outcome"])
        for name in told
        if logged[name]["outcome"] != {"cut": "unknown"}.get(told[name][1], told[name][1])
    ]
    assert wrong == []
    chain.proxy.heal()
    chain.proxy.reset_all()
    until(
        lambda: asyncio.run(ask(chain.gateway.address, request("GET", "/open/v1/t"))).status == 200,
        "calm after the storm",
        3,
    )
    assert chain.gateway.metric("faregate_calls_in_flight") == 0
