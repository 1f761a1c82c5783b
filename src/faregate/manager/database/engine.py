"""Opens the database and lends connections: many that read, one at a time that writes.

SQLite runs with a write-ahead log and full sync: what was committed survives a power cut. Its driver's own
transactions are switched off, since they begin too late to keep two writers apart; on PostgreSQL an advisory
lock does that for the managers of all machines. Writers come one after another, so that the revision a writer
builds on is the one it replaces.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import event, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from faregate.manager.database.migrations import NEWEST

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection
    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.pool import ConnectionPoolEntry

FILE: Final = "manager.db"
READERS_MAX: Final = 8
"""Connections that read at once; more wait for one, for ``WAIT_S`` at most."""
WAIT_S: Final = 10.0
_WRITER_LOCK: Final = 0x6661_7265
"""Of PostgreSQL's advisory locks, ours: "fare"."""


class DatabaseError(Exception):
    """The database cannot be opened or reached; the text is for the operator and holds no secret."""


class Database:
    """One database. ``embedded``: a file on this machine."""

    def __init__(self, engine: AsyncEngine, *, embedded: bool) -> None:
        self._engine = engine
        self._writer = asyncio.Lock()
        self.embedded = embedded

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A connection with one unchanging view of the database. Raises DatabaseError."""
        async with self._connection("read") as connection:
            yield connection

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """A connection whose changes are committed at the end, or all undone when the body raises. No other
        writer, of any machine, runs meanwhile. Raises DatabaseError.
        """
        async with self._writer, self._connection("write") as connection:
            if not self.embedded:
                await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _WRITER_LOCK})
            yield connection

    @asynccontextmanager
    async def _connection(self, aim: str) -> AsyncIterator[AsyncConnection]:
        try:
            async with self._engine.connect() as bare:
                connection = await bare.execution_options(faregate_aim=aim)
                if aim == "write" and not self.embedded:
                    # a repeatable view would be taken by the wait for the lock, before the others' commits
                    connection = await connection.execution_options(isolation_level="READ COMMITTED")
                async with connection.begin():
                    yield connection
        except (SQLAlchemyError, OSError) as error:
            raise DatabaseError(_cause(error)) from error

    async def close(self) -> None:
        await self._engine.dispose()


def _cause(error: BaseException) -> str:
    """What the driver says, without the statement and its values."""
    inner = getattr(error, "orig", None) or error
    told = str(inner).partition("\n")[0]
    return f"the manager's database: {told[:200]}" if told else "the manager's database failed"


async def open_database(store: str, data: Path) -> Database:
    """The database that ``gateway.store`` names, with all migrations run; ``data``: the data folder. Raises
    DatabaseError.
    """
    embedded = store == "embedded"
    try:
        engine = _sqlite(data / FILE) if embedded else _postgresql(store)
    except ImportError:
        raise DatabaseError(
            "`gateway.store` names PostgreSQL, whose driver is missing: pip install 'faregate[postgresql]'"
        ) from None
    database = Database(engine, embedded=embedded)
    try:
        async with database.writing() as connection:
            await connection.run_sync(_migrate)
    except BaseException:
        await database.close()
        raise
    if embedded:
        (data / FILE).chmod(0o600)
    return database


def _sqlite(path: Path) -> AsyncEngine:
    engine = create_async_engine(
        f"sqlite+aiosqlite:///{path}",
        pool_size=READERS_MAX,
        max_overflow=0,
        pool_timeout=WAIT_S,
        connect_args={"timeout": WAIT_S},
    )

    @event.listens_for(engine.sync_engine, "connect")
    def _settings(connection: "DBAPIConnection", _: "ConnectionPoolEntry") -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in (
            "journal_mode = WAL",
            "synchronous = FULL",
            "foreign_keys = ON",
            "trusted_schema = OFF",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: "Connection") -> None:
        writes = connection.get_execution_options().get("faregate_aim") == "write"
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _postgresql(store: str) -> AsyncEngine:
    url = make_url(store).set(drivername="postgresql+psycopg")
    return create_async_engine(
        url,
        pool_size=READERS_MAX,
        max_overflow=0,
        pool_timeout=WAIT_S,
        pool_pre_ping=True,
        isolation_level="REPEATABLE READ",
        connect_args={"connect_timeout": int(WAIT_S), "application_name": "faregate-manager"},
    )


def _migrate(connection: "Connection") -> None:
    if _step(connection) == NEWEST:
        return
    from alembic import command  # noqa: PLC0415 - half of a second to import, where there is something to do
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _step(connection: "Connection") -> str | None:
    """The last migration that this database had; None: it is empty."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return found
