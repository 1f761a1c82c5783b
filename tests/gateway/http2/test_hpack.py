"""Field blocks are walked before they are decoded: whole, few, in order; whatever the bytes."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jh2.connection import Encoder

from faregate.gateway.http2.frames import (
    COMPRESSION_ERROR,
    ENHANCE_YOUR_CALM,
    HEADER_LIST_BYTES_MAX,
    ConnectionFault,
)
from faregate.gateway.http2.hpack import FieldReader, FieldWriter, walk

BIG = b"\x40\x01a\x7f\xa1\x1e" + b"v" * 4000  # a: vvv..., into the table


def code_of(block: bytes, fields_max: int = 128) -> int:
    with pytest.raises(ConnectionFault) as fault:
        FieldReader().read(block, fields_max)
    return fault.value.code


@pytest.mark.parametrize(
    ("block", "why"),
    [
        (b"\x40\x7f", "a length that ends"),
        (b"\x41", "an indexed name without a value"),
        (b"\x00\x01a", "a name without a value"),
        (b"\x00\x05ab", "a name behind the end"),
        (b"\x00\x01a\x05b", "a value behind the end"),
        (b"\x00", "nothing behind the instruction"),
        (b"\xff", "an index that ends"),
        (b"\xff\x80\x80\x80\x80\x80\x01", "an index in too many bytes"),
        (b"\x00\x7f\xff\xff\xff\xff\xff\x7f", "a length in too many bytes"),
        (b"\x80", "index 0"),
        (b"\xbe", "an index behind the table"),
        (b"\x00\x85\xff\xff\xff\xff\xff\x00", "a Huffman code that ends the string"),
        (b"\x82\x20", "a table size behind a field"),
        (b"\x20\x20\x20", "three table sizes"),
        (b"\x3f\xff\xff\x03", "a table larger than ours"),
    ],
)
def test_h10_a_block_that_is_not_whole_ends_the_connection_and_never_panics_the_decoder(
    block: bytes, why: str
) -> None:
    assert code_of(block) == COMPRESSION_ERROR, why


def test_h04_more_fields_than_the_limit_are_not_even_decoded() -> None:
    walk(b"\x82" * 132, 132)
    assert code_of(b"\x82" * 133) == ENHANCE_YOUR_CALM
    assert code_of(b"\x00\x00\x00" * 133) == ENHANCE_YOUR_CALM  # empty names and values cost as much


def test_h04_one_byte_references_to_a_large_field_are_counted_in_full() -> None:
    reader = FieldReader()
    assert reader.read(BIG, 128)[0][0] == b"a"
    times = HEADER_LIST_BYTES_MAX // 4033
    assert len(reader.read(b"\xbe" * times, 128)) == times
    with pytest.raises(ConnectionFault) as fault:
        reader.read(b"\xbe" * (times + 1), 128)
    assert fault.value.code == ENHANCE_YOUR_CALM


def test_h04_each_field_counts_32_octets_more_than_its_text() -> None:
    size = HEADER_LIST_BYTES_MAX - 128 * 33 - 32
    whole = Encoder().encode([(b"a", b"", True)] * 128 + [(b"", b"v" * size, True)], False)
    assert len(FieldReader().read(bytes(whole), 128)) == 129
    more = Encoder().encode([(b"a", b"", True)] * 128 + [(b"", b"v" * (size + 1), True)], False)
    assert code_of(bytes(more)) == ENHANCE_YOUR_CALM


@settings(max_examples=300)
@given(st.binary(max_size=80))
def test_no_bytes_get_past_the_walk_to_a_panic(block: bytes) -> None:
    with suppress(ConnectionFault):
        FieldReader().read(block, 128)


names = st.binary(max_size=300)


@settings(max_examples=100)
@given(st.lists(st.tuples(names, names, st.booleans()), max_size=20), st.booleans())
def test_what_is_written_is_read_again(fields: list[tuple[bytes, bytes, bool]], huffman: bool) -> None:
    reader = FieldReader()
    encoder = Encoder()
    for _ in range(2):
        block = bytes(encoder.encode(fields, huffman))
        assert [(f[0], f[1]) for f in reader.read(block, 128)] == [(name, value) for name, value, _ in fields]


def test_a_smaller_table_of_the_peer_is_kept_to_and_a_larger_one_makes_no_difference() -> None:
    field = [(b"x-a", b"b", False)]
    writer = FieldWriter()
    writer.limit_table(1 << 30)
    writer.write(field)
    assert len(writer.write(field)) == 1  # from the table
    writer.limit_table(0)
    assert writer.write(field)[:1] == b"\x20"  # the change is told first
    writer.limit_table(4096)
    assert len(writer.write(field)) > 1
