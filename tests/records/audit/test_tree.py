"""The tree on disk: nothing acknowledged is lost, nothing refused stays, and only a crash's mark is cut off."""

import errno
from hashlib import sha256
from pathlib import Path

import pytest

from faregate.kernel.folder_lock import FolderLock
from faregate.records.audit import leaf, opening
from faregate.records.audit.merkle import Frontier, leaf_hash
from faregate.records.audit.places import KEY, PUBLIC_KEY, TreeError, segments_in
from faregate.records.audit.tree import Disk
from faregate.records.audit.verifying import verify
from tests.records.audit.trees import ORIGIN, event, made, opened


class FullDisk(Disk):
    """Writes ``room`` bytes more, then no further; ``cuts`` False: nor cuts anything."""

    def __init__(self) -> None:
        self.room = 1 << 30
        self.fails_sync = False
        self.cuts = True

    def append(self, descriptor: int, data: bytes, at: int) -> None:
        if len(data) > self.room:
            super().append(descriptor, data[: self.room], at)
            raise OSError(errno.ENOSPC, "No space left on device")
        self.room -= len(data)
        super().append(descriptor, data, at)

    def sync(self, descriptor: int) -> None:
        if self.fails_sync:
            raise OSError(errno.EIO, "Input/output error")
        super().sync(descriptor)

    def cut(self, descriptor: int, size: int) -> None:
        if not self.cuts:
            raise OSError(errno.EIO, "Input/output error")
        super().cut(descriptor, size)


def test_what_was_appended_stands_there_linked_and_hashed(tmp_path: Path) -> None:
    tree = opened(tmp_path).tree
    kept = tree.append([event(number) for number in range(3)]) + tree.append([event(3)])
    tree.close()
    lines = (tmp_path / "log" / "000000000000.jsonl").read_bytes().splitlines()
    frontier = Frontier()
    prev = leaf.NO_PREV
    for number, line in enumerate(lines):
        record = leaf.read(line)
        assert (record.seq, record.prev, record.detail) == (number, prev, {"number": number})
        assert kept[number] == (number, sha256(b"\x00" + line).digest())
        frontier.append(leaf_hash(line))
        prev = leaf_hash(line).hex()
    assert (tree.frontier.root(), tree.prev) == (frontier.root(), prev)


@pytest.mark.parametrize("room", [0, 1, 150, 400])
def test_a_full_disk_refuses_a_batch_and_leaves_nothing_of_it(tmp_path: Path, room: int) -> None:
    disk = FullDisk()
    tree = opened(tmp_path, disk).tree
    tree.append([event(0)])
    before = (tmp_path / "log" / "000000000000.jsonl").read_bytes()
    root = tree.frontier.root()
    disk.room = room
    with pytest.raises(OSError, match="No space"):
        tree.append([event(1), event(2), event(3)])
    assert (tmp_path / "log" / "000000000000.jsonl").read_bytes() == before
    assert (tree.size, tree.frontier.root(), tree.failed) == (1, root, "")
    disk.room = 1 << 20
    assert [seq for seq, _ in tree.append([event(4)])] == [1]
    tree.close()
    assert opened(tmp_path).tree.size == 2


def test_a_failed_sync_counts_as_not_written_and_is_cut_back(tmp_path: Path) -> None:
    disk = FullDisk()
    tree = opened(tmp_path, disk).tree
    tree.append([event(0)])
    disk.fails_sync = True
    with pytest.raises(OSError, match="Input"):
        tree.append([event(1)])
    disk.fails_sync = False
    assert tree.append([event(2)])[0][0] == 1
    tree.close()
    assert leaf.read((tmp_path / "log" / "000000000000.jsonl").read_bytes().splitlines()[1]).detail == {
        "number": 2
    }


def test_where_it_cannot_even_be_cut_back_nothing_more_is_appended(tmp_path: Path) -> None:
    disk = FullDisk()
    tree = opened(tmp_path, disk).tree
    disk.room, disk.cuts = 10, False
    with pytest.raises(OSError, match="No space"):
        tree.append([event(0)])
    disk.room = 1 << 20
    with pytest.raises(OSError, match="cut back"):
        tree.append([event(1)])
    tree.close()
    found = opened(tmp_path)
    assert (found.tree.size, len(found.torn)) == (0, 1)


@pytest.mark.parametrize("signed", [[], [4], [6]])
@pytest.mark.parametrize("tail", [b"{", b'{"actor":"user:one"', b"\0" * 300, b"garbage\nmore\n", b"{}\n"])
def test_a_torn_tail_is_put_aside_and_said_in_a_record(
    tmp_path: Path, signed: list[int], tail: bytes
) -> None:
    tree = made(tmp_path, 6, signed=signed)
    path = tmp_path / "log" / "000000000000.jsonl"
    path.write_bytes(path.read_bytes() + tail)
    found = opened(tmp_path)
    assert (found.tree.size, len(found.torn)) == (6, 1)
    about, detail = opening.told(found.torn[0])
    assert about == "record:6"
    assert detail["cut_bytes"] == len(tail)
    assert detail["cut_sha256"] == sha256(tail).hexdigest()
    found.tree.append([event(6)])
    opening.settle(found.torn[0])
    assert (tmp_path / str(detail["kept_as"])).read_bytes() == tail
    found.tree.close()
    assert opened(tmp_path).torn == []
    assert verify(tmp_path, tree.verifier).fault is None


def test_a_recovery_that_was_interrupted_is_still_said(tmp_path: Path) -> None:
    made(tmp_path, 2, signed=[])
    path = tmp_path / "log" / "000000000000.jsonl"
    path.write_bytes(path.read_bytes() + b"torn")
    opened(tmp_path).tree.close()  # cut, and killed before the record
    assert len(opened(tmp_path).torn) == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: lines[:4] + lines[5:],
        lambda lines: [*lines[:4], lines[4].replace(b"thing:4", b"thing:5"), *lines[5:]],
        lambda lines: [*lines[:7], lines[7].replace(b"thing:7", b"thing:6")],
        lambda lines: lines[:-2],
        lambda _: [],
    ],
    ids=["dropped", "altered", "last altered", "truncated", "emptied"],
)
def test_nothing_is_appended_to_a_tree_that_is_not_the_one_signed(tmp_path: Path, change) -> None:
    tree = made(tmp_path, 8, signed=[3, 8])
    tree.write(change(tree.lines()))
    before = tree.lines()
    with pytest.raises(TreeError, match="damaged"):
        opened(tmp_path)
    assert tree.lines() == before


def test_a_last_segment_that_is_gone_is_noticed(tmp_path: Path) -> None:
    made(tmp_path, 8, signed=[4, 8], rotated=(4,))
    segments_in(tmp_path)[-1][1].unlink()
    with pytest.raises(TreeError, match="8 were signed"):
        opened(tmp_path)


def test_acknowledged_records_that_are_gone_are_noticed_though_nothing_was_signed(tmp_path: Path) -> None:
    tree = made(tmp_path, 4, signed=[])
    path = tmp_path / "log" / "000000000000.jsonl"
    path.write_bytes(b"".join(line + b"\n" for line in tree.lines()[:-1]))
    with pytest.raises(TreeError, match="acknowledged"):
        opened(tmp_path)
    fault = verify(tmp_path, tree.verifier).fault
    assert fault is not None
    assert (fault.kind, fault.record) == ("truncated", 3)


def test_a_broken_record_that_had_been_synced_is_damage_and_no_crash(tmp_path: Path) -> None:
    tree = made(tmp_path, 4, signed=[])
    path = tmp_path / "log" / "000000000000.jsonl"
    path.write_bytes(b"\n".join([*tree.lines()[:3], b"x" * len(tree.lines()[3])]) + b"\n")
    with pytest.raises(TreeError, match="record 3"):
        opened(tmp_path)


def test_a_long_tree_is_opened_from_its_last_segment(tmp_path: Path) -> None:
    tree = made(tmp_path, 9, signed=[4, 8, 9], rotated=(4, 8))
    assert [first for first, _ in segments_in(tmp_path)] == [0, 4, 8]
    (tmp_path / "log" / "000000000000.jsonl").unlink()  # not read: an archive may hold it
    found = opened(tmp_path)
    assert found.tree.size == 9
    found.tree.append([event(9)])
    found.tree.close()
    fault = verify(tmp_path, tree.verifier).fault
    assert fault is not None
    assert (fault.kind, fault.record, fault.until) == ("dropped", 0, 4)


@pytest.mark.parametrize("content", [None, b"", b"{}", b'{"size":4,"prev":"","nodes":["00"]}'])
def test_without_a_good_note_of_its_beginning_a_segment_is_read_with_those_before(
    tmp_path: Path, content: bytes | None
) -> None:
    made(tmp_path, 6, signed=[4, 6], rotated=(4,))
    note = tmp_path / "log" / "000000000004.tree"
    if content is None:
        note.unlink()
    else:
        note.write_bytes(content)
    found = opened(tmp_path)
    assert found.tree.size == 6
    found.tree.close()


def test_events_of_late_are_known_again_after_a_start(tmp_path: Path) -> None:
    made(tmp_path, 6, signed=[4], rotated=(4,))
    tree = opened(tmp_path).tree
    found = tree.known(event(5).mark)
    assert found is not None
    assert found[0] == 5
    assert tree.known(event(7).mark) is None
    tree.close()


def test_the_key_is_made_once_private_and_named(tmp_path: Path) -> None:
    first = opened(tmp_path).signer.verifier
    assert first.name == ORIGIN
    assert (tmp_path / KEY).stat().st_mode & 0o777 == 0o600
    assert (tmp_path / PUBLIC_KEY).read_text() == f"{first.line}\n"
    assert opening.open_tree(tmp_path, "another.example").signer.verifier.line == first.line
    (tmp_path / KEY).chmod(0o640)
    with pytest.raises(TreeError, match="chmod 600"):
        opened(tmp_path)


def test_a_key_that_is_gone_or_broken_is_never_replaced(tmp_path: Path) -> None:
    made(tmp_path, 1, signed=[])
    (tmp_path / KEY).write_text("PRIVATE+KEY+x+00000000+AAAA\n")
    with pytest.raises(TreeError, match="broken"):
        opened(tmp_path)
    (tmp_path / KEY).unlink()
    with pytest.raises(TreeError, match="gone"):
        opened(tmp_path)


def test_without_an_origin_a_tree_is_named_for_its_key(tmp_path: Path) -> None:
    name = opening.open_tree(tmp_path).signer.verifier.name
    assert name.startswith("faregate.local/")
    assert len(name) == len("faregate.local/") + 16


def test_a_half_written_checkpoint_is_cut_off_and_a_false_one_refused(tmp_path: Path) -> None:
    made(tmp_path, 3, signed=[2, 3])
    path = tmp_path / "checkpoints.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"note":"gat')
    found = opened(tmp_path)
    assert found.checkpoints.last is not None
    assert found.checkpoints.last.size == 3
    assert path.read_bytes() == whole
    path.write_bytes(whole.replace(b"\\n3\\n", b"\\n2\\n"))
    with pytest.raises(TreeError, match="checkpoint"):
        opened(tmp_path)


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    held = FolderLock.take(tmp_path, lambda _: False)
    assert held is not None
    assert FolderLock.take(tmp_path, lambda _: False) is None
    held.free()
    again = FolderLock.take(tmp_path, lambda _: False)
    assert again is not None
    again.free()


def test_records_are_nobody_elses_to_read(tmp_path: Path) -> None:
    made(tmp_path / "audit", 1, signed=[1])
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "audit").rglob("*")}
    assert modes["000000000000.jsonl"] == 0o600
    assert modes["log"] == 0o700
    assert modes["key"] == 0o600
