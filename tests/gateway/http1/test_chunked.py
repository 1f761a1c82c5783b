"""F23-F26: however the bytes are split, a chunked body has one reading, and reading it takes little memory."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.gateway.http1.chunked import BodyTooLarge, ChunkDecoder, ChunkError, encode_chunk, encode_last

REST = b"GET /next HTTP/1.1\r\n"
TOKEN = st.text("abcXYZ019!#$-.~", min_size=1, max_size=6).map(str.encode)
EXTENSION = st.one_of(
    st.just(b""),
    TOKEN.map(lambda name: b";" + name),
    st.tuples(TOKEN, TOKEN).map(lambda pair: b" ; %b = %b" % pair),
    st.tuples(TOKEN, TOKEN).map(lambda pair: b';%b="%b \\" q"' % pair),
)
CHUNKS = st.lists(st.tuples(st.binary(min_size=1, max_size=40), EXTENSION, st.integers(0, 3)), max_size=6)
TRAILERS = st.lists(
    st.tuples(
        st.sampled_from([b"X-Checksum", b"Server-Timing"]),
        st.binary(max_size=8).map(lambda data: data.hex().encode()),
    ),
    max_size=3,
)
CUTS = st.lists(st.integers(0, 400), max_size=12)


def body_of(chunks: list[tuple[bytes, bytes, int]], trailers: list[tuple[bytes, bytes]]) -> bytes:
    sized = b"".join(
        b"0" * zeros + b"%x%b\r\n%b\r\n" % (len(data), extension, data) for data, extension, zeros in chunks
    )
    return sized + b"0\r\n" + b"".join(b"%b: %b \r\n" % pair for pair in trailers) + b"\r\n"


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    points = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    return [data[start:end] for start, end in itertools.pairwise(points)]


def feed_one_by_one(reader: ChunkDecoder, data: bytes) -> None:
    for at in range(len(data)):
        reader.feed(data[at : at + 1])


def decoder(**changes: int) -> ChunkDecoder:
    return ChunkDecoder(
        trailer_bytes_max=changes.pop("trailer_bytes_max", 1000),
        trailers_max=changes.pop("trailers_max", 10),
        **changes,
    )


def read(pieces: list[bytes], **changes: int) -> tuple[bytes, list[tuple[bytes, bytes]], bytes]:
    """Data, trailers and rest of a whole body in these pieces."""
    reader = decoder(**changes)
    data = b""
    for index, piece in enumerate(pieces):
        data += b"".join(reader.feed(piece))
        if reader.done:
            return data, reader.trailers, reader.rest + b"".join(pieces[index + 1 :])
    raise AssertionError("the body never ended")


def verdict(pieces: list[bytes], **changes: int) -> tuple[type[ChunkError] | None, bytes, bool]:
    """The error's type if any, the data handed out before it, and whether the body ended."""
    reader = decoder(**changes)
    data = b""
    for piece in pieces:
        try:
            data += b"".join(reader.feed(piece))
        except ChunkError as error:
            return type(error), data, False
        if reader.done:
            return None, data, True
    return None, data, False


@given(CHUNKS, TRAILERS, CUTS)
def test_any_split_of_a_valid_body_gives_the_same(
    chunks: list[tuple[bytes, bytes, int]], trailers: list[tuple[bytes, bytes]], cuts: list[int]
) -> None:
    whole = body_of(chunks, trailers) + REST
    expected = (b"".join(data for data, _, _ in chunks), trailers, REST)
    assert read([whole]) == expected
    assert read(split(whole, cuts)) == expected
    assert read([whole[at : at + 1] for at in range(len(whole))]) == expected


@given(CHUNKS, TRAILERS, st.integers(0, 400), st.binary(min_size=1, max_size=3), CUTS, st.integers(0, 60))
def test_any_split_of_any_body_gives_the_same_verdict(
    chunks: list[tuple[bytes, bytes, int]],
    trailers: list[tuple[bytes, bytes]],
    at: int,
    spoilt: bytes,
    cuts: list[int],
    bytes_max: int,
) -> None:
    valid = body_of(chunks, trailers)
    at = min(at, len(valid) - 1)
    # A line feed at the end settles what is still open: an unfinished line is judged early only to spare a wait.
    body = valid[:at] + spoilt + valid[at + len(spoilt) :] + b"\n"
    error, data, done = verdict([body], body_bytes_max=bytes_max)
    for pieces in (split(body, cuts), [body[index : index + 1] for index in range(len(body))]):
        again, in_pieces, ended = verdict(pieces, body_bytes_max=bytes_max)
        assert (again, ended) == (error, done)
        assert in_pieces.startswith(data)


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=8), TRAILERS)
def test_what_is_written_reads_back(pieces: list[bytes], trailers: list[tuple[bytes, bytes]]) -> None:
    written = b"".join(encode_chunk(piece) for piece in pieces) + encode_last(trailers)
    assert read([written]) == (b"".join(pieces), trailers, b"")


@given(st.binary(max_size=300), CUTS)
def test_arbitrary_bytes_raise_nothing_else(data: bytes, cuts: list[int]) -> None:
    verdict(split(data, cuts))


@pytest.mark.parametrize(
    "unit", [b"0", b"1;a=", b"1;", b"a", b"1 ", b"\r", b"1\r\nx\r\n0\r\nX-A: ", b"0\r\nX", b"1\r\nxy"]
)
def test_a_line_that_never_ends_is_refused_within_16_kib(unit: bytes) -> None:
    reader = decoder()
    with pytest.raises(ChunkError):
        feed_one_by_one(reader, unit + b"a" * (20 << 10))
    assert len(reader._line) <= (16 << 10) + 1


def test_memory_does_not_grow_with_the_body_or_its_trailers() -> None:
    reader = decoder(trailer_bytes_max=200, trailers_max=5)
    reader.feed(b"ffffffff\r\n")
    for _ in range(100):
        reader.feed(b"x" * 65536)
    assert len(reader._line) == 0
    assert reader.trailers == []
    several = decoder(trailer_bytes_max=200, trailers_max=5)
    with pytest.raises(ChunkError, match="trailers_too_large"):
        several.feed(b"0\r\n" + b"X-A: 1\r\n" * 6)
    assert len(several.trailers) == 5
    long = decoder(trailer_bytes_max=200, trailers_max=5)
    with pytest.raises(ChunkError, match="trailers_too_large"):
        long.feed(b"0\r\nX-A: " + b"a" * 200 + b"\r\n")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"2\n{}", "bare_lf"),
        (b"2\r{}\r\n", "chunk_size"),
        (b"0x2\r\n", "chunk_size"),
        (b" 2\r\n", "chunk_size"),
        (b"\r\n", "chunk_size"),
        (b"2\r\n{}}", "chunk_data_end"),
        (b"2\r\n{}}\r\n", "chunk_data_end"),
        (b"0" * 17 + b"\r\n", "chunk_size"),
        (b"2;" + b"a" * 1024 + b"\r\n", "chunk_extension_too_long"),
        (b"1;" + b"a" * 600 + b"\r\nx\r\n1;" + b"a" * 600 + b"\r\n", "chunk_extension_too_long"),
        (b"0\r\nX-A : 1\r\n", "trailer_syntax"),
        (b"0\r\nX_A: 1\r\n", "trailer_syntax"),
        (b"0\r\nX-A: 1\r\n 2\r\n", "trailer_syntax"),
        (b"0\r\nX-A: \x00\r\n", "trailer_syntax"),
        (b"0\r\nContent-Length: 2\r\n", "trailer_forbidden"),
        (b"0\r\nx-consumer-id: acme\r\n", "trailer_forbidden"),
        (b"0\r\nSignature: a\r\n", "trailer_forbidden"),
    ],
)
def test_reasons(body: bytes, reason: str) -> None:
    with pytest.raises(ChunkError) as caught:
        decoder().feed(body)
    assert caught.value.args == (reason,)


def test_f23_the_sum_of_the_announced_sizes_is_held_against_the_limit_before_the_data_comes() -> None:
    reader = decoder(body_bytes_max=10)
    assert reader.feed(b"6\r\nabcdef\r\n") == [b"abcdef"]
    with pytest.raises(BodyTooLarge):
        reader.feed(b"5\r\n")
    exact = decoder(body_bytes_max=10)
    assert b"".join(exact.feed(b"6\r\nabcdef\r\n4\r\nghij\r\n0\r\n\r\n")) == b"abcdefghij"
    assert exact.done
