"""Calls are found from the end of the log, across its files, within the bytes that may be looked at."""

import gzip
import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faregate.records import backwards
from faregate.records.backwards import Budget, lines_back
from faregate.records.searching import PlaceError, Wanted, search, time_text


def _line(number: int, **more: object) -> str:
    told = {
        "time": f"2026-03-02T02:{number // 60:02}:{number % 60:02}.000Z",
        "request_id": f"r{number}",
        **more,
    }
    return json.dumps(told, separators=(",", ":")) + "\n"


def _write(path: Path, numbers: range, age: int = 0, **more: object) -> None:
    path.write_text("".join(_line(number, **more) for number in numbers))
    os.utime(path, (1_700_000_000 - age, 1_700_000_000 - age))


def _ids(folder: Path, wanted: Wanted = Wanted({}), size: int = 100, bytes_max: int = 1 << 20) -> list[str]:  # noqa: B008 - frozen
    found, place = [], ""
    while True:
        page = search(folder, wanted, size=size, place=place, bytes_max=bytes_max)
        found += [str(one["request_id"]) for one in page.calls]
        place = page.next
        if not place:
            return found


@settings(max_examples=60, deadline=None)
@given(
    lines=st.lists(st.binary(max_size=40).map(lambda data: data.replace(b"\n", b"")), max_size=30),
    torn=st.binary(max_size=20).map(lambda data: data.replace(b"\n", b"")),
    block=st.integers(1, 50),
)
def test_lines_come_backwards_whatever_a_block_cuts(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], torn: bytes, block: int
) -> None:
    path = tmp_path_factory.mktemp("back") / "log"
    content = b"".join(line + b"\n" for line in lines)
    path.write_bytes(content + torn)
    present, backwards.BLOCK_BYTES = backwards.BLOCK_BYTES, block  # type: ignore[misc]
    try:
        with path.open("rb") as file:
            size = len(content) + len(torn)
            found = list(lines_back(file.fileno(), size, Budget(1 << 20)))
    finally:
        backwards.BLOCK_BYTES = present  # type: ignore[misc]
    assert [one.content for one in found] == [line for line in reversed(lines) if line]
    for one in found:
        assert content[one.at : one.at + len(one.content)] == one.content


def test_the_newest_come_first_across_rotated_files(tmp_path: Path) -> None:
    _write(tmp_path / "access.jsonl.2", range(10), age=20)
    _write(tmp_path / "access.jsonl-20260302", range(10, 20), age=10)
    _write(tmp_path / "access.jsonl", range(20, 30))
    (tmp_path / "access.jsonl.3.gz").write_bytes(gzip.compress(_line(99).encode()))
    expected = [f"r{number}" for number in range(29, -1, -1)]
    assert _ids(tmp_path) == _ids(tmp_path, size=7) == expected
    assert _ids(tmp_path, bytes_max=1) == expected


def test_a_search_looks_at_no_more_than_it_may_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "access.jsonl").write_text("".join(_line(number % 3600) for number in range(20_000)))
    page = search(tmp_path, Wanted({"consumer": "nobody"}), size=10, bytes_max=300_000)
    assert (page.calls, page.early) == ([], True)
    assert 300_000 <= page.looked <= 300_000 + backwards.BLOCK_BYTES
    assert page.next


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Wanted({"consumer": "acme"}), ["r1"]),
        (Wanted({"consumer": 'a"é'}), ["r2"]),
        (Wanted({"consumer": "acm"}), []),
        (Wanted({}, status="503"), ["r1"]),
        (Wanted({}, status="5xx"), ["r2", "r1"]),
        (Wanted({}, since="2026-03-02T02:00:02.000Z"), ["r3", "r2"]),
        (Wanted({}, until="2026-03-02T02:00:02.000Z"), ["r1"]),
        (Wanted({}, apis=frozenset({"p"})), ["r3"]),
        (Wanted({}, apis=frozenset()), []),
    ],
)
def test_calls_are_found_by_what_they_were(tmp_path: Path, wanted: Wanted, expected: list[str]) -> None:
    lines = [
        _line(1, consumer="acme", status=503),
        _line(2, consumer='a"é', status=500),
        "{broken\n",
        _line(3, status=200, api="p"),
    ]
    (tmp_path / "access.jsonl").write_text("".join(lines))
    assert _ids(tmp_path, wanted) == expected


def test_a_place_in_a_file_that_is_gone_is_told(tmp_path: Path) -> None:
    _write(tmp_path / "access.jsonl", range(9))
    with pytest.raises(PlaceError):
        search(tmp_path, Wanted({}), size=1, place="1.1")


def test_times_are_put_into_the_form_of_lines() -> None:
    assert time_text("2026-03-02T04:15:30+02:00") == "2026-03-02T02:15:30.000Z"
    with pytest.raises(ValueError, match="time zone"):
        time_text("2026-03-02T04:15:30")
