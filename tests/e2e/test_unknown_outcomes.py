"""Calls that were sent and not answered, in the real gateway: asked about, settled by hand, and seen in log and metrics."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from faregate.cli.app import main
from tests.support.client import Answer, ask, request
from tests.support.configuration import Tree, base, changed, consumer, key_line, with_payments
from tests.support.gateway import GatewayProcess, until
from tests.support.script import Reset, raw, sized
from tests.support.upstream import RecordingUpstream

PATIENCE_S = 30.0
PAID = b'{"id":"pay_1"}'


@pytest.fixture
def upstream() -> Iterator[RecordingUpstream]:
    with RecordingUpstream() as upstream:
        upstream.script("/money/v1/asked", raw(Reset()))
        upstream.script("/money/v1/unasked", raw(Reset()))
        upstream.script("/money/v1/lookup", sized(b"{}", 404))
        yield upstream


def tree_for(upstream: RecordingUpstream) -> Callable[[int, int], Tree]:
    def make(port: int, manager_port: int) -> Tree:
        tree = with_payments(base(port, manager_port, upstream.url, workers=2))
        tree = changed(tree, "consumers", "payer", to=consumer("payer"))
        resolve = {"query": "GET /lookup?key={key}", "settling": "1s", "answer": "query"}
        api: Tree = {
            "upstream": "main",
            "authenticate": ["api_key"],
            "versions": {"v1": {"path": "/money/v1"}},
            "routes": [
                {"match": "POST /asked", "idempotency": {"required": True, "resolve": resolve}},
                {"match": "POST /unasked", "idempotency": "required"},
            ],
        }
        return changed(tree, "apis", "money", to=api)

    return make


@pytest.fixture
def gateway(upstream: RecordingUpstream, tmp_path: Path) -> Iterator[GatewayProcess]:
    with GatewayProcess(tmp_path, tree_for(upstream)) as gateway:
        yield gateway


def pay(gateway: GatewayProcess, path: str, key: str) -> Answer:
    data = request("POST", f"/money/v1/{path}", key_line("payer"), f"Idempotency-Key: {key}", body=b"{}")
    return asyncio.run(ask(gateway.address, data))


def ledger(capsys: pytest.CaptureFixture[str], gateway: GatewayProcess, *words: str) -> dict[str, object]:
    capsys.readouterr()
    assert main(["ledger", *words, "--json", "--data", str(gateway.folder / "data")]) == 0
    told = json.loads(capsys.readouterr().out)
    assert isinstance(told, dict)
    return told


def show(
    capsys: pytest.CaptureFixture[str], gateway: GatewayProcess, path: str, key: str
) -> dict[str, object]:
    named = ("--key", key, "--consumer", "payer", "--api", "money", "--route", f"POST /{path}")
    return ledger(capsys, gateway, "show", *named)


def sent(upstream: RecordingUpstream, path: str) -> int:
    return sum(1 for one in upstream.requests if (one.method, one.path) == ("POST", f"/money/v1/{path}"))


def test_a_payment_that_the_upstream_knows_is_completed_and_replayed(
    gateway: GatewayProcess, upstream: RecordingUpstream, capsys: pytest.CaptureFixture[str]
) -> None:
    first = pay(gateway, "asked", "k-1")
    assert (first.status, first.problem["outcome"]) == (502, "unknown")
    assert show(capsys, gateway, "asked", "k-1")["state"] == "unknown"
    again = pay(gateway, "asked", "k-1")
    assert (again.status, again.code, again.problem["outcome"], again.problem["retry"]) == (
        409, "idempotency_in_flight", "unknown", "after_query",
    )  # fmt: skip
    upstream.script("/money/v1/lookup", sized(PAID, 200, "Content-Type: application/json"))
    until(lambda: show(capsys, gateway, "asked", "k-1")["state"] == "completed", "a verdict", PATIENCE_S)
    record = show(capsys, gateway, "asked", "k-1")
    assert (record["by"], record["request_id"]) == ("resolver", first.request_id)
    replay = pay(gateway, "asked", "k-1")
    assert (replay.status, replay.text, replay.header("Idempotent-Replayed")) == (200, PAID, "true")
    assert sent(upstream, "asked") == 1
    queries = [one for one in upstream.requests if one.path == "/money/v1/lookup"]
    assert {one.target for one in queries} == {"/money/v1/lookup?key=k-1"}
    assert {one.header("X-Consumer-Id") for one in queries} == {"payer"}
    assert [gateway.log.of(one.request_id).get("idempotency") for one in (first, again, replay)] == [
        "unknown", "in_flight", "replayed",
    ]  # fmt: skip


def test_a_payment_that_the_upstream_never_got_is_released_and_runs_again(
    gateway: GatewayProcess, upstream: RecordingUpstream, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pay(gateway, "asked", "k-1").status == 502
    upstream.script("/money/v1/asked", sized(PAID, 201))
    until(
        lambda: gateway.metric("faregate_ledger_verdicts_total", upstream="main", verdict="released") == 1,
        "the release",
        PATIENCE_S,
    )
    assert pay(gateway, "asked", "k-1").status == 201
    assert sent(upstream, "asked") == 2
    assert show(capsys, gateway, "asked", "k-1")["state"] == "completed"
    route = {"api": "money", "version": "v1", "route": "POST /asked"}
    assert gateway.metric("faregate_idempotency_total", **route, result="unknown") == 1
    assert gateway.metric("faregate_idempotency_total", **route, result="completed") == 1
    until(lambda: gateway.metric("faregate_ledger_records") == 1, "the figures", PATIENCE_S)
    assert gateway.metric("faregate_ledger_up") == 1.0
    until(lambda: gateway.metric("faregate_ledger_unknown") == 0, "the figures of now", PATIENCE_S)


@pytest.mark.parametrize(
    ("verdict", "status", "outcome", "times"),
    [("completed", 409, "answered", 1), ("released", 502, "unknown", 2)],
)
def test_without_a_query_it_stays_unknown_until_an_operator_decides(
    gateway: GatewayProcess,
    upstream: RecordingUpstream,
    capsys: pytest.CaptureFixture[str],
    verdict: str,
    status: int,
    outcome: str,
    times: int,
) -> None:
    assert pay(gateway, "unasked", "k-1").status == 502
    (record,) = ledger(capsys, gateway, "list")["records"]  # type: ignore[misc]
    assert record["resolves"] is False
    assert pay(gateway, "unasked", "k-1").problem["outcome"] == "unknown"
    ledger(
        capsys, gateway, "settle", record["id"], verdict, "--reason", "asked the bank", "--by", "ada", "--yes"
    )
    after = pay(gateway, "unasked", "k-1")
    assert (after.status, after.problem["outcome"]) == (status, outcome)
    assert sent(upstream, "unasked") == times
    assert not [one for one in upstream.requests if one.path == "/money/v1/lookup"]
