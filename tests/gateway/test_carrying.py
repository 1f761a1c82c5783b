"""What follows for a head when its message is carried to another form: length, coding, digests, and the caller's key."""

import gzip

import pytest

from faregate.gateway.carrying import NotCarried, carried_answer, carried_request
from faregate.gateway.http1.request import Fields, parse_fields
from faregate.gateway.http1.response import ResponseHead, parse_response
from faregate.kernel.problems import Refusal
from faregate.policies.transform.step import Carried
from faregate.snapshot.data import Route
from faregate.snapshot.versions import Operation

RENAME = Operation("rename", ("amount",), name="total")
BACK = Operation("rename", ("total",), name="amount")


def carried(request: tuple[Operation, ...] = (), response: tuple[Operation, ...] = ()) -> Carried:
    route = Route("a", 0, "POST", "/x", "POST /x", "u", request_changes=request, response_changes=response)
    return Carried(route)


def fields(*lines: str) -> Fields:
    return parse_fields("\r\n".join(["Host: a", *lines, "", ""]).encode(), 128)


def head(*lines: str, status: int = 200) -> ResponseHead:
    return parse_response("\r\n".join([f"HTTP/1.1 {status} Fine", *lines, "", ""]).encode(), 128)


JSON = "Content-Type: application/json"


def test_a_changed_request_has_its_own_length_and_no_digests_of_the_old_bytes() -> None:
    came = fields(JSON, "Content-Length: 12", "Digest: x", "Content-Digest: x", "content-md5: x", "X-A: 1")
    made, body = carried_request(came, b'{"amount":1}', carried((RENAME,)))
    assert body == b'{"total":1}'
    assert (made.content_length, made.chunked) == (11, False)
    assert made.passed == b"Host: a\r\nX-A: 1\r\nContent-Type: application/json\r\n"
    assert came.content_length == 12
    assert b"Digest: x\r\n" in came.lines


def test_chunks_become_a_length() -> None:
    came = fields(JSON, "Transfer-Encoding: chunked")
    made, _ = carried_request(came, b'{"amount":1}', carried((RENAME,)))
    assert (made.chunked, made.content_length) == (False, 11)
    unchanged, _ = carried_request(came, b'{"other":1}', carried((RENAME,)))
    assert unchanged is came


def test_a_key_that_was_told_apart_goes_on() -> None:
    base = fields(JSON)
    came = base.with_key(b"Host: a\r\nIdempotency-Key: ", b"k", b"\r\n\r\n")
    made, _ = carried_request(came, b'{"amount":1}', carried((RENAME,)))
    assert made.base is None
    assert made.idempotency_key == b"k"
    assert made.lines == [b"Content-Type: application/json\r\n", b"Idempotency-Key: k\r\n"]


def test_where_nothing_applies_the_same_facts_go_on() -> None:
    came = fields(JSON, "Digest: x")
    assert carried_request(came, b'{ "a":1 }', carried((RENAME,), (BACK,)))[0] is came
    assert carried_request(came, b"", carried((RENAME,)))[0] is came
    assert carried_request(came, b"a=1", carried((Operation("remove_header", name="X-A"),)))[0] is came


def test_answers_are_asked_for_plain_where_they_are_changed() -> None:
    made, _ = carried_request(fields("Accept-Encoding: gzip", "X-A: 1"), b"", carried((), (BACK,)))
    assert made.lines == [b"X-A: 1\r\n"]


@pytest.mark.parametrize(
    ("line", "body", "reason"),
    [(JSON, b"{", "body_not_json"), (JSON + "\r\nContent-Encoding: gzip", b"{}", "body_encoded")],
)
def test_a_request_that_cannot_be_read_is_refused(line: str, body: bytes, reason: str) -> None:
    with pytest.raises(Refusal) as refused:
        carried_request(fields(line), body, carried((RENAME,)))
    assert (refused.value.code, refused.value.reason) == ("validation_failed", reason)


def test_a_changed_answer_has_its_own_length_and_keeps_its_status_line() -> None:
    came = head(
        JSON, "Content-Length: 11", "ETag: e", "Content-Digest: x", "Date: now", "Via: 1.1 b", status=201
    )
    made, body = carried_answer(came, b'{"total":1}', carried((), (BACK,)))
    assert body == b'{"amount":1}'
    assert made.passed == (
        b"HTTP/1.1 201 Fine\r\nContent-Type: application/json\r\nETag: e\r\nDate: now\r\nContent-Length: 12\r\n"
    )
    assert (made.content_length, made.dated, made.via, made.common) == (12, True, b"1.1 b", False)


def test_an_answer_in_gzip_is_unpacked_only_if_it_changes() -> None:
    came = head(JSON, "Content-Encoding: gzip", "Transfer-Encoding: chunked")
    made, body = carried_answer(came, gzip.compress(b'{"total":1}'), carried((), (BACK,)))
    assert body == b'{"amount":1}'
    assert made.passed.endswith(b"application/json\r\nContent-Length: 12\r\n")
    assert not made.chunked
    packed = gzip.compress(b'{"other":1}')
    assert carried_answer(came, packed, carried((), (BACK,))) == (came, packed)


def test_a_head_tells_no_length_of_the_other_form() -> None:
    made, body = carried_answer(head(JSON, "Content-Length: 20", "ETag: e"), b"", carried((), (BACK,)))
    assert (made.passed, body) == (b"HTTP/1.1 200 Fine\r\nContent-Type: application/json\r\nETag: e\r\n", b"")


def test_headers_of_an_answer_change_without_its_body() -> None:
    came = head("Content-Type: text/plain", "Content-Length: 1", "X-New: 1")
    made, body = carried_answer(came, b"a", carried((), (Operation("remove_header", name="X-New"),)))
    assert (body, made.content_length) == (b"a", 1)
    assert made.passed == b"HTTP/1.1 200 Fine\r\nContent-Type: text/plain\r\nContent-Length: 1\r\n"


@pytest.mark.parametrize(
    ("came", "body"),
    [
        (head(JSON, "X-New: 1", status=404), b'{"total":1}'),
        (head("Content-Type: application/problem+json"), b'{"total":1}'),
        (head(JSON), b'{ "other":1 }'),
        (head(JSON, "Content-Length: 0"), b""),
    ],
)
def test_other_answers_stay_as_they_are(came: ResponseHead, body: bytes) -> None:
    assert carried_answer(came, body, carried((), (BACK,))) == (came, body)


@pytest.mark.parametrize(
    ("lines", "body", "reason"),
    [
        ((JSON,), b'{"total":1', "answer_not_json"),
        ((JSON, "Content-Encoding: br"), b'{"total":1}', "answer_encoded"),
        ((JSON, "Content-Encoding: gzip"), b'{"total":1}', "answer_encoded"),
    ],
)
def test_an_answer_that_cannot_be_read_is_none(lines: tuple[str, ...], body: bytes, reason: str) -> None:
    with pytest.raises(NotCarried, match=f"^{reason}$"):
        carried_answer(head(*lines), body, carried((), (BACK,)))
