"""Connections for use cases: a database that fails is a case like any other."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy.ext.asyncio import AsyncConnection

from faregate.manager.cases.errors import Unavailable
from faregate.manager.database.engine import Database, DatabaseError


@asynccontextmanager
async def reading(database: Database) -> AsyncIterator[AsyncConnection]:
    """As ``Database.reading``. Raises Unavailable."""
    try:
        async with database.reading() as connection:
            yield connection
    except DatabaseError as error:
        raise Unavailable(str(error)) from error


@asynccontextmanager
async def writing(database: Database) -> AsyncIterator[AsyncConnection]:
    """As ``Database.writing``. Raises Unavailable."""
    try:
        async with database.writing() as connection:
            yield connection
    except DatabaseError as error:
        raise Unavailable(str(error)) from error
