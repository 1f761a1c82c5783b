"""Every refusal becomes one well-formed problem+json answer, and nothing of the request shows in it unescaped (W15)."""

import json
from email.utils import parsedate_to_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.gateway.http1.answers import REASONS, date_line, refusal_answer
from faregate.kernel.problems import PROBLEMS, Outcome, Refusal, Retry

WALL = 1_795_400_000.75


def answer(refusal: Refusal, **changes: object) -> tuple[bytes, dict[bytes, bytes], bytes]:
    given_values: dict[str, object] = {"close": refusal.close, "head_only": False, **changes}
    whole = refusal_answer(refusal, b"r-1", WALL, **given_values)  # type: ignore[arg-type]
    head, _, body = whole.partition(b"\r\n\r\n")
    start, *lines = head.split(b"\r\n")
    fields = dict(line.split(b": ", 1) for line in lines)
    assert len(fields) == len(lines), "a field twice"
    return start, fields, body


@pytest.mark.parametrize("code", sorted(PROBLEMS))
def test_every_row_makes_a_whole_answer(code: str) -> None:
    problem = PROBLEMS[code]
    start, fields, body = answer(Refusal(code, reason="for_the_log_only"))
    assert start == b"HTTP/1.1 %d %b" % (problem.status, REASONS[problem.status])
    assert int(fields[b"Content-Length"]) == len(body)
    assert (fields[b"Content-Type"], fields[b"X-Content-Type-Options"]) == (
        b"application/problem+json",
        b"nosniff",
    )
    assert fields[b"X-Request-Id"] == b"r-1"
    assert fields.get(b"Connection") == (b"close" if problem.close else None)
    assert (b"Retry-After" in fields) == (problem.status in {429, 503})
    members = json.loads(body)
    assert members["type"] == f"urn:faregate:problem:{code}"
    assert (members["code"], members["status"], members["retry"]) == (
        code,
        problem.status,
        problem.retry.value,
    )
    assert members["request_id"] == "r-1"
    assert members.get("outcome") == (None if problem.outcome is Outcome.REFUSED else problem.outcome.value)
    assert "parameter" not in members
    assert b"for_the_log_only" not in body


def test_head_gets_the_same_head_without_the_body() -> None:
    with_body, without = answer(Refusal("no_route")), answer(Refusal("no_route"), head_only=True)
    assert with_body[:2] == without[:2]
    assert without[2] == b""


def test_parameter_retry_after_and_extra_lines_stand_where_they_belong() -> None:
    refusal = Refusal(
        "rate_limited", parameter='plan "x"\r\nEvil: 1', retry_after=7, headers=b"Allow: GET\r\n"
    )
    _, fields, body = answer(refusal, extra=b"RateLimit: r\r\n", close=True)
    assert (fields[b"Retry-After"], fields[b"Allow"], fields[b"RateLimit"], fields[b"Connection"]) == (
        b"7",
        b"GET",
        b"r",
        b"close",
    )
    assert json.loads(body)["parameter"] == 'plan "x"\r\nEvil: 1'
    assert b"\r\n" not in body


@given(st.floats(0, 4e9))
def test_the_date_is_that_second_in_gmt_however_often_it_changes(wall: float) -> None:
    line = date_line(wall)
    assert line.endswith(b" GMT\r\n")
    assert parsedate_to_datetime(line[6:-2].decode()).timestamp() == int(wall)
    assert date_line(wall + 86_400) != line
    assert date_line(wall) == line


@pytest.mark.parametrize("request_id", [b"01a2", b'a"b', b"a\\b", b"~!@#$%^&*()_+-=[]{}|;:'<>,./?"])
def test_the_body_is_json_that_says_all_whatever_the_caller_calls_its_request(request_id: bytes) -> None:
    for code, problem in PROBLEMS.items():
        for parameter in ("", 'plan."x".1/second'):
            refusal = Refusal(code, reason="x", parameter=parameter)
            answer = refusal_answer(refusal, request_id, WALL, close=False, head_only=False)
            head, _, body = answer.partition(b"\r\n\r\n")
            told = json.loads(body)
            assert list(told)[:7] == ["type", "title", "status", "code", "detail", "request_id", "retry"]
            assert (told["code"], told["status"]) == (code, problem.status)
            assert told["request_id"] == request_id.decode()
            assert told.get("parameter", "") == parameter
            assert told.get("outcome", "refused") == problem.outcome.value
            assert b"Content-Length: %d\r\n" % len(body) in head
            assert b"X-Request-Id: %b\r\n" % request_id in head + b"\r\n"


def test_a_call_whose_outcome_is_known_otherwise_than_the_row_says_it() -> None:
    for outcome, retry in ((Outcome.UNKNOWN, Retry.AFTER_QUERY), (Outcome.ANSWERED, Retry.AFTER_QUERY)):
        _, _, body = answer(Refusal("idempotency_in_flight", outcome=outcome, retry=retry))
        assert (json.loads(body)["outcome"], json.loads(body)["retry"]) == (outcome.value, retry.value)
    _, _, body = answer(Refusal("idempotency_in_flight"))
    assert "outcome" not in json.loads(body)
    assert json.loads(body)["retry"] == "same_request"
