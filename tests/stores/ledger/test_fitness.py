"""Servers that do not keep what they are told, or cannot take it, are refused by name; and no password is shown."""

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
import uvloop

from faregate.stores.ledger import postgres_store, remote
from faregate.stores.ledger.moves import COMPLETED, DONE, GRANTED, REPLAY, UNAVAILABLE
from faregate.stores.ledger.postgres_sql import SCHEMA, Statements
from faregate.stores.ledger.postgres_store import PostgresLedger
from faregate.stores.ledger.protocol import LedgerError
from faregate.stores.ledger.redis_store import RedisLedger
from faregate.stores.ledger.remote import RemoteLedger
from tests.stores.ledger.conformance import asks, new
from tests.stores.ledger.conftest import needs
from tests.support.ledger_bench import claim, settle
from tests.support.ports import closed_port, free_ports
from tests.support.servers.postgres_server import PostgresServer, open_folder, postgres_program
from tests.support.servers.redis_server import RedisServer, redis_program

SECRET = "s3cr3t-never-shown"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "TELL_S", 1.0)


async def tried(ledger: RemoteLedger) -> str:
    """What a claim is told at the first try: the reason, empty when it was granted."""
    await ledger.start()
    try:
        return (await claim(ledger, asks(new(), new()))).reason
    finally:
        await ledger.close()


def redis_says(options: tuple[str, ...], *, accept_loss: bool = False) -> str:
    needs(redis_program)
    port, other = free_ports(2)
    options = tuple(option.replace("OTHER", str(other)) for option in options)
    with tempfile.TemporaryDirectory() as folder, RedisServer(Path(folder), port, options) as server:
        return uvloop.run(tried(RedisLedger(server.url, accept_loss=accept_loss)))


@pytest.mark.parametrize(
    ("options", "reason", "accepted"),
    [
        (("appendonly yes",), "", ""),
        (("appendonly no", "save 60 1000"), "store_not_durable", ""),
        (("appendonly yes", "appendfsync everysec"), "", ""),
        (("appendonly no", 'save ""'), "store_not_durable", ""),
        (("appendonly yes", "maxmemory 100mb", "maxmemory-policy allkeys-lru"), "store_evicts", ""),
        (("appendonly yes", "maxmemory-policy volatile-ttl"), "store_evicts", ""),
        (("appendonly yes", 'rename-command CONFIG ""'), "", ""),
        (("appendonly no", 'rename-command CONFIG ""'), "store_not_durable", ""),
        (("appendonly yes", "cluster-port OTHER", "cluster-enabled yes"), "store_is_cluster", "store_is_cluster"),
        (("appendonly yes", "replicaof 127.0.0.1 1"), "store_read_only", "store_read_only"),
        (("appendonly yes", f"requirepass {SECRET}"), "store_refused", "store_refused"),
    ],
    ids=lambda value: value[-1] if isinstance(value, tuple) else value,
)  # fmt: skip
def test_a_redis_that_may_lose_records_is_refused_unless_that_was_accepted(
    options: tuple[str, ...], reason: str, accepted: str
) -> None:
    assert redis_says(options) == reason
    if reason:
        assert redis_says(options, accept_loss=True) == accepted


def test_a_redis_without_memory_takes_no_claims_and_what_was_settled_stays() -> None:
    needs(redis_program)

    async def run(server: RedisServer) -> None:
        ledger = RedisLedger(server.url)
        await ledger.start()
        try:
            key, attempt = new(), new()
            assert (await claim(ledger, asks(key, attempt))).kind == GRANTED
            assert (await settle(ledger, key, attempt, COMPLETED, b"kept")).kind == DONE
            server.say("CONFIG", "SET", "maxmemory", "1mb")
            standing = await claim(ledger, asks(new(), new()))
            assert (standing.kind, standing.reason) == (UNAVAILABLE, "store_full")
            server.say("CONFIG", "SET", "maxmemory", "0")
            async with asyncio.timeout(5):
                while (await claim(ledger, asks(new(), new()))).kind != GRANTED:  # noqa: ASYNC110 - a test's wait
                    await asyncio.sleep(0.01)
            assert (await claim(ledger, asks(key, new()))).answer == b"kept"
        finally:
            await ledger.close()

    with tempfile.TemporaryDirectory() as folder, RedisServer(Path(folder), free_ports(1)[0]) as server:
        uvloop.run(run(server))


def test_a_redis_that_begins_to_evict_or_becomes_a_replica_is_found_out() -> None:
    needs(redis_program)

    async def run(server: RedisServer) -> None:
        ledger = RedisLedger(server.url)
        await ledger.start()
        try:
            for there, back, reason in (
                (("CONFIG", "SET", "maxmemory-policy", "allkeys-random"),
                 ("CONFIG", "SET", "maxmemory-policy", "noeviction"), "store_evicts"),
                (("CONFIG", "SET", "appendonly", "no"), ("CONFIG", "SET", "appendonly", "yes"), "store_not_durable"),
                (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE"), "store_read_only"),
            ):  # fmt: skip
                server.say(*there)
                await ledger.check()
                assert (await claim(ledger, asks(new(), new()))).reason == reason
                server.say(*back)
                await ledger.check()
                assert (await claim(ledger, asks(new(), new()))).kind == GRANTED
            server.say("REPLICAOF", "127.0.0.1", "1")  # and not found out before a claim is made
            assert (await claim(ledger, asks(new(), new()))).reason == "store_read_only"
            server.say("REPLICAOF", "NO", "ONE")
        finally:
            await ledger.close()

    with tempfile.TemporaryDirectory() as folder, RedisServer(Path(folder), free_ports(1)[0]) as server:
        uvloop.run(run(server))


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    needs(postgres_program)
    with ExitStack() as stack:
        folder = stack.enter_context(open_folder())
        server = PostgresServer(folder / "data", free_ports(1)[0])
        server.make()
        yield stack.enter_context(server)


def say(server: PostgresServer, *statements: str) -> list[tuple[object, ...]]:
    with psycopg.connect(server.url, autocommit=True) as connection:
        for statement in statements:
            cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def test_a_postgresql_without_fsync_is_refused_unless_that_was_accepted() -> None:
    needs(postgres_program)
    with open_folder() as folder:
        server = PostgresServer(folder / "data", free_ports(1)[0], ("fsync=off",))
        server.make()
        with server:
            assert uvloop.run(tried(PostgresLedger(server.url))) == "store_not_durable"
            assert uvloop.run(tried(PostgresLedger(server.url, accept_loss=True))) == ""


def test_an_unlogged_table_is_refused(postgres: PostgresServer) -> None:
    assert uvloop.run(tried(PostgresLedger(postgres.url, "unlogged"))) == ""
    say(postgres, "ALTER TABLE unlogged_ledger SET UNLOGGED")
    assert uvloop.run(tried(PostgresLedger(postgres.url, "unlogged"))) == "store_not_durable"
    assert uvloop.run(tried(PostgresLedger(postgres.url, "unlogged", accept_loss=True))) == ""


def test_a_read_only_postgresql_is_refused(postgres: PostgresServer) -> None:
    say(postgres, "CREATE USER looker", "ALTER USER looker SET default_transaction_read_only = on")
    url = postgres.url.replace("faregate@", "looker@")
    assert uvloop.run(tried(PostgresLedger(url))) == "store_read_only"


def test_who_may_not_make_tables_gets_the_documented_ones_from_an_operator(postgres: PostgresServer) -> None:
    say(postgres, "CREATE USER clerk", "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    url = postgres.url.replace("faregate@", "clerk@")
    assert uvloop.run(tried(PostgresLedger(url, "clerks"))) == "store_refused"
    tables = ("clerks_ledger", "clerks_ledger_version")
    made = [statement.decode() for statement in Statements("clerks_ledger").schema]
    say(postgres, *made, *(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO clerk" for table in tables))
    assert uvloop.run(tried(PostgresLedger(url, "clerks"))) == ""


def test_a_table_of_another_version_is_left_alone(postgres: PostgresServer) -> None:
    assert uvloop.run(tried(PostgresLedger(postgres.url, "newer"))) == ""
    say(postgres, "UPDATE newer_ledger_version SET version = 99")
    assert uvloop.run(tried(PostgresLedger(postgres.url, "newer"))) == "store_schema"


def test_twenty_workers_that_start_at_once_make_one_table(postgres: PostgresServer) -> None:
    async def run() -> None:
        ledgers = [PostgresLedger(postgres.url, "crowd", lanes=1) for _ in range(20)]
        assert await asyncio.gather(*(tried(ledger) for ledger in ledgers)) == [""] * 20

    uvloop.run(run())
    assert say(postgres, "SELECT count(*) FROM crowd_ledger_version") == [(1,)]


@pytest.mark.parametrize("below", ["off", "local", "remote_write"])
def test_a_claim_waits_for_the_disk_whatever_the_server_s_setting(
    below: str, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = f"hasty_{below}"
    say(postgres, f"CREATE USER {user} SUPERUSER", f"ALTER USER {user} SET synchronous_commit = {below}")
    seen: list[object] = []
    spied = Statements(f"spied_{below}_ledger")
    spied.claim = spied.claim.replace(
        b"SELECT a.key, w.key IS NOT NULL", b"SELECT a.key, w.key IS NOT NULL AND pg_notify('set', current_setting('synchronous_commit')) IS NOT NULL"
    )  # fmt: skip
    monkeypatch.setattr(postgres_store, "Statements", lambda _: spied)

    async def run() -> None:
        async with await psycopg.AsyncConnection.connect(postgres.url, autocommit=True) as listener:
            await listener.execute("LISTEN set")
            assert await tried(PostgresLedger(postgres.url.replace("faregate@", f"{user}@"))) == ""
            async for note in listener.notifies(timeout=2, stop_after=1):
                seen.append(note.payload)

    uvloop.run(run())
    assert seen == ["on"]


def test_behind_a_pooler_nothing_is_set_and_nothing_prepared(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pooler shows by a process id that is not the server's."""

    async def settings(hides: bool) -> tuple[object, ...]:
        ledger = PostgresLedger(postgres.url, "pooled", lanes=1)
        if hides:
            facts = ledger._statements.facts.replace(b"pg_backend_pid()", b"pg_backend_pid() + 1")
            monkeypatch.setattr(ledger._statements, "facts", facts)
        await ledger.start()
        try:
            key, attempt = new(), new()
            for _ in range(8):
                assert (await claim(ledger, asks(key, attempt))).kind == GRANTED
            assert (await settle(ledger, key, attempt, COMPLETED)).kind == DONE
            assert (await claim(ledger, asks(key, new()))).kind == REPLAY
            (session,) = ledger._sessions
            text = (
                b"SELECT current_setting('statement_timeout'), (SELECT count(*) FROM pg_prepared_statements)"
            )
            return (await session._ask(text))[0]  # type: ignore[attr-defined]
        finally:
            await ledger.close()

    assert uvloop.run(settings(True)) == ("0", 0)
    timeout, prepared = uvloop.run(settings(False))
    assert timeout == "1400ms"
    assert prepared == 2


@pytest.mark.parametrize("scheme", ["redis", "postgresql"])
def test_a_password_is_never_shown(scheme: str) -> None:
    with closed_port() as port:
        url = f"{scheme}://user:{SECRET}@127.0.0.1:{port}/0"

        async def run() -> str:
            ledger = RedisLedger(url) if scheme == "redis" else PostgresLedger(url)
            await ledger.start()
            try:
                standing = await claim(ledger, asks(new(), new()))
                assert (standing.kind, standing.reason) == (UNAVAILABLE, "store_away")
                with pytest.raises(LedgerError) as caught:
                    await ledger.entry(new())
                return f"{caught.value} {caught.value!r} {caught.value.__cause__} {ledger!r}"
            finally:
                await ledger.close()

        shown = uvloop.run(run())
        assert SECRET not in shown
    for make in (RedisLedger, PostgresLedger):
        with pytest.raises(LedgerError) as caught:
            make(f"http://user:{SECRET}@[::bad")
        assert SECRET not in f"{caught.value} {caught.value.__cause__}"


def test_of_several_servers_that_are_down_the_addresses_and_the_cause_are_told_in_one_line() -> None:
    with closed_port() as port:
        ledger = PostgresLedger(f"postgresql://u:{SECRET}@127.0.0.1:{port},[::1]:{port}/x", lanes=1)

        async def run() -> str:
            await ledger.start()
            try:
                return ledger.why_away
            finally:
                await ledger.close()

        assert uvloop.run(run()) == f"127.0.0.1:{port}, [::1]:{port}: Connection refused"


def test_the_documented_tables_are_those_that_are_made() -> None:
    page = (Path(__file__).parents[3] / "docs" / "concepts" / "ledger.md").read_text()
    for statement in SCHEMA:
        assert statement.replace("{table}", "faregate_ledger") in page
