"""Snapshots in sections: whole again when read, and a small change changes little."""

import msgspec
import pytest

from faregate.snapshot.data import FORMAT, ApiKeyCredential, Consumer, Gateway, Plan, Route, Snapshot
from faregate.snapshot.encoded import (
    SECTION_RECORDS,
    decode,
    decode_counted,
    decode_outline,
    encode,
    open_sections,
    read_consumers,
    read_routes,
    renumber,
)


def consumer(number: int) -> Consumer:
    key = ApiKeyCredential(f"k{number}", number.to_bytes(32, "big"))
    return Consumer(f"c{number}", "standard", credentials=(key,))


def snapshot(consumers: int, routes: int = 3, *, skip: int = -1) -> Snapshot:
    return Snapshot(
        FORMAT, 5, Gateway((), None, 1, "data"), (), (), (Plan("standard"),),
        tuple(consumer(number) for number in range(consumers) if number != skip),
        (), tuple(Route("a", 0, "GET", f"/r{number}", f"GET /r{number}", "u") for number in range(routes)),
    )  # fmt: skip


@pytest.mark.parametrize("count", [0, 1, 31, 1000])
def test_what_was_written_is_read(count: int) -> None:
    whole = snapshot(count, count)
    data = encode(whole)
    assert decode(data) == whole
    assert decode_outline(data).routes == count
    assert len(decode_counted(data).consumers) == count
    assert decode(renumber(data, 9)).revision == 9


def test_sections_hold_some_dozens_and_together_all() -> None:
    sections = open_sections(encode(snapshot(5000, 5000)))
    assert (sections.head.consumers, sections.head.routes, sections.head.plans) == (
        (),
        (),
        (Plan("standard"),),
    )
    for found, read in ((sections.consumers, read_consumers), (sections.routes, read_routes)):
        assert sum(section.count for section in found) == 5000
        assert max(section.count for section in found) <= 4 * SECTION_RECORDS
        assert len(found) > 5000 / SECTION_RECORDS / 2
        assert all(len(read(section)) == section.count for section in found)  # type: ignore[operator]


def test_one_record_more_or_less_changes_the_sections_around_it_and_no_other() -> None:
    before = {section.digest for section in open_sections(encode(snapshot(5000))).consumers}
    for skip in (0, 2500, 4999):
        after = {section.digest for section in open_sections(encode(snapshot(5000, skip=skip))).consumers}
        assert len(after - before) <= 2, skip


@pytest.mark.parametrize("data", [b"", b"\x80", b"\xc1", encode(snapshot(3))[:-2]])
def test_other_bytes_are_an_error(data: bytes) -> None:
    with pytest.raises((msgspec.MsgspecError, ValueError)):
        open_sections(data)
    with pytest.raises((msgspec.MsgspecError, ValueError)):
        decode_outline(data)
