"""The peppers' file: whole or refused, private, and never in a text."""

from pathlib import Path

import pytest

from faregate.snapshot.data import FORMAT, Gateway, Snapshot
from faregate.snapshot.encoded import decode, encode
from faregate.snapshot.peppers import FILE, Pepper, PepperFault, read_peppers, write_peppers

NEW, OLD = Pepper("p2", b"n" * 32), Pepper("p1", b"o" * 32)


def test_what_was_written_is_read_in_its_order_and_is_private(tmp_path: Path) -> None:
    write_peppers(tmp_path, (NEW, OLD))
    assert read_peppers(tmp_path) == (NEW, OLD)
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    assert [one.name for one in tmp_path.iterdir()] == [FILE]


def test_no_file_is_no_pepper(tmp_path: Path) -> None:
    assert read_peppers(tmp_path) == ()


def test_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    write_peppers(tmp_path, (NEW,))
    (tmp_path / FILE).chmod(0o640)
    with pytest.raises(PepperFault, match="0600"):
        read_peppers(tmp_path)


def test_every_part_of_a_file_is_refused(tmp_path: Path) -> None:
    write_peppers(tmp_path, (NEW, OLD))
    content = (tmp_path / FILE).read_bytes()
    for length in range(len(content)):
        (tmp_path / FILE).write_bytes(content[:length])
        with pytest.raises(PepperFault):
            read_peppers(tmp_path)


@pytest.mark.parametrize(
    "peppers",
    [
        tuple(Pepper(str(number), b"x" * 32) for number in range(5)),
        (NEW, Pepper("p2", b"y" * 32)),
        (Pepper("short", b"x" * 31),),
        (Pepper("", b"x" * 32),),
    ],
    ids=["five", "one id twice", "short", "no id"],
)
def test_peppers_that_could_not_be_used_are_not_written(tmp_path: Path, peppers: tuple[Pepper, ...]) -> None:
    with pytest.raises(PepperFault):
        write_peppers(tmp_path, peppers)
    assert list(tmp_path.iterdir()) == []


def test_another_format_is_told(tmp_path: Path) -> None:
    (tmp_path / FILE).touch(mode=0o600)
    (tmp_path / FILE).write_text('{"format": 2, "peppers": []}')
    with pytest.raises(PepperFault, match="format 2"):
        read_peppers(tmp_path)


def test_a_snapshot_carries_them_and_shows_none() -> None:
    snapshot = Snapshot(FORMAT, 1, Gateway((), None, 1, "data"), (), (), (), (), (), (), peppers=(NEW, OLD))
    assert decode(encode(snapshot)).peppers == (NEW, OLD)
    assert "n" * 32 not in repr(snapshot)
    assert "p2" in repr(snapshot)
