"""An upstream's head obeys the rules that callers' heads obey, and says how its body ends (W09, W10)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.gateway.http1.response import InvalidAnswer, ResponseHead, parse_response

OK = b"HTTP/1.1 200 OK\r\n"


def read(*lines: bytes, start: bytes = OK, headers_max: int = 128) -> ResponseHead:
    return parse_response(start + b"".join(line + b"\r\n" for line in lines) + b"\r\n", headers_max)


@pytest.mark.parametrize(
    ("rule", "start", "lines", "reason"),
    [
        ("W09", b"HTTP/1.1 099 X\r\n", (), "status_line"),
        ("W09", b"HTTP/1.1 600 X\r\n", (), "status_line"),
        ("W09", b"HTTP/2.0 200 OK\r\n", (), "status_line"),
        ("W09", b"http/1.1 200 OK\r\n", (), "status_line"),
        ("W09", b"HTTP/1.1  200 OK\r\n", (), "status_line"),
        ("W09", b"HTTP/1.1 200 O\x00K\r\n", (), "status_line"),
        ("W09", b"HTTP/1.1 20 OK\r\n", (), "status_line"),
        ("W09", b"\r\nHTTP/1.1 200 OK\r\n", (), "status_line"),
        ("F11", OK, (b"NoColon",), "field_syntax"),
        ("F11", OK, (b"X : 1",), "field_syntax"),
        ("F12", OK, (b"X-A: 1", b" 2"), "field_syntax"),
        ("F13", OK, (b"X-A: 1\nX-B: 2",), "field_syntax"),
        ("F14", OK, (b"X-A: \x01",), "field_syntax"),
        ("F16", OK, (b"X-A: " + b"a" * (16 << 10),), "line_too_long"),
        ("F16", OK, tuple(b"X-%d: 1" % n for n in range(129)), "too_many_fields"),
        ("F18", OK, (b"Content-Length: +1",), None),
        ("F18", OK, (b"Content-Length: 01",), "content_length"),
        ("F18", OK, (b"Content-Length: 9007199254740992",), "content_length"),
        ("F21", OK, (b"Transfer-Encoding: gzip, chunked",), "transfer_encoding"),
        ("F21", OK, (b"Transfer-Encoding: identity",), "transfer_encoding"),
        ("F22", b"HTTP/1.0 200 OK\r\n", (b"Transfer-Encoding: chunked",), "length_and_coding"),
        ("W10", b"HTTP/1.1 205 Reset\r\n", (b"Content-Length: 1",), "body_on_205"),
        ("W10", b"HTTP/1.1 205 Reset\r\n", (b"Transfer-Encoding: chunked",), "body_on_205"),
    ],
)
def test_invalid_answers(rule: str, start: bytes, lines: tuple[bytes, ...], reason: str | None) -> None:
    with pytest.raises(InvalidAnswer) as caught:
        read(*lines, start=start)
    assert reason is None or caught.value.args == (reason,), rule


@pytest.mark.parametrize(
    "pair",
    [
        (b"Content-Length: 31", b"Content-Length: 31"),
        (b"Content-Length: 32", b"Transfer-Encoding: chunked"),
        (b"Transfer-Encoding: chunked", b"Content-Length: 33"),
        (b"Transfer-Encoding: chunked", b"transfer-encoding: Chunked"),
    ],
)
def test_f19_f20_f21_doubtful_framing_is_invalid_whether_or_not_its_lines_were_met_before(
    pair: tuple[bytes, bytes],
) -> None:
    for _ in range(2):
        with pytest.raises(InvalidAnswer):
            read(*pair)
        for line in pair:
            read(line)


@pytest.mark.parametrize(
    ("status", "lines", "bodiless", "length_line"),
    [
        (200, (b"Content-Length: 5",), False, b"Content-Length: 5\r\n"),
        (200, (), False, b""),
        (204, (b"Content-Length: 5",), True, b""),
        (204, (), True, b""),
        (304, (b"Content-Length: 5",), True, b"Content-Length: 5\r\n"),
        (304, (), True, b""),
        (205, (), True, b"Content-Length: 0\r\n"),
        (205, (b"Content-Length: 0",), True, b"Content-Length: 0\r\n"),
        (103, (b"Content-Length: 5",), True, b""),
    ],
)
def test_w10_which_answers_have_no_body_and_what_length_the_caller_is_told(
    status: int, lines: tuple[bytes, ...], bodiless: bool, length_line: bytes
) -> None:
    head = read(*lines, start=b"HTTP/1.1 %d X\r\n" % status)
    assert head.bodiless == bodiless
    assert [line for line in head.lines if line.startswith(b"Content-Length")] == (
        [length_line] if length_line else []
    )


def test_w02_hop_by_hop_fields_and_what_connection_lists_stay_here() -> None:
    head = read(
        b"Connection: close, X-Gone", b"X-Gone: 1", b"Keep-Alive: timeout=5", b"Upgrade: h2c", b"Trailer: X-T", b"Proxy-Authenticate: Basic",
        b"TE: x", b"X-Request-Id: theirs", b"X-Kept: 1", b"Transfer-Encoding: chunked",
    )  # fmt: skip
    assert head.passed == OK + b"X-Kept: 1\r\n"
    assert not head.keep_alive


def test_the_facts_of_an_answer() -> None:
    head = read(
        b"Date: Mon, 23 Nov 2026 03:06:25 GMT", b"Content-Type: a/b", b'RateLimit: "x";r=1', b"X-RateLimit-Limit: 5", b"Via: 1.1 resp-a",
        b"Via: 1.0 resp-b", b"Set-Cookie: a=1", b"Set_Cookie: b", start=b"HTTP/1.0 201 Made it\r\n",
    )  # fmt: skip
    assert (head.status, head.keep_alive, head.dated, head.content_type, head.content_length) == (
        201,
        False,
        True,
        b"a/b",
        -1,
    )
    assert head.limit_lines == b'RateLimit: "x";r=1\r\nX-RateLimit-Limit: 5\r\n'
    assert head.via == b"1.1 resp-a, 1.0 resp-b"
    assert head.passed.startswith(b"HTTP/1.1 201 Made it\r\n")
    assert b"Set_Cookie: b\r\n" in head.passed


def test_the_blank_before_a_reason_is_sent_where_there_is_none() -> None:
    """RFC 9112 section 4; answers that came by HTTP/2 never have a reason."""
    assert read(start=b"HTTP/1.1 201\r\n").passed == b"HTTP/1.1 201 \r\n"
    assert read(start=b"HTTP/1.1 201 \r\n").passed == b"HTTP/1.1 201 \r\n"


def test_fields_of_one_name_keep_their_order_whatever_was_remembered() -> None:
    read(b"Set-Cookie: known=1")
    head = read(b"Set-Cookie: new=1", b"Set-Cookie: known=1")
    assert head.lines == [b"Set-Cookie: new=1\r\n", b"Set-Cookie: known=1\r\n"]


@given(
    st.lists(st.binary(max_size=30), max_size=5),
    st.sampled_from([OK, b"HTTP/1.0 404 X\r\n", b"HTTP/1.1 204 \r\n"]),
)
def test_no_head_of_any_bytes_raises_anything_but_invalid_answer(lines: list[bytes], start: bytes) -> None:
    data = start + b"\r\n".join(lines) + b"\r\n\r\n"
    try:
        head = parse_response(data[: data.index(b"\r\n\r\n") + 4], 128)
    except InvalidAnswer:
        return
    assert b"\r\n\r\n" not in head.passed
    assert head.passed.startswith(b"HTTP/1.1 ")


@given(st.binary(max_size=60))
def test_no_bytes_at_all_raise_anything_but_invalid_answer(data: bytes) -> None:
    with pytest.raises(InvalidAnswer):
        parse_response(data.replace(b"HTTP", b"") + b"\r\n\r\n", 128)
