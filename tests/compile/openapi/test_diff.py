"""Breaking changes: what callers send that is no longer taken, what they are told that was not promised."""

from copy import deepcopy
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faregate.compile.openapi.diff import Change, compare
from faregate.compile.openapi.document import Document, DocumentError, read_document

DOCUMENTS: Final = sorted((Path(__file__).parents[2] / "vectors/openapi").iterdir())
STRING: Final = {"type": "string"}

Tree = dict[str, Any]


def document(request: object = None, answer: object = None, **operation: object) -> Tree:
    """One operation whose body, and whose answer, have these schemas."""
    made: Tree = {"responses": {"200": {"description": ""}}, **operation}
    if request is not None:
        made["requestBody"] = {"content": {"application/json": {"schema": request}}}
    if answer is not None:
        made["responses"] = {"200": {"description": "", "content": {"application/json": {"schema": answer}}}}
    return {"openapi": "3.1.0", "info": {}, "paths": {"/pay": {"post": made}}}


def changes(old: Tree, new: Tree) -> list[Change]:
    return compare(Document(old), Document(new))


def told(old: Tree, new: Tree) -> set[tuple[str, str, bool]]:
    return {(one.kind, one.value, one.breaking) for one in changes(old, new)}


def object_of(*required: str, **properties: object) -> Tree:
    return {"type": "object", "required": list(required), "properties": properties}


MONEY: Final = object_of("amount", amount={"type": "integer", "minimum": 1}, note=STRING)

# what is taken before and now; the kind, the place; whether it breaks as a request, and as an answer
SCHEMAS: Final = [
    ({"type": ["string", "null"]}, STRING, "type_narrowed", "", True, False),
    ({"type": "number"}, {"type": "integer"}, "type_narrowed", "", True, False),
    ({"type": "integer"}, {"type": "number"}, "type_widened", "", False, True),
    ({"enum": ["a", "b"]}, {"enum": ["a"]}, "enum_value_removed", "", True, False),
    ({"enum": ["a"]}, {"enum": ["a", "b"]}, "enum_value_added", "", False, True),
    (STRING, {"type": "string", "enum": ["a"]}, "enum_added", "", True, False),
    ({"type": "integer", "maximum": 9}, {"type": "integer", "maximum": 8}, "bound_narrowed", "", True, False),
    ({"type": "integer", "minimum": 1}, {"type": "integer", "exclusiveMinimum": 1}, "bound_narrowed", "", True, False),
    ({"type": "number", "multipleOf": 1}, {"type": "number", "multipleOf": 0.5}, "bound_widened", "", False, True),
    ({"type": "number", "multipleOf": 2}, {"type": "number", "multipleOf": 3}, "bound_changed", "", True, True),
    ({"type": "string", "maxLength": 9}, STRING, "bound_widened", "", False, True),
    (STRING, {"type": "string", "pattern": "^a"}, "pattern_added", "", True, False),
    ({"type": "string", "pattern": "^a"}, {"type": "string", "pattern": "^b"}, "pattern_changed", "", True, True),
    (STRING, {"type": "string", "format": "date"}, "format_added", "", True, False),
    (MONEY, object_of("amount", "note", **MONEY["properties"]), "required_added", "/note", True, False),
    (MONEY, object_of(**MONEY["properties"]), "required_removed", "/amount", False, True),
    (MONEY, object_of("amount", amount={"type": "integer", "minimum": 1}), "property_removed", "/note", True, True),
    (MONEY, object_of("amount", more=STRING, **MONEY["properties"]), "property_added", "/more", False, False),
    (MONEY, {**MONEY, "additionalProperties": False}, "additional_refused", "", True, False),
    ({**MONEY, "additionalProperties": False}, MONEY, "additional_taken", "", False, True),
    ({"type": "array", "items": STRING}, {"type": "array", "items": {"enum": ["a"]}}, "enum_added", "/*", True, False),
    ({"oneOf": [STRING, MONEY]}, {"oneOf": [STRING]}, "alternative_removed", "", True, False),
    ({"oneOf": [STRING]}, {"oneOf": [STRING, MONEY]}, "alternative_added", "", False, True),
    ({"type": "object", "patternProperties": {"^a": STRING}}, {"type": "object"}, "schema_widened", "", False, True),
    ({"not": {"type": "null"}}, {"not": {"type": "string"}}, "schema_narrowed", "", True, False),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "kind", "value", "request_breaks", "answer_breaks"), SCHEMAS)
def test_less_breaks_in_requests_and_more_in_answers(
    old: Tree, new: Tree, kind: str, value: str, request_breaks: bool, answer_breaks: bool
) -> None:
    assert (kind, value, request_breaks) in told(document(request=old), document(request=new))
    assert (kind, value, answer_breaks) in told(document(answer=old), document(answer=new))


def parameter(name: str, where: str = "query", **more: object) -> Tree:
    return {"name": name, "in": where, "schema": STRING, **more}


@pytest.mark.parametrize(
    ("old", "new", "kind", "breaks"),
    [
        ({}, {"parameters": [parameter("a", required=True)]}, "parameter_added", True),
        ({}, {"parameters": [parameter("a")]}, "parameter_added", False),
        ({"parameters": [parameter("a")]}, {}, "parameter_removed", True),
        ({"parameters": [parameter("a")]}, {"parameters": [parameter("a", required=True)]}, "parameter_required", True),
        ({"parameters": [parameter("a")]}, {"parameters": [parameter("a", explode=False)]}, "parameter_style", True),
        ({"parameters": [parameter("X-A", "header")]}, {"parameters": [parameter("x-a", "header", schema={"type": "null"})]},
         "type_narrowed", True),
        ({}, {"requestBody": {"required": True, "content": {}}}, "body_added", True),
        ({"requestBody": {"content": {}}}, {}, "body_removed", True),
        ({"requestBody": {"content": {}}}, {"requestBody": {"required": True, "content": {}}}, "body_required", True),
        ({"requestBody": {"content": {"a/b": {}}}}, {"requestBody": {"content": {"a/c": {}}}}, "media_removed", True),
        ({"responses": {"200": {}, "404": {}}}, {"responses": {"200": {}}}, "response_removed", True),
        ({"responses": {"200": {}}}, {"responses": {"200": {}, "404": {}}}, "response_added", False),
        ({"responses": {"200": {"headers": {"Location": {}}}}}, {"responses": {"200": {}}}, "header_removed", True),
        ({}, {"security": [{"a": []}]}, "security_tightened", True),
        ({"security": [{"a": ["x"]}]}, {"security": [{"a": ["x", "y"]}]}, "security_tightened", True),
        ({"security": [{"a": []}, {"b": []}]}, {"security": [{"b": []}]}, "security_tightened", True),
        ({"security": [{"b": []}]}, {"security": [{"a": []}, {"b": []}]}, "security_added", False),
        ({}, {"deprecated": True}, "operation_deprecated", False),
    ],
)  # fmt: skip
def test_operations(old: Tree, new: Tree, kind: str, breaks: bool) -> None:
    found = [one for one in changes(document(**old), document(**new)) if one.kind == kind]
    assert [one.breaking for one in found] == [breaks]
    assert found[0].operation == "POST /pay"


def test_paths_and_methods() -> None:
    old = document()
    old["paths"]["/pay/{id}"] = {
        "get": {"responses": {}, "parameters": [parameter("id", "path", required=True)]}
    }
    new = deepcopy(old)
    new["paths"]["/pay/{payment}"] = new["paths"].pop("/pay/{id}")
    new["paths"]["/pay/{payment}"]["get"]["parameters"][0]["name"] = "payment"
    assert changes(old, new) == []
    del new["paths"]["/pay"]
    new["paths"]["/new"] = {"get": {"responses": {}}}
    assert [(one.kind, one.operation, one.breaking) for one in changes(old, new)] == [
        ("operation_removed", "POST /pay", True),
        ("operation_added", "GET /new", False),
    ]


def test_a_change_within_a_reference_has_its_place_and_says_what_is_lost() -> None:
    def made(currencies: list[str]) -> Tree:
        tree = document(request=object_of(money={"$ref": "#/components/schemas/Money"}))
        tree["components"] = {"schemas": {"Money": object_of(currency={"enum": currencies})}}
        return tree

    (change,) = changes(made(["EUR", "USD"]), made(["EUR"]))
    assert (change.kind, change.value, change.lost) == (
        "enum_value_removed",
        "/money/currency",
        '{"const":"USD"}',
    )
    assert change.pointer == "/paths/~1pay/post/requestBody/content/application~1json/schema"


def test_recursion_ends() -> None:
    def made(most: int) -> Tree:
        tree = document(request={"$ref": "#/components/schemas/Line"})
        line = object_of(
            parts={"type": "array", "items": {"$ref": "#/components/schemas/Line"}}, n={"maximum": most}
        )
        tree["components"] = {"schemas": {"Line": line}}
        return tree

    assert told(made(5), made(4)) == {("bound_narrowed", "/n", True)}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_a_document_is_compatible_with_itself(path: Path) -> None:
    one = read_document(path)
    assert compare(one, Document(deepcopy(one.value))) == []


def test_what_is_no_document_is_told() -> None:
    nothing: list[object] = [
        {"swagger": "2.0", "paths": {}},
        {"openapi": "3.0.0"},
        [],
        {"openapi": "4.0.0", "paths": {}},
    ]
    for value in nothing:
        with pytest.raises(DocumentError):
            Document(value)


# -- properties --

_names = st.sampled_from(["a", "b", "c", "d"])
_leaves = st.one_of(
    st.just({"type": "boolean"}),
    st.builds(lambda most: {"type": "integer", "maximum": most}, st.integers(0, 9)),
    st.builds(lambda most: {"type": "string", "maxLength": most}, st.integers(0, 9)),
    st.builds(lambda some: {"enum": sorted(some)}, st.sets(_names, min_size=1)),
)
_schemas: st.SearchStrategy[Tree] = st.recursive(
    _leaves,
    lambda inner: st.one_of(
        st.builds(lambda items: {"type": "array", "items": items}, inner),
        st.builds(
            lambda properties, required: object_of(*sorted(required & set(properties)), **properties),
            st.dictionaries(_names, inner, max_size=3),
            st.sets(_names),
        ),
        st.builds(lambda some: {"anyOf": some}, st.lists(inner, min_size=1, max_size=2)),
    ),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(_schemas, _schemas)
def test_a_change_of_a_schema_is_told_both_ways_and_equality_is_silent(old: Tree, new: Tree) -> None:
    assert (
        changes(document(request=old, answer=old), document(request=deepcopy(old), answer=deepcopy(old)))
        == []
    )
    forth = {(one.kind, one.value) for one in changes(document(request=old), document(request=new))}
    back = {(one.kind, one.value) for one in changes(document(answer=new), document(answer=old))}
    assert bool(forth) == bool(back)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(_names, _schemas, max_size=3), _schemas, st.sets(_names))
def test_an_optional_member_more_breaks_no_request(
    properties: Tree, schema: Tree, required: set[str]
) -> None:
    old = object_of(*sorted(required & set(properties)), **properties)
    new = object_of(*old["required"], **properties, another=schema)
    assert [one for one in changes(document(request=old), document(request=new)) if one.breaking] == []
    demanded = object_of(*old["required"], "another", **properties, another=schema)
    assert [one for one in changes(document(request=old), document(request=demanded)) if one.breaking]


@settings(max_examples=60, deadline=None)
@given(_schemas, st.data())
def test_what_a_compatible_request_took_is_still_taken(old: Tree, data: st.DataObject) -> None:
    """Against the library's own containment, where that is sure: no break is missed."""
    from faregate.kernel.json_schema import covers

    new = data.draw(_schemas)
    if not any(one.breaking for one in changes(document(request=closed(old)), document(request=closed(new)))):
        assert covers(closed(new), closed(old)) is not False


def closed(schema: Any) -> Any:
    """The same with closed objects, so that containment means what callers mean."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    made = {word: closed(member) for word, member in schema.items()}
    return {**made, "additionalProperties": False} if schema.get("type") == "object" else made
