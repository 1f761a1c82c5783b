"""Snapshots on disk: numbers that grow across starts, one durable file of our own, and nothing read that is not whole."""

import stat
from pathlib import Path

import pytest
from msgspec import structs

from faregate.gateway.revisions import put_to_work, revision_on_disk
from faregate.snapshot import encoded
from faregate.snapshot.data import FORMAT, Consumer, Gateway, Listener, Outline, Plan, Route, Snapshot


def snapshot(revision: int = 0, form: int = FORMAT) -> Snapshot:
    return Snapshot(form, revision, Gateway((), None, 1, ""), (), (), (), (), (), ())


def test_a_snapshot_gets_the_next_number_in_one_file_that_only_we_read(tmp_path: Path) -> None:
    path = tmp_path / "snapshot"
    for last in (0, 1, 41):
        assert put_to_work(encoded.encode(snapshot()), path, last).revision == last + 1
        assert encoded.decode(path.read_bytes()) == snapshot(last + 1)
        assert revision_on_disk(path) == last + 1
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert list(tmp_path.iterdir()) == [path]


def test_numbering_changes_nothing_but_the_number() -> None:
    gateway = Gateway((Listener("127.0.0.1", 80),), None, 2, "data")
    whole = Snapshot(
        FORMAT, 0, gateway, (), (), (Plan("standard"),), (Consumer("acme", "standard"),), (),
        (Route("a", 0, "GET", "/", "GET /", "u"),),
    )  # fmt: skip
    numbered = encoded.renumber(encoded.encode(whole), 70_000)
    assert encoded.decode(numbered) == structs.replace(whole, revision=70_000)
    assert encoded.decode_outline(numbered) == Outline(FORMAT, 70_000, gateway, 1)
    counted = encoded.decode_counted(numbered)
    assert (counted.plans, counted.consumers[0].plan, len(counted.routes)) == (whole.plans, "standard", 1)


@pytest.mark.parametrize(
    "content", [None, b"", b"\xff\xff", b"not a snapshot", encoded.encode(snapshot(5))[:-3]]
)
def test_an_unreadable_snapshot_counts_as_none(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "snapshot"
    if content is not None:
        path.write_bytes(content)
    assert revision_on_disk(path) == 0


def test_another_format_is_not_read(tmp_path: Path) -> None:
    other = encoded.encode(snapshot(9, FORMAT + 1))
    with pytest.raises(ValueError, match="format"):
        encoded.decode(other)
    with pytest.raises(ValueError, match="format"):
        encoded.decode_outline(other)
    (tmp_path / "snapshot").write_bytes(other)
    assert revision_on_disk(tmp_path / "snapshot") == 0
