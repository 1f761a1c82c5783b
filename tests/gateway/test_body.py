"""A request's body: counted or decoded exactly, held until there is a connection, framed anew, captured up to a cap."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.gateway.body import CAPTURE_BYTES_MAX, RequestBody
from faregate.gateway.http1.request import Fields, parse_fields
from faregate.kernel.problems import Refusal
from tests.gateway.http1.test_chunked import read, split


def fields(framing: bytes) -> Fields:
    return parse_fields(b"Host: a\r\n" + framing + b"\r\n\r\n", 128)


def sized(length: int, *, capture: bool = False) -> RequestBody:
    return RequestBody(fields(b"Content-Length: %d" % length), 1 << 20, (1000, 10), capture=capture, now=5.0)


def chunked(bytes_max: int = 1 << 20, *, capture: bool = False) -> RequestBody:
    return RequestBody(fields(b"Transfer-Encoding: chunked"), bytes_max, (1000, 10), capture=capture, now=5.0)


@given(
    st.binary(min_size=1, max_size=60),
    st.binary(max_size=20),
    st.lists(st.integers(0, 80), max_size=6),
    st.integers(0, 6),
)
def test_a_sized_body_arrives_whole_and_what_follows_is_told_apart(
    data: bytes, rest: bytes, cuts: list[int], release_at: int
) -> None:
    body = sized(len(data))
    sent, behind = b"", b""
    for index, piece in enumerate(split(data + rest, cuts)):
        if index == release_at:
            sent += b"".join(body.release())
        if body.left == 0:
            behind += piece
            continue
        now_sent, now_behind = body.feed(piece)
        sent += now_sent
        behind += now_behind
    sent += b"".join(body.release())
    assert (sent, behind, body.left, body.received_bytes) == (data, rest, 0, len(data))


@given(
    st.lists(st.binary(min_size=1, max_size=30), max_size=5),
    st.binary(max_size=20),
    st.lists(st.integers(0, 250), max_size=8),
)
def test_a_chunked_body_is_framed_anew_with_the_same_data(
    chunks: list[bytes], rest: bytes, cuts: list[int]
) -> None:
    body = chunked()
    wire = (
        b"".join(b"%x;ext=1\r\n%b\r\n" % (len(piece), piece) for piece in chunks)
        + b"0\r\nX-Checksum: 1\r\n\r\n"
    )
    sent, behind = b"", b""
    for piece in split(wire + rest, cuts):
        if body.left == 0:
            behind += piece
            continue
        now_sent, now_behind = body.feed(piece)
        sent += now_sent
        behind += now_behind
    sent = b"".join(body.release()) + sent
    assert read([sent]) == (b"".join(chunks), [], b"")
    assert b";ext=1" not in sent or b";ext=1" in b"".join(chunks), "no extension is passed on"
    assert behind == rest
    assert body.left == 0
    assert body.received_bytes == sum(map(len, chunks))


def test_nothing_is_sent_before_release_and_nothing_is_held_after() -> None:
    body = sized(6)
    assert body.feed(b"ab") == (b"", b"")
    assert body.release() == [b"ab"]
    assert body.feed(b"cd") == (b"cd", b"")
    assert body.feed(b"efX") == (b"ef", b"X")
    assert body.release() == []


def test_a_dropped_body_sends_nothing() -> None:
    body = sized(6)
    body.feed(b"ab")
    body.drop()
    assert body.release() == []


def test_f27_a_chunked_body_over_the_limit_is_413_and_a_broken_one_400() -> None:
    with pytest.raises(Refusal) as caught:
        chunked(4).feed(b"5\r\n")
    assert (caught.value.code, caught.value.reason) == ("body_too_large", "chunked_body")
    with pytest.raises(Refusal) as caught:
        chunked().feed(b"x\r\n")
    assert (caught.value.code, caught.value.reason) == ("malformed_request", "chunk_size")


@pytest.mark.parametrize(
    "length", [CAPTURE_BYTES_MAX - 1, CAPTURE_BYTES_MAX, CAPTURE_BYTES_MAX + 1, 3 * CAPTURE_BYTES_MAX]
)
def test_the_capture_is_the_beginning_of_the_body_up_to_the_cap(length: int) -> None:
    body = sized(length, capture=True)
    data = bytes(index % 251 for index in range(length))
    for start in range(0, length, 50_000):
        body.feed(data[start : start + 50_000])
    assert body.captured == data[:CAPTURE_BYTES_MAX]
    assert sized(1).captured is None


def test_f29_a_caller_who_sends_waits_for_nothing() -> None:
    body = RequestBody(
        fields(b"Content-Length: 4\r\nExpect: 100-continue"), 10, (1, 1), capture=False, now=0.0
    )
    assert body.expect
    body.feed(b"a")
    assert not body.expect


@given(st.lists(st.binary(min_size=1, max_size=20), max_size=5), st.lists(st.integers(0, 80), max_size=6))
def test_a_collected_body_is_whole_and_goes_out_in_one_chunk(chunks: list[bytes], cuts: list[int]) -> None:
    body = RequestBody(
        fields(b"Transfer-Encoding: chunked"), 1 << 20, (1000, 10), capture=False, now=5.0, collects=True
    )
    wire = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    for piece in split(wire, cuts):
        assert body.feed(piece) == (b"", b"")
    data = b"".join(chunks)
    assert (body.left, body.content()) == (0, data)
    sent = b"".join(body.release())
    assert sent == (b"%x\r\n%b\r\n" % (len(data), data) if data else b"") + b"0\r\n\r\n"


def test_a_collected_body_in_tiny_chunks_takes_no_more_memory_than_its_bytes() -> None:
    body = RequestBody(
        fields(b"Transfer-Encoding: chunked"), 1 << 20, (1000, 10), capture=False, now=5.0, collects=True
    )
    tracemalloc.start()
    try:
        for _ in range(256):
            body.feed(b"2\r\nab\r\n" * 1024)
        assert tracemalloc.get_traced_memory()[0] < 1 << 20, "512 KiB, and what a bytearray keeps in hand"
    finally:
        tracemalloc.stop()


def test_a_collected_body_that_is_wanted_before_its_end_goes_on_as_it_comes() -> None:
    body = RequestBody(
        fields(b"Transfer-Encoding: chunked"), 100, (1000, 10), capture=False, now=5.0, collects=True
    )
    body.feed(b"3\r\nabc\r\n")
    assert b"".join(body.release()) == b"3\r\nabc\r\n"
    assert body.feed(b"2\r\nde\r\n0\r\n\r\n") == (b"2\r\nde\r\n0\r\n\r\n", b"")
