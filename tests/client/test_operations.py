"""The client has every operation of the admin API and no other; each goes where it should, with what it should, and
its answers are declared as the document has them.
"""

import functools
import inspect
import json
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, NotRequired, is_typeddict

import httpx2
import pytest

from faregate.client import OPERATIONS, Client
from faregate.client.declaring import DECLARED, Group, Has, Of
from faregate.manager.admin.app import create_admin

MISSING = "declare it in faregate/client, and give it its row in faregate/cli/operations.py"
METHODS = {"get", "put", "post", "patch", "delete"}
Node = dict[str, Any]


@functools.cache
def document() -> Node:
    return create_admin(None).openapi()


@functools.cache
def in_document() -> dict[str, tuple[str, str, Node]]:
    return {
        one["operationId"]: (method.upper(), path, one)
        for path, ways in document()["paths"].items()
        for method, one in ways.items()
        if method in METHODS
    }


def found(
    owner: type[Group], way: tuple[str, ...] = (), one: str = ""
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Every operation, and the names by which a client leads to it; ``()``: called with a name."""
    for name, value in inspect.getmembers(owner):
        if isinstance(value, Has):
            called = ("()",) if isinstance(value, Of) else ()
            yield from found(value.group, (*way, name, *called), value.one)
        elif hasattr(value, DECLARED):
            yield getattr(value, DECLARED).id.replace("{one}", one), (*way, name)


WAYS = dict(found(Client))


def reached(client: Client, way: Sequence[str]) -> Callable[..., Any]:
    thing: Any = client
    for name in way:
        thing = thing("holder 1") if name == "()" else getattr(thing, name)
    assert callable(thing)
    return thing


def schema(node: Node) -> Node:
    return document()["components"]["schemas"][node["$ref"].rpartition("/")[2]] if "$ref" in node else node


def test_every_operation_has_a_method_and_every_method_an_operation() -> None:
    assert set(WAYS) == set(in_document()) == set(OPERATIONS), MISSING
    assert len(list(found(Client))) == len(WAYS)


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_an_operation_is_as_the_document_has_it(name: str) -> None:
    method, path, node = in_document()[name]
    known = OPERATIONS[name]
    parameters = {
        place: [one["name"] for one in node.get("parameters", ()) if one["in"] == place]
        for place in ("query", "header")
    }
    body = schema(
        node.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    )
    assert (known.method, known.path) == (method, path)
    assert known.in_path == tuple(re.findall(r"{(\w+)}", path))
    assert sorted(known.query) == sorted(parameters["query"])
    assert sorted(known.headers) == sorted(parameters["header"])
    assert sorted(known.body) == sorted(body.get("properties", ()))
    assert known.reads == (method == "GET" or node.get("x-faregate-need") == "see")
    assert known.summary.lower() == node["summary"].removesuffix(".").lower()


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_what_must_be_given_and_what_is_said_of_the_rest_is_as_in_the_document(name: str) -> None:
    """A default in Python is not sent: it must be what the manager takes then."""
    _, _, node = in_document()[name]
    declared = getattr(reached(Client("http://manager", ""), WAYS[name]), DECLARED)
    signature = inspect.signature(reached(Client("http://manager", ""), WAYS[name]))
    body = schema(
        node.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    )
    needed = set(body.get("required", ())) | {
        one["name"] for one in node.get("parameters", ()) if one.get("required")
    }
    defaults = {
        one: part["default"] for one, part in body.get("properties", {}).items() if "default" in part
    } | {
        one["name"]: one["schema"]["default"]
        for one in node.get("parameters", ())
        if "default" in one.get("schema", {})
    }
    for key, parameter in signature.parameters.items():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            continue
        wire = declared.names[key]
        assert (parameter.default is inspect.Parameter.empty) == (wire in needed), key
        if wire not in needed and wire in defaults and parameter.default is not None:
            assert parameter.default == defaults[wire], key
        elif wire not in needed and wire not in defaults:
            assert parameter.default in (None, ()), key


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_each_method_asks_for_its_own_path_with_its_own_parameters(name: str) -> None:
    seen: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return httpx2.Response(200, json={"data": []})

    operation = OPERATIONS[name]
    with Client("http://manager", "fgm_x", transport=httpx2.MockTransport(answer)) as client:
        method = reached(client, WAYS[name])
        names: Mapping[str, str] = getattr(method, DECLARED).names
        values = {key: f"v {number}" for number, key in enumerate(names)}
        result = method(**values)
        if isinstance(result, Iterator):
            assert list(result) == []
    (request,) = seen
    given = {wire: values[key] for key, wire in names.items()}
    path = operation.path
    for wire in operation.in_path:
        path = path.replace(f"{{{wire}}}", given.get(wire, "holder 1").replace(" ", "%20"))
    assert (request.method, request.url.raw_path.decode().partition("?")[0]) == (operation.method, path)
    assert dict(request.url.params) == {one: given[one] for one in operation.query if one != "offset"}
    body = {one: given[one] for one in operation.body}
    assert json.loads(request.content or b"{}") == body
    for wire in operation.headers:
        key = "reason" if wire == "x-faregate-reason" else wire.replace("-", "_")
        assert request.headers[wire].strip('"') == values[key]
    assert request.headers["authorization"] == "Bearer fgm_x"


def alike(kind: Any, node: Node) -> bool:
    """Whether a Python type is what a schema says."""
    node = schema(node)
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    several = node.get("anyOf") or node.get("oneOf")
    if several:
        left = [one for one in inner if not any(alike(one, way) for way in several)]
        missing = [way for way in several if not any(alike(one, way) for one in inner)]
        return origin in {types.UnionType, typing.Union} and not left and not missing
    if "enum" in node:
        return origin is Literal and sorted(inner) == sorted(node["enum"])
    if is_typeddict(kind):
        hints = typing.get_type_hints(kind, include_extras=True)
        plain = {
            key: typing.get_args(one)[0] if typing.get_origin(one) is NotRequired else one
            for key, one in hints.items()
        }
        return (
            set(plain) == set(node.get("properties", ()))
            and kind.__required_keys__ == frozenset(node.get("required", ()))
            and all(alike(one, node["properties"][key]) for key, one in plain.items())
        )
    match node.get("type"):
        case "array":
            return origin is list and alike(inner[0], node.get("items", {}))
        case "object":
            more = node.get("additionalProperties", True)
            return (
                "properties" not in node
                and origin is dict
                and inner[0] is str
                and (inner[1] is Any if more is True else alike(inner[1], more))
            )
        case None:
            return kind is Any
        case simple:
            plain_kinds = {
                "string": str,
                "integer": int,
                "number": float,
                "boolean": bool,
                "null": type(None),
            }
            return kind is plain_kinds[simple]


def answers(name: str) -> list[Node]:
    """What an operation answers in JSON when it is done: the same for every status."""
    _, _, node = in_document()[name]
    shown = [
        node["responses"][status].get("content", {})
        for status in ("200", "201")
        if status in node["responses"]
    ]
    told = [one["application/json"]["schema"] for one in shown if "application/json" in one]
    return [one for number, one in enumerate(told) if one not in told[:number]]


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_an_answer_is_declared_as_the_document_has_it(name: str) -> None:
    method = reached(Client("http://manager", ""), WAYS[name])
    told = typing.get_type_hints(method, include_extras=True)["return"]
    if not answers(name):
        assert told is type(None)
        return
    (node,) = answers(name)
    if typing.get_origin(told) is Iterator:
        assert ("offset" in schema(node)["properties"]) == ("offset" in OPERATIONS[name].query)
        (told,) = typing.get_args(told)
        node = schema(node)["properties"]["data"]["items"]
    assert alike(told, node), f"faregate/client/*forms.py: {told} is not {json.dumps(schema(node), indent=1)}"


def test_what_is_shown_once_is_in_no_repr() -> None:
    """By the document's own words: a form that says so has members that are hidden."""
    for name, known in OPERATIONS.items():
        forms = [schema(one) for one in answers(name)]
        told = any("shown here and nowhere else" in one.get("description", "").lower() for one in forms)
        assert bool(known.once) == told, name
        assert all(set(known.once) <= set(one["properties"]) for one in forms if known.once)


def test_an_operation_is_also_asked_for_by_its_id() -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        assert (request.method, str(request.url)) == ("GET", "http://manager/plans/g%3F1")
        return httpx2.Response(200, json={"name": "g?1"})

    with Client("http://manager", "t", transport=httpx2.MockTransport(answer)) as client:
        assert client.ask("plan_get", {"name": "g?1"}) == {"name": "g?1"}
        with pytest.raises(KeyError):
            client.ask("plan_get", {})


@pytest.mark.parametrize(
    "wrong",
    [
        lambda client: client.plans.get(),
        lambda client: client.plans.get("a", "b"),
        lambda client: client.plans.get("a", size=1),
        lambda client: client.plans.put("a", {}, if_macht="*"),
        lambda client: client.plans.list("a"),
    ],
)
def test_a_call_that_the_head_does_not_allow_is_a_type_error(wrong: Callable[[Client], object]) -> None:
    with Client("http://manager", "") as client, pytest.raises(TypeError):
        wrong(client)
