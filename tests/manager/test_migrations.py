"""An empty database gets its tables from the migrations, on both kinds; one that had the newest is opened without Alembic."""

import asyncio
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from faregate.manager.database import migrations
from faregate.manager.database.engine import open_database
from faregate.manager.database.tables import metadata
from tests.manager.conftest import STORES, new_database


@pytest.fixture(params=STORES)
def bare(request: pytest.FixtureRequest) -> str:
    """A store without a table."""
    if request.param == "embedded":
        return "embedded"
    return new_database(request.getfixturevalue("manager_postgres"))


def missing(connection: Connection) -> list[object]:
    """What the tables of a database lack or have too much."""
    return list(compare_metadata(MigrationContext.configure(connection), metadata))


def test_all_steps_together_make_the_tables_and_none_runs_again(
    bare: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upgraded = 0
    upgrade = command.upgrade

    def counted(*told: object) -> None:
        nonlocal upgraded
        upgraded += 1
        upgrade(*told)  # type: ignore[arg-type]

    monkeypatch.setattr(command, "upgrade", counted)

    async def test() -> None:
        for _ in range(2):
            database = await open_database(bare, tmp_path)
            async with database.reading() as connection:
                assert await connection.run_sync(missing) == []
            await database.close()

    asyncio.run(test())
    assert upgraded == 1


def test_a_step_that_a_database_lacks_is_looked_for(
    bare: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []
    monkeypatch.setattr("faregate.manager.database.engine.NEWEST", "0002")
    upgrade = command.upgrade

    def counted(*told: object) -> None:
        ran.append(str(told[1]))
        upgrade(*told)  # type: ignore[arg-type]

    monkeypatch.setattr(command, "upgrade", counted)

    async def test() -> None:
        for _ in range(2):
            await (await open_database(bare, tmp_path)).close()

    asyncio.run(test())
    assert ran == ["head", "head"]


def test_the_newest_step_is_the_last_of_those_there_are() -> None:
    assert ScriptDirectory(str(Path(migrations.__file__).parent)).get_heads() == [migrations.NEWEST]
