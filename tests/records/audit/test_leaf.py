"""A record stands in one spelling, holds no fractions, and shows no secret."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.kernel import canonical_json
from faregate.records.audit import leaf
from faregate.records.audit.calls import CallRecords, shortened
from faregate.records.audit.leaf import LEAF_BYTES_MAX, NO_PREV, LeafError
from faregate.records.audit.masked import masked_detail

TIME = "2026-03-02T02:15:30.123456Z"
HASH = "ab" * 32
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=6), VALUES, max_size=4), st.text(min_size=1, max_size=9))
def test_whatever_a_record_holds_it_is_canonical_and_comes_apart_again(detail: dict, about: str) -> None:
    entry = leaf.entry("some.type", "user:one", about, detail, TIME)
    record = entry.at(7, HASH)
    assert record.decode() == canonical_json.encode(json.loads(record))
    found = leaf.read(record)
    assert (found.seq, found.prev, found.type, found.object) == (7, HASH, "some.type", about)
    assert found.detail == detail
    assert leaf.taken_apart(record) == entry
    assert b"\n" not in record


@pytest.mark.parametrize(
    ("detail", "why"),
    [
        ({"amount": 1.5}, "float"),
        ({"amount": [1, {"x": 2.0}]}, "float"),
        ({"order": 2**53}, "write it as text"),
        ({"x": b"bytes"}, "bytes"),
        ({1: 2}, "name"),
        ({"x": "\ud800"}, "JSON"),
        ({"x": "y" * LEAF_BYTES_MAX}, "more than"),
    ],
)
def test_what_a_record_does_not_hold_is_refused(detail: dict, why: str) -> None:
    with pytest.raises(LeafError, match=why):
        leaf.entry("a", "b", "c", detail, TIME)


@pytest.mark.parametrize("kind", ["", "A", "a b", "a.", ".a", "a" * 65, 'a"'])
def test_types_are_words(kind: str) -> None:
    with pytest.raises(LeafError, match="type"):
        leaf.entry(kind, "b", "c", {}, TIME)


def test_endless_nesting_is_refused() -> None:
    deep: dict = {}
    for _ in range(2000):
        deep = {"x": deep}
    with pytest.raises(LeafError, match="deep"):
        leaf.entry("a", "b", "c", deep, TIME)


GOOD = leaf.entry("a", "b", "c", {"x": 1, "y": "é"}, TIME).at(0, NO_PREV)


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"{}",
        GOOD[:-1],
        GOOD + b" ",
        GOOD.replace(b'"x":1', b'"x": 1'),
        GOOD.replace(b'"x":1', b'"x":1.0'),
        GOOD.replace(b'"x":1', b'"x":1,"x":1'),
        GOOD.replace("é".encode(), b"\\u00e9"),
        GOOD.replace(b'"seq":0', b'"seq":"0"'),
        GOOD.replace(b'"actor":"b",', b""),
        GOOD.replace(b'{"actor"', b'{"aaa":1,"actor"'),
    ],
)
def test_another_spelling_is_no_record(record: bytes) -> None:
    assert leaf.read(GOOD).seq == 0
    with pytest.raises(LeafError):
        leaf.read(record)


def test_secrets_and_cards_are_masked_wherever_they_stand() -> None:
    detail = {
        "password": "hunter2",
        "note": "card 4111 1111 1111 1111, token fg_live_abcdefgh",
        "before": {"cvv": "123", "list": ["4111111111111111", 4111111111111111]},
        "who": "hmac:" + "ab" * 32,
        "fake": "hmac:4111111111111111",
        "count": 12,
        "on": True,
    }
    text = json.dumps(masked_detail(detail))
    for secret in ("hunter2", "1111 1111", "4111111111111111", "abcdefgh", '"123"'):
        assert secret not in text
    assert masked_detail(detail)["who"] == detail["who"]
    assert (masked_detail(detail)["count"], masked_detail(detail)["on"]) == (12, True)


LINE = (
    b'{"time":"2026-03-02T02:15:30.123Z","request_id":"r1","client_ip":"192.0.2.7","consumer":"m1",'
    b'"status":201,"outcome":"answered"}'
)


def test_a_call_is_recorded_by_its_log_line_with_the_address_as_a_keyed_hash() -> None:
    records = CallRecords(b"k" * 32)
    found = leaf.read(records.entry(LINE).at(0, NO_PREV))
    assert (found.type, found.actor, found.object) == ("call", "consumer:m1", "call:r1")
    assert found.time == "2026-03-02T02:15:30.123000Z"
    assert "time" not in found.detail
    assert b"192.0.2.7" not in records.entry(LINE).head
    assert found.detail["client_ip"] == leaf.read(records.entry(LINE).at(0, NO_PREV)).detail["client_ip"]
    assert CallRecords(b"j" * 32).entry(LINE) != records.entry(LINE)


@pytest.mark.parametrize(
    "line",
    [
        b"", b"{", b"[]", b'{"time":"x"}', b'{"time":1,"request_id":"r"}',
        b'{"time":"x","request_id":"\xff"}', b'{"time":"x","request_id":"r","\xe2\x82":1}',
    ],
)  # fmt: skip
def test_what_is_no_log_line_is_refused(line: bytes) -> None:
    with pytest.raises(LeafError):
        CallRecords(b"k" * 32).entry(line)


def test_a_line_that_a_caller_made_long_is_cut_and_recorded() -> None:
    long = LINE.decode().replace('"status"', f'"path":"/{"x" * 60_000}","status"') + "\n"
    (line,) = shortened([long])
    found = leaf.read(CallRecords(b"k").entry(line.encode().strip()).at(0, NO_PREV))
    assert str(found.detail["path"]).endswith("x...")
    assert found.detail["status"] == 201
    assert shortened([LINE.decode()]) == [LINE.decode()]
