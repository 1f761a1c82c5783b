"""The one door to the schema library: nothing is fetched, patterns are bounded, faults repeat nothing."""

import json
from decimal import Decimal
from pathlib import Path

import pytest

from faregate.kernel.json_schema import (
    PATTERN_BYTES_MAX,
    Schema,
    SchemaError,
    covers,
    difference,
    pattern_bytes,
    patterns_of,
)


@pytest.mark.parametrize(
    "text",
    [
        '{"$ref": "https://evil.example/x"}',
        '{"$ref": "file:///etc/passwd"}',
        '{"$ref": "#/$defs/none"}',
        '{"pattern": "(?=a)b"}',
        '{"pattern": "(a)\\\\1"}',
        '{"pattern": "(a{1000}){1000}"}',
        '{"properties": {"a": {"pattern": "("}}}',
        '{"type": "money"}',
        '{"minimum": "1"}',
        "[]",
        "{",
    ],
)
def test_schemas_that_cannot_be_used(text: str) -> None:
    with pytest.raises(SchemaError):
        Schema(text)


@pytest.mark.parametrize(
    ("schema", "value", "pointer", "keyword"),
    [
        ({"properties": {"a": {"type": "integer"}}}, {"a": "4111111111111111"}, "/a", "type"),
        ({"additionalProperties": {"type": "integer"}}, {"4111111111111111": "x"}, "/*", "type"),
        (
            {"properties": {"a": {}}, "additionalProperties": False},
            {"4111111111111111": "x"},
            "",
            "additionalProperties",
        ),
        ({"properties": {"a": {"items": {"required": ["b"]}}}}, {"a": [{"b": 1}, {}]}, "/a/1/b", "required"),
        ({"properties": {"a/b~c": {"const": 1}}}, {"a/b~c": "4111111111111111"}, "/a~1b~0c", "const"),
        ({"enum": ["x"]}, "4111111111111111", "", "enum"),
        ({"format": "email", "type": "string"}, "4111111111111111", "", "format"),
        ({"format": "email", "type": "string"}, "A B <a@b.example>", "", "format"),
        ({"multipleOf": 0.01}, Decimal("1234567890123456789.011"), "", "multipleOf"),
        ({"maximum": 9007199254740993}, 9007199254740994, "", "maximum"),
        (False, 1, "", "falseSchema"),
    ],
)
def test_faults_have_a_place_and_repeat_nothing(
    schema: object, value: object, pointer: str, keyword: str
) -> None:
    fault = Schema(json.dumps(schema)).fault(value)
    assert fault is not None
    assert (fault.pointer, fault.keyword) == (pointer, keyword)
    assert "4111" not in fault.detail


def test_what_patterns_take_is_told_in_steps() -> None:
    told = [pattern_bytes(one) for one in ("^[A-Z]{3}$", r"^[\w\s.-]{1,70}$", "^.{1,255}$")]
    assert told == sorted(told)
    assert told[0] < told[-1] <= PATTERN_BYTES_MAX
    with pytest.raises(SchemaError):
        pattern_bytes("(a{1000}){1000}")
    schema = {
        "properties": {"pattern": {"pattern": "a"}},
        "patternProperties": {"b": {"items": {"pattern": "a"}}},
    }
    assert sorted(patterns_of(json.dumps(schema))) == ["a", "a", "b"]


def test_what_fits() -> None:
    assert Schema('{"multipleOf": 0.01}').fault(Decimal("1234567890123456789.01")) is None
    assert Schema('{"type": "integer"}').fault(10**60) is None


def test_containment_is_yes_no_or_not_known() -> None:
    wide, narrow = {"type": "integer"}, {"type": "integer", "maximum": 5}
    assert (covers(wide, narrow), covers(narrow, wide)) == (True, False)
    assert covers({"pattern": "^a"}, {"pattern": "^[a]"}) is not True
    assert json.loads(difference(wide, narrow)) == {"type": "integer", "minimum": 6}


def test_no_other_module_knows_the_library() -> None:
    source = Path(__file__).parents[2] / "src" / "faregate"
    knowing = [
        path.relative_to(source) for path in source.rglob("*.py") if "jsonschema_rs" in path.read_text()
    ]
    assert knowing == [Path("kernel/json_schema.py")]
