"""What a value is read as, which bodies are looked into, and that no text of a caller's is repeated."""

import json
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faregate.compile.openapi.document import Document, read_document
from faregate.compile.openapi.operation_checks import validation_of
from faregate.compile.openapi.operations import Operation, operations
from faregate.kernel.json_schema import Schema
from faregate.policies.validate.settings import Validate
from faregate.policies.validate.step import Checks, Misfit

RAW = b"Host: h\r\nContent-Type: application/json\r\n\r\n"


def checks(version: str = "3.1.0", path: str = "/pay", template: str = "/v1/pay", **operation: Any) -> Checks:
    document = Document({"openapi": version, "paths": {path: {"post": operation}}})
    (found,) = operations(document)
    return Checks(validation_of(document, found, template, Validate(response="log"))[0], Schema)


def query(text: bytes, schema: object, **parameter: object) -> str:
    """The reason of the refusal; empty for none."""
    made = checks(parameters=[{"name": "q", "in": "query", "schema": schema, **parameter}])
    try:
        made.head("/v1/pay", b"/v1/pay?" + text, RAW)
    except Misfit as misfit:
        return misfit.reason
    return ""


LIST = {"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 2}


@pytest.mark.parametrize(
    ("text", "schema", "parameter", "reason"),
    [
        (b"q=5", {"type": "integer"}, {}, ""),
        (b"q=05", {"type": "integer"}, {}, "parameter_type"),
        (b"q=5.0", {"type": "integer"}, {}, ""),
        (b"q=5.5", {"type": "integer"}, {}, "parameter_type"),
        (b"q=1e999", {"type": "number"}, {}, "parameter_unreadable"),
        (b"q=+5", {"type": "integer"}, {}, "parameter_type"),
        (b"q=", {"type": "integer"}, {}, "parameter_type"),
        (b"q=", {"type": ["integer", "null"]}, {}, ""),
        (b"q=5", {"type": "string"}, {}, ""),
        (b"q=true", {"type": "boolean"}, {}, ""),
        (b"q=True", {"type": "boolean"}, {}, "parameter_type"),
        (b"q=5", {"enum": ["5"]}, {}, ""),
        (b"q=5", {"enum": [5]}, {}, ""),
        (b"q=a+b%20c", {"const": "a b c"}, {}, ""),
        (b"%71=5", {"const": 6}, {}, "parameter_const"),
        (b"q=%ff", {"type": "string"}, {}, "parameter_unreadable"),
        (b"q=1&q=2", {"type": "integer"}, {}, "parameter_doubled"),
        (b"q=1&q=2", LIST, {}, ""),
        (b"q=1&q=x", LIST, {}, "parameter_type"),
        (b"q=1&q=2&q=3", LIST, {}, "parameter_max_items"),
        (b"q=1,2", LIST, {"explode": False}, ""),
        (b"q=1%202", LIST, {"explode": False, "style": "spaceDelimited"}, ""),
        (b"q=1|2|3", LIST, {"explode": False, "style": "pipeDelimited"}, "parameter_max_items"),
        (b"q=", LIST, {"explode": False}, "parameter_min_items"),
        (b"", LIST, {}, ""),
        (b"", LIST, {"required": True}, "parameter_missing"),
        (b"Q=1&" + b"x=1&" * 2000, {"type": "null"}, {}, ""),
        (b"&".join([b"q=1"] * 2000), LIST, {}, "parameter_doubled"),
    ],
)
def test_query_parameters(text: bytes, schema: object, parameter: dict[str, object], reason: str) -> None:
    assert query(text, schema, **parameter) == reason


def test_header_lists_may_come_in_several_lines() -> None:
    made = checks(parameters=[{"name": "X-Ids", "in": "header", "schema": LIST}])
    made.head("/v1/pay", b"/v1/pay", b"X-Ids: 1\r\nx-ids: 2\r\n\r\n")
    with pytest.raises(Misfit, match="parameter_max_items"):
        made.head("/v1/pay", b"/v1/pay", b"X-Ids: 1, 2\r\nx-ids: 3\r\n\r\n")


def test_path_parameters_are_found_from_the_end() -> None:
    parameter = {"name": "id", "in": "path", "required": True, "schema": {"type": "integer"}}
    made = checks(path="/pay/{id}/x", template="/api/v1/pay/{other}/x", parameters=[parameter])
    made.head("/api/v1/pay/7/x", b"", RAW)
    with pytest.raises(Misfit, match="parameter_type"):
        made.head("/api/v1/pay/seven/x", b"", RAW)


def body(
    content: bytes, media: bytes, contents: Mapping[str, object], raw: bytes = RAW, **more: object
) -> str:
    made = checks(requestBody={"content": contents, **more})
    try:
        made.body(content, media, raw)
    except Misfit as misfit:
        return misfit.reason
    return ""


JSON = {"application/json": {"schema": {"type": "object"}}}


@pytest.mark.parametrize(
    ("content", "media", "contents", "reason"),
    [
        (b"", b"", JSON, ""),
        (b"{}", b"application/json", JSON, ""),
        (b"{}", b"Application/JSON ; charset=utf-8", JSON, ""),
        (b"[]", b"application/json", JSON, "body_type"),
        (b"{}", b"application/vnd.pay+json", JSON, "body_content_type"),
        (b"{}", b"", JSON, "body_content_type"),
        (
            b"[]",
            b"application/vnd.pay+json",
            {"application/vnd.pay+json": {"schema": {"type": "object"}}},
            "body_type",
        ),
        (b"[]", b"application/json", {"*/*": {"schema": {"type": "object"}}}, "body_type"),
        (b"<a/>", b"text/xml", {"*/*": {"schema": {"type": "object"}}}, ""),
        (b"<a/>", b"text/xml", {"text/*": {}}, ""),
        (b"<a/>", b"image/svg", {"text/*": {}}, "body_content_type"),
        ('{"a":"é"}'.encode("utf-16"), b"application/json", JSON, "body_unreadable"),
    ],
)
def test_bodies(content: bytes, media: bytes, contents: Mapping[str, object], reason: str) -> None:
    assert body(content, media, contents) == reason


def test_a_coding_hides_nothing_and_no_body_is_taken_where_none_is_described() -> None:
    coded = b"Content-Encoding: br\r\n\r\n"
    assert body(b"{}", b"application/json", JSON, coded) == "body_encoded"
    assert body(b"{}", b"application/json", JSON, b"Content-Encoding: identity\r\n\r\n") == ""
    with pytest.raises(Misfit, match="body_unexpected"):
        checks().body(b"{}", b"application/json", RAW)
    assert body(b"", b"", JSON, required=True) == "body_missing"


_texts = st.text(st.characters(codec="utf-8"), min_size=3, max_size=12).map(lambda text: "§" + text + "§")
_values = st.recursive(
    _texts, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_texts, inner, max_size=3)), max_leaves=6
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(_values)
def test_no_text_of_a_caller_is_repeated(value: object) -> None:
    schema = {
        "type": "object",
        "required": ["amount"],
        "additionalProperties": {
            "anyOf": [{"type": "integer"}, {"type": "array", "items": {"maxLength": 2}}]
        },
    }
    made = checks(requestBody={"content": {"application/json": {"schema": schema}}})
    with pytest.raises(Misfit) as caught:
        made.body(json.dumps({"§key§": value}).encode(), b"application/json", RAW)
    refusal = caught.value.refusal()
    assert "§" not in f"{refusal.reason}{refusal.parameter}{refusal.detail}"
    assert (refusal.code, refusal.problem.status) == ("validation_failed", 422)


_PAYMENTS = read_document(Path(__file__).parents[2] / "vectors/openapi/payments.yaml")
_CHECKS = [
    (one, Checks(validation_of(_PAYMENTS, one, "/v2" + one.path, Validate(response="log"))[0], Schema))
    for one in operations(_PAYMENTS)
]
_pieces = st.sampled_from(
    [
        b"{", b"}", b"[", b"]", b":", b",", b'"amount"', b"1250", b"-1e9", b'"', b"\\u00", b"\xff", b"amount=1", b"&", b"%", b"=",
        b"currency=EUR", b"?", b"limit=", b"filter=", b"status=open", b"\r\n", b"Idempotency-Key: k", b" ", b"null", b"0.",
    ]
)  # fmt: skip
_junk = st.lists(_pieces, max_size=14).map(b"".join)
_media = st.sampled_from(
    [b"application/json", b"application/x-www-form-urlencoded", b"", b";", b"\xff/\xff", b"*/*"]
)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(_CHECKS), _junk, _junk, _junk, _media, st.integers(100, 599))
def test_whatever_comes_the_only_error_is_a_misfit(
    pair: tuple[Operation, Checks], content: bytes, target: bytes, raw: bytes, media: bytes, status: int
) -> None:
    operation, made = pair
    with suppress(Misfit):
        made.head("/v2" + operation.path.replace("{payment_id}", "pay_1234"), target, raw)
    with suppress(Misfit):
        made.body(content, media, raw)
    with suppress(Misfit):
        made.answer(status, content, media)


def test_the_library_is_loaded_by_nobody_who_validates_nothing() -> None:
    program = "import sys, faregate.gateway.worker_process; sys.exit('jsonschema_rs' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
