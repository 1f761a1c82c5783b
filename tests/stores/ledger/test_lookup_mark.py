"""A shared store knows the lookup key that its records were made with, and another one gets no claims: its keys
would not be found, and payments would run again.
"""

from collections.abc import Callable

import psycopg
import pytest
import uvloop

from faregate.snapshot.idempotency import Ledger as LedgerSettings
from faregate.stores.ledger.make import make_ledger
from faregate.stores.ledger.moves import COMPLETED, DONE, GRANTED, UNAVAILABLE
from faregate.stores.ledger.remote import RemoteLedger
from faregate.stores.ledger.remote_session import mark_of
from tests.stores.ledger.conformance import asks, new
from tests.support.ledger_bench import claim, mark, settle
from tests.support.servers.postgres_server import PostgresServer
from tests.support.servers.redis_server import RedisServer

OURS, OTHER = b"o" * 32, b"x" * 32
Make = Callable[..., RemoteLedger]


@pytest.fixture(params=["redis", "postgresql"])
def make(request: pytest.FixtureRequest, prefix: str, tmp_path) -> Make:
    store = str(request.param)
    server = request.getfixturevalue("redis_server" if store == "redis" else "postgres_server")

    def made(lookup_key: bytes, *, accept_loss: bool = False) -> RemoteLedger:
        settings = LedgerSettings(store, server.url, 0, accept_loss, prefix, lookup_key)
        ledger = make_ledger(settings, tmp_path)
        assert isinstance(ledger, RemoteLedger)
        return ledger

    return made


async def told(ledger: RemoteLedger) -> str:
    """Why a claim is refused; empty when it is granted."""
    await ledger.start()
    try:
        return (await claim(ledger, asks(new(), new()))).reason
    finally:
        await ledger.close()


@pytest.mark.parametrize("accept_loss", [False, True])
def test_the_first_lookup_key_is_the_store_s_and_another_is_refused(make: Make, accept_loss: bool) -> None:
    async def run() -> None:
        assert await told(make(OURS, accept_loss=accept_loss)) == ""
        assert await told(make(OTHER, accept_loss=accept_loss)) == "store_other_lookup_key"
        assert await told(make(OURS, accept_loss=accept_loss)) == ""

    uvloop.run(run())


def test_of_many_that_come_first_at_once_one_key_alone_is_taken(make: Make) -> None:
    import asyncio

    async def run() -> None:
        ledgers = [make(bytes([number + 1]) * 32) for number in range(6)]
        reasons = await asyncio.gather(*(told(ledger) for ledger in ledgers))
        assert sorted(reasons) == ["", *["store_other_lookup_key"] * 5]

    uvloop.run(run())


def test_a_mark_that_changes_under_a_gateway_ends_its_claims_and_not_its_settlements(make: Make) -> None:
    async def run() -> None:
        ledger = make(OURS)
        await ledger.start()
        try:
            key, attempt, unsent = new(), new(), new()
            assert (await claim(ledger, asks(key, attempt))).kind == GRANTED
            assert (await claim(ledger, asks(unsent, attempt, sends=False))).kind == GRANTED
            ledger._mark = mark_of(OTHER)  # type: ignore[attr-defined]
            ledger._aside._session = None  # its next connection has it
            await ledger.check()
            assert ledger.away == "store_other_lookup_key"
            assert "lookup_key" in ledger.why_away
            assert (await claim(ledger, asks(new(), new()))).reason == "store_other_lookup_key"
            assert (await mark(ledger, unsent, attempt)).kind == UNAVAILABLE
            assert (await settle(ledger, key, attempt, COMPLETED, b"paid")).kind == DONE
        finally:
            await ledger.close()

    uvloop.run(run())


def test_what_redis_keeps_of_the_key_tells_nothing_of_it(
    redis_server: RedisServer, prefix: str, tmp_path
) -> None:
    settings = LedgerSettings("redis", redis_server.url, prefix=prefix, lookup_key=OURS)

    async def run() -> None:
        assert await told(make_ledger(settings, tmp_path)) == ""  # type: ignore[arg-type]

    uvloop.run(run())
    kept = redis_server.say("GET", f"{prefix}:mark").split(b"\r\n")[1]
    assert kept == mark_of(OURS).hex().encode()
    assert len(mark_of(OURS)) == 16
    assert mark_of(OURS) not in {mark_of(OTHER), OURS[:16]}
    assert mark_of(b"") == b""


def test_a_table_from_before_there_were_marks_gets_one_once(
    postgres_server: PostgresServer, prefix: str, tmp_path
) -> None:
    table = f"{prefix}_ledger_version"

    def settings(lookup_key: bytes) -> LedgerSettings:
        return LedgerSettings("postgresql", postgres_server.url, prefix=prefix, lookup_key=lookup_key)

    async def run() -> None:
        assert await told(make_ledger(settings(b""), tmp_path)) == ""  # type: ignore[arg-type]
        with psycopg.connect(postgres_server.url, autocommit=True) as connection:
            connection.execute(f"ALTER TABLE {table} DROP COLUMN mark".encode())
        assert await told(make_ledger(settings(OURS), tmp_path)) == ""  # type: ignore[arg-type]
        assert await told(make_ledger(settings(OTHER), tmp_path)) == "store_other_lookup_key"  # type: ignore[arg-type]
        with psycopg.connect(postgres_server.url, autocommit=True) as connection:
            rows = connection.execute(f"SELECT version, mark FROM {table}".encode()).fetchall()
        assert rows == [(1, mark_of(OURS))]

    uvloop.run(run())
