"""A query asks for one call and no other, whatever its key holds; an answer that no rule fits is no verdict."""

import json
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.policies.idempotency.query import finding, key_names, path_parameters, question
from faregate.policies.idempotency.step import join
from faregate.snapshot.idempotency import AnswerRule, Idempotency, Resolve
from faregate.stores.ledger.protocol import COMPLETED, RELEASED, UNKNOWN

JSON = b"application/json"
keys = st.binary(min_size=1, max_size=40).map(lambda raw: bytes(33 + byte % 94 for byte in raw))


def asking(target: str, body: str = "", content_type: str = "", **more: object) -> Idempotency:
    return Idempotency(resolve=Resolve(target, "pay", "POST" if body else "GET", body, content_type), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("template", "path", "parameters"),
    [
        ("/v1/payments", "/v1/payments", {}),
        ("/v1/payments/{id}/capture", "/v1/payments/p%20a/capture", {"id": "p%20a"}),
        ("/v1/{a}/{b...}", "/v1/x/y/z", {"a": "x", "b": "y/z"}),
        ("/v1/payments/{id}", "/v1/refunds/7", {}),
        ("/v1/payments/{id}", "/v1/payments", {}),
    ],
)
def test_parameters_are_what_the_path_holds(template: str, path: str, parameters: dict[str, str]) -> None:
    assert path_parameters(template, path) == parameters


@given(keys)
def test_no_key_changes_what_is_asked(key: bytes) -> None:
    made = question(asking("/v1/payments/{id}/refunds?key={key}&limit=1"), key, {"id": "p%2B1"})
    assert made is not None
    parts = urlsplit(made[0].decode())
    assert (parts.path, parts.fragment) == ("/v1/payments/p%2B1/refunds", "")
    assert parse_qs(parts.query, strict_parsing=True) == {"key": [key.decode()], "limit": ["1"]}
    in_path = question(asking("/q/{key}/state"), key, {})
    if in_path is None:
        assert set(key) & set(b"/\\%") or key in {b".", b".."}
    else:
        assert in_path[0].count(b"/") == 3


@given(keys, keys)
def test_no_value_changes_the_body(first: bytes, second: bytes) -> None:
    pair = {"header": b"", "pointers": ("/a", "/b")}
    template = '{"a": "{key_1}", "b": ["{key_2}"], "c": "{id}"}'
    made = question(
        asking("/q", template, "application/json", **pair), join([first, second]), {"id": "%22%C3%A9"}
    )
    assert made is not None
    assert json.loads(made[1]) == {"a": first.decode(), "b": [second.decode()], "c": '"é'}
    form = question(
        asking("/q", "a={key_1}&b={key_2}", "application/x-www-form-urlencoded", **pair),
        join([first, second]),
        {},
    )
    assert form is not None
    assert parse_qs(form[1].decode(), strict_parsing=True) == {"a": [first.decode()], "b": [second.decode()]}


def test_what_cannot_be_filled_in_is_not_asked() -> None:
    assert question(asking("/q/{id}?k={key}"), b"k", {}) is None
    assert question(asking("/q?k={key_1}", header=b"", form=("a", "b")), b"not joined", {}) is None
    assert question(Idempotency(), b"k", {}) is None


@pytest.mark.parametrize("key", [b".", b"..", b"../admin", b"a/b", b"a\\b", b"%2e%2e", b"%2F"])
def test_a_key_that_could_lead_to_another_path_is_not_asked_about(key: bytes) -> None:
    assert question(asking("/q/{key}/state"), key, {}) is None
    assert question(asking("/q?k={key}"), key, {}) is not None


def test_a_parameter_of_the_path_cannot_add_to_the_query() -> None:
    made = question(asking("/q/{id}?id={id}&k={key}"), b"k", {"id": "a&k=x%20+1"})
    assert made is not None
    assert made[0] == b"/q/a&k=x%20+1?id=a%26k%3Dx%20%2B1&k=k"


def test_templates_call_the_key_by_its_number_where_several_values_make_it() -> None:
    assert key_names(Idempotency()) == key_names(Idempotency(header=b"", form=("a",))) == ["key"]
    assert key_names(Idempotency(header=b"", pointers=("/a", "/b"))) == ["key_1", "key_2"]


USUAL = Resolve("/q", "pay")
WECHAT = Resolve(
    "/q", "pay", done=(AnswerRule((), "/trade_state", ("SUCCESS", "REFUND")),), released=(AnswerRule((), "/trade_state", ("CLOSED",)), AnswerRule((410,))),
)  # fmt: skip

CODED = Resolve(
    "/q", "pay", done=(AnswerRule((), "/code", ("PAID",)),), released=(AnswerRule((), "/code", ("NOT_FOUND",)),), settling=600.0,
)  # fmt: skip


@pytest.mark.parametrize(
    ("resolve", "status", "body", "age_s", "state"),
    [
        (USUAL, 200, b'{"id":1}', 0, COMPLETED),
        (USUAL, 200, b'[{"id":1}]', 0, COMPLETED),
        (USUAL, 200, b"{}", 0, UNKNOWN),
        (USUAL, 200, b"[]", 0, UNKNOWN),
        (USUAL, 200, b'{"data":[]}', 0, UNKNOWN),
        (USUAL, 200, b'{"object":"list","data":[],"has_more":false}', 0, UNKNOWN),
        (USUAL, 200, b'{"object":"list","data":[{"id":1}]}', 0, COMPLETED),
        (USUAL, 200, b'{"id":1,"refunds":[],"lines":[1]}', 0, COMPLETED),
        (USUAL, 200, b"<html>", 0, UNKNOWN),
        (USUAL, 201, b'{"id":1}', 0, UNKNOWN),
        (USUAL, 500, b'{"id":1}', 0, UNKNOWN),
        (USUAL, 404, b"{}", 1e9, UNKNOWN),
        (Resolve("/q", "pay", settling=60.0), 404, b"", 59.9, UNKNOWN),
        (Resolve("/q", "pay", settling=60.0), 404, b"", 60.0, RELEASED),
        (Resolve("/q", "pay", settling=60.0), 410, b"", 1e9, UNKNOWN),
        (WECHAT, 200, b'{"trade_state":"SUCCESS"}', 0, COMPLETED),
        (WECHAT, 200, b'{"trade_state":"CLOSED"}', 0, RELEASED),
        (WECHAT, 200, b'{"trade_state":"USERPAYING"}', 0, UNKNOWN),
        (WECHAT, 200, b'{"trade_state":"SUCCESS","trade_state":"CLOSED"}', 0, UNKNOWN),
        (WECHAT, 410, b"", 0, RELEASED),
        (WECHAT, 404, b"", 1e9, UNKNOWN),
        (WECHAT, 404, b'{"trade_state":"CLOSED"}', 1e9, UNKNOWN),
        (CODED, 404, b'{"code":"NOT_FOUND"}', 599.9, UNKNOWN),
        (CODED, 404, b'{"code":"NOT_FOUND"}', 600.0, RELEASED),
        (CODED, 410, b'{"code":"NOT_FOUND"}', 0, RELEASED),
        (CODED, 404, b'{"code":"PAID"}', 600.0, COMPLETED),
    ],
)  # fmt: skip
def test_only_a_rule_that_fits_is_a_verdict(
    resolve: Resolve, status: int, body: bytes, age_s: float, state: int
) -> None:
    assert finding(resolve, status, body, JSON, age_s) == state


def test_an_answer_that_fits_both_rules_is_no_verdict() -> None:
    both = Resolve("/q", "pay", done=(AnswerRule((200,)),), released=(AnswerRule((200,)),))
    assert finding(both, 200, b"", JSON, 0) == UNKNOWN
