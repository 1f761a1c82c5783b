"""A change that the manager publishes runs in every worker at once, without the file, and is there after a start without the manager."""

import asyncio
import hashlib
import http.client
import os
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest

from faregate.gateway.commands import Request, ask
from faregate.kernel.changes import Change, digest_of
from faregate.manager.publishing.supervisor import Command, tell
from tests.support.configuration import base, changed
from tests.support.configuration import write as write_configuration
from tests.support.gateway import until
from tests.support.ledger import LedgerUpstream
from tests.support.live import KeepAlive, LiveGateway, drive
from tests.support.publishing import Desk, desk

pytestmark = pytest.mark.apart

WORKERS = 2
TRIES = 6
"""Connections, each accepted by any of the workers."""
KEY = "fg_test_publishing"
API: dict[str, object] = {
    "upstream": "main",
    "authenticate": ["api_key"],
    "versions": {"v1": {"path": "/made/v1"}},
    "routes": [{"match": "GET /things", "require": "things:read"}],
}
CALLER: dict[str, object] = {"permissions": ["things:read"]}


def credential(key: str = KEY) -> Change:
    digest = hashlib.sha256(key.encode()).hexdigest()
    return Change("credentials", "made-key", {"consumer": "made", "api_key": {"sha256": digest}})


EVERYTHING = (Change("consumers", "made", CALLER), credential(), Change("apis", "made", API))


@pytest.fixture(scope="module")
def upstream() -> Iterator[LedgerUpstream]:
    with LedgerUpstream() as made:
        yield made


@pytest.fixture
def gateway(tmp_path: Path, upstream: LedgerUpstream) -> Iterator[LiveGateway]:
    made = LiveGateway(tmp_path, lambda port, manager: base(port, manager, upstream.url, workers=WORKERS))
    made.launch()
    try:
        made.wait_ready()
        until((tmp_path / "data" / "control").exists, "the control socket")
        yield made
    finally:
        made.kill()


@asynccontextmanager
async def at_desk(gateway: LiveGateway) -> AsyncIterator[Desk]:
    async with desk(gateway.folder / "data") as made:
        yield made


def statuses(gateway: LiveGateway, path: str = "/made/v1/things", key: str = KEY) -> set[int]:
    """What calls on several new connections are answered."""
    found = set()
    for _ in range(TRIES):
        connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=5)
        try:
            connection.request("GET", path, headers={"X-API-Key": key})
            found.add(connection.getresponse().status)
        finally:
            connection.close()
    return found


def revisions(gateway: LiveGateway) -> set[int]:
    workers = cast("list[dict[str, int]]", gateway.told("status")["workers"])
    return {worker["revision"] for worker in workers}


def test_what_is_published_holds_in_every_worker_when_it_is_said(gateway: LiveGateway) -> None:
    async def run() -> None:
        async with at_desk(gateway) as at:
            assert statuses(gateway) == {404}
            published = await at.publish(*EVERYTHING)
            assert (published.ok, published.revision) == (True, at.revision), published
            assert revisions(gateway) == {at.revision}
            assert statuses(gateway) == {200}
            await at.publish(Change("consumers", "made", {"permissions": ["other:read"]}))
            assert statuses(gateway) == {403}
            await at.publish(Change("consumers", "made", CALLER))
            assert statuses(gateway) == {200}
            await at.publish(Change("credentials", "made-key"))
            assert statuses(gateway) == {401}, "a revoked key is dead"
            await at.publish(credential("fg_test_another"))
            assert statuses(gateway) == {401}
            assert statuses(gateway, key="fg_test_another") == {200}
            plan = Change("plans", "tight", {"limits": ["1/day"]})
            await at.publish(plan, Change("consumers", "made", {**CALLER, "plan": "tight"}))
            assert statuses(gateway, key="fg_test_another") == {200, 429}
            await at.publish(Change("plans", "tight", {"limits": ["1000/day"]}))
            assert statuses(gateway, key="fg_test_another") == {200}
            versions = {"v1": {"path": "/made/v1"}, "v2": {"path": "/made/v2"}}
            await at.publish(Change("apis", "made", {**API, "versions": versions}))
            assert statuses(gateway, "/made/v2/things", "fg_test_another") == {200}
            await at.publish(Change("apis", "made"))
            assert statuses(gateway, key="fg_test_another") == {404}
            assert statuses(gateway, "/open/v1/things") == {200}, "the file's own are what they were"

    asyncio.run(run())
    gateway.stop()


def test_no_call_fails_while_changes_are_published_and_the_manager_dies(
    gateway: LiveGateway, upstream: LedgerUpstream
) -> None:
    callers = KeepAlive(("127.0.0.1", gateway.port), 8, 200.0)

    async def changes() -> None:
        async with at_desk(gateway) as at:
            await at.publish(*EVERYTHING)
            for number in range(12):
                plan = Change("plans", f"p{number % 3}", {"limits": [f"{number + 1}/second"]})
                published = await at.publish(plan, credential(f"fg_test_{number}"))
                assert published.ok, published
                if number == 4:
                    children = _children(gateway.supervisor, "faregate.manager")
                    assert children
                    os.kill(children[0], signal.SIGKILL)
            assert statuses(gateway, key="fg_test_11") == {200}

    drive(lambda: asyncio.run(changes()), callers)
    assert callers.faults() == []
    assert callers.doubled(upstream.entries) == []
    assert callers.ended == callers.calls > 20
    gateway.stop()


def test_a_reload_and_a_publication_at_the_same_time_both_come_to_work(gateway: LiveGateway) -> None:
    async def run() -> None:
        async with at_desk(gateway) as at:
            await at.publish(Change("plans", "p", {}))
            tree = changed(gateway.tree, "plans", "files", to={"limits": ["5/day"]})
            write_configuration(gateway.folder, tree)
            told: list[dict[str, object]] = []
            reloading = threading.Thread(target=lambda: told.append(gateway.told("reload")))
            reloading.start()
            first = await at.publish(*EVERYTHING)
            await asyncio.to_thread(reloading.join)
            assert first.ok, first
            assert told
            assert statuses(gateway) == {200}
            at.compiler.restart()  # as the manager does when it hears of a reload
            caller = Change("consumers", "made", {**CALLER, "plan": "files"})
            last = await at.publish(caller)
            assert last.ok, last
            assert statuses(gateway) == {200, 429}, "five of six"

    asyncio.run(run())
    gateway.stop()


def test_a_start_without_the_manager_runs_what_was_published(gateway: LiveGateway) -> None:
    async def run() -> None:
        async with at_desk(gateway) as at:
            assert (await at.publish(*EVERYTHING)).ok

    asyncio.run(run())
    gateway.stop()
    write_configuration(gateway.folder, changed(gateway.tree, "gateway", "workers", to=1))
    gateway.launch()
    gateway.wait_ready()
    assert statuses(gateway) == {200}
    gateway.stop()


def test_what_the_file_and_the_database_both_define_is_refused_and_changes_nothing(
    gateway: LiveGateway,
) -> None:
    async def run() -> None:
        async with at_desk(gateway) as at:
            assert (await at.publish(*EVERYTHING)).ok

    asyncio.run(run())
    ours = changed(gateway.tree, "consumers", "made", to={"permissions": ["things:read"]})
    write_configuration(gateway.folder, ours)
    told = ask(gateway.folder / "data", Request("reload"), 30.0)
    assert told["ok"] is False
    found = cast("list[dict[str, str]]", told["diagnostics"])
    assert [(one["code"], one["path"]) for one in found] == [("duplicate_name", "consumers.made")]
    assert statuses(gateway) == {200}
    assert (gateway.command("check").returncode, statuses(gateway)) == (1, {200})
    gateway.stop()


def test_a_snapshot_of_another_file_than_the_one_that_runs_is_refused(gateway: LiveGateway) -> None:
    data = gateway.folder / "data"
    base = digest_of((data / "base.json").read_bytes())
    snapshot = (data / "snapshot").read_bytes()
    before = revisions(gateway)

    async def refused(content: bytes, base: str) -> str:
        path = data / "forged"
        path.write_bytes(content)
        reply = await tell(data, Command("publish", str(path), 500, base), 30.0)
        assert not reply.ok
        assert revisions(gateway) == before
        return reply.message

    elsewhere = snapshot.replace(b"127.0.0.1", b"127.0.0.2", 1)
    assert "the file was put to work since" in asyncio.run(refused(elsewhere, base))
    assert "the file was put to work since" in asyncio.run(refused(snapshot, "another"))
    assert "no snapshot" in asyncio.run(refused(snapshot[:-10], base))
    assert asyncio.run(tell(data, Command("publish", str(data / "forged"), 1, base), 30.0)).ok is False
    gateway.stop()


def _children(parent: int, module: str) -> list[int]:
    """Processes of ``parent`` that run ``module``."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                stat, line = (folder / "stat").read_text(), (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if int(stat.rpartition(")")[2].split()[1]) == parent and module.encode() in line.split(b"\0"):
                found.append(int(folder.name))
    return found
