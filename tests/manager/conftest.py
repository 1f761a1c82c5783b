"""A house on each kind of database: a test that takes ``in_house`` or ``at_desk`` runs on SQLite and on PostgreSQL.

Of files whose tests say who may do what, and send a database the same statements again and again, the short form plays on
PostgreSQL those of ``ON_BOTH``. ``FAREGATE_PROOF=long`` plays all.
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Final

import psycopg
import pytest

from faregate.manager.database.tables import metadata
from faregate.manager.people import passwords
from tests.manager.desk import Desk, open_desk
from tests.manager.house import House, open_house
from tests.support.managed import LONG
from tests.support.ports import free_ports
from tests.support.servers.postgres_server import PostgresServer, open_folder, postgres_program
from tests.support.servers.programs import Lacking

HERE: Final = Path(__file__).parent
STORES = ("embedded", "postgresql")
CARELESS = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "autovacuum=off")
"""Settings of a server that nobody's data hang on."""
ON_BOTH: Final[dict[str, tuple[str, ...]]] = {
    "people/test_sign_in.py": ("test_a_new_password_ends_other_sessions",),
    "people/test_users.py": (
        "test_a_user_is_written_under_the_readers_condition",
        "test_the_database_holds_no_secret_that_is_shown",
        "test_what_belongs_to_another_team_is_as_if_it_were_not",
    ),
    "test_canary.py": (),
    "test_canary_people.py": (),
    "test_changes.py": (
        "test_its_author_takes_it_back",
        "test_what_a_token_asks_for_is_a_draft_until_a_person_makes_it_theirs",
        "test_what_is_stale_is_judged_anew_and_shown_again_if_it_would_do_something_else",
        "test_what_nobody_approves_in_time_expires",
    ),
    "test_changes_alone.py": (),
    "test_changes_hours.py": ("test_requests_are_listed_page_by_page",),
    "test_changes_people.py": (
        "test_break_glass_is_loud_ends_by_itself_and_is_reviewed_by_another",
        "test_nobody_decides_while_they_need_no_approval",
        "test_the_machine_makes_the_first_two_who_decide_and_no_third",
    ),
    "test_unfit.py": (),
    "test_other_teams.py": (
        "test_a_team_sees_who_calls_its_apis",
        "test_errors_name_no_entries_of_others",
    ),
}
"""By file, the tests that are played on PostgreSQL in the short form too. With all those of other files they send it every
statement that any test does (164 of them on 2026-11-23, listed by SQLAlchemy's ``before_cursor_execute``).
"""
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


def stores_of(path: Path, test: str) -> tuple[str, ...]:
    """The kinds of database that the function ``test`` of the file ``path`` is played on."""
    listed = ON_BOTH.get(path.relative_to(HERE).as_posix())
    return STORES if LONG or listed is None or test in listed else STORES[:1]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    own = any("store" in mark.args[0] for mark in metafunc.definition.iter_markers("parametrize"))
    if "store" in metafunc.fixturenames and not own:
        stores = stores_of(metafunc.definition.path, metafunc.function.__name__)
        metafunc.parametrize("store", stores, indirect=True)


@pytest.fixture
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
