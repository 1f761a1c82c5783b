"""Trees for tests: made in a folder by the writer's own parts, without its process."""

from dataclasses import dataclass
from pathlib import Path

from faregate.records.audit import leaf
from faregate.records.audit.leaf import Entry
from faregate.records.audit.note import Verifier
from faregate.records.audit.opening import Opened, open_tree
from faregate.records.audit.places import LOG, segments_in
from faregate.records.audit.tree import Disk

TIME = "2026-03-02T02:15:30.123456Z"
ORIGIN = "gateway.example/tree"


def event(number: int) -> Entry:
    return leaf.entry("test.event", "user:one", f"thing:{number}", {"number": number}, TIME)


@dataclass
class Made:
    """A tree whose writer has gone."""

    folder: Path
    verifier: Verifier

    def lines(self) -> list[bytes]:
        return [line for _, path in segments_in(self.folder) for line in path.read_bytes().splitlines()]

    def write(self, lines: list[bytes]) -> None:
        """All lines, each with its end, as one segment."""
        for _, path in segments_in(self.folder):
            path.unlink()
        (self.folder / LOG / "000000000000.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))
        (self.folder / "durable").unlink(missing_ok=True)


def opened(folder: Path, disk: Disk | None = None) -> Opened:
    folder.mkdir(exist_ok=True)
    return open_tree(folder, ORIGIN, disk)


def made(folder: Path, count: int, *, signed: list[int], rotated: tuple[int, ...] = ()) -> Made:
    """A tree of ``count`` records with checkpoints at these sizes, and a new segment behind those."""
    found = opened(folder)
    for number in range(count):
        found.tree.append([event(number)])
        if found.tree.size in signed:
            found.checkpoints.sign(found.tree, TIME)
        if found.tree.size in rotated:
            found.tree.rotate()
    found.tree.close()
    return Made(folder, found.signer.verifier)
