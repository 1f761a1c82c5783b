"""The audit tree of a running gateway: payment calls are in it, what must be recorded waits for the disk, and whoever is killed,
it verifies."""

import http.client
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from faregate.cli.app import main
from faregate.records.audit import leaf
from faregate.records.audit.places import folder_in
from faregate.records.audit.reading import lines_of
from tests.support.configuration import Tree, base, key_line, with_payments
from tests.support.gateway import until
from tests.support.live import LiveGateway
from tests.support.upstream import RecordingUpstream

pytestmark = pytest.mark.timeout(120)
BODY = b'{"amount":100}'


def configuration(port: int, manager_port: int, url: str) -> Tree:
    tree = with_payments(
        base(port, manager_port, url)
    )  # one worker: its records come in the order of its calls
    routes = tree["apis"]["payments"]["routes"]  # type: ignore[index,call-overload]
    routes[0]["idempotency"] = "required"  # type: ignore[index,call-overload]
    routes[1]["audit"] = "on"  # type: ignore[index,call-overload]
    routes.append({"match": "POST /payouts", "require": "payments:write", "audit": "required"})  # type: ignore[union-attr,arg-type]
    routes.append({"match": "PUT /payments/{id}", "idempotency": "optional", "audit": "off"})  # type: ignore[union-attr,arg-type]
    tree["gateway"]["audit"] = {"origin": "gateway.example/e2e", "every": "1s", "publish": "./published"}  # type: ignore[index,call-overload]
    return tree


@pytest.fixture(scope="module")
def upstream() -> Iterator[RecordingUpstream]:
    with RecordingUpstream() as made:
        yield made


@pytest.fixture(scope="module")
def shared(upstream: RecordingUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    with LiveGateway(
        tmp_path_factory.mktemp("audit"), lambda port, manager: configuration(port, manager, upstream.url)
    ) as gateway:
        yield gateway


def call(
    gateway: LiveGateway, name: str, line: str = "POST /v1/payments", who: str | None = "acme"
) -> tuple[int, dict[str, object]]:
    """Status of a call with the id ``name``, and the problem it told."""
    method, path = line.split()
    connection = http.client.HTTPConnection(*gateway.address, timeout=20)
    try:
        fields = {"X-Request-Id": name, "Content-Type": "application/json", "Idempotency-Key": name}
        if who is not None:
            header, _, value = key_line(who).partition(": ")
            fields[header] = value
        connection.request(method, path, None if method == "GET" else BODY, fields)
        answer = connection.getresponse()
        content = answer.read()
        return answer.status, json.loads(content) if content.startswith(b'{"type"') else {}
    finally:
        connection.close()


def records(gateway: LiveGateway, name: str = "") -> list[leaf.Leaf]:
    """Those that stand now, or those about the call with the id ``name``."""
    found = [leaf.read(line.content) for line in lines_of(folder_in(gateway.folder / "data")) if line.whole]
    return [record for record in found if not name or record.object == f"call:{name}"]


def wait_for(gateway: LiveGateway, name: str, count: int = 1) -> list[leaf.Leaf]:
    until(lambda: len(records(gateway, name)) >= count, f"{count} records of {name}")
    return records(gateway, name)


def writer(gateway: LiveGateway) -> int:
    """The process id of the tree's writer, 0 while there is none."""
    supervisor = gateway.supervisor
    for pid in Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split():
        if b"records.audit.program" in Path(f"/proc/{pid}/cmdline").read_bytes():
            return int(pid)
    return 0


def sent(upstream: RecordingUpstream, name: str) -> bool:
    return any(one.header("X-Request-Id") == name for one in upstream.requests)


def test_a_payment_is_recorded_with_its_end_and_without_what_is_nobodys_business(shared: LiveGateway) -> None:
    assert call(shared, "paid-1")[0] == 200
    (record,) = wait_for(shared, "paid-1")
    assert (record.type, record.actor) == ("call", "consumer:acme")
    assert record.detail["route"] == "POST /payments"
    assert (record.detail["status"], record.detail["outcome"]) == (200, "answered")
    assert record.detail["idempotency"] == "completed"
    assert str(record.detail["client_ip"]).startswith("hmac:")
    assert call(shared, "paid-1")[0] == 200
    assert wait_for(shared, "paid-1", 2)[1].detail["idempotency"] == "replayed"


@pytest.mark.parametrize(
    ("line", "who", "status", "kept"),
    [
        ("GET /v1/payments/7", "acme", 200, 1),
        ("PUT /v1/payments/7", "acme", 200, 0),
        ("GET /open/v1/x", "acme", 200, 0),
        ("POST /v1/payments", "reader", 403, 1),
        ("POST /v1/payments", None, 401, 0),
        ("POST /nowhere", "acme", 404, 0),
    ],
)
def test_what_is_recorded_follows_the_route_and_needs_somebody_who_called(
    shared: LiveGateway, line: str, who: str | None, status: int, kept: int
) -> None:
    name = f"which-{status}-{kept}-{len(line)}"
    assert call(shared, name, line, who)[0] == status
    assert call(shared, f"{name}-after")[0] == 200
    wait_for(shared, f"{name}-after")
    if kept:
        wait_for(shared, name)
    assert len(records(shared, name)) == kept


def test_a_call_that_must_be_recorded_is_recorded_before_it_is_sent(
    shared: LiveGateway, upstream: RecordingUpstream
) -> None:
    assert call(shared, "out-1", "POST /v1/payouts")[0] == 200
    begun, ended = wait_for(shared, "out-1", 2)
    assert (begun.type, begun.actor, begun.detail["route"]) == (
        "call.begun",
        "consumer:acme",
        "POST /payouts",
    )
    assert ended.type == "call"
    assert begun.seq < ended.seq
    assert sent(upstream, "out-1")


def test_while_nothing_can_be_recorded_it_is_not_sent_and_other_payments_go_on(
    shared: LiveGateway, upstream: RecordingUpstream
) -> None:
    pid = writer(shared)
    os.kill(pid, signal.SIGSTOP)
    try:
        status, problem = call(shared, "out-2", "POST /v1/payouts")
        assert (status, problem["code"], problem["outcome"]) == (503, "store_unavailable", "not_sent")
        assert not sent(upstream, "out-2")
        assert call(shared, "paid-2")[0] == 200
    finally:
        os.kill(pid, signal.SIGCONT)
    assert call(shared, "out-3", "POST /v1/payouts")[0] == 200
    wait_for(shared, "paid-2")


def test_a_writer_that_is_killed_is_followed_by_another_and_no_call_is_lost(shared: LiveGateway) -> None:
    names = [f"killed-{number}" for number in range(30)]
    for number, name in enumerate(names):
        if number in {5, 15}:
            before = writer(shared)
            os.kill(before, signal.SIGKILL)
            until(lambda before=before: writer(shared) not in {0, before}, "another writer")  # type: ignore[misc]
        assert call(shared, name)[0] == 200
    for name in names:
        assert len(wait_for(shared, name)) == 1
    assert "audit tree's writer ended (signal SIGKILL)" in shared.stderr
    until(lambda: shared.metric("faregate_audit_records_total") >= 30, "the metric")
    assert shared.metric("faregate_audit_lost_total") == 0


def test_after_a_handover_and_the_end_the_tree_verifies_with_what_was_published(
    upstream: RecordingUpstream, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with LiveGateway(tmp_path, lambda port, manager: configuration(port, manager, upstream.url)) as gateway:
        assert call(gateway, "before")[0] == 200
        wait_for(gateway, "before")
        gateway.told("upgrade")
        assert call(gateway, "after", "POST /v1/payouts")[0] == 200
        wait_for(gateway, "after", 2)
        gateway.stop()
        assert [record.type for record in records(gateway)][-1] == "audit.stopped"
        data, published = gateway.folder / "data", gateway.folder / "published"
        asked = ["audit", "verify", "--folder", str(data), "--published", str(published), "--json"]
        assert main(asked) == 0
        told = json.loads(capsys.readouterr().out)
        assert (told["ok"], told["origin"], told["unsigned"]) == (True, "gateway.example/e2e", 0)
        log = next((folder_in(data) / "log").glob("*.jsonl"))
        log.write_bytes(log.read_bytes().replace(b'"call:before"', b'"call:beforf"'))
        assert main(asked) == 1
        told = json.loads(capsys.readouterr().out)
        assert told["fault"]["kind"] == "altered"
        assert records(gateway)[told["fault"]["record"]].object == "call:beforf"
