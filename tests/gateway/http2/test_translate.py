"""H09: what the fields of HTTP/2 could smuggle into an HTTP/1.1 head, row by row; and answers the other way."""

import pytest

from faregate.gateway.http1.sections import FieldsMemory
from faregate.gateway.http2.translate import RequestReader, answer_fields, request_head, trailer_fields
from faregate.kernel.problems import Refusal

M, S, A, P = (b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"api.test"), (b":path", b"/p?q=1")
COMMON = [M, S, A, P]


def refused(fields: list[tuple[bytes, bytes]], *, end_stream: bool = True) -> str:
    with pytest.raises(Refusal) as refusal:
        request_head(fields, b"https", end_stream=end_stream)
    return refusal.value.reason


def test_fields_become_a_head_in_order_with_host_first() -> None:
    head = request_head([*COMMON, (b"b", b"2"), (b"a", b"1 1")], b"https", end_stream=True)
    assert head == b"GET /p?q=1 HTTP/1.1\r\nhost: api.test\r\nb: 2\r\na: 1 1\r\n\r\n"


def test_cookie_crumbs_are_one_field_again() -> None:
    head = request_head(
        [*COMMON, (b"cookie", b"a=1"), (b"x", b"y"), (b"cookie", b"b=2")], b"https", end_stream=True
    )
    assert head.count(b"cookie") == 1
    assert b"cookie: a=1; b=2\r\n" in head


def test_a_body_of_unknown_length_is_announced_as_chunks_and_a_known_one_by_its_length() -> None:
    assert b"transfer-encoding: chunked\r\n\r\n" in request_head(COMMON, b"https", end_stream=False)
    sized = request_head([*COMMON, (b"content-length", b"4")], b"https", end_stream=False)
    assert b"content-length: 4" in sized
    assert b"transfer-encoding" not in sized


def test_host_may_stand_in_for_authority_and_may_repeat_it() -> None:
    for fields in ([M, S, P, (b"host", b"api.test")], [*COMMON, (b"host", b"API.test:443")]):
        head = request_head(fields, b"https", end_stream=True)
        assert head.count(b"host: ") == 1


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ([*COMMON, (b"x", b"a\r\nb: c")], "field_syntax"),
        ([*COMMON, (b"x", b"a\nb")], "field_syntax"),
        ([*COMMON, (b"x", b"a\rb")], "field_syntax"),
        ([*COMMON, (b"x", b"a\0b")], "field_syntax"),
        ([*COMMON, (b"x\r\ny", b"a")], "field_syntax"),
        ([*COMMON, (b"x y", b"a")], "field_syntax"),
        ([*COMMON, (b"x:", b"a")], "field_syntax"),
        ([*COMMON, (b"x", b" a")], "field_syntax"),
        ([*COMMON, (b"x", b"a ")], "field_syntax"),
        ([*COMMON, (b"x", b"a\t")], "field_syntax"),
        ([*COMMON, (b"X", b"a")], "field_syntax"),
        ([*COMMON, (b"Connection", b"close")], "field_syntax"),
        ([*COMMON, (b"", b"a")], "field_syntax"),
        ([*COMMON, (b"x\x80", b"a")], "field_syntax"),
        ([*COMMON, M], "pseudo_field"),
        ([*COMMON, P], "pseudo_field"),
        ([M, S, A, (b"x", b"y"), P], "pseudo_field"),
        ([M, S, A, (b"cookie", b"y"), P], "pseudo_field"),
        ([M, S, A, (b"te", b"trailers"), P], "pseudo_field"),
        ([M, S, A, (b"host", b"api.test"), P], "pseudo_field"),
        ([*COMMON, (b":protocol", b"websocket")], "field_syntax"),
        ([*COMMON, (b":status", b"200")], "field_syntax"),
        ([(b":method", b""), S, A, P], "pseudo_field_empty"),
        ([(b":method", b"GE T"), S, A, P], "pseudo_field_value"),
        ([(b":method", b"GET /x HTTP/1.1\r\n"), S, A, P], "pseudo_field_value"),
        ([S, A, P], "pseudo_field_value"),
        ([M, S, A], "pseudo_field_value"),
        ([M, S, A, (b":path", b"")], "pseudo_field_empty"),
        ([M, S, A, (b":path", b"p")], "pseudo_field_value"),
        ([M, S, A, (b":path", b"http://api.test/")], "pseudo_field_value"),
        ([M, S, A, (b":path", b"/a b")], "pseudo_field_value"),
        ([M, S, A, (b":path", b"/a#b")], "pseudo_field_value"),
        ([M, S, A, (b":path", b"/a HTTP/1.1\r\nX: y")], "pseudo_field_value"),
        ([M, S, A, (b":path", b"/\x80")], "pseudo_field_value"),
        ([M, S, A, (b":path", b"*")], "pseudo_field_value"),
        ([M, (b":scheme", b"http"), A, P], "scheme"),
        ([M, A, P], "scheme"),
        ([M, S, (b":authority", b"a\r\nx: y"), P], "field_syntax"),
        ([M, S, (b":authority", b"a b"), P, (b"host", b"a")], "authority_and_host"),
        ([*COMMON, (b"host", b"other.test")], "authority_and_host"),
        ([*COMMON, (b"host", b"api.test"), (b"host", b"api.test")], "host_doubled"),
        ([*COMMON, (b"connection", b"close")], "connection_field"),
        ([*COMMON, (b"transfer-encoding", b"chunked")], "connection_field"),
        ([*COMMON, (b"upgrade", b"h2c")], "connection_field"),
        ([*COMMON, (b"keep-alive", b"1")], "connection_field"),
        ([*COMMON, (b"proxy-connection", b"close")], "connection_field"),
        ([*COMMON, (b"te", b"gzip")], "connection_field"),
        ([*COMMON, (b"te", b"trailers, gzip")], "connection_field"),
        ([*COMMON, (b"content-length", b"4")], "length_mismatch"),
        ([(b":method", b"CONNECT"), A], "method_unknown"),
    ],
)
def test_h09_refused(fields: list[tuple[bytes, bytes]], reason: str) -> None:
    assert refused(fields) == reason


def test_options_may_ask_for_the_server_itself() -> None:
    head = request_head([(b":method", b"OPTIONS"), S, A, (b":path", b"*")], b"https", end_stream=True)
    assert head.startswith(b"OPTIONS * HTTP/1.1\r\n")


@pytest.mark.parametrize(
    "field",
    [
        (b":path", b"/"),
        (b"content-length", b"1"),
        (b"authorization", b"x"),
        (b"host", b"x"),
        (b"te", b"trailers"),
        (b"transfer-encoding", b"chunked"),
        (b"X-Upper", b"x"),
        (b"x", b"a\r\nb: c"),
        (b"x", b"a "),
    ],
)
def test_f26_trailers_that_would_change_the_call_are_refused(field: tuple[bytes, bytes]) -> None:
    with pytest.raises(Refusal):
        trailer_fields([(b"x-ok", b"1"), field])


def test_an_answer_s_head_becomes_fields_without_those_of_a_connection() -> None:
    status, fields = answer_fields(
        b"HTTP/1.1 404 Not Found\r\nContent-Type: a/b\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n"
        b"Set-Cookie: a=b\r\nX-Empty: "
    )
    assert status == 404
    assert fields == [
        (b":status", b"404", False),
        (b"content-type", b"a/b", False),
        (b"set-cookie", b"a=b", True),
        (b"x-empty", b"", False),
    ]


def test_long_field_sections_take_time_that_grows_with_their_length_only() -> None:
    value = b"a\t" * 7000 + b"\x01"
    assert refused([*COMMON, *[(b"x", value)] * 4]) == "field_syntax"


REST = [(b"accept", b"*/*"), (b"authorization", b"Bearer abc")]
AGAIN = [
    [*COMMON, *REST],
    [M, S, A, (b":path", b"/other"), *REST],
    [P, A, S, (b":method", b"DELETE"), *REST],
    [M, S, A, (b":path", b"/a%2Eb"), *REST],
    [M, S, A, (b":path", b"/a/../b"), *REST],
    [M, S, A, (b":path", b"//a"), *REST],
    [M, S, A, (b":path", b"/a b"), *REST],
    [M, S, A, (b":path", b"/" + b"a" * 9000), *REST],
    [(b":method", b"GET /x HTTP/1.1\r\nX: y\r\n"), S, A, P, *REST],
    [M, S, A, (b":path", b"/x HTTP/1.1\r\nX: y"), *REST],
    [M, (b":scheme", b"http"), A, P, *REST],
    [M, S, (b":authority", b"other.test"), P, *REST],
    [M, M, S, P, *REST],
    [M, S, P, P, *REST],
    [M, S, A, A, *REST],
    [(b":method", b"TRACE"), S, A, P, *REST],
    [M, S, A, (b"x", b"y"), *REST],
    [*COMMON, (b"accept", b"*/*")],
    COMMON,
]


@pytest.mark.parametrize("fields", AGAIN)
def test_a_request_is_read_alike_whether_its_fields_came_before_or_not(
    fields: list[tuple[bytes, bytes]],
) -> None:
    def outcome(reader: RequestReader) -> object:
        try:
            line, facts = reader.read(fields, b"https", memory, end_stream=True)  # type: ignore[arg-type]
        except Refusal as refusal:
            return refusal.code, refusal.reason
        return line, facts.passed, facts.authorization

    memory = FieldsMemory(64 << 10, 128)
    primed = RequestReader()
    primed.read([*COMMON, *REST], b"https", memory, end_stream=True)
    assert outcome(primed) == outcome(RequestReader())


def test_with_the_same_fields_only_the_line_is_read_anew() -> None:
    memory = FieldsMemory(64 << 10, 128)
    reader = RequestReader()
    _, facts = reader.read([*COMMON, *REST], b"https", memory, end_stream=True)
    line, again = reader.read([M, S, A, (b":path", b"/other?x"), *REST], b"https", memory, end_stream=True)
    assert again is facts
    assert line == (b"GET", b"/other?x", b"/other", b"2")
    reader.forget()
    assert reader.read([*COMMON, *REST], b"https", memory, end_stream=True)[1] is not facts
