"""The ledger that a configuration names; what is missing is said, with what to install."""

import subprocess
import sys
from pathlib import Path

import pytest
import uvloop

from faregate.snapshot.idempotency import Ledger as LedgerSettings
from faregate.stores.ledger.make import make_ledger
from faregate.stores.ledger.protocol import LedgerError

URLS = {"embedded": "", "redis": "redis://127.0.0.1:1/0", "postgresql": "postgresql://127.0.0.1:1/x"}


@pytest.mark.parametrize(
    ("store", "name"),
    [("embedded", "EmbeddedLedger"), ("redis", "RedisLedger"), ("postgresql", "PostgresLedger")],
)
def test_the_store_named_is_the_ledger_made(store: str, name: str, tmp_path: Path) -> None:
    async def run() -> None:
        for holds in (True, False):
            ledger = make_ledger(LedgerSettings(store=store, url=URLS[store]), tmp_path, holds=holds)
            assert type(ledger).__name__ == name
            if store != "embedded":
                assert ledger._lane_count == (3 if store == "postgresql" else 2) if holds else 1  # type: ignore[attr-defined]

    uvloop.run(run())


@pytest.mark.parametrize(
    ("store", "module", "extra"),
    [("redis", "redis", "faregate[redis]"), ("postgresql", "psycopg", "faregate[postgresql]")],
)
def test_a_library_that_is_not_there_is_named_with_what_to_install(
    store: str, module: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name == module or name.startswith(f"{module}.")]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("redis_store", "postgres_store"):
        monkeypatch.delitem(sys.modules, f"faregate.stores.ledger.{name}", raising=False)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(LedgerError) as caught:
        make_ledger(LedgerSettings(store=store, url=f"{URLS[store]}?password=s3cret"), tmp_path)
    assert extra in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_store_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="etcd"):
        make_ledger(LedgerSettings(store="etcd"), tmp_path)


def test_the_optional_libraries_are_imported_only_where_they_are_wanted() -> None:
    code = (
        "import sys, faregate.stores.ledger.make, faregate.gateway.worker_process, faregate.cli.app\n"
        "assert not {'redis', 'psycopg'} & set(sys.modules), 'imported'"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
