"""Idempotency as callers see it (SPEC section 6): the real gateway, its ledger on a real disk, and an upstream that writes down
every request it gets. Whatever is killed, one key is one payment."""

import contextlib
import http.client
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.configuration import Tree, base, key_line, with_payments
from tests.support.gateway import GatewayProcess, until
from tests.support.http2_client import Http2Caller, Reply
from tests.support.live import LiveGateway
from tests.support.ports import free_ports
from tests.support.script import Gate, Script, head
from tests.support.upstream import RecordingUpstream

BODY = b'{"amount":100}'
PATH = "/v1/payments"


def configuration(port: int, manager_port: int, url: str) -> Tree:
    tree = with_payments(base(port, manager_port, url, workers=2))
    routes = tree["apis"]["payments"]["routes"]  # type: ignore[index,call-overload]
    routes[0]["idempotency"] = {"required": True, "resolve": {"query": "GET /payments/by-key/{key}"}}  # type: ignore[index,call-overload]
    return tree


@pytest.fixture(scope="module")
def upstream() -> Iterator[RecordingUpstream]:
    with RecordingUpstream() as made:
        yield made


@pytest.fixture(scope="module")
def shared(upstream: RecordingUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    with LiveGateway(
        tmp_path_factory.mktemp("idem"), lambda port, manager: configuration(port, manager, upstream.url)
    ) as gateway:
        yield gateway


class Told:
    """An answer."""

    def __init__(self, answer: http.client.HTTPResponse) -> None:
        self.status = answer.status
        self.body = answer.read()
        self.replayed = answer.getheader("Idempotent-Replayed")
        self.retry_after = answer.getheader("Retry-After")
        told = json.loads(self.body) if self.body.startswith(b'{"type"') else {}
        self.code, self.outcome, self.retry = told.get("code"), told.get("outcome"), told.get("retry")


def pay(
    gateway: GatewayProcess, key: str | None, body: bytes = BODY, who: str = "acme", timeout_s: float = 20
) -> Told:
    connection = http.client.HTTPConnection(*gateway.address, timeout=timeout_s)
    try:
        name, _, value = key_line(who).partition(": ")
        fields = {name: value, "Content-Type": "application/json"}
        if key is not None:
            fields["Idempotency-Key"] = key
        connection.request("POST", PATH, body, fields)
        return Told(connection.getresponse())
    finally:
        connection.close()


def times_sent(upstream: RecordingUpstream, key: str) -> int:
    return sum(one.header("Idempotency-Key") == key for one in upstream.requests)


def in_background(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def ledger_pid(supervisor: int) -> int:
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    found = [int(pid) for pid in children if b"stores.ledger" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return found[0] if found else 0


def test_the_same_payment_is_made_once_and_answered_twice_alike(
    shared: LiveGateway, upstream: RecordingUpstream
) -> None:
    first, second = pay(shared, "once-1"), pay(shared, "once-1")
    assert (first.status, first.replayed) == (200, None)
    assert (second.status, second.replayed, second.body) == (200, "true", first.body)
    assert times_sent(upstream, "once-1") == 1
    lines = shared.log.wait(
        lambda all_: any(one.get("idempotency") == "replayed" for one in all_), "a replay"
    )
    line = next(one for one in lines if one.get("idempotency") == "replayed")
    assert (line["outcome"], "target" in line) == ("answered", False)


@pytest.mark.parametrize(
    ("key", "body", "told"),
    [
        ("once-2", b'{"amount":200}', (422, "idempotency_mismatch")),
        (None, BODY, (400, "idempotency_key_missing")),
        ("a b", BODY, (400, "idempotency_key_invalid")),
    ],
)
def test_what_is_not_forwarded(
    shared: LiveGateway, upstream: RecordingUpstream, key: str | None, body: bytes, told: tuple[int, str]
) -> None:
    pay(shared, "once-2")
    before = len(upstream.requests)
    refused = pay(shared, key, body)
    assert (refused.status, refused.code) == told
    assert len(upstream.requests) == before


def test_a_duplicate_in_flight_waits_for_nobody_and_is_not_sent(
    shared: LiveGateway, upstream: RecordingUpstream
) -> None:
    gate = Gate()
    upstream.script(PATH, Script((gate, head(200, "Content-Length: 2"), b"{}")))
    first: list[Told] = []
    paying = in_background(lambda: first.append(pay(shared, "flight-1")))
    until(lambda: times_sent(upstream, "flight-1") > 0, "the first was sent")
    told = pay(shared, "flight-1")
    assert (told.status, told.code, told.retry, told.retry_after) == (
        409,
        "idempotency_in_flight",
        "same_request",
        "1",
    )
    gate.open()
    paying.join()
    assert first[0].status == 200
    assert pay(shared, "flight-1").replayed == "true"
    assert times_sent(upstream, "flight-1") == 1
    upstream.clear()


def test_consumers_do_not_meet(shared: LiveGateway, upstream: RecordingUpstream) -> None:
    assert pay(shared, "tenant-1").replayed is None
    assert pay(shared, "tenant-1", who="bare").replayed is None
    assert pay(shared, "tenant-1", b"{}", who="bare").code == "idempotency_mismatch"
    assert times_sent(upstream, "tenant-1") == 2


def test_http2_callers_and_http1_callers_share_their_keys(
    upstream: RecordingUpstream, tmp_path: Path
) -> None:
    upstream.clear()
    Authority().issue("CN=api", dns=("api.test",), client=False).write(tmp_path / "certs", "api")
    (secure,) = free_ports(1)

    def make(port: int, manager_port: int) -> Tree:
        tree = configuration(port, manager_port, upstream.url)
        tls: Tree = {"certificates": [{"chain": "certs/api.pem", "key": "certs/api.key"}]}
        listen = tree["gateway"]["listen"]  # type: ignore[index,call-overload]
        listen.append({"address": f"127.0.0.1:{secure}", "tls": tls})  # type: ignore[union-attr,arg-type]
        return tree

    with GatewayProcess(tmp_path, make) as gateway, Http2Caller(secure) as caller:

        def ask2(key: str, body: bytes = BODY) -> Reply:
            fields = (key_line("acme"), f"Idempotency-Key: {key}", "Content-Type: application/json")
            return caller.ask2(PATH, *fields, method="POST", body=body)

        first, again = ask2("h2-1"), ask2("h2-1")
        assert (first.status, again.status, again.body) == (200, 200, first.body)
        assert again.headers[b"idempotent-replayed"] == b"true"
        assert ask2("h2-1", b"{}").code == "idempotency_mismatch"
        assert pay(gateway, "h2-1").replayed == "true"
        assert times_sent(upstream, "h2-1") == 1


def test_everything_killed_at_once_forgets_nothing(upstream: RecordingUpstream, tmp_path: Path) -> None:
    with GatewayProcess(
        tmp_path, lambda port, manager: configuration(port, manager, upstream.url)
    ) as gateway:
        answered = [pay(gateway, f"crash-{number}").body for number in range(20)]
        gate = Gate()
        upstream.script(PATH, Script((gate, head(200, "Content-Length: 2"), b"{}")))
        open_one = in_background(lambda: _swallowed(lambda: pay(gateway, "crash-open")))
        until(lambda: times_sent(upstream, "crash-open") > 0, "it was sent")
        os.killpg(gateway.pid, signal.SIGKILL)
        gate.open()
        open_one.join()
        upstream.clear()
        gateway.wait_exit()
        gateway.launch()
        gateway.wait_ready()
        again = [pay(gateway, f"crash-{number}") for number in range(20)]
        assert [(told.replayed, told.body) for told in again] == [("true", body) for body in answered]
        until(lambda: pay(gateway, "crash-open").outcome == "unknown", "its lease ends", timeout_s=30)
        assert times_sent(upstream, "crash-open") == 0, "since: never sent again by itself"


def _swallowed(work: Callable[[], object]) -> None:
    with contextlib.suppress(OSError, http.client.HTTPException):
        work()


def test_a_killed_worker_leaves_unknown_and_the_resolver_settles_it(
    upstream: RecordingUpstream, tmp_path: Path
) -> None:
    upstream.clear()
    with GatewayProcess(
        tmp_path, lambda port, manager: configuration(port, manager, upstream.url)
    ) as gateway:
        gate = Gate()
        upstream.script(PATH, Script((gate, head(200, "Content-Length: 2"), b"{}")))
        upstream.script("/v1/payments/by-key/k-1", Script((head(404, "Content-Length: 0"),)))
        paying = in_background(lambda: _swallowed(lambda: pay(gateway, "k-1")))
        until(lambda: times_sent(upstream, "k-1") > 0, "it was sent")
        for pid in gateway.worker_pids():
            os.kill(pid, signal.SIGKILL)
        paying.join()
        gate.open()
        until(lambda: _told(gateway, "k-1")[:2] == (409, "unknown"), "the worker is missed")
        found = head(200, "Content-Type: application/json", "Content-Length: 11")
        upstream.script("/v1/payments/by-key/k-1", Script((found, b'{"id":"p1"}')))
        until(lambda: _told(gateway, "k-1")[:2] == (409, "answered"), "a verdict", timeout_s=30)
        assert sum(one.path == PATH for one in upstream.requests) == 1


def _told(gateway: GatewayProcess, key: str) -> tuple[object, ...]:
    try:
        told = pay(gateway, key)
    except (OSError, http.client.HTTPException):
        return ()
    return told.status, told.outcome, told.retry


def test_calls_wait_for_a_killed_ledger_and_go_on(shared: LiveGateway, upstream: RecordingUpstream) -> None:
    before = ledger_pid(shared.supervisor)
    os.kill(before, signal.SIGKILL)
    told = pay(shared, "ledger-1")
    assert told.status == 200, told.body
    assert pay(shared, "ledger-1").replayed == "true"
    assert times_sent(upstream, "ledger-1") == 1
    assert ledger_pid(shared.supervisor) not in {0, before}


def test_reload_and_upgrade_keep_what_is_known(shared: LiveGateway, upstream: RecordingUpstream) -> None:
    first = pay(shared, "keep-1")
    for command in ("reload", "upgrade"):
        shared.told(command)
        again = pay(shared, "keep-1")
        assert (again.status, again.replayed, again.body) == (200, "true", first.body), f"after {command}"
    assert times_sent(upstream, "keep-1") == 1


def test_an_upgrade_right_after_the_ledger_was_killed_costs_nobody_his_call(
    shared: LiveGateway, upstream: RecordingUpstream
) -> None:
    told: list[tuple[str, Told]] = []
    broken: list[str] = []
    over = threading.Event()

    def pay_on() -> None:
        while not over.is_set():
            key = f"change-{len(told)}"
            try:
                told.append((key, pay(shared, key)))
            except (OSError, http.client.HTTPException) as error:
                broken.append(f"{key}: {error!r}")
                return

    payer = in_background(pay_on)
    try:
        os.kill(ledger_pid(shared.supervisor), signal.SIGKILL)
        shared.told("upgrade")
        before = len(told)
        until(lambda: bool(broken) or len(told) > before + 20, "calls after the upgrade")
    finally:
        over.set()
        payer.join()
    assert broken == []
    assert [(key, one.status, one.body) for key, one in told if one.status != 200] == []
    assert {times_sent(upstream, key) for key, _ in told} == {1}
