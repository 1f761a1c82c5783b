"""From a folder to a tree that can grow: one writer at a time, the key, what a crash left half written.

Read again are only the last segments, from the last checkpoint on, which must fit. Behind what was synced a
line may be broken: that is a crash's mark and was told to nobody. It is put aside (``torn``), cut off, and
said in a record of its own. Anything else that does not fit is damage, or somebody's work: nothing is
appended to such a tree.
"""

import json
import os
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Final

from faregate.records.audit import leaf
from faregate.records.audit.checkpoints import CheckpointFile
from faregate.records.audit.leaf import NO_PREV, LeafError
from faregate.records.audit.merkle import Frontier, leaf_hash
from faregate.records.audit.note import Checkpoint, NoteError, Signer
from faregate.records.audit.places import (
    LOG,
    TORN,
    TreeError,
    load_or_make_key,
    segments_in,
    sync_folder,
)
from faregate.records.audit.tree import Disk, Tree, durable_mark

TORN_BYTES_MAX: Final = 32 << 20
"""More than a batch can be, and so than a crash can leave."""
_PENDING: Final = ".pending"


class Opened:
    """A tree ready to grow. ``torn``: what was put aside and is not yet said in a record."""

    def __init__(self, tree: Tree, signer: Signer, checkpoints: CheckpointFile, torn: list[Path]) -> None:
        self.tree = tree
        self.signer = signer
        self.checkpoints = checkpoints
        self.torn = torn


def open_tree(folder: Path, origin: str = "", disk: Disk | None = None) -> Opened:
    """The tree in ``folder``, whose lock is held; begun where there is none, for ``origin``. Raises
    ``TreeError`` for one that cannot be gone on with, OSError.
    """
    for name in (LOG, TORN):
        (folder / name).mkdir(mode=0o700, exist_ok=True)
    sync_folder(folder)
    signer = load_or_make_key(folder, origin)
    checkpoints = CheckpointFile(folder, signer)
    try:
        checkpoints.load()
    except NoteError as error:
        raise _damaged(folder, f"the last checkpoint: {error}") from None
    tree = Tree(folder, disk)
    try:
        _adopt(tree, checkpoints.last)
    except BaseException:
        tree.close()
        raise
    return Opened(tree, signer, checkpoints, sorted((folder / TORN).glob(f"*{_PENDING}")))


def told(torn: Path) -> tuple[str, dict[str, object]]:
    """What a record says of what was put aside: its object and detail."""
    content = torn.read_bytes()
    seq = int(torn.stem.partition("-")[0])
    return f"record:{seq}", {
        "cut_bytes": len(content),
        "cut_sha256": sha256(content).hexdigest(),
        "kept_as": f"{TORN}/{torn.name.removesuffix(_PENDING)}",
    }


def settle(torn: Path) -> None:
    """It was said in a record. Raises OSError."""
    torn.rename(torn.with_name(torn.name.removesuffix(_PENDING)))


def _damaged(folder: Path, what: str) -> TreeError:
    return TreeError(
        f"the audit tree in {folder} is damaged: {what}; nothing is appended. See `faregate audit verify "
        f"--folder {folder}`, and docs/concepts/audit.md, `When the tree is damaged`"
    )


def _adopt(tree: Tree, last: Checkpoint | None) -> None:
    """Reads what ``tree`` goes on from. Raises ``TreeError``, OSError."""
    folder = tree.folder
    segments = segments_in(folder)
    signed = 0 if last is None else last.size
    if not segments:
        if signed:
            raise _damaged(folder, f"its records are gone; {signed} were signed")
        tree.open_segment(0, 0)
        return
    at = begin_at(tree, segments, signed)
    for index in range(at, len(segments)):
        first, path = segments[index]
        if first != tree.size:
            raise _damaged(folder, f"{path.name} does not begin with record {tree.size}")
        end = _replay(tree, path, first, last, is_last=index == len(segments) - 1)
    if tree.size < signed:
        raise _damaged(folder, f"it ends with {tree.size} records; {signed} were signed")
    if (first, end) < durable_mark(folder):
        raise _damaged(folder, f"records behind number {tree.size - 1} are gone that had been acknowledged")
    tree.open_segment(first, end)


def begin_at(tree: Tree, segments: list[tuple[int, Path]], signed: int) -> int:
    """The segment from which to read: the last one that begins no later than the last checkpoint, and of
    whose beginning the tree is known.
    """
    for index in range(len(segments) - 1, 0, -1):
        first, path = segments[index]
        if first > signed:
            continue
        try:
            facts = json.loads(path.with_suffix(".tree").read_bytes())
            nodes = [bytes.fromhex(node) for node in facts["nodes"]]
            frontier, prev = Frontier(facts["size"], nodes), facts["prev"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
        if frontier.size == first and isinstance(prev, str):
            tree.frontier, tree.prev = frontier, prev
            return index
    tree.frontier, tree.prev = Frontier(), NO_PREV
    return 0


def _replay(tree: Tree, path: Path, first: int, last: Checkpoint | None, *, is_last: bool) -> int:
    """Takes the records of a segment; where their bytes end. Raises ``TreeError``, OSError."""
    _check_signed(tree, last)
    signed = 0 if last is None else last.size
    end = 0
    for line, after in _lines(path):
        why = _misfit(tree, line)
        if why:
            durable = durable_mark(tree.folder)
            if not is_last or tree.size < signed or (first, end) < durable:
                raise _damaged(tree.folder, f"record {tree.size} ({path.name}, byte {end}): {why}")
            _cut_torn(tree, path, end, why)
            return end
        digest = leaf_hash(line)
        tree.remember(leaf.taken_apart(line).mark, tree.size, digest)
        tree.frontier.append(digest)
        tree.prev = digest.hex()
        end = after
        _check_signed(tree, last)
    return end


def _misfit(tree: Tree, line: bytes) -> str:
    """Why ``line`` is not the next record; empty when it is."""
    try:
        found = leaf.read(line)
    except LeafError as error:
        return str(error)
    return "" if (found.seq, found.prev) == (tree.size, tree.prev) else "it does not follow the one before"


def _check_signed(tree: Tree, last: Checkpoint | None) -> None:
    if last is not None and tree.size == last.size and tree.frontier.root() != last.root:
        raise _damaged(tree.folder, f"its first {last.size} records are not those that were signed")


def _cut_torn(tree: Tree, path: Path, end: int, why: str) -> None:
    """Puts aside and cuts off what follows byte ``end``, if a crash can have left as much. Raises
    ``TreeError``, OSError.
    """
    if path.stat().st_size - end > TORN_BYTES_MAX:
        raise _damaged(tree.folder, f"record {tree.size} ({path.name}, byte {end}): {why}")
    with path.open("r+b") as file:
        file.seek(end)
        content = file.read()
        aside = tree.folder / TORN / f"{tree.size:012d}-{sha256(content).hexdigest()[:16]}.bin{_PENDING}"
        with aside.open("wb") as kept:
            kept.write(content)
            kept.flush()
            os.fsync(kept.fileno())
        sync_folder(aside.parent)
        file.truncate(end)
        os.fsync(file.fileno())


def _lines(path: Path) -> Iterator[tuple[bytes, int]]:
    """The lines of a file without their ends, and where each ends; one that does not end is told with
    what no record has.
    """
    end = 0
    with path.open("rb") as file:
        while line := file.readline(2 * leaf.LEAF_BYTES_MAX):
            end += len(line)
            yield (line[:-1] if line.endswith(b"\n") else b"", end)
