"""The door to the admin API: shut until somebody asks, and never in the way of what stands before it."""

import asyncio
import subprocess
import sys

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from faregate.manager.cases.errors import Unavailable
from faregate.manager.door import Door, Opened

HEAVY = ("fastapi", "sqlalchemy", "pydantic", "alembic", "faregate.model", "faregate.compile")


def test_a_manager_that_nobody_asks_loads_none_of_what_lies_behind() -> None:
    said = subprocess.run(
        [sys.executable, "-c", "import sys, faregate.manager.__main__; print(*sys.modules)"],
        check=True, capture_output=True, text=True,
    ).stdout.split()  # fmt: skip
    assert [name for name in said if name in HEAVY] == []


class _Behind:
    def __init__(self) -> None:
        self.app: ASGIApp = Starlette(routes=[Route("/plans", lambda _: PlainTextResponse("plans"))])
        self.closed = 0

    async def close(self) -> None:
        self.closed += 1


def ask(door: Door, times: int) -> list[httpx2.Response]:
    async def asking() -> list[httpx2.Response]:
        transport = httpx2.ASGITransport(door)
        async with httpx2.AsyncClient(transport=transport, base_url="http://manager") as client:
            return [await client.get("/plans") for _ in range(times)]

    return asyncio.run(asking())


def test_it_is_opened_once_by_the_first_who_asks_and_closed_with_the_manager() -> None:
    behind, opened = _Behind(), 0

    async def open_it() -> Opened:
        nonlocal opened
        opened += 1
        await asyncio.sleep(0)
        return behind

    door = Door(open_it)
    assert opened == 0
    assert [told.text for told in ask(door, 3)] == ["plans"] * 3
    assert opened == 1
    asyncio.run(door.close())
    assert behind.closed == 1


def test_while_it_cannot_be_opened_each_is_told_why_and_the_next_tries_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    away, secret = Unavailable("the database is away"), OSError("a secret path")
    behind, failures = _Behind(), [away, secret, secret]

    async def open_it() -> Opened:
        if failures:
            raise failures.pop(0)
        return behind

    first, second, _, third = ask(Door(open_it), 4)
    assert (first.status_code, first.json()["detail"]) == (503, "the database is away")
    assert (second.status_code, second.json()["code"]) == (500, "internal_error")
    assert "secret" not in second.text
    assert third.text == "plans"
    said = [(one.getMessage().partition("again: ")[2], bool(one.exc_info)) for one in caplog.records]
    told = [("the database is away", False), ("a secret path", True)]
    assert said == told, (
        "the operator is told each cause once, and where it came from only when nobody foresaw it"
    )
