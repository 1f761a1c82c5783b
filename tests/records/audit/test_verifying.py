"""Alter, drop, insert, swap or cut one record: verification fails and names it."""

import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from faregate.records.audit import leaf
from faregate.records.audit.leaf import NO_PREV, Entry
from faregate.records.audit.merkle import leaf_hash
from faregate.records.audit.note import Signer
from faregate.records.audit.places import CHECKPOINTS
from faregate.records.audit.reading import ReadError, checkpoints_of, tree_folder
from faregate.records.audit.verifying import Verified, verify
from tests.records.audit.trees import Made, event, made

COUNT = 12
SIGNED = [1, 5, 9, COUNT]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> tuple[Made, list[bytes]]:
    tree = made(tmp_path_factory.mktemp("tree"), COUNT, signed=SIGNED, rotated=(5,))
    found = verify(tree.folder, tree.verifier)
    assert found.fault is None
    assert (found.size, found.checkpoints, found.signed, found.torn) == (COUNT, len(SIGNED), COUNT, 0)
    return tree, tree.lines()


def judged(good: tuple[Made, list[bytes]], lines: list[bytes]) -> Verified:
    good[0].write(lines)
    return verify(good[0].folder, good[0].verifier)


RECORDS = pytest.mark.parametrize("record", range(COUNT))


@RECORDS
@pytest.mark.parametrize("part", ["detail", "prev", "seq", "time", "byte"])
def test_an_altered_record_is_named(good: tuple[Made, list[bytes]], record: int, part: str) -> None:
    lines = list(good[1])
    line = lines[record]
    if part == "detail":
        line = line.replace(b'"number":%d' % record, b'"number":%d' % (record + 100))
    elif part == "prev":
        at = line.index(b'"prev":"') + 8
        line = line[:at] + (b"0" if line[at : at + 1] != b"0" else b"1") + line[at + 1 :]
    elif part == "seq":
        line = line.replace(b'"seq":%d,' % record, b'"seq":%d,' % (record + 7))
    elif part == "time":
        line = line.replace(b"2026", b"2027")
    else:
        line = line[:20] + b"\xff" + line[21:]
    assert line != lines[record]
    lines[record] = line
    fault = judged(good, lines).fault
    assert fault is not None
    assert fault.record == record, fault
    assert fault.kind == "altered" or part == "seq"


@RECORDS
def test_a_dropped_record_is_named(good: tuple[Made, list[bytes]], record: int) -> None:
    lines = good[1][:record] + good[1][record + 1 :]
    fault = judged(good, lines).fault
    assert fault is not None
    assert (fault.record, fault.kind) == (record, "dropped" if record < COUNT - 1 else "truncated")


@RECORDS
def test_an_inserted_record_is_named(good: tuple[Made, list[bytes]], record: int) -> None:
    lines = good[1]
    prev = leaf_hash(lines[record - 1]).hex() if record else NO_PREV
    forged = event(99).at(record, prev)
    fault = judged(good, [*lines[:record], forged, *lines[record:]]).fault
    assert fault is not None
    assert (fault.record, fault.kind) == (record, "inserted") or record in SIGNED or record + 1 in SIGNED
    assert fault.record in {record, record - 1}
    for copied in range(COUNT):
        again = judged(good, [*lines[:record], lines[copied], *lines[record:]]).fault
        assert again is not None
        assert again.record in {record, record - 1} if copied == record - 1 else again.record <= record + 1


@pytest.mark.parametrize("other", range(COUNT))
@RECORDS
def test_swapped_records_are_named(good: tuple[Made, list[bytes]], record: int, other: int) -> None:
    lines = list(good[1])
    lines[record], lines[other] = lines[other], lines[record]
    fault = judged(good, lines).fault
    if record == other:
        assert fault is None
    else:
        assert fault is not None
        assert fault.record == min(record, other)
        assert fault.kind in {"reordered", "altered", "dropped"}


@pytest.mark.parametrize("left", range(COUNT))
def test_a_truncated_tree_is_named_by_what_is_gone(good: tuple[Made, list[bytes]], left: int) -> None:
    fault = judged(good, good[1][:left]).fault
    assert fault is not None
    assert (fault.kind, fault.record, fault.until) == ("truncated", left, COUNT)


def test_a_record_cut_in_the_middle_is_truncated_too(good: tuple[Made, list[bytes]]) -> None:
    good[0].write(good[1][:-1])
    path = good[0].folder / "log" / "000000000000.jsonl"
    path.write_bytes(path.read_bytes() + good[1][-1][:50])
    found = verify(good[0].folder, good[0].verifier)
    assert found.torn == 50
    assert found.fault is not None
    assert (found.fault.kind, found.fault.record) == ("truncated", COUNT - 1)


def relinked(lines: list[bytes], begin: int) -> list[bytes]:
    """All links from ``begin`` on made anew, as who rules the machine can."""
    made_anew = list(lines[:begin])
    prev = leaf_hash(lines[begin - 1]).hex() if begin else NO_PREV
    for seq, line in enumerate(lines[begin:], begin):
        made_anew.append(Entry(*leaf.taken_apart(line)).at(seq, prev))
        prev = leaf_hash(made_anew[-1]).hex()
    return made_anew


@pytest.mark.parametrize("record", range(COUNT))
@pytest.mark.parametrize("how", ["altered", "dropped"])
def test_a_tree_rewritten_with_all_its_links_its_checkpoints_betray(
    good: tuple[Made, list[bytes]], record: int, how: str
) -> None:
    lines = list(good[1])
    lines[record : record + 1] = [event(500).at(record, NO_PREV)] if how == "altered" else []
    found = judged(good, relinked(lines, record))
    fault = found.fault
    assert fault is not None
    assert found.signed <= record, "no more is said to be as it was signed"
    assert fault.kind == "truncated" or fault.record <= record < max(fault.until, fault.record + 1)
    assert fault.kind in {"rewritten", "altered", "truncated"}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
def test_no_change_of_bytes_passes(good: tuple[Made, list[bytes]], seed: int) -> None:
    chance = random.Random(seed)
    data = bytearray(b"".join(line + b"\n" for line in good[1]))
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(data))
        data[at] = (data[at] + chance.randint(1, 255)) % 256
    good[0].write([])
    (good[0].folder / "log" / "000000000000.jsonl").write_bytes(data)
    assert verify(good[0].folder, good[0].verifier).fault is not None


def test_what_was_published_betrays_a_tree_cut_together_with_its_own_checkpoints(tmp_path: Path) -> None:
    tree = made(tmp_path / "tree", COUNT, signed=SIGNED)
    checkpoints = tree.folder / "checkpoints.jsonl"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept.jsonl").write_bytes(checkpoints.read_bytes())
    (elsewhere / "note").write_bytes((tree.folder / "checkpoint").read_bytes())
    checkpoints.write_bytes(b"".join(checkpoints.read_bytes().splitlines(keepends=True)[:2]))
    tree.write(tree.lines()[:6])
    assert verify(tree.folder, tree.verifier).fault is None
    for published in (elsewhere / "kept.jsonl", elsewhere / "note"):
        fault = verify(tree.folder, tree.verifier, published).fault
        assert fault is not None
        assert (fault.kind, fault.record, fault.until) == ("truncated", 6, COUNT)
    with pytest.raises(ReadError, match="no checkpoints"):
        verify(tree.folder, tree.verifier, elsewhere)
    with pytest.raises(ReadError, match="no such"):
        verify(tree.folder, tree.verifier, elsewhere / "nothing")


def test_a_checkpoint_by_another_key_or_out_of_order_is_a_fault(tmp_path: Path) -> None:
    tree = made(tmp_path / "tree", 4, signed=[2, 4])
    other = made(tmp_path / "other", 4, signed=[4])
    fault = verify(tree.folder, other.verifier).fault
    assert fault is not None
    assert fault.kind == "checkpoint"
    path = tree.folder / "checkpoints.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[::-1]))
    fault = verify(tree.folder, tree.verifier).fault
    assert fault is not None
    assert fault.kind == "checkpoint"


def test_records_behind_the_last_checkpoint_are_linked_and_said_to_be_unsigned(tmp_path: Path) -> None:
    tree = made(tmp_path, 5, signed=[3])
    found = verify(tree.folder, tree.verifier)
    assert (found.fault, found.size, found.signed) == (None, 5, 3)


def test_an_empty_tree_is_good_and_a_folder_without_one_is_none(tmp_path: Path) -> None:
    tree = made(tmp_path / "audit", 0, signed=[])
    assert verify(tree.folder, tree.verifier).fault is None
    assert tree_folder(tmp_path) == tree.folder
    with pytest.raises(ReadError, match="no audit tree"):
        tree_folder(tmp_path / "audit" / "log")


def test_a_file_of_checkpoints_that_was_made_a_moment_ago_holds_none_yet(tmp_path: Path) -> None:
    """The writer makes the file, then writes its first line: whoever reads in between finds nothing wrong."""
    (tmp_path / CHECKPOINTS).touch()
    assert list(checkpoints_of(tmp_path, Signer("example.com/tree", bytes(32)).verifier, None)) == []
