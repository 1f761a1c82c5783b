"""Who may do what, over every operation of the admin API, as the API's own document lists them: a new operation is covered
by being there. Expected answers come of its ``x-faregate-need`` and of whose thing is named.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest
from starlette.routing import Route

from faregate.manager.admin.app import create_admin
from faregate.manager.cases.tools import Tools
from tests.manager.house import open_house
from tests.manager.operations import MISSING, Operation, address, body_of, document_schemas, operations
from tests.manager.world import GRANTS, SECRET, STRANGERS, TEAMS, World, build

NEEDS: Final = {
    "see": {"viewer", "operator", "approver", "owner", "auditor"},
    "write": {"operator", "owner"},
    "decide": {"approver", "owner"},
    "own": {"owner"},
    "audit": {"auditor", "owner"},
    "self": set(),
    "nobody": set(),
}
"""The roles that fill each need."""
ANY: Final = {"If-Match": "*"}
STALE: Final = {"If-Match": '"0000"'}
REDS: Final = [name for name in GRANTS if name.startswith("red")]


def scopes(who: str, need: str) -> set[str]:
    return {scope for role, scope in GRANTS[who] if role in NEEDS[need]}


def lies_in(operation: Operation, whose: str) -> set[str]:
    found = {"*"}
    if operation.is_scoped and whose in TEAMS:
        found.add(f"team:{whose}")
        if operation.path.split("/")[1] in {"apis", "calls"}:
            found.add(f"api:{whose}-apis")
    return found


def sees(who: str, operation: Operation, whose: str) -> bool:
    return bool(scopes(who, "see") & lies_in(operation, whose))


def lacks(who: str, operation: Operation, whose: str) -> bool:
    """Whether ``who`` has nothing that would let it do this, wherever it is."""
    if not operation.is_scoped:
        return not scopes(who, operation.need)
    return not scopes(who, operation.need) & lies_in(operation, whose)


def told(answer: httpx2.Response) -> tuple[int, Any]:
    """An answer but for what belongs to one request."""
    body = answer.json() if answer.content else None
    if isinstance(body, dict):
        body.pop("request_id", None)
    return answer.status_code, body


def is_denied(answer: httpx2.Response) -> bool:
    return answer.status_code in {403, 404}


def clean(world: World, answer: httpx2.Response) -> None:
    """Nothing that was told once, or never may be, stands in an answer."""
    assert SECRET not in answer.text, answer.url
    for secret in world.shown:
        assert secret not in answer.text, answer.url


@pytest.fixture
def quick_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tools that answer at once: they are processes, and not what is asked about here."""

    answers = {
        "check": {"ok": True, "diagnostics": [], "more": 0},
        "import": {"configuration": {}, "yaml": "", "notes": []},
        "diff": {"breaking": 0, "changes": [], "more": 0},
    }

    async def run(_: Tools, __: object, sent: bytes) -> tuple[int, bytes, bytes]:
        asked = json.loads(sent or "{}").get("op")
        return 0, json.dumps(answers.get(asked, {})).encode(), b""

    monkeypatch.setattr(Tools, "_run", run)


Sweep = Callable[[World], Awaitable[None]]


@pytest.fixture
def swept(tmp_path: Path, quick_tools: None) -> Callable[[Sweep], None]:
    """Runs a sweep in a world of its own; who may do what does not hang on the database."""

    def run(sweep: Sweep) -> None:
        async def inside() -> None:
            async with open_house(tmp_path) as house:
                await sweep(await build(house))

        asyncio.run(inside())

    return run


# -- the document


@pytest.mark.parametrize("operation", operations(), ids=lambda one: one.id)
def test_each_operation_says_who_it_is_for_and_on_which_condition(operation: Operation) -> None:
    assert operation.need in NEEDS
    assert operation.told["summary"]
    names = {one["name"] for one in operation.told.get("parameters", ())}
    if operation.writes:
        assert ("if-match" in names) != bool(operation.told.get("x-faregate-condition"))
    if operation.need != "nobody":
        assert "401" in operation.told["responses"]
        assert operation.told.get("security") != []


def test_no_route_is_left_out_of_the_document() -> None:
    documented = {(one.method, one.path) for one in operations()}
    app = create_admin(None)
    served = {
        (method, route.path)
        for route in app.routes
        if isinstance(route, Route)
        for method in route.methods or ()
        if method != "HEAD"
    }
    assert {path for _, path in served - documented} <= {"/openapi.json"}
    assert len({one.id for one in operations()}) == len(operations())


# -- strangers


def test_strangers_learn_nothing_from_any_operation(swept: Callable[[Sweep], None]) -> None:
    async def sweep(world: World) -> None:
        before = await world.head()
        for operation in operations():
            if operation.need == "nobody":
                continue
            answers = set()
            for who in STRANGERS:
                answer = await world.ask(
                    who, operation.method, address(operation, world, "blue"), body_of(operation), ANY
                )
                assert answer.status_code == 401, (operation.id, who, answer.text)
                assert (answer.json()["code"] == "credential_missing") == (who == "nobody")
                if who != "nobody":
                    answers.add(json.dumps(told(answer)))
                assert answer.headers["www-authenticate"].startswith("Bearer")
            assert len(answers) == 1, operation.id
        assert await world.head() == before

    swept(sweep)


# -- people without what it takes


def test_who_lacks_what_it_takes_is_denied_and_nothing_changes(swept: Callable[[Sweep], None]) -> None:
    async def sweep(world: World) -> None:
        before = await world.head()
        for operation in operations():
            if operation.need in {"self", "nobody"}:
                continue
            for who in GRANTS:
                for whose in (*TEAMS, MISSING) if operation.is_scoped else (TEAMS[0],):
                    if not lacks(who, operation, whose):
                        continue
                    path = address(operation, world, whose)
                    answer = await world.ask(who, operation.method, path, body_of(operation), ANY)
                    assert is_denied(answer), (operation.id, who, whose, answer.status_code, answer.text)
                    if whose in TEAMS and operation.is_scoped:
                        expected = 403 if sees(who, operation, whose) else 404
                        told_so = answer.status_code == expected or not GRANTS[who]
                        assert told_so, (operation.id, who, whose, answer.text)
                    clean(world, answer)
            assert await world.head() == before, operation.id

    swept(sweep)


def test_another_teams_thing_is_as_one_that_is_not_there(swept: Callable[[Sweep], None]) -> None:
    async def sweep(world: World) -> None:
        for operation in operations():
            if not operation.is_scoped:
                continue
            for who in REDS:
                for headers in (ANY, {}) if operation.writes and who == REDS[0] else (ANY,):
                    answers = [
                        told(
                            await world.ask(
                                who,
                                operation.method,
                                address(operation, world, whose),
                                body_of(operation),
                                headers,
                            )
                        )
                        for whose in ("blue", MISSING)
                    ]
                    assert answers[0] == answers[1], (operation.id, who, headers)
                    assert answers[0][0] in {403, 404}, (operation.id, who, answers)

    swept(sweep)


# -- people with what it takes


@pytest.mark.parametrize("who", [name for name in GRANTS if GRANTS[name]])
def test_who_has_what_it_takes_gets_through(who: str, swept: Callable[[Sweep], None]) -> None:
    whose = "red"

    async def sweep(world: World) -> None:
        blue = await _of_team(world, "blue")
        for operation in sorted(
            operations(), key=lambda one: ("GET", "PUT", "PATCH", "POST", "DELETE").index(one.method)
        ):
            if operation.need == "nobody" or lacks(who, operation, whose):
                continue
            path, headers = address(operation, world, whose), STALE if operation.writes else {}
            answer = await world.ask(who, operation.method, path, body_of(operation), headers)
            assert answer.status_code not in {401, 405}, (operation.id, answer.text)
            assert answer.status_code < 500 or answer.json()["code"] == "store_unavailable", (
                operation.id,
                answer.text,
            )
            if operation.is_scoped:
                refused = answer.status_code in {403, 404}
                assert not refused or "second factor" in answer.text, (operation.id, answer.text)
            if operation.id not in {"key_create", "key_roll", "token_create"}:
                clean(world, answer)
            if who in REDS:
                assert "blue" not in answer.text, (operation.id, answer.text)
        if who in REDS:
            assert await _of_team(world, "blue") == blue

    swept(sweep)


async def _of_team(world: World, team: str) -> dict[str, str]:
    found = {}
    for section in ("issuers", "upstreams", "plans", "groups", "consumers", "apis", "credentials"):
        for one in (await world.house.client.get(f"/{section}?size=1000")).json()["data"]:
            if one["team"] == team:
                found[f"{section}/{one['name']}"] = one["etag"]
    assert len(found) == 7
    return found


# -- what is sent


def test_members_that_nobody_knows_are_refused_by_name(swept: Callable[[Sweep], None]) -> None:
    async def sweep(world: World) -> None:
        before = await world.head()
        asked = 0
        for operation in operations():
            body = body_of(operation)
            if not isinstance(body, dict):
                continue
            for planted in ("tenant_id", "role", "created_by", "secret", "owner"):
                if planted in _members(operation):
                    continue
                asked += 1
                answer = await world.ask(
                    "owner", operation.method, address(operation, world, "red"), {**body, planted: "x"}, ANY
                )
                assert answer.status_code == 422, (operation.id, planted, answer.text)
                assert planted in answer.json()["detail"], (operation.id, answer.text)
        assert asked > 100
        assert await world.head() == before

    swept(sweep)


def _members(operation: Operation) -> set[str]:
    schema = operation.body_schema or {}
    return set(
        document_schemas().get(str(schema.get("$ref", "")).rpartition("/")[2], {}).get("properties", ())
    )
