"""The client has every operation of the admin API and no other, and each goes where it should."""

import functools
import inspect
import json
from typing import Any

import httpx2
import pytest

from faregate.client import Client
from faregate.client.operations import Operations
from faregate.client.operations.table import OPERATIONS
from faregate.manager.admin.app import create_admin
from tests.client import writing

REMADE = "run `python -m tests.client.writing`, and give the operation its row in faregate/cli/operations.py"


@functools.cache
def document() -> dict[str, Any]:
    return create_admin(None).openapi()


def in_document() -> dict[str, tuple[str, str]]:
    return {
        one["operationId"]: (method.upper(), path)
        for path, ways in document()["paths"].items()
        for method, one in ways.items()
        if method in writing.METHODS
    }


def methods() -> set[str]:
    return {
        name
        for name, _ in inspect.getmembers(Operations, inspect.isfunction)
        if not name.startswith("_") and name != "ask"
    }


def test_every_operation_has_a_method_and_every_method_an_operation() -> None:
    assert methods() == set(in_document()) == set(OPERATIONS), REMADE
    assert {name: (one.method, one.path) for name, one in OPERATIONS.items()} == in_document(), REMADE


def test_the_modules_are_those_that_the_document_makes() -> None:
    made = writing.rendered(document())
    there = {path.stem: path.read_text() for path in writing.FOLDER.glob("*.py")}
    assert sorted(there) == sorted(made), REMADE
    assert [name for name in made if made[name] != there[name]] == [], REMADE


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_each_method_asks_for_its_own_path_with_its_own_parameters(name: str) -> None:
    seen: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return httpx2.Response(200, json={"data": []})

    operation = OPERATIONS[name]
    with Client("http://manager", "fgm_x", transport=httpx2.MockTransport(answer)) as client:
        method = getattr(client, name)
        signature = inspect.signature(method)
        values: dict[str, Any] = {
            key: {"some": "body"} if key == "body" else f"v {number}"
            for number, key in enumerate(signature.parameters)
        }
        method(**values)
    (request,) = seen
    names = {writing.argument(one): one for one in (*operation.in_path, *operation.query, *operation.headers)}
    path = operation.path
    for key, value in values.items():
        wire = names.get(key)
        if key == "body" and wire is None:
            assert json.loads(request.content) == value
        elif wire in operation.in_path:
            path = path.replace(f"{{{wire}}}", str(value).replace(" ", "%20"))
        elif wire in operation.query:
            assert request.url.params[wire] == value
        else:
            assert wire is not None
            assert request.headers[wire].strip('"') == value
    assert (request.method, request.url.raw_path.decode().partition("?")[0]) == (operation.method, path)
    assert request.headers["authorization"] == "Bearer fgm_x"


def test_an_operation_is_also_asked_for_by_its_id() -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        assert (request.method, str(request.url)) == ("GET", "http://manager/plans/g%2F1")
        return httpx2.Response(200, json={"name": "g/1"})

    with Client("http://manager", "t", transport=httpx2.MockTransport(answer)) as client:
        assert client.ask("plan_get", {"name": "g/1"}) == {"name": "g/1"}
        with pytest.raises(KeyError):
            client.ask("plan_get", {})
