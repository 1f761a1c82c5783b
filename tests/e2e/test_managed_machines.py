"""Two gateways on one PostgreSQL: what is written on one runs on both, and neither needs the database to serve."""

import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway import until
from tests.support.live import LiveGateway
from tests.support.managed import Owner, bare, call
from tests.support.ports import free_ports
from tests.support.servers.postgres_server import PostgresServer, open_folder, postgres_program
from tests.support.servers.programs import Lacking
from tests.support.upstream import RecordingUpstream

MASTER = secrets.token_hex(32)
pytestmark = pytest.mark.apart


@pytest.fixture(scope="module")
def upstream() -> Iterator[RecordingUpstream]:
    with RecordingUpstream() as made:
        yield made


@pytest.fixture
def database() -> Iterator[PostgresServer]:
    try:
        postgres_program()
    except Lacking as lacking:
        pytest.skip(str(lacking))
    with open_folder() as folder:
        server = PostgresServer(folder / "data", free_ports(1)[0], ("fsync=off",))
        server.make()
        with server:
            yield server


def test_a_change_runs_on_both_and_both_run_without_the_database(
    tmp_path: Path, database: PostgresServer, upstream: RecordingUpstream
) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()

    def made(port: int, manager: int) -> dict[str, Any]:
        tree = bare(port, manager, workers=1, store=database.url)
        tree["gateway"]["manager"]["master_key"] = MASTER
        return tree

    with LiveGateway(folders[0], made) as one, LiveGateway(folders[1], made) as two:
        owners = [Owner(gateway.manager_port, gateway.folder / "data") for gateway in (one, two)]
        for owner in owners:
            until(lambda owner=owner: owner.ask("GET", "/plans").status == 200, "the database")
        key = owners[0].publish_web(upstream.url)
        began = time.monotonic()
        until(lambda: call(two, "/v1/things", key) == 200, "the other machine to follow", 5)
        assert time.monotonic() - began < 3
        assert call(one, "/v1/things", key) == 200
        told = owners[1].put("/plans/gold", {"concurrency": 3})
        assert told.status == 201, told
        assert owners[0].ask("GET", "/plans/gold").body["spec"] == {"concurrency": 3}
        until(lambda: owners[0].ask("GET", "/status").body["pending"] == 0, "both to run the newest")
        assert len(owners[0].ask("GET", "/status").body["gateways"]) == 2
        database.kill()
        assert [call(gateway, "/v1/things", key) for gateway in (one, two)] == [200, 200]
        refused = owners[0].put("/plans/silver", {})
        assert (refused.status, refused.body["code"]) == (503, "store_unavailable")
        one.stop()
        one.launch()
        one.wait_ready()
        assert call(one, "/v1/things", key) == 200
        database.start()
        until(lambda: owners[1].put("/plans/silver", {}).status in {201, 412}, "the database again", 20)
        until(lambda: owners[0].ask("GET", "/plans/silver").status == 200, "the first machine's manager", 20)
