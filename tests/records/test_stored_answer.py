"""A kept answer comes back as it was, holds nothing of one call or connection, and no card data."""

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.records import stored_answer
from faregate.records.masking import SENSITIVE_NAMES
from faregate.records.stored_answer import (
    BODY_BYTES_MAX,
    HEAD_BYTES_MAX,
    NEVER_KEPT,
    field_of,
    pack_answer,
    shows_card_data,
    unpack_answer,
)
from faregate.stores.ledger.protocol import ANSWER_BYTES_MAX
from tests.records.vectors import TEST_CARDS

SEAL_BYTES = 64


@given(st.integers(100, 599), st.binary(max_size=300))
def test_what_is_packed_comes_back(status: int, body: bytes) -> None:
    kept = unpack_answer(pack_answer(status, [b"Content-Type: a/b\r\n", b"Location: /x\r\n"], body))
    assert kept == (status, b"Content-Type: a/b\r\nLocation: /x\r\n", body)


@pytest.mark.parametrize("name", sorted(NEVER_KEPT))
def test_fields_of_one_call_are_not_kept_even_when_listed(name: bytes) -> None:
    line = name.title() + b": 1\r\n"
    assert unpack_answer(pack_answer(200, [line], b"", {name})).head == b""


@pytest.mark.parametrize(
    ("line", "more", "kept"),
    [
        (b"content-TYPE: a/b\r\n", (), True),
        (b'ETag: "1"\r\n', (), True),
        (b"Content-Encoding: gzip\r\n", (), True),
        (b"Request-Id: req_1\r\n", (), True),
        (b"Stripe-Request-Id: req_1\r\n", (), True),
        (b"X-Request-Id: req_1\r\n", (), False),
        (b"X-Fee: 12\r\n", (), False),
        (b"X-Fee: 12\r\n", (b"x-fee",), True),
        (b"X-Fees: 12\r\n", (b"x-fee",), False),
    ],
)
def test_which_fields_are_kept(line: bytes, more: tuple[bytes, ...], kept: bool) -> None:
    assert unpack_answer(pack_answer(200, [line], b"", more)).head == (line if kept else b"")


def test_a_line_is_judged_alike_each_time_and_whatever_a_route_keeps_besides() -> None:
    lines = [b"ETag: 1\r\n", b"X-Fee: 12\r\n", b"Date: now\r\n"]
    for _ in range(2):
        assert unpack_answer(pack_answer(200, lines, b"")).head == lines[0]
        assert unpack_answer(pack_answer(200, lines, b"", (b"x-fee",))).head == lines[0] + lines[1]
    for number in range(2_000):
        pack_answer(200, [b"ETag: %d\r\n" % number, b"ETag: %b\r\n" % (b"e" * 4_000)], b"")
    assert sum(map(len, stored_answer._kept_lines)) < 1 << 17


def test_what_is_too_large_is_not_kept_and_what_fits_fits_the_ledger() -> None:
    head = [b"Location: %b\r\n" % (b"x" * (HEAD_BYTES_MAX - 12))]
    largest = pack_answer(200, head, b"b" * BODY_BYTES_MAX)
    assert 0 < len(largest) + SEAL_BYTES <= ANSWER_BYTES_MAX
    assert pack_answer(200, head, b"b" * (BODY_BYTES_MAX + 1)) == b""
    assert pack_answer(200, [*head, b"ETag: 1\r\n"], b"b") == b""


@pytest.mark.parametrize("cut", range(9))
def test_what_was_not_packed_is_refused(cut: int) -> None:
    whole = pack_answer(200, [b"ETag: 1\r\n"], b"")
    with pytest.raises(ValueError, match="stored answer"):
        unpack_answer(whole[: len(whole) - 1 - cut])
    with pytest.raises(ValueError, match="form"):
        unpack_answer(b"\2" + whole[1:])


def test_a_field_is_found_by_its_name() -> None:
    head = b"Content-Type:  a/b \r\nX: Content-Type: c\r\n"
    assert (field_of(head, b"content-type"), field_of(head, b"etag")) == (b"a/b", b"")


@pytest.mark.parametrize("card", TEST_CARDS)
def test_an_answer_with_a_card_number_is_not_kept(card: str) -> None:
    spaced = " ".join(card[at : at + 4] for at in range(0, len(card), 4))
    escaped = "".join(f"\\u{ord(digit):04x}" for digit in card)
    for shown in (card, spaced, escaped):
        body = f'{{"a": ["{shown}"]}}'.encode()
        assert shows_card_data(body), shown
        assert shows_card_data(gzip.compress(body), b"gzip")
    assert shows_card_data(b'{"a": %b}' % card.encode())


@pytest.mark.parametrize(
    ("body", "shows"),
    [
        (b"", False),
        (b'{"id":"pay_1","amount_minor":1250,"status":"authorized"}', False),
        (b'{"card":{"number":"424242******4242","shipping":"a"}}', False),
        (b'{"card":{"cvv":"123"}}', True),
        (b'{"card":{"security_code":123}}', True),
        (b'{"card":{"c\\u0076v":"123"}}', True),
        (b'{"card":{"cvv":null,"pin":""}}', False),
        (b"amount=3&cvv=123", True),
        (b"<CardSecurityCode>123</CardSecurityCode>", True),
        (b"amount=3&opinion=good", False),
        (b'{"trade_no":"2026112322001156781000000001"}', False),
    ],
)
def test_sensitive_data_is_told_from_what_is_not(body: bytes, shows: bool) -> None:
    assert shows_card_data(body) is shows
    assert shows_card_data(zlib.compress(body), b"Deflate") is shows


@pytest.mark.parametrize("name", sorted(SENSITIVE_NAMES))
def test_every_name_of_sensitive_data_is_found(name: str) -> None:
    assert shows_card_data(b'{"a":{"%b":"123"}}' % name.upper().encode())
    assert shows_card_data(b"a=1&%b=123" % name.encode())


@pytest.mark.parametrize("body", [rb'{"cvv":"123","cvv":""}', rb'{"a":"\u0034111111111111111","a":1}'])
def test_a_name_that_stands_twice_hides_nothing(body: bytes) -> None:
    assert shows_card_data(body)


def test_what_cannot_be_looked_into_counts_as_card_data() -> None:
    assert shows_card_data(b"\x1b\x00", b"br")
    assert shows_card_data(b"no gzip", b"gzip")
    assert shows_card_data(gzip.compress(b"{}")[:-4], b"gzip")
    assert shows_card_data(gzip.compress(b" " * (2 << 20)), b"gzip"), (
        "what unfolds without end is not read on"
    )
    assert shows_card_data(b'"cvv\\u0031"' + b"[" * 5000, b"") is False  # no JSON, names no such field
    assert shows_card_data(b'{"a\\u0031":' + b"[" * 70 + b"]" * 70 + b"}")
