"""Frames survive any cut of the stream; what is no frame is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from faregate.records.frames import (
    FRAME_BYTES_MAX,
    ROUTE_PLACES,
    Count,
    FrameReader,
    Reading,
    Reply,
    Report,
    RouteGrowth,
    WorkerState,
    encode_frame,
)

REPORT = Report(
    1, "life", 7, 3, WorkerState(ready=True, draining=False, revision=9),
    [Count("faregate_bytes_total", ("request",), 1 << 60)],
    [RouteGrowth(4, {0: 1, 49: 12}, {"2xx answered": 1})],
    [Reading("faregate_calls_in_flight", (), 3.0)],
    [("a", "v1", "GET /")], 4,
)  # fmt: skip


@given(st.lists(st.integers(1, 200), max_size=8))
def test_reports_are_read_whole_however_the_stream_is_cut(cuts: list[int]) -> None:
    reader, stream, got = FrameReader(Report), encode_frame(REPORT) * 3, []
    for cut in [*cuts, len(stream)]:
        piece, stream = stream[:cut], stream[cut:]
        got += reader.feed(piece)
    assert got == [REPORT] * 3


@pytest.mark.parametrize(
    "data",
    [
        (FRAME_BYTES_MAX + 1).to_bytes(4, "big"),
        b"\x00\x00\x00\x01\xc1",
        encode_frame(Reply(1, 2)),
        b"GET / HTTP/1.1\r\n\r\n",
        encode_frame(structs.replace(REPORT, routes=[RouteGrowth(0, {ROUTE_PLACES: 1}, {})])),
        encode_frame(structs.replace(REPORT, routes=[RouteGrowth(-1, {}, {})])),
        encode_frame(structs.replace(REPORT, first=-1)),
    ],
    ids=["too long", "not MessagePack", "another type", "HTTP", "no place", "no number", "no beginning"],
)
def test_what_is_no_report_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        FrameReader(Report).feed(data)
