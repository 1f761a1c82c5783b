"""A key is read in one way or refused: from a header as RFC 8941 or bare, from a body's values or fields."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.kernel.problems import Refusal
from faregate.policies.idempotency.query import split
from faregate.policies.idempotency.step import Keying, join
from faregate.snapshot.idempotency import Idempotency
from tests.policies.idempotency.test_fingerprint import ROWS

HEADER = Keying(Idempotency())
JSON = Keying(Idempotency(header=b"", pointers=("/out_trade_no",)))
TWO = Keying(Idempotency(header=b"", pointers=("/mchid", "/out_trade_no")))
FORM = Keying(Idempotency(header=b"", form=("merId", "orderId")))
FORM_TYPE = b"application/x-www-form-urlencoded; charset=UTF-8"


@pytest.mark.parametrize(
    "row",
    [row for row in ROWS if isinstance(row["given"].get("Idempotency-Key"), str)],
    ids=lambda row: row["name"],
)
def test_the_vectors_of_the_header(row: dict[str, Any]) -> None:
    value = row["given"]["Idempotency-Key"].encode("latin-1")
    if "key" in row["expect"]:
        assert HEADER.head_key(value) == row["expect"]["key"].encode()
        return
    with pytest.raises(Refusal) as refused:
        HEADER.head_key(value)
    assert (refused.value.code, refused.value.problem.status) == (
        row["expect"]["code"],
        row["expect"]["status"],
    )


@pytest.mark.parametrize(
    "value",
    [b'"a"b', b"a b", b'"a b"', b'"a";q=1', b'"a\\c"', b'"', b'"a', b"\x7f", b'"' + b"x" * 256 + b'"', b"x" * 256, b'""', b" a", b'"a"\n', b"a\n"],
)  # fmt: skip
def test_what_is_no_key_is_refused_and_never_shown(value: bytes) -> None:
    with pytest.raises(Refusal) as refused:
        HEADER.head_key(value)
    assert refused.value.code == "idempotency_key_invalid"
    assert refused.value.parameter == "idempotency-key"
    assert refused.value.reason == "key_syntax"


@pytest.mark.parametrize(
    ("value", "key"),
    [
        (b'"a\\\\b"', b"a\\b"), (b'"\\\\\\""', b'\\"'), (b'a"b', b'a"b'), (b"!", b"!"), (b"'a'", b"'a'"), (b"a,b", b"a,b"),
        (b'"' + b"x" * 255 + b'"', b"x" * 255),
    ],
)  # fmt: skip
def test_quoted_and_bare_keys_are_the_same_key(value: bytes, key: bytes) -> None:
    assert HEADER.head_key(value) == key


@given(st.binary(min_size=1, max_size=255).map(lambda raw: bytes(33 + byte % 94 for byte in raw)))
def test_every_key_may_be_sent_quoted(key: bytes) -> None:
    quoted = b'"' + key.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
    assert HEADER.head_key(quoted) == key


def test_no_header_is_no_key_and_what_is_missing_is_named() -> None:
    assert HEADER.head_key(None) is None
    assert (HEADER.needs_body, JSON.needs_body) == (False, True)
    for keying, name in (
        (HEADER, "idempotency-key"),
        (TWO, "/mchid, /out_trade_no"),
        (FORM, "merId, orderId"),
    ):
        missing = keying.missing()
        assert (missing.code, missing.parameter) == ("idempotency_key_missing", name)


@pytest.mark.parametrize(
    ("keying", "body", "key"),
    [
        (JSON, b'{"out_trade_no":"T1"}', b"T1"),
        (JSON, b'{ "out_trade_no" : 42 }', b"42"),
        (JSON, b'{"out_trade_no":-7}', b"-7"),
        (JSON, b'{"other":1}', None),
        (JSON, b"", None),
        (JSON, b'{"out_trade_no":"' + b"x" * 255 + b'"}', b"x" * 255),
        (TWO, b'{"mchid":"a1","out_trade_no":"T"}', b"2:a1,1:T,"),
        (TWO, b"{}", None),
        (FORM, b"orderId=1&merId=77", b"2:77,1:1,"),
        (FORM, b"orderId=a%2Fb&merId=7+", "refused"),
        (FORM, b"orderId=a%2fb&merId=7", b"1:7,3:a/b,"),
        (FORM, b"order=1", None),
    ],
)
def test_keys_in_bodies(keying: Keying, body: bytes, key: bytes | str | None) -> None:
    if key == "refused":
        with pytest.raises(Refusal):
            keying.body_key(body, FORM_TYPE)
    else:
        assert keying.body_key(body, FORM_TYPE) == key


@pytest.mark.parametrize(
    ("keying", "body", "content_type", "reason"),
    [
        (JSON, b'{"out_trade_no":"a","out_trade_no":"b"}', b"application/json", "key_body_doubled"),
        (JSON, b'{"x":{"y":1,"y":2},"out_trade_no":"a"}', b"application/json", "key_body_doubled"),
        (JSON, b'["T1"]', b"application/json", "key_body_unreadable"),
        (JSON, b"out_trade_no=T1", b"application/json", "key_body_unreadable"),
        (JSON, b'\xef\xbb\xbf{"out_trade_no":"a"}', b"application/json", "key_body_unreadable"),
        (JSON, b"\x1f\x8b", b"application/json", "key_body_unreadable"),
        (JSON, b'{"out_trade_no":' + b"[" * 100_000, b"application/json", "key_body_unreadable"),
        (JSON, b'{"out_trade_no":""}', b"application/json", "key_value"),
        (JSON, b'{"out_trade_no":null}', b"application/json", "key_value"),
        (JSON, b'{"out_trade_no":true}', b"application/json", "key_value"),
        (JSON, b'{"out_trade_no":1.5}', b"application/json", "key_value"),
        (JSON, b'{"out_trade_no":["a"]}', b"application/json", "key_value"),
        (JSON, b'{"out_trade_no":"a b"}', b"application/json", "key_value"),
        (JSON, '{"out_trade_no":"订单"}'.encode(), b"application/json", "key_value"),
        (JSON, b'{"out_trade_no":"a\\n"}', b"application/json", "key_value"),
        (JSON, b'{"out_trade_no":"' + b"x" * 256 + b'"}', b"application/json", "key_value"),
        (JSON, b'{"out_trade_no":' + b"9" * 300 + b"}", b"application/json", "key_value"),
        (TWO, b'{"out_trade_no":"T"}', b"application/json", "key_value_missing"),
        (FORM, b"orderId=1&orderId=2&merId=7", FORM_TYPE, "key_body_doubled"),
        (FORM, b"orderId=1&merId=7%", FORM_TYPE, "key_body_unreadable"),
        (FORM, b"orderId=1&merId=7", b"multipart/form-data; boundary=x", "key_body_unreadable"),
        (FORM, b"orderId=%ff&merId=7", FORM_TYPE, "key_value"),
        (FORM, b"orderId=&merId=7", FORM_TYPE, "key_value"),
        (FORM, b"orderId=1", FORM_TYPE, "key_value_missing"),
    ],
)
def test_a_body_that_could_be_read_otherwise_is_refused(
    keying: Keying, body: bytes, content_type: bytes, reason: str
) -> None:
    with pytest.raises(Refusal) as refused:
        keying.body_key(body, content_type)
    assert (refused.value.code, refused.value.reason) == ("idempotency_key_invalid", reason)
    told = {
        "key_body_doubled": "A name stands twice",
        "key_body_unreadable": "is not one JSON object, or not a form",
        "key_value": "no text of 1 to 255",
        "key_value_missing": "carries only some of them",
    }
    assert told[reason] in refused.value.detail
    assert refused.value.parameter == ", ".join(keying._pointers or keying._fields)


@given(
    st.lists(st.binary(min_size=1, max_size=9), min_size=1, max_size=4),
    st.lists(st.binary(min_size=1, max_size=9), min_size=1, max_size=4),
)
def test_no_two_lists_of_one_length_make_one_key(first: list[bytes], second: list[bytes]) -> None:
    if len(first) == len(second):
        assert (join(first) == join(second)) is (first == second)
    assert split(join(first), len(first)) == first


@pytest.mark.parametrize(
    "key", [b"", b"1:a,", b"1:a,2:b,", b"1:a,1:b", b"x:a,1:b,", b"-1:a,", b"9:a,1:b,", b"01:a,1:b,"]
)
def test_what_was_not_joined_is_not_split(key: bytes) -> None:
    with pytest.raises(ValueError):
        split(key, 2)
