"""Schemas that stand alone: OpenAPI's dialect translated, references bundled, size and work bounded."""

import time
from typing import Any

import pytest

from faregate.compile.openapi.document import Document, DocumentError
from faregate.compile.openapi.schemas import DEPTH_MAX, StandAlone, stand_alone
from faregate.kernel.json_schema import Schema

Tree = dict[str, Any]


def alone(
    schema: object, version: str = "3.0.3", *, request: bool = True, **components: object
) -> StandAlone:
    tree: Any = {"openapi": version, "paths": {}, "components": {"schemas": components}}
    return stand_alone(Document(tree), schema, "/x", request=request)  # type: ignore[arg-type]


def ref(name: str) -> Tree:
    return {"$ref": f"#/components/schemas/{name}"}


@pytest.mark.parametrize(
    ("schema", "made"),
    [
        ({"type": "string", "nullable": True}, {"type": ["string", "null"]}),
        ({"type": "string", "nullable": True, "enum": ["a"]}, {"enum": ["a", None], "type": ["string", "null"]}),
        ({"nullable": True, "allOf": [{"type": "string"}]}, {"anyOf": [{"allOf": [{"type": "string"}]}, {"type": "null"}]}),
        ({"minimum": 1, "exclusiveMinimum": True}, {"exclusiveMinimum": 1}),
        ({"maximum": 9, "exclusiveMaximum": False}, {"maximum": 9}),
        ({"type": "integer", "format": "int32"}, {"maximum": 2147483647, "minimum": -2147483648, "type": "integer"}),
        ({"type": "string", "format": "binary"}, {"type": "string"}),
        ({"type": "string", "format": "uuid"}, {"format": "uuid", "type": "string"}),
        ({"title": "t", "description": "d", "example": 1, "default": 2, "x-a": 3, "xml": {}}, {}),
        ({"properties": {"default": {"type": "null"}}}, {"properties": {"default": {"type": "null"}}}),
        ({"additionalProperties": False, "properties": {}}, {"additionalProperties": False, "properties": {}}),
    ],
)  # fmt: skip
def test_3_0_becomes_2020_12(schema: Tree, made: Tree) -> None:
    assert alone(schema).schema == made


def test_3_1_is_taken_as_it_is() -> None:
    schema = {"type": ["string", "null"], "exclusiveMinimum": 1, "if": {"const": 1}, "then": False}
    assert alone(schema, "3.1.0").schema == schema


def test_nothing_read_only_is_demanded_of_a_request_nor_write_only_of_an_answer() -> None:
    schema = {
        "required": ["id", "secret", "name"],
        "properties": {"id": ref("Id"), "secret": {"writeOnly": True}, "name": {}},
    }
    made: Any = alone(schema, Id={"type": "string", "readOnly": True}).schema
    assert made["required"] == ["secret", "name"]
    made = alone(schema, request=False, Id={"type": "string", "readOnly": True}).schema
    assert made["required"] == ["id", "name"]


def test_references_are_bundled_once_and_equal_demands_are_equal_texts() -> None:
    pair = {"properties": {"a": ref("Money"), "b": ref("Money")}}
    one = alone(pair, Money={"type": "integer", "title": "Money"}, Other={"type": "null"})
    two = alone(pair, Money={"type": "integer", "description": "an amount"})
    assert one.text == two.text
    assert Schema(one.text).fault({"a": 1, "b": "x"}) is not None
    assert one.depth == DEPTH_MAX


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "other.yaml#/a"},
        {"$ref": "https://evil.example/schema"},
        {"$ref": "#/nowhere"},
        {"$id": "https://a.example"},
        {"$dynamicRef": "#a"},
        {"properties": {"a": "text"}},
        {"minimum": 1, "exclusiveMinimum": 2},
    ],
)
def test_what_is_refused(schema: Tree) -> None:
    with pytest.raises(DocumentError):
        alone(schema)


def test_a_recursive_schema_stands_and_one_without_end_does_not() -> None:
    tree = {"properties": {"children": {"type": "array", "items": ref("Tree")}}}
    made = alone(ref("Tree"), Tree=tree)
    assert made.depth == DEPTH_MAX
    assert Schema(made.text).fault({"children": [{"children": [5]}]}) is None  # the items of no type
    for loop in ({"A": ref("A")}, {"A": {"allOf": [ref("B")]}, "B": {"anyOf": [{"type": "null"}, ref("A")]}}):
        with pytest.raises(DocumentError, match="without end"):
            alone(ref("A"), **loop)


def test_bombs_are_refused_or_held_to_few_levels_in_little_time() -> None:
    began = time.process_time()
    doubling: Any = {f"D{n}": {"allOf": [ref(f"D{n + 1}"), ref(f"D{n + 1}")]} for n in range(40)} | {
        "D40": {"type": "null"}
    }
    with pytest.raises(DocumentError, match="too often"):
        alone(ref("D0"), **doubling)
    deep: Tree = {}
    for _ in range(80):
        deep = {"properties": {"a": deep}}
    with pytest.raises(DocumentError, match="too deep"):
        alone(deep)
    with pytest.raises(DocumentError, match="too large"):
        alone({"properties": {f"p{n}": {"type": "null"} for n in range(10_001)}})
    fork = {
        "anyOf": [
            {"properties": {"a": ref("Fork")}},
            {"properties": {"a": ref("Fork"), "b": {"type": "null"}}},
        ]
    }
    made = alone(ref("Fork"), Fork=fork)
    assert made.depth < 20
    value: Tree = {}
    for _ in range(made.depth - 1):
        value = {"a": value}
    Schema(made.text).fault({**value, "b": 1})
    assert time.process_time() - began < 5
