"""A house on each kind of database: every test that takes ``in_house`` runs on SQLite and on PostgreSQL."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from faregate.manager.database.tables import metadata
from faregate.manager.people import passwords
from tests.manager.desk import Desk, open_desk
from tests.manager.house import House, open_house
from tests.support.ports import free_ports
from tests.support.servers.postgres_server import PostgresServer, open_folder, postgres_program
from tests.support.servers.programs import Lacking

STORES = ("embedded", "postgresql")
CARELESS = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "autovacuum=off")
"""Settings of a server that nobody's data hang on."""
InHouse = Callable[..., None]
_turn = itertools.count(1)


@pytest.fixture(scope="session")
def manager_postgres() -> Iterator[PostgresServer]:
    try:
        postgres_program()
    except Lacking as lacking:
        pytest.skip(str(lacking))
    with open_folder() as folder:
        server = PostgresServer(folder / "data", free_ports(1)[0], CARELESS)
        server.make()
        with server:
            yield server


def new_database(server: PostgresServer) -> str:
    """The URL of an empty database on ``server``, without a table."""
    name = f"house_{next(_turn)}"
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return server.url.removesuffix("/postgres") + f"/{name}"


@pytest.fixture(scope="session")
def one_database(manager_postgres: PostgresServer) -> Iterator[tuple[str, psycopg.Connection]]:
    """The URL of the database of all houses on PostgreSQL, one after another, and a connection to it."""
    url = new_database(manager_postgres)
    with psycopg.connect(url, autocommit=True) as connection:
        yield url, connection


def empty(connection: psycopg.Connection) -> None:
    """Leaves the tables as the migrations made them. What a test that failed left open is closed."""
    connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    has = {
        name for (name,) in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    }
    for table in reversed(metadata.sorted_tables):
        if table.name in has:
            connection.execute(f"DELETE FROM {table.name}")
    sequences = connection.execute("SELECT sequencename FROM pg_sequences WHERE schemaname = 'public'")
    for (name,) in sequences.fetchall():
        connection.execute(f"ALTER SEQUENCE {name} RESTART")


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest) -> str:
    """An empty store of each kind."""
    if request.param == "embedded":
        return "embedded"
    url, connection = request.getfixturevalue("one_database")
    empty(connection)
    return str(url)


@pytest.fixture
def in_house(store: str, tmp_path: Path) -> InHouse:
    """Runs a test in a house of its own."""

    def run(test: Callable[[House], Awaitable[None]], **file: object) -> None:
        async def inside() -> None:
            async with open_house(tmp_path, store, **file) as house:  # type: ignore[arg-type]
                await test(house)

        asyncio.run(inside())

    return run


AtDesk = Callable[..., None]


@pytest.fixture
def at_desk(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AtDesk:
    """Runs a test in a house with people, whose passwords are quick to hash."""
    monkeypatch.setattr(passwords, "MEMORY_KIB", 8)
    monkeypatch.setattr(passwords, "PASSES", 1)

    def run(test: Callable[[Desk], Awaitable[None]], **file: object) -> None:
        async def inside() -> None:
            async with open_desk(tmp_path, store, **file) as desk:  # type: ignore[arg-type]
                await test(desk)

        asyncio.run(inside())

    return run
