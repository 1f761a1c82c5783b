"""Request ids are unique and sort by time; trace context follows W3C Trace Context section 3.2."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.gateway.outbound import continued_trace
from faregate.kernel.ids import IdSource, accepts_request_id, parse_traceparent

TRACE, SPAN = b"0af7651916cd43dd8448eb211c80319c", b"b7ad6b7169203331"


def test_ids_are_32_hex_digits_unique_and_sorted_by_time_then_count() -> None:
    source = IdSource()
    made = [source.request_id(1_795_400_000.0 + step // 50 / 1000) for step in range(5000)]
    assert len(set(made)) == 5000
    assert made == sorted(made)
    assert all(re.fullmatch(rb"[0-9a-f]{32}", one) for one in made)


def test_two_workers_never_make_the_same_id() -> None:
    ids = {source.request_id(1.0) for source in (IdSource() for _ in range(500))}
    assert len(ids) == 500


def test_the_count_wraps_within_its_digits() -> None:
    source = IdSource()
    source.request_id(1.0)
    source._count, source._milliseconds = 0xFFFFFFFE, -1
    last, first = source.request_id(1.0), source.request_id(1.0)
    assert (len(last), last[-8:], first[-8:]) == (32, b"ffffffff", b"00000000")


def test_an_id_tells_its_millisecond_and_its_count_whatever_came_before() -> None:
    source = IdSource()
    for number in range(1, 3000):
        wall = 1_795_400_000.0 + (number * 7 % 11) / 1000  # forwards and back
        made = source.request_id(wall)
        assert (int(made[:12], 16), int(made[-8:], 16)) == (int(wall * 1000), number)


def test_no_id_can_be_taken_for_a_card_number() -> None:
    source = IdSource()
    for _ in range(2000):
        trace = source.trace_and_span()
        assert not re.search(rb"[0-9]{13}", source.request_id(9_999_999_999.0))
        assert not re.search(rb"[0-9]{13}", trace[:32])


def test_trace_and_span_are_48_hex_digits_neither_part_zero() -> None:
    source = IdSource()
    source._random_bits = lambda bits: 0
    made = source.trace_and_span()
    assert re.fullmatch(rb"[0-9a-f]{48}", made)
    assert parse_traceparent(b"00-%b-%b-01" % (made[:32], made[32:])) is not None
    source._traces.clear()
    source._random_bits = lambda bits: (1 << bits) - 1
    assert re.fullmatch(rb"f{48}", source.trace_and_span())


@given(st.binary(max_size=140))
def test_a_callers_id_is_kept_when_it_is_1_to_128_visible_characters(value: bytes) -> None:
    visible = 1 <= len(value) <= 128 and all(0x21 <= byte <= 0x7E for byte in value)
    assert accepts_request_id(value) == visible


@pytest.mark.parametrize(
    ("value", "kept"),
    [(b"!" * 128, True), (b"!" * 129, False), (b"", False), (b"a b", False), (b"a\n", False), (b"~", True)],
)
def test_the_edges_of_a_callers_id(value: bytes, kept: bool) -> None:
    assert accepts_request_id(value) == kept


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"00-%b-%b-01" % (TRACE, SPAN), (TRACE, b"01")),
        (b"00-%b-%b-00" % (TRACE, SPAN), (TRACE, b"00")),
        (b"00-%b-%b-ff" % (TRACE, SPAN), (TRACE, b"ff")),
        (b"00-%b-%b-1" % (TRACE, SPAN), None),
        (b"00-%b-%b-01-x" % (TRACE, SPAN), None),
        (b"00-%b-%b-01\n" % (TRACE, SPAN), None),
        (b"ff-%b-%b-01" % (TRACE, SPAN), None),
        (b"00-%b-%b-01" % (TRACE.upper(), SPAN), None),
        (b"00-%b-%b-01" % (b"0" * 32, SPAN), None),
        (b"00-%b-%b-01" % (TRACE, b"0" * 16), None),
        (b"00-%b-%b-01" % (TRACE[:31], SPAN), None),
        (b"", None),
    ],
)
def test_traceparent(value: bytes, expected: tuple[bytes, bytes] | None) -> None:
    assert parse_traceparent(value) == expected


def test_a_trace_goes_on_with_a_span_of_ours_and_a_broken_one_begins_anew() -> None:
    source = IdSource()
    trace, ours = continued_trace(b"00-%b-%b-00" % (TRACE, SPAN), source)
    assert trace == TRACE
    assert re.fullmatch(rb"00-%b-[0-9a-f]{16}-00" % TRACE, ours)
    assert SPAN not in ours
    trace, ours = continued_trace(b"00-broken", source)
    assert ours == b"00-%b-%b-01" % (trace, ours[36:52])
    assert parse_traceparent(ours) == (trace, b"01")
