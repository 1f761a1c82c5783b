"""A gateway whose configuration lives in the manager's database: what is written there runs, and goes on running."""

import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.gateway import GatewayProcess, until
from tests.support.live import LiveGateway
from tests.support.managed import Owner, bare, call, signal_manager, succeeded
from tests.support.upstream import RecordingUpstream

pytestmark = pytest.mark.apart
TRIES = 3
"""Other tests run beside this one: one of so many revocations must be as quick as it is on a machine of its own."""


@pytest.fixture(scope="module")
def upstream() -> Iterator[RecordingUpstream]:
    with RecordingUpstream() as made:
        yield made


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[LiveGateway]:
    one = LiveGateway(tmp_path, bare)
    with one:
        yield one


@pytest.fixture
def owner(gateway: GatewayProcess) -> Owner:
    made = Owner(gateway.manager_port, gateway.folder / "data")
    made.open()
    return made


def test_what_is_written_runs_at_once_and_a_revoked_key_is_dead_everywhere(
    gateway: LiveGateway, owner: Owner, upstream: RecordingUpstream
) -> None:
    keys = [owner.publish_web(upstream.url)]
    took = []
    for _ in range(TRIES):
        assert {call(gateway, "/v1/things", keys[-1]) for _ in range(20)} == {200}
        listed = owner.ask("GET", "/credentials").body["data"]
        assert len(listed) == 1, listed
        began = time.monotonic()
        ended = owner.ask("DELETE", f"/credentials/{listed[0]['name']}")
        assert ended.status == 204, ended
        assert {call(gateway, "/v1/things", key) for key in keys for _ in range(20)} == {401}
        took.append(time.monotonic() - began)
        if took[-1] < 1.0:
            break
        made = owner.ask("POST", "/consumers/acme/keys", {})
        assert made.body["published"], made
        keys.append(made.body["secret"])
    assert min(took) < 1.0, took
    revisions = {line["revision"] for line in gateway.log.wait(lambda lines: len(lines) >= 40, "40 lines")}
    assert max(revisions) == owner.ask("GET", "/status").body["revision"]
    until(lambda: owner.ask("GET", "/status").body["pending"] == 0, "the acknowledgement")


def test_without_manager_and_database_calls_go_on_and_a_start_serves_what_was(
    gateway: LiveGateway, owner: Owner, upstream: RecordingUpstream
) -> None:
    key = owner.publish_web(upstream.url)
    data = gateway.folder / "data"
    statuses: list[int] = []
    stop = threading.Event()

    def calling() -> None:
        while not stop.is_set():
            statuses.append(call(gateway, "/v1/things", key))

    caller = threading.Thread(target=calling)
    caller.start()
    for file in data.glob("manager.db*"):
        file.unlink()
    (data / "manager.db").mkdir()  # no manager that starts from now on can open a database here
    succeeded(gateway, signal_manager(gateway, signal.SIGKILL))
    told = owner.ask("PUT", "/plans/gold", {"spec": {}}, If_None_Match="*")
    assert (told.status, told.body["code"]) == (503, "store_unavailable"), told
    stop.set()
    caller.join()
    assert set(statuses) == {200}
    gateway.stop()
    gateway.launch()
    gateway.wait_ready()
    assert call(gateway, "/v1/things", key) == 200


def test_a_manager_killed_between_writes_forgets_none_that_it_answered(
    gateway: LiveGateway, owner: Owner
) -> None:
    kept: list[str] = []
    kills: list[threading.Timer] = []
    for number in range(30):
        name = f"p{number:02}"
        try:
            told = owner.put(f"/plans/{name}", {"concurrency": 1 + number})
        except OSError:
            continue
        assert told.status in {201, 503}, told
        if told.status == 201:
            kept.append(name)
        if number % 5 == 2:
            kills.append(threading.Timer(0.01 * (number % 4), signal_manager, (gateway, signal.SIGKILL)))
            kills[-1].start()
    for kill in kills:
        kill.join()
    until(lambda: owner_answers(owner), "the manager")
    names = {one["name"] for one in owner.ask("GET", "/plans?size=1000").body["data"]}
    assert set(kept) <= names
    numbers = [one["number"] for one in owner.ask("GET", "/revisions?size=1000").body["data"]]
    assert len(numbers) == len(names)
    assert len(kept) > 5


def owner_answers(owner: Owner) -> bool:
    try:
        return owner.ask("GET", "/plans").status == 200
    except OSError:
        return False


def test_what_the_file_owns_and_what_the_database_owns_run_side_by_side(
    tmp_path: Path, upstream: RecordingUpstream
) -> None:
    tree = {**bare(0, 0), "upstreams": {"web": {"targets": [upstream.url]}}}
    with LiveGateway(tmp_path, lambda port, manager: {**tree, **bare(port, manager)}) as gateway:
        owner = Owner(gateway.manager_port, tmp_path / "data")
        owner.open()
        refused = owner.put("/upstreams/web", {"targets": [upstream.url]}, "*")
        assert (refused.status, refused.body["code"]) == (409, "owned_by_file")
        api = {
            "upstream": "web", "authenticate": [], "versions": {"v1": {"path": "/v1"}},
            "routes": [{"match": "GET /open"}],
        }  # fmt: skip
        assert owner.put("/apis/web", api).status == 201
        assert call(gateway, "/v1/open", "") == 200
        told = gateway.told("reload")
        assert call(gateway, "/v1/open", "") == 200, told
        assert owner.put("/plans/gold", {"concurrency": 3}).status == 201
        until(lambda: owner.ask("GET", "/status").body["pending"] == 0, "the acknowledgement")
