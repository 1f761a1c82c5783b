"""What a complete answer settles is the table of payments.md section 3.6, and in doubt the record stays open."""

import json

import pytest

from faregate.policies.idempotency.step import applies, verdict
from faregate.snapshot.idempotency import AnswerRule, Idempotency
from faregate.stores.ledger.protocol import COMPLETED, RELEASED, STATE_NAMES, UNKNOWN
from tests.policies.idempotency.test_fingerprint import BY_NAME

ALL, SUCCESS = Idempotency(), Idempotency(stores_all=False)
ALIPAY = Idempotency(in_progress=AnswerRule((), "/r/code", ("10003", "20000")))
JSON = b"application/json"


@pytest.mark.parametrize(
    ("name", "idempotency", "status", "body"),
    [
        ("settle-answered-2xx", ALL, 200, b"{}"),
        ("settle-answered-4xx-store-all", ALL, 402, b"{}"),
        ("settle-answered-4xx-store-success", SUCCESS, 402, b"{}"),
        ("settle-answered-500-store-all", ALL, 500, b"{}"),
        ("settle-answered-500-store-success", SUCCESS, 500, b"{}"),
        ("settle-answered-502-503-504", ALL, 502, b"{}"),
        ("settle-answered-502-503-504", SUCCESS, 503, b"{}"),
        ("settle-answered-502-503-504", ALL, 504, b"{}"),
        ("settle-answered-202", Idempotency(in_progress=AnswerRule((202,))), 202, b"{}"),
        ("settle-answered-202", Idempotency(no_verdict=(202,)), 202, b"{}"),
        ("settle-answered-200-business-unknown", ALIPAY, 200, b'{"r":{"code":"20000"}}'),
    ],
)
def test_the_vectors_of_answers(name: str, idempotency: Idempotency, status: int, body: bytes) -> None:
    assert STATE_NAMES[verdict(idempotency, status, body, JSON)] == BY_NAME[name]["expect"]["state"]


def test_every_row_of_the_vectors_about_answers_is_tried() -> None:
    tried = {
        mark.args[1][index][0]
        for mark in test_the_vectors_of_answers.pytestmark
        for index in range(len(mark.args[1]))
    }  # type: ignore[attr-defined]
    assert tried == {name for name in BY_NAME if name.startswith("settle-answered")}


@pytest.mark.parametrize(
    ("idempotency", "status", "state"),
    [
        (ALL, 401, RELEASED), (ALL, 429, RELEASED), (SUCCESS, 429, RELEASED), (Idempotency(not_run=()), 429, COMPLETED),
        (ALL, 302, COMPLETED), (SUCCESS, 303, COMPLETED), (ALL, 202, COMPLETED), (SUCCESS, 501, UNKNOWN),
        (Idempotency(no_verdict=()), 503, COMPLETED), (Idempotency(no_verdict=(), stores_all=False), 503, UNKNOWN),
        (Idempotency(not_run=(400, 422)), 422, RELEASED), (Idempotency(not_run=(400, 422)), 401, COMPLETED),
    ],
)  # fmt: skip
def test_statuses_mean_what_the_route_says(idempotency: Idempotency, status: int, state: int) -> None:
    assert verdict(idempotency, status, b"", JSON) == state


@pytest.mark.parametrize("status", range(200, 600))
def test_nothing_is_released_that_may_have_run(status: int) -> None:
    if status < 400:
        assert verdict(SUCCESS, status, b"", JSON) == COMPLETED
    if status >= 500:
        assert verdict(SUCCESS, status, b"", JSON) == UNKNOWN
        assert verdict(ALL, status, b"", JSON) != RELEASED


@pytest.mark.parametrize(
    ("rule", "body", "content_type", "applied"),
    [
        (AnswerRule((200,)), b"", JSON, True),
        (AnswerRule((201,)), b"", JSON, False),
        (AnswerRule((), ""), b"{}", JSON, False),
        (AnswerRule((), ""), b"[]", JSON, False),
        (AnswerRule((), ""), b'""', JSON, False),
        (AnswerRule((), ""), b"null", JSON, False),
        (AnswerRule((), ""), b'{"a":1}', JSON, True),
        (AnswerRule((), ""), b"[1]", JSON, True),
        (AnswerRule((), ""), b"<a>", JSON, False),
        (AnswerRule((), "/a"), b'{"a":0}', JSON, True),
        (AnswerRule((), "/a"), b'{"a":false}', JSON, True),
        (AnswerRule((), "/a"), b'{"b":0}', JSON, False),
        (AnswerRule((), "/a/0/b"), b'{"a":[{"b":1}]}', JSON, True),
        (AnswerRule((), "/a/01"), b'{"a":[1,2]}', JSON, False),
        (AnswerRule((), "/a/-"), b'{"a":[1,2]}', JSON, False),
        (AnswerRule((), "/a~1b/~0"), b'{"a/b":{"~":1}}', JSON, True),
        (AnswerRule((), "/a", (1,)), b'{"a":true}', JSON, False),
        (AnswerRule((), "/a", (True,)), b'{"a":1}', JSON, False),
        (AnswerRule((), "/a", (1,)), b'{"a":1.0}', JSON, False),
        (AnswerRule((), "/a", ("1",)), b'{"a":1}', JSON, False),
        (AnswerRule((), "/a", ("x", "y")), b'{"a":"y"}', b"text/plain", True),
        (AnswerRule((), "/a", ("y",)), b'{"a":"x","a":"y"}', JSON, False),
        (AnswerRule((), "/respCode", ("05",)), b"respCode=05&x=1", b"application/x-www-form-urlencoded", True),
        (AnswerRule((), "/respCode", ("05",)), b"respCode=05&respCode=00", b"application/x-www-form-urlencoded", False),
        (AnswerRule((), "/respCode", ("05",)), b"respCode=05", JSON, False),
    ],
)  # fmt: skip
def test_rules_look_into_bodies(rule: AnswerRule, body: bytes, content_type: bytes, applied: bool) -> None:
    assert applies(rule, 200, body, content_type) is applied


def test_a_body_that_cannot_be_read_is_an_answer_all_the_same() -> None:
    assert verdict(ALIPAY, 200, b"<html>", JSON) == COMPLETED
    assert verdict(ALIPAY, 200, json.dumps({"r": {"code": "10000"}}).encode(), JSON) == COMPLETED
