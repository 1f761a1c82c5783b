"""A request line and a field section become facts or one refusal (http-rules.md section 2, F01-F22).

Only what a unit says faster than the end-to-end tables: the exact code and reason of a rule, and the facts themselves.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.gateway.http1 import request as request_module
from faregate.gateway.http1.fields import REQUEST_FIELDS
from faregate.gateway.http1.lines import LineError, LineMemory
from faregate.gateway.http1.request import (
    REQUEST_LINE,
    TARGET_BYTES_MAX,
    Fields,
    check_framing,
    may_have_body,
    parse_fields,
    parse_line,
)
from faregate.gateway.http1.targets import METHODS
from faregate.gateway.http1.values import check_host, check_transfer_encoding, content_length, tokens
from faregate.kernel.problems import Refusal

HOST = b"Host: api.test\r\n"


def fields(*lines: bytes, host: bytes = HOST) -> Fields:
    return parse_fields(host + b"".join(line + b"\r\n" for line in lines) + b"\r\n", 128)


def reason_of(*lines: bytes, host: bytes = HOST) -> tuple[str, str]:
    with pytest.raises(Refusal) as caught:
        fields(*lines, host=host)
    return caught.value.code, caught.value.reason


def read_line(line: bytes) -> tuple[bytes, ...]:
    """As the listener reads it: by the common pattern, else more closely."""
    match = REQUEST_LINE.match(line)
    return match.groups() if match is not None else parse_line(line, b"api.test")[:4]


@pytest.mark.parametrize(
    ("rule", "line", "code", "reason"),
    [
        ("F01", b"GET  / HTTP/1.1\r\n", "malformed_request", "request_line"),
        ("F01", b"GET /\r\n", "malformed_request", "request_line"),
        ("F01", b"GET / http/1.1\r\n", "malformed_request", "protocol_name"),
        ("F01", b"GET / HTTP/1.1 \r\n", "malformed_request", "request_line"),
        ("F01", b"GET / HTTP/1.1\n\r\n", "malformed_request", "request_line"),
        ("F02", b"GET / HTTP/1.2\r\n", "version_not_supported", "http_version"),
        ("F02", b"PRI * HTTP/2.0\r\n", "version_not_supported", "http_version"),
        ("F02", b"GET / RTSP/1.0\r\n", "malformed_request", "protocol_name"),
        ("F03", b"CONNECT api.test:443 HTTP/1.1\r\n", "method_not_implemented", "method_unknown"),
        ("F03", b"TRACE / HTTP/1.1\r\n", "method_not_implemented", "method_unknown"),
        ("F03", b"get / HTTP/1.1\r\n", "method_not_implemented", "method_unknown"),
        ("F05", b"GET /" + b"a" * TARGET_BYTES_MAX + b"; HTTP/1.1\r\n", "target_too_long", "target_too_long"),
        ("F06", b"GET /a#b HTTP/1.1\r\n", "malformed_request", "target_characters"),
        ("F06", b"GET /a\\b HTTP/1.1\r\n", "malformed_request", "target_characters"),
        ("F06", b"GET /?\xff HTTP/1.1\r\n", "malformed_request", "target_characters"),
        ("F06", b"GET /?a=% HTTP/1.1\r\n", "malformed_request", "target_percent"),
        ("F07", b"GET a HTTP/1.1\r\n", "malformed_request", "target_form"),
        ("F07", b"GET * HTTP/1.1\r\n", "malformed_request", "target_form"),
        ("F07", b"GET api.test:80 HTTP/1.1\r\n", "malformed_request", "target_form"),
        ("F08", b"GET https://api.test/ HTTP/1.1\r\n", "malformed_request", "target_form"),
        ("F08", b"GET http://a@api.test/ HTTP/1.1\r\n", "malformed_request", "target_form"),
        ("F08", b"GET http://other.test/ HTTP/1.1\r\n", "malformed_request", "target_authority"),
        ("F08", b"GET http://api.test/a\\b HTTP/1.1\r\n", "malformed_request", "target_characters"),
        ("F08", b"GET http://api.test/%2e%2e HTTP/1.1\r\n", "malformed_request", "path_dot_segment"),
    ],
)
def test_request_lines_refused(rule: str, line: bytes, code: str, reason: str) -> None:
    with pytest.raises(Refusal) as caught:
        read_line(line)
    assert (caught.value.code, caught.value.reason) == (code, reason), rule


@pytest.mark.parametrize(
    ("line", "target", "path"),
    [
        (b"GET / HTTP/1.1\r\n", b"/", b"/"),
        (b"GET /a?b=c;d//../ HTTP/1.1\r\n", b"/a?b=c;d//../", b"/a"),
        (b"GET /%41?%41 HTTP/1.1\r\n", b"/%41?%41", b"/A"),
        (b"GET http://API.test:80/a?b HTTP/1.1\r\n", b"/a?b", b"/a"),
        (b"GET http://api.test HTTP/1.1\r\n", b"/", b"/"),
        (b"GET http://api.test?b HTTP/1.1\r\n", b"/?b", b"/"),
    ],
)
def test_request_lines_taken(line: bytes, target: bytes, path: bytes) -> None:
    assert read_line(line) == (b"GET", target, path, b"1")


VISIBLE = st.text([chr(code) for code in range(0x21, 0x7F)], max_size=30).map(str.encode)


@given(st.sampled_from(sorted(METHODS)), VISIBLE, st.sampled_from([b"0", b"1"]))
def test_the_quick_pattern_takes_nothing_that_the_close_look_refuses_for_its_characters(
    method: bytes, rest: bytes, minor: bytes
) -> None:
    line = b"%b /%b HTTP/1.%b\r\n" % (method, rest, minor)
    match = REQUEST_LINE.match(line)
    if match is None:
        return
    quick = match.groups()
    try:
        closely = parse_line(line)[:4]
    except Refusal:
        # left to normalise(), which the listener asks for these
        assert b"//" in quick[2] or b"/." in quick[2]
        return
    assert quick == closely


@given(st.binary(max_size=60), st.none() | st.just(b"api.test"))
def test_no_line_of_any_bytes_raises_anything_but_a_refusal(line: bytes, host: bytes | None) -> None:
    for data in (line + b"\r\n", b"GET " + line + b" HTTP/1.1\r\n", b"GET /" + line + b" HTTP/1.1\r\n"):
        try:
            method, target, path, minor = parse_line(data, host)[:4]
        except Refusal:
            continue
        assert method in METHODS
        assert minor in {b"0", b"1"}
        if host is not None:
            assert target.startswith(b"/")
            assert path.startswith(b"/")


@pytest.mark.parametrize(
    ("rule", "lines", "code", "reason"),
    [
        ("F11", (b"NoColon",), "malformed_request", "field_syntax"),
        ("F11", (b"X-A : 1",), "malformed_request", "field_syntax"),
        ("F12", (b"X-A: 1", b" 2"), "malformed_request", "field_syntax"),
        ("F13", (b"X-A: 1\nX-B: 2",), "malformed_request", "field_syntax"),
        ("F13", (b"X-A: 1\rX",), "malformed_request", "field_syntax"),
        ("F14", (b"X-A: \x00",), "malformed_request", "field_syntax"),
        ("F14", (b"Authorization: \xe9",), "malformed_request", "field_not_ascii"),
        ("F15", (b"X_Consumer_Id: a",), "malformed_request", "field_name"),
        ("F16", tuple(b"X-%d: 1" % n for n in range(128)), "headers_too_large", "too_many_fields"),
        ("F16", (b"X-A: " + b"a" * (16 << 10),), "headers_too_large", "line_too_long"),
        ("F17", (b"Authorization: a", b"authorization: a"), "malformed_request", "authorization_doubled"),
        ("F17", (b"Content-Type: a/b", b"Content-Type: a/b"), "malformed_request", "content_type_doubled"),
        ("F17", (b"Content-Type:", b"Content-Type: a/b"), "malformed_request", "content_type_doubled"),
        ("F17", (b"Host: api.test",), "malformed_request", "host_doubled"),
        (
            "F17",
            (b"Idempotency-Key: a", b"Idempotency-Key: a"),
            "malformed_request",
            "idempotency_key_doubled",
        ),
        ("F17", (b"DPoP: a", b"dpop: a"), "malformed_request", "dpop_doubled"),
        ("F17", (b"X-API-Key: a", b"x-api-key: b"), "malformed_request", "x_api_key_doubled"),
        ("F17", (b"Expect: 100-continue", b"Expect: 100-continue"), "malformed_request", "expect_doubled"),
        ("F20", (b"Transfer-Encoding: chunked", b"X-A: 1", b"Content-Length: 0"), "malformed_request", None),
        ("F29", (b"Expect: 200-ok",), "expectation_failed", "expect_unknown"),
        (
            "W02",
            (b"Connection: close, Authorization",),
            "malformed_request",
            "connection_names_protected_field",
        ),
        ("W02", (b"Connection: x_consumer_id",), "malformed_request", "connection_names_protected_field"),
        ("W02", (b"Connection: a b",), "malformed_request", "connection_syntax"),
    ],
)
def test_field_sections_refused(rule: str, lines: tuple[bytes, ...], code: str, reason: str | None) -> None:
    refused = reason_of(*lines)
    assert refused[0] == code, rule
    assert reason is None or refused[1] == reason, rule


@pytest.mark.parametrize(
    "pair", [(b"Content-Length: 2", b"Content-Length: 2"), (b"Content-Length: 0", b"content-length: 2")]
)
def test_f19_two_lengths_are_refused_whether_or_not_they_were_met_before(pair: tuple[bytes, bytes]) -> None:
    assert reason_of(*pair)[0] == "malformed_request"
    for line in pair:
        fields(line)
    assert reason_of(*pair) == ("malformed_request", "content_length_doubled")


def test_f20_length_and_coding_are_refused_in_either_order_whether_or_not_they_were_met_before() -> None:
    pair = (b"Content-Length: 7", b"Transfer-Encoding: chunked")
    fields(pair[0])
    fields(pair[1])
    assert reason_of(*pair) == reason_of(*reversed(pair)) == ("malformed_request", "length_and_coding")


def test_f09_a_host_is_needed() -> None:
    assert reason_of(host=b"") == ("malformed_request", "host_missing")
    assert reason_of(host=b"Host:\r\n") == ("malformed_request", "host_invalid")


@pytest.mark.parametrize(
    ("method", "minor", "line", "reason"),
    [
        (b"POST", b"0", b"Transfer-Encoding: chunked", "coding_in_http_1_0"),
        (b"GET", b"1", b"Transfer-Encoding: chunked", "body_not_allowed"),
        (b"HEAD", b"1", b"Content-Length: 1", "body_not_allowed"),
        (b"OPTIONS", b"1", b"Content-Length: 1", "body_not_allowed"),
        (b"POST", b"1", b"Upgrade: h2c\r\nContent-Length: 1", "upgrade_with_body"),
        (b"POST", b"1", b"Content-Length: 1", None),
        (b"DELETE", b"1", b"Transfer-Encoding: chunked", None),
        (b"POST", b"0", b"Content-Length: 1", None),
    ],
)
def test_f22_f28_f30_which_requests_may_have_a_body(
    method: bytes, minor: bytes, line: bytes, reason: str | None
) -> None:
    facts = fields(line)
    assert facts.framed
    line_read = (method, b"/", b"/", minor)
    assert may_have_body(facts, line_read) == (reason is None)
    if reason is None:
        check_framing(facts, line_read)
        return
    with pytest.raises(Refusal) as caught:
        check_framing(facts, line_read)
    assert caught.value.reason == reason


def test_the_facts_of_a_full_section() -> None:
    facts = fields(
        b"Authorization: Bearer t ", b"X-API-Key:k", b"Content-Type: a/b", b"Content-Length: 12", b"Connection: close, X-Gone", b"X-Gone: 1",
        b"X-Kept: 2", b"Via: 1.1 full-a", b"Via: 1.1 full-b", b"TE: deflate , Trailers", b"Upgrade: x", b"X-Request-Id: r", b"traceparent: t",
        b"Idempotency-Key: i", b"Expect: 100-Continue",
    )  # fmt: skip
    assert (facts.authorization, facts.api_key, facts.content_type, facts.content_length) == (
        b"Bearer t",
        b"k",
        b"a/b",
        12,
    )
    assert (facts.close, facts.te_trailers, facts.upgrade, facts.expect, facts.framed) == (
        True,
        True,
        True,
        True,
        True,
    )
    assert (facts.via, facts.request_id, facts.traceparent, facts.host) == (
        b"1.1 full-a, 1.1 full-b",
        b"r",
        b"t",
        b"api.test",
    )
    assert sorted(facts.lines) == [b"Content-Type: a/b\r\n", b"Idempotency-Key: i\r\n", b"X-Kept: 2\r\n"]
    assert facts.passed == HOST + b"".join(facts.lines)


def test_an_id_or_a_trace_sent_twice_counts_as_none() -> None:
    assert fields(b"X-Request-Id: a", b"X-Request-Id: a").request_id == b""
    assert fields(b"traceparent: a", b"traceparent: a").traceparent == b""
    assert fields().request_id is None


@given(st.lists(st.binary(max_size=30).filter(lambda line: b"\r\n" not in line), max_size=6))
def test_no_section_of_any_bytes_raises_anything_but_a_refusal(lines: list[bytes]) -> None:
    section = HOST + b"\r\n".join(lines).replace(b"\r\n\r\n", b"\r\n") + b"\r\n\r\n"
    try:
        facts = parse_fields(section[: section.index(b"\r\n\r\n") + 4], 128)
    except Refusal:
        return
    assert facts.passed.startswith(HOST)
    assert b"\r\n\r\n" not in facts.passed
    assert not set(b"\x00") & set(facts.passed)


@given(st.binary(max_size=20))
def test_f18_lengths_are_what_python_reads_in_one_spelling(value: bytes) -> None:
    try:
        length = content_length(value)
    except Refusal:
        return
    assert b"%d" % length == value


@pytest.mark.parametrize("value", [b"0", b"1", b"9007199254740991"])
def test_f18_lengths_taken(value: bytes) -> None:
    assert content_length(value) == int(value)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"00",
        b"01",
        b"+1",
        b"-1",
        b"1 ",
        b" 1",
        b"1,1",
        b"0x1",
        b"1_0",
        b"9007199254740992",
        b"9" * 17,
        b"\xb2",
        b"1\n",
    ],
)
def test_f18_lengths_refused(value: bytes) -> None:
    with pytest.raises(Refusal):
        content_length(value)


@pytest.mark.parametrize(
    "value",
    [b"a", b"api.test", b"a.b-c", b"api.test:1", b"api.test:65535", b"127.0.0.1", b"[::1]", b"[::1]:8443"],
)
def test_f09_hosts_taken(value: bytes) -> None:
    check_host(value)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b".",
        b"api.test.",
        b"-a",
        b"a-",
        b"a..b",
        b"a:0",
        b"a:65536",
        b"a:",
        b"a:1:1",
        b"a@b",
        b"a,b",
        b"a/b",
        b"::1",
        b"[::1",
        b"[]",
        b"a b",
        b"a\n",
    ],
)
def test_f09_hosts_refused(value: bytes) -> None:
    with pytest.raises(Refusal):
        check_host(value)


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (b"gzip", "method_not_implemented"),
        (b"x", "method_not_implemented"),
        (b"identity", "malformed_request"),
        (b"gzip, chunked", "malformed_request"),
        (b"xchunked", "malformed_request"),
        (b"", "malformed_request"),
        (b"chunked;a=b", "malformed_request"),
    ],
)
def test_f21_codings_refused(value: bytes, code: str) -> None:
    with pytest.raises(Refusal) as caught:
        check_transfer_encoding(value)
    assert caught.value.code == code


def test_lists_of_tokens() -> None:
    check_transfer_encoding(b"CHUNKED")
    assert tokens(b" A , ,b\t,") == [b"a", b"b"]
    assert tokens(b"") == []
    with pytest.raises(Refusal):
        tokens(b"a b")


@given(
    st.one_of(st.binary(max_size=20), st.text("abcXYZ019-._~+/= ,\t", max_size=30).map(str.encode)),
    st.booleans(),
)
def test_bearer_tokens_are_read_as_any_other_line_is(token: bytes, again: bool) -> None:
    """They take a shorter road; where it leads must be where the long one does."""
    line = b"Authorization: Bearer " + token
    if b"\r\n" in line:
        return
    slow = LineMemory(REQUEST_FIELDS, request_module._refine)
    try:
        (_, _, expected), *_ = slow.learn([line])
    except (Refusal, LineError):
        with pytest.raises(Refusal):
            fields(line)
        return
    assert fields(line).authorization == expected
    if again:
        assert reason_of(line, line) == ("malformed_request", "authorization_doubled")
