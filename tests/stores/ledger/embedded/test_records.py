"""A record is read back as it was written, and nothing that was changed or moved is taken for one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.stores.ledger.embedded import records
from faregate.stores.ledger.embedded.clock import Mark, Reading
from faregate.stores.ledger.embedded.records import Record

FIELDS = (
    "about", "answer", "attempt", "by", "changed_ms", "due_ms", "expires_ms", "fingerprint", "keep_s", "key", "note", "owner",
    "resolves", "state", "tries", "wall_ms",
)  # fmt: skip
blobs = st.binary(max_size=100)


@given(
    about=blobs,
    by=blobs,
    note=blobs,
    answer=st.binary(max_size=2_000),
    numbers=st.integers(0, 1 << 40),
    at=st.integers(0, 1 << 20),
)
def test_a_record_comes_back_as_it_was(
    about: bytes, by: bytes, note: bytes, answer: bytes, numbers: int, at: int
) -> None:
    record = Record(b"k" * 16, b"a" * 16, 5)
    record.resolves, record.tries, record.owner, record.keep_s = True, 9, b"o" * 8, 77
    record.changed_ms, record.wall_ms, record.expires_ms, record.due_ms = (
        numbers,
        numbers + 1,
        numbers + 2,
        numbers + 3,
    )
    record.fingerprint = b"f" * 32
    record.about, record.by, record.note, record.answer = about, by, note, answer
    data = b"x" * (at % 64) + records.encoded(record, 7, at * 8, 4_096)
    begin = at % 64
    length = records.length_at(data, begin, 7, at * 8)
    assert length == len(data) - begin
    assert length % 8 == 0
    read = records.decoded(data, begin)
    for name in FIELDS:
        assert getattr(read, name) == getattr(record, name), name
    assert records.brief(data, begin) == (length, records.STATED, 5, b"k" * 16, numbers + 2)
    assert records.durable_of(data, begin) == 4_096
    assert records.times_of(data, begin) == (numbers, numbers + 1)
    assert records.length_at(data, begin, 8, at * 8) == 0
    assert records.length_at(data, begin, 7, at * 8 + 8) == 0


def test_no_bit_can_be_flipped_and_no_byte_be_missing() -> None:
    record = Record(b"k" * 16, b"a" * 16, 3)
    record.answer = b"answer"
    data = records.encoded(record, 1, 0, 0)
    assert records.length_at(data, 0, 1, 0) == len(data)
    for bit in range(8 * len(data)):
        broken = bytearray(data)
        broken[bit // 8] ^= 1 << bit % 8
        assert records.length_at(bytes(broken), 0, 1, 0) == 0, bit
    for end in range(len(data)):
        assert records.length_at(data[:end], 0, 1, 0) == 0, end


def test_a_mark_comes_back_as_it_was() -> None:
    mark = Mark(12_345, Reading(b"B" * 16, 999, 1_700_000_000_000))
    data = records.marked(mark, 3, 0, 0)
    assert records.length_at(data, 0, 3, 0) == len(data)
    assert records.mark_of(data, 0) == mark


@pytest.mark.parametrize("length", [0, 7, 135, 137, records.RECORD_BYTES_MAX + 8, 0xFFFFFFFF])
def test_no_length_leads_out_of_the_data(length: int) -> None:
    data = bytes(4) + length.to_bytes(4, "little") + bytes(400)
    assert records.length_at(data, 0, 1, 0) == 0
