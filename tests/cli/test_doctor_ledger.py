"""What ``faregate doctor`` says of a ledger in a shared store: why it takes no keys, what a crash may lose, where a
store that is down should be; on real servers.
"""

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from faregate.cli.doctor_findings import Finding
from faregate.cli.doctor_ledger import check_ledger
from faregate.snapshot import encoded
from faregate.snapshot.idempotency import Ledger as LedgerSettings
from tests.cli.test_ledger import Shop
from tests.stores.ledger.conftest import needs
from tests.support.ports import closed_port, free_ports
from tests.support.servers.redis_server import RedisServer, redis_program

SECRET = "s3cr3t-never-shown"


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    needs(redis_program)
    with tempfile.TemporaryDirectory() as folder, RedisServer(Path(folder), free_ports(1)[0]) as server:
        yield server


def found(folder: Path, url: str, lookup_key: bytes = b"o" * 32, **more: object) -> list[Finding]:
    settings = LedgerSettings(url.partition(":")[0], url, lookup_key=lookup_key, **more)  # type: ignore[arg-type]
    shop = Shop(folder, settings)
    return asyncio.run(check_ledger(encoded.decode((shop.data / "snapshot").read_bytes())))


def test_a_store_that_is_fit_is_so(server: RedisServer, tmp_path: Path) -> None:
    assert found(tmp_path, server.url) == [Finding("ok", "ledger", "redis ledger: 0 records, 0 in flight")]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("there", "back", "words"),
    [
        (("maxmemory-policy", "allkeys-lru"), ("maxmemory-policy", "noeviction"),
         "maxmemory-policy is allkeys-lru, not noeviction (store_evicts)"),
        (("appendonly", "no"), ("appendonly", "yes"), "set appendonly yes (store_not_durable)"),
    ],
    ids=["evicts", "not durable"],
)  # fmt: skip
def test_a_store_that_may_lose_records_is_a_problem_with_its_reason(
    there: tuple[str, str], back: tuple[str, str], words: str, server: RedisServer, tmp_path: Path
) -> None:
    server.say("CONFIG", "SET", *there)
    try:
        (finding,) = found(tmp_path, server.url)
    finally:
        server.say("CONFIG", "SET", *back)
    assert (finding.level, finding.check) == ("problem", "ledger")
    assert finding.message.endswith(words)
    assert finding.advice


def test_another_lookup_key_is_a_problem(server: RedisServer, tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    assert found(folders[0], server.url, b"a" * 32, prefix="theirs")[0].level == "ok"
    (finding,) = found(folders[1], server.url, b"b" * 32, prefix="theirs")
    assert finding.level == "problem"
    assert "another `lookup_key`" in finding.message


def test_a_store_that_syncs_every_second_is_a_warning(server: RedisServer, tmp_path: Path) -> None:
    server.say("CONFIG", "SET", "appendfsync", "everysec")
    try:
        stands, warned = found(tmp_path, server.url)
    finally:
        server.say("CONFIG", "SET", "appendfsync", "always")
    assert (stands.level, warned.level) == ("ok", "warning")
    assert "appendfsync is everysec, not always" in warned.message


@pytest.mark.parametrize("scheme", ["redis", "postgresql"])
def test_a_store_that_is_down_is_told_with_its_address_in_one_line(scheme: str, tmp_path: Path) -> None:
    with closed_port() as port:
        (finding,) = found(tmp_path, f"{scheme}://user:{SECRET}@127.0.0.1:{port}/0")
    cause = "Connection refused" if scheme == "postgresql" else "no connection to the store"
    assert finding.level == "problem"
    assert finding.message == f"{scheme} ledger: the ledger cannot be asked: 127.0.0.1:{port}: {cause}"
