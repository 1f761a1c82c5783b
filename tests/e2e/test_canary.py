"""A revision that some calls meet first: stopped by itself when it fails, promoted when it does not, gone with its manager."""

import collections
import http.client
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from faregate.gateway.commands import Request, Share, ask
from faregate.kernel.changes import digest_of
from tests.support.gateway import until
from tests.support.live import LiveGateway
from tests.support.managed import Owner, bare, call, signal_manager
from tests.support.script import sized
from tests.support.upstream import RecordingUpstream

pytestmark = pytest.mark.apart


@pytest.fixture(scope="module")
def good() -> Iterator[RecordingUpstream]:
    with RecordingUpstream(name="good") as made:
        yield made


@pytest.fixture(scope="module")
def failing() -> Iterator[RecordingUpstream]:
    with RecordingUpstream(name="failing") as made:
        made.default = sized(b"{}", 500)
        yield made


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[LiveGateway]:
    with LiveGateway(tmp_path, bare) as one:
        yield one


@pytest.fixture
def owner(gateway: LiveGateway) -> Owner:
    made = Owner(gateway.manager_port, gateway.folder / "data")
    made.open()
    return made


class Callers:
    """Two callers, each a call after the other on a connection that it keeps."""

    def __init__(self, gateway: LiveGateway, key: str, path: str = "/v1/things") -> None:
        self._gateway = gateway
        self._key = key
        self._path = path
        self._stop = threading.Event()
        self.statuses: collections.Counter[int] = collections.Counter()

    def _calling(self) -> None:
        connection = http.client.HTTPConnection(*self._gateway.address, timeout=10)
        while not self._stop.is_set():
            connection.request("GET", self._path, headers={"X-API-Key": self._key})
            response = connection.getresponse()
            response.read()
            self.statuses[response.status] += 1
        connection.close()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        threads = [threading.Thread(target=self._calling) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()


def pointing_to(url: str) -> dict[str, Any]:
    return {"sections": {"upstreams": {"web": {"targets": [url]}}}}


def lines_of(gateway: LiveGateway, revision: int) -> list[dict[str, Any]]:
    return [line for line in gateway.log.read() if line["revision"] == revision]


def test_a_canary_that_fails_is_stopped_by_itself_and_all_calls_meet_the_old_revision(
    gateway: LiveGateway, owner: Owner, good: RecordingUpstream, failing: RecordingUpstream
) -> None:
    key = owner.publish_web(good.url)
    before = owner.ask("GET", "/status").body["revision"]
    callers = Callers(gateway, key)
    with callers.at_work():
        began = time.monotonic()
        started = owner.ask("PUT", "/canary", {**pointing_to(failing.url), "percent": 10})
        assert started.status == 200, started
        number = started.body["revision"]
        assert number > before
        until(lambda: owner.ask("GET", "/canary").body["state"] != "running", "the end of the canary")
        took = time.monotonic() - began
        told = owner.ask("GET", "/canary").body
        assert (told["state"], took < 8.0) == ("stopped", True), (told, took)
        assert told["failures"]["largest"] >= told["failures"]["bound"] == 200.0
        assert told["new"]["failures"] == told["new"]["calls"] > 0 == told["old"]["failures"]
        time.sleep(0.2)
        ended = callers.statuses.copy()
        until(lambda: callers.statuses[200] > ended[200] + 200, "calls behind it")
        assert callers.statuses[500] == ended[500]
    assert owner.ask("GET", "/status").body["revision"] == before
    gateway.log.wait(lambda lines: len(lines) >= callers.statuses.total(), "all lines")
    hit = lines_of(gateway, number)
    assert {line["status"] for line in hit} == {500}
    assert len(hit) == callers.statuses[500]
    assert {line["revision"] for line in gateway.log.read() if line["status"] == 200} == {before}
    assert "has ended: It is worse" in gateway.stderr
    revoked = owner.ask("PUT", "/plans/gold", {"spec": {}}, If_None_Match="*")
    assert int(revoked.headers["faregate-revision"]) > number, "a canary's number is nobody else's"


def test_a_good_canary_has_its_share_of_each_hundred_calls_and_is_promoted_under_its_number(
    gateway: LiveGateway, owner: Owner, good: RecordingUpstream
) -> None:
    key = owner.publish_web(good.url)
    before = owner.ask("GET", "/status").body["revision"]
    with RecordingUpstream(name="better") as better:
        callers = Callers(gateway, key)
        with callers.at_work():
            wish = {**pointing_to(better.url), "percent": 20, "for_s": 3, "promote": True}
            started = owner.ask("PUT", "/canary", wish)
            number = started.body["revision"]
            assert owner.ask("PUT", "/canary", wish).status == 409, "one at a time"
            until(lambda: owner.ask("GET", "/canary").body["state"] == "promoted", "promotion")
            until(lambda: owner.ask("GET", "/status").body["pending"] == 0, "all workers")
        assert set(callers.statuses) == {200}
        told = owner.ask("GET", "/canary").body
        new, old = told["new"]["calls"], told["old"]["calls"]
        # each worker is exact over each hundred; between two hundreds it may be off by what is left
        assert abs(new - (new + old) * 0.2) <= 0.01 * (new + old) + 2 * 16, (new, old)
        assert owner.ask("GET", "/revisions").body["data"][0]["number"] == number
        assert call(gateway, "/v1/things", key) == 200
        newest = gateway.log.wait(lambda lines: len(lines) > callers.statuses.total(), "its line")[-1]
        assert (newest["revision"], newest["target"]) == (number, f"127.0.0.1:{better.address[1]}")
        assert {line["revision"] for line in gateway.log.read()} == {before, number}
        assert owner.ask("DELETE", "/canary").status == 409
    kinds = [one["type"] for one in owner.ask("GET", "/audit").body["data"]]
    assert {"canary.started", "canary.ended"} <= set(kinds)


def test_named_consumers_meet_it_once_they_are_known_and_are_counted_once(
    gateway: LiveGateway, owner: Owner, good: RecordingUpstream
) -> None:
    key = owner.publish_web(good.url)
    assert owner.put("/plans/few", {"limits": ["5/minute"]}).status == 201
    assert owner.put("/consumers/beta", {"permissions": ["web:read"], "plan": "few"}).status == 201
    beta = owner.ask("POST", "/consumers/beta/keys", {}).body["secret"]
    before = owner.ask("GET", "/status").body["revision"]
    with RecordingUpstream(name="new") as new:
        started = owner.ask("PUT", "/canary", {**pointing_to(new.url), "consumers": ["beta"]})
        assert started.status == 200, started
        number = started.body["revision"]
        assert {call(gateway, "/v1/things", key) for _ in range(20)} == {200}
        assert [call(gateway, "/v1/things", beta) for _ in range(6)] == [200] * 5 + [429]
        lines = gateway.log.wait(lambda lines: len(lines) == 26, "all lines")
        assert {(line["consumer"], line["revision"]) for line in lines} == {
            ("acme", before),
            ("beta", number),
        }
        assert len(new.requests) == 5
        os.kill(gateway.workers()[0], signal.SIGKILL)
        until(lambda: len(gateway.workers()) == 2, "another worker")
        until(lambda: gateway.stderr.count("worker") > 0, "a word of it")
        for _ in range(20):
            assert call(gateway, "/v1/things", beta) == 429
        fresh = gateway.log.wait(lambda lines: len(lines) == 46, "all lines")[-20:]
        assert {line["revision"] for line in fresh} == {number}, "a new worker has the canary too"
        assert owner.ask("DELETE", "/canary").body["state"] == "abandoned"
        assert call(gateway, "/v1/things", beta) == 429
        assert gateway.log.wait(lambda lines: len(lines) == 47, "the last line")[-1]["revision"] == before


def test_another_change_ends_it_first_and_so_does_the_end_of_its_manager(
    gateway: LiveGateway, owner: Owner, good: RecordingUpstream
) -> None:
    owner.publish_web(good.url)
    wish = {"sections": {"plans": {"gold": {"concurrency": 3}}}, "percent": 10}
    assert owner.ask("PUT", "/canary", wish).status == 200
    assert gateway.told("status")["canary"]
    assert owner.put("/plans/silver", {"concurrency": 2}).status == 201
    until(lambda: owner.ask("GET", "/canary").body["state"] == "abandoned", "its end")
    assert gateway.told("status")["canary"] == 0
    assert (
        owner.ask(
            "PUT",
            "/canary",
            {**wish, "sections": {"plans": {"x": {"concurrency": 1}, "silver": {"concurrency": 2}}}},
        ).status
        == 200
    )
    signal_manager(gateway, signal.SIGKILL)
    until(lambda: "its manager has ended" in gateway.stderr, "the next manager")
    assert gateway.told("status")["canary"] == 0


def test_nobody_who_asks_for_it_ends_it_within_its_lease(
    gateway: LiveGateway, owner: Owner, good: RecordingUpstream
) -> None:
    owner.publish_web(good.url)
    data = gateway.folder / "data"
    signal_manager(gateway, signal.SIGSTOP)
    try:
        snapshot = data / "snapshot"
        base = digest_of((data / "base.json").read_bytes())
        number = gateway.told("status")["revision"] + 1
        request = Request(
            "publish", path=str(snapshot), revision=number, base=base, canary=Share(10, [], 1.0)
        )
        assert ask(data, request, 30.0)["ok"]
        assert gateway.told("status")["canary"] == number
        for _ in range(4):
            time.sleep(0.4)
            assert ask(data, Request("canary_keep", revision=number), 5.0)["ok"]
        until(lambda: gateway.told("status")["canary"] == 0, "the end of the lease", 3.0)
        assert "has not asked for it in 1 s" in gateway.stderr
        assert not ask(data, Request("canary_keep", revision=number), 5.0)["ok"]
    finally:
        signal_manager(gateway, signal.SIGCONT)
