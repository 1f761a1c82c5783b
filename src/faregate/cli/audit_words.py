"""What ``faregate audit`` prints: a verdict on a tree, its records, the two sides of a consistency proof."""

import base64
from collections import deque
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from faregate.records.audit import leaf, proving
from faregate.records.audit.leaf import LeafError
from faregate.records.audit.note import Checkpoint, Verifier
from faregate.records.audit.proving import Consistency, ProofError
from faregate.records.audit.reading import lines_of, read_note
from faregate.records.audit.verifying import Verified

_COLUMNS: Final = ("seq", "time", "type", "actor", "object")
LAST: Final = "last"


def as_object(verified: Verified, verifier: Verifier) -> dict[str, object]:
    """A verdict for programs."""
    fault = verified.fault
    return {
        "ok": fault is None,
        "origin": verifier.name,
        "key": verifier.id.hex(),
        "size": verified.size,
        "root": base64.b64encode(verified.root).decode(),
        "checkpoints": verified.checkpoints,
        "signed": verified.signed,
        "unsigned": verified.size - verified.signed,
        "torn_bytes": verified.torn,
        "fault": None
        if fault is None
        else {
            "kind": fault.kind,
            "record": fault.record,
            "until": fault.until or fault.record + 1,
            "message": fault.message,
        },
    }


def in_words(verified: Verified, verifier: Verifier) -> list[str]:
    """A verdict for people, its word first."""
    fault = verified.fault
    if fault is not None:
        many = fault.until > fault.record + 1
        which = f"records {fault.record} to {fault.until - 1}" if many else f"record {fault.record}"
        lines = [f"BAD: {which}: {fault.kind}", fault.message]
        good = verified.signed
        return [
            *lines,
            f"the first {good} records are as they were signed" if good else "no checkpoint holds",
        ]
    last = f"the last of {verified.signed} records ({verified.signed_at})"
    lines = [
        f"good: {verified.size} records of {verifier.name}",
        f"root {base64.b64encode(verified.root).decode()}",
        f"{verified.checkpoints} checkpoints hold, {last}"
        if verified.checkpoints
        else "no checkpoint: nothing is signed yet",
    ]
    if verified.size > verified.signed:
        lines.append(f"{verified.size - verified.signed} records behind it are linked and not signed yet")
    if verified.torn:
        lines.append(f"{verified.torn} bytes at the end are half written and no record")
    return lines


def selected(folder: Path, kind: str, actor: str, about: str, limit: int) -> tuple[list[bytes], bool]:
    """The last ``limit`` records of these, and whether there are more. Raises ``reading.ReadError``."""
    found: deque[bytes] = deque(maxlen=limit)
    count = 0
    for line in lines_of(folder):
        try:
            record = leaf.read(line.content)
        except LeafError:
            continue
        if kind and record.type != kind and not record.type.startswith(f"{kind}."):
            continue
        if (actor and record.actor != actor) or (about and record.object != about):
            continue
        found.append(line.content)
        count += 1
    return list(found), count > limit


def table(records: list[bytes]) -> list[str]:
    """A line a record below a line of headings, with its detail behind."""
    rows = [(*_COLUMNS, "detail"), *(_row(leaf.read(record)) for record in records)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    return [
        "  ".join([*(f"{cell:<{width}}" for cell, width in zip(row[:-1], widths, strict=True)), row[-1]])
        for row in rows
    ]


def _row(record: leaf.Leaf) -> tuple[str, ...]:
    detail = msgspec.json.encode(record.detail).decode()
    return str(record.seq), record.time, record.type, record.actor, record.object, detail


class Side(NamedTuple):
    """One of the two trees of a consistency proof: its size, and what was signed of it, if that is known."""

    size: int
    checkpoint: Checkpoint | None
    note: str

    @classmethod
    def read(cls, text: str, folder: Path, verifier: Verifier) -> "Side":
        """From a size, a file with a checkpoint, or ``last``. Raises ``ProofError``, ``NoteError``,
        ``reading.ReadError``.
        """
        if text == LAST:
            last = proving.last_signed(folder, verifier)
            if last is None:
                raise ProofError("nothing is signed yet")
            return cls(last.checkpoint.size, last.checkpoint, last.note)
        if text.isascii() and text.isdigit() and len(text) <= 15:
            own = proving.signed_at(folder, verifier, int(text))
            return cls(int(text), own.checkpoint, own.note) if own else cls(int(text), None, "")
        signed = read_note(Path(text), verifier)
        return cls(signed.checkpoint.size, signed.checkpoint, signed.note)


def consistent(folder: Path, old: Side, new: Side) -> Consistency:
    """The proof, where the tree has both. Raises ``ProofError``, ``reading.ReadError``."""
    proof = proving.prove_consistency(folder, old.size, new.size)
    for side, root in ((old, proof.old_root), (new, proof.root)):
        if side.checkpoint is not None and base64.b64encode(side.checkpoint.root).decode() != root:
            raise ProofError(f"the first {side.size} records are not those that were signed")
    return msgspec.structs.replace(proof, old_checkpoint=old.note, checkpoint=new.note)
