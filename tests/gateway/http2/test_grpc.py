"""What gRPC needs beside HTTP/2: limits of time, statuses of refusals, and heads put into HTTP/2's words and back."""

import pytest

from faregate.gateway.http1.response import InvalidAnswer, parse_response
from faregate.gateway.http2.grpc import UNAVAILABLE, grpc_status, is_grpc, refusal_fields, timeout_ms
from faregate.gateway.http2.translate import answer_head, request_head, upstream_fields
from faregate.kernel.problems import PROBLEMS, Outcome, Refusal


@pytest.mark.parametrize(
    ("content_type", "yes"),
    [
        (b"application/grpc", True),
        (b"Application/gRPC", True),
        (b"application/grpc+proto", True),
        (b"application/grpc;charset=x", True),
        (b"application/grpc-web", False),
        (b"application/grp", False),
        (b"application/json", False),
        (b"", False),
    ],
)
def test_what_is_grpc(content_type: bytes, yes: bool) -> None:
    assert is_grpc(content_type) is yes


@pytest.mark.parametrize(
    ("value", "milliseconds"),
    [
        (b"1S", 1000),
        (b"250m", 250),
        (b"2M", 120_000),
        (b"1H", 3_600_000),
        (b"99999999H", 86_400_000),
        (b"1500u", 1),
        (b"9n", 0),
    ],
)
def test_a_timeout_in_each_unit(value: bytes, milliseconds: int) -> None:
    assert timeout_ms(value) == milliseconds


@pytest.mark.parametrize(
    "value", [b"", b"1", b"S", b"1s", b"-1S", b"1.5S", b"123456789S", b"1S ", b"1_0S", b"\xd9\xa1S"]
)
def test_a_timeout_that_is_none(value: bytes) -> None:
    with pytest.raises(Refusal):
        timeout_ms(value)


def test_a_timeout_is_the_deadline_of_the_call_and_passes_on() -> None:
    pseudo = [(b":method", b"POST"), (b":scheme", b"https"), (b":authority", b"a"), (b":path", b"/p")]
    head = request_head([*pseudo, (b"grpc-timeout", b"2S")], b"https", end_stream=False)
    assert b"\r\ngrpc-timeout: 2S\r\nx-request-deadline: 2000\r\n" in head


def test_every_refusal_has_a_status_of_its_own_and_only_what_was_not_sent_may_be_sent_again() -> None:
    for problem in PROBLEMS.values():
        status = grpc_status(problem)
        assert 1 <= status <= 16
        if problem.outcome is Outcome.UNKNOWN:
            assert status != UNAVAILABLE, problem.code


def test_a_refusal_is_one_field_block_that_keeps_what_helps_the_caller() -> None:
    fields = refusal_fields(
        PROBLEMS["rate_limited"],
        [
            (b":status", b"429", False),
            (b"content-type", b"application/problem+json", False),
            (b"content-length", b"300", False),
            (b"retry-after", b"3", False),
            (b"x-request-id", b"r", True),
            (b"ratelimit", b"x", True),
        ],
    )
    names = {name: value for name, value, _ in fields}
    assert (names[b":status"], names[b"content-type"], names[b"grpc-status"]) == (
        b"200",
        b"application/grpc",
        b"8",
    )
    assert names[b"grpc-message"].startswith(b"rate_limited: ")
    assert {b"retry-after", b"x-request-id", b"ratelimit"} <= set(names)
    assert b"content-length" not in names


def test_a_request_for_a_target_in_http_2_s_words() -> None:
    fields, length, chunked = upstream_fields(
        b"POST /p?q HTTP/1.1\r\nHost: api.test\r\nX-Api-Key: k\r\nTE: trailers\r\nConnection: TE\r\nContent-Length: 5",
        secure=True,
    )
    assert fields == [
        (b":method", b"POST", False),
        (b":scheme", b"https", False),
        (b":authority", b"api.test", False),
        (b":path", b"/p?q", True),
        (b"x-api-key", b"k", True),
        (b"te", b"trailers", False),
        (b"content-length", b"5", False),
    ]
    assert (length, chunked) == (5, False)
    _, length, chunked = upstream_fields(
        b"POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked", secure=False
    )
    assert (length, chunked) == (0, True)


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [(b"a", b"b")],
        [(b":status", b"20")],
        [(b":status", b"2x0")],
        [(b":status", b"\xb2\xb2\xb2")],
        [(b":status", b"999")],
        [(b":status", b"200"), (b":status", b"200")],
        [(b":status", b"200"), (b"a", b"b\r\nc: d")],
        [(b":status", b"200"), (b"a", b"b\nc")],
        [(b":status", b"200"), (b"a\r\nb", b"c")],
        [(b":status", b"200"), (b"A", b"b")],
        [(b":status", b"200"), (b"", b"b")],
        [(b":status", b"200"), (b"a", b"b\0")],
        [(b":status", b"200"), (b"connection", b"close")],
        [(b":status", b"200"), (b"transfer-encoding", b"chunked")],
        [(b":status", b"200"), (b"content-length", b"1"), (b"content-length", b"1")],
        [(b":status", b"200"), (b"content-length", b"+1")],
    ],
)
def test_w09_an_answer_s_head_obeys_the_rules_of_http_1_1(fields: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises((Refusal, InvalidAnswer)):
        parse_response(answer_head(fields), 128)
