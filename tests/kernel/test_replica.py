"""What a machine keeps of the manager's entries is, after any interruption, the state before or after a revision."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from faregate.kernel import replica
from faregate.kernel.changes import Change
from faregate.kernel.replica import Contents, Replica, ReplicaError, read

PLAN = {"limits": ["1/second"]}


def filled(path: Path) -> Replica:
    made = Replica(path)
    made.append([Change("plans", "gold", PLAN), Change("consumers", "acme", {"plan": "gold"})], 1)
    made.append([Change("plans", "gold", {})], 2)
    made.append(
        [
            Change("consumers", "acme"),
            Change("credentials", "k", {"consumer": "x"}),
            Change("plans", "silver", {}),
        ],
        5,
    )
    return made


def test_what_was_appended_is_read_again_in_the_order_in_which_it_came(tmp_path: Path) -> None:
    path = tmp_path / "managed.jsonl"
    assert read(path) == Contents(0, {}, 0)
    made = filled(path)
    found = read(path)
    assert (found.revision, made.revision, found.length) == (5, 5, path.stat().st_size)
    assert found.entries == {
        "plans": {"gold": {}, "silver": {}},
        "consumers": {},
        "credentials": {"k": {"consumer": "x"}},
    }
    assert list(found.entries["plans"]) == ["gold", "silver"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_cut_anywhere_holds_whole_revisions_only(tmp_path: Path) -> None:
    path, cut = tmp_path / "managed.jsonl", tmp_path / "cut.jsonl"
    filled(path)
    data = path.read_bytes()
    whole = {}
    for lines in range(1, data.count(b"\n") + 1):
        found = replica._parse(b"".join(line + b"\n" for line in data.split(b"\n")[:lines]), path)
        whole[found.revision] = found.entries
    assert set(whole) == {0, 1, 2, 5}
    for length in range(len(data.split(b"\n")[0]) + 1, len(data)):
        cut.write_bytes(data[:length])
        found = read(cut)
        assert found.entries == whole[found.revision], length
        again = Replica(cut)
        again.append([Change("plans", "after", PLAN)], 9)
        after = read(cut)
        assert after.revision == 9
        assert after.entries["plans"].pop("after") == PLAN
        assert {name: of for name, of in after.entries.items() if of} == {
            name: of for name, of in found.entries.items() if of
        }


def test_garbage_behind_the_last_revision_is_written_over_and_garbage_within_is_told(tmp_path: Path) -> None:
    path = tmp_path / "managed.jsonl"
    made = filled(path)
    good = path.read_bytes()
    path.write_bytes(good + b'{"section":"plans","na')
    assert read(path).revision == 5
    path.write_bytes(good + b"\0\0\0\0\n")
    assert read(path).revision == 5, "a block that was allotted and not written"
    made.append([Change("plans", "p", {})], 6)
    assert read(path).revision == 6
    path.write_bytes(good.replace(b'"gold"', b"gold", 1))
    with pytest.raises(ReplicaError, match=r"managed\.jsonl:2: not an entry"):
        read(path)
    for wrong in (b"plans: {}\n", b'{"format":9,"revision":1}\n', b"half a line"):
        path.write_bytes(wrong)
        with pytest.raises(ReplicaError):
            read(path)


def test_a_section_of_another_name_gets_in_neither_by_writing_nor_by_reading(tmp_path: Path) -> None:
    path = tmp_path / "managed.jsonl"
    made = filled(path)
    before = path.read_bytes()
    with pytest.raises(ReplicaError, match="`gateway` is no section"):
        made.append([Change("plans", "p", {}), Change("gateway", "listen", [])], 6)
    assert path.read_bytes() == before
    path.write_bytes(before + b'{"section":"gateway","name":"listen","revision":6,"content":[]}\n')
    with pytest.raises(ReplicaError):
        read(path)


def test_a_disk_that_is_full_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "managed.jsonl"
    made = filled(path)
    before = path.read_bytes()
    write = os.pwrite

    def full(descriptor: int, data: bytes, offset: int) -> int:
        if offset > len(before):
            raise OSError(28, "No space left on device")
        return write(descriptor, data[:10], offset)

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="No space"):
        made.append([Change("plans", "p", {})], 6)
    monkeypatch.undo()
    assert (path.read_bytes(), made.revision) == (before, 5)
    made.append([Change("plans", "p", {})], 6)
    assert read(path).entries["plans"]["p"] == {}


def test_it_is_written_anew_before_it_is_twice_as_long_as_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica, "SLACK_BYTES", 2000)
    path = tmp_path / "managed.jsonl"
    made = Replica(path)
    for number in range(500):
        made.append([Change("plans", f"p{number % 5}", {"limits": [f"{number}/second"]})], number + 1)
        assert path.stat().st_size < 4000
    found = read(path)
    assert (found.revision, len(found.entries["plans"])) == (500, 5)
    assert found.entries["plans"]["p4"] == {"limits": ["499/second"]}
    assert [one.name for one in tmp_path.iterdir()] == ["managed.jsonl"]


WRITER = """
import sys
from faregate.kernel import replica
from faregate.kernel.changes import Change
from pathlib import Path
replica.SLACK_BYTES = 1000
made = replica.Replica(Path(sys.argv[1]))
number = made.revision
while True:
    number += 1
    made.append([Change("plans", f"p{number % 7}", {"n": number}), Change("consumers", f"c{number % 7}", {"n": number})], number)
    print(number, flush=True)
"""


def test_a_writer_killed_at_any_moment_loses_nothing_that_it_said_was_kept(tmp_path: Path) -> None:
    path = tmp_path / "managed.jsonl"
    pick = random.Random(7)
    for _ in range(8):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            said = int(writer.stdout.readline())
            time.sleep(pick.uniform(0.0, 0.05))
            writer.send_signal(signal.SIGKILL)
            said = max([said, *map(int, writer.stdout.read().split())])
        found = read(path)
        assert found.revision in {said, said + 1}
        assert found.entries["plans"][f"p{found.revision % 7}"] == {"n": found.revision}
        assert found.entries["consumers"][f"c{found.revision % 7}"] == {"n": found.revision}
