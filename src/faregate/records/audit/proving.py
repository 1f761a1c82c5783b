"""Proofs that a third party can check with the public key alone: that a record stands in a signed tree, and
that a later tree contains an earlier one.

A proof is a JSON object that carries all it needs, the checkpoint included. It is checked before it is handed
out, and by ``check`` wherever it comes from.
"""

import base64
import binascii
from pathlib import Path
from typing import Final

import msgspec

from faregate.records.audit import leaf
from faregate.records.audit.leaf import LeafError
from faregate.records.audit.merkle import (
    Frontier,
    Range,
    consistency_ranges,
    inclusion_ranges,
    is_consistent,
    is_included,
    leaf_hash,
)
from faregate.records.audit.note import NoteError, Verifier, read_checkpoint
from faregate.records.audit.reading import Signed, checkpoints_of, lines_of

FORMAT: Final = "faregate-audit-1"
FOUND_MAX: Final = 20


class ProofError(Exception):
    """There is no such proof, or what was given is none. The message says why."""


class Inclusion(msgspec.Struct, tag="inclusion", tag_field="kind", forbid_unknown_fields=True):
    """That ``record`` stands at ``index`` of the tree that ``checkpoint`` signs. Hashes are base64."""

    format: str
    index: int
    record: str
    proof: list[str]
    checkpoint: str


class Consistency(msgspec.Struct, tag="consistency", tag_field="kind", forbid_unknown_fields=True):
    """That the tree of ``size`` records with ``root`` begins with that of ``old_size`` with ``old_root``.
    ``checkpoint`` signs the new one, or is empty, and ``old_checkpoint`` the old one.
    """

    format: str
    old_size: int
    old_root: str
    size: int
    root: str
    proof: list[str]
    checkpoint: str = ""
    old_checkpoint: str = ""


def find(folder: Path, wanted: str) -> list[int]:
    """Numbers of the records that ``wanted`` names: a number, a leaf's hash in hex, an object, or a call's
    id. At most ``FOUND_MAX``. Raises ``reading.ReadError``.
    """
    if wanted.isascii() and wanted.isdigit() and len(wanted) <= 15:
        return [int(wanted)]
    named = wanted.lower() if len(wanted) == 64 else ""
    found = []
    for index, line in enumerate(lines_of(folder)):
        if named and leaf_hash(line.content).hex() == named:
            return [index]
        if wanted.encode() not in line.content:
            continue
        try:
            record = leaf.read(line.content)
        except LeafError:
            continue
        if wanted in {record.object, record.object.partition(":")[2], record.detail.get("request_id")}:
            found.append(index)
            if len(found) == FOUND_MAX:
                break
    return found


def prove(folder: Path, verifier: Verifier, index: int) -> Inclusion:
    """That record ``index`` stands in the tree of the last checkpoint. Raises ``ProofError``, ``NoteError``,
    ``reading.ReadError``.
    """
    signed = last_signed(folder, verifier)
    size = 0 if signed is None else signed.checkpoint.size
    if signed is None or index >= size:
        raise ProofError(f"record {index} is not signed yet: the last checkpoint is of {size} records")
    ranges = inclusion_ranges(index, size)
    read = _Read(folder, ranges, size, wanted=index)
    if not is_included(index, size, leaf_hash(read.record), read.roots, signed.checkpoint.root):
        raise ProofError(
            f"the tree is not the one that was signed ({signed.place}): run `faregate audit verify`"
        )
    return Inclusion(FORMAT, index, read.record.decode(), _texts(read.roots), signed.note)


def prove_consistency(folder: Path, old: int, new: int) -> Consistency:
    """That the tree of ``new`` records begins with that of ``old``, without checkpoints. Raises
    ``ProofError``, ``reading.ReadError``.
    """
    try:
        ranges = consistency_ranges(old, new)
    except ValueError as error:
        raise ProofError(str(error)) from None
    read = _Read(folder, ranges, new, old=old)
    if not is_consistent(old, new, read.old_root, read.root, read.roots):
        raise AssertionError("a proof that does not hold")
    old_root, root = _texts([read.old_root, read.root])
    return Consistency(FORMAT, old, old_root, new, root, _texts(read.roots))


def check(content: bytes, verifier: Verifier) -> Inclusion | Consistency:
    """What a proof shows. Raises ``ProofError`` where it does not hold."""
    try:
        proof = msgspec.json.decode(content, type=Inclusion | Consistency)
    except (msgspec.MsgspecError, ValueError) as error:
        raise ProofError(f"not a proof of an audit tree: {error}") from None
    if proof.format != FORMAT:
        raise ProofError(f"a proof in the form {proof.format}; this program reads {FORMAT}")
    try:
        holds = (
            _inclusion_holds(proof, verifier)
            if isinstance(proof, Inclusion)
            else _consistency_holds(proof, verifier)
        )
    except NoteError as error:
        raise ProofError(f"its checkpoint: {error}") from None
    except (binascii.Error, ValueError):
        raise ProofError("a hash in it is not base64") from None
    if not holds:
        raise ProofError("it does not hold")
    return proof


def _inclusion_holds(proof: Inclusion, verifier: Verifier) -> bool:
    signed = read_checkpoint(proof.checkpoint, verifier)
    hashed = leaf_hash(proof.record.encode())
    return is_included(proof.index, signed.size, hashed, _hashes(proof.proof), signed.root)


def _consistency_holds(proof: Consistency, verifier: Verifier) -> bool:
    signed = read_checkpoint(proof.checkpoint, verifier)
    old_root, root = _hashes([proof.old_root, proof.root])
    if (signed.size, signed.root) != (proof.size, root):
        return False
    if proof.old_checkpoint:
        before = read_checkpoint(proof.old_checkpoint, verifier)
        if (before.size, before.root) != (proof.old_size, old_root):
            return False
    return is_consistent(proof.old_size, proof.size, old_root, root, _hashes(proof.proof))


def _hashes(texts: list[str]) -> list[bytes]:
    return [base64.b64decode(text, validate=True) for text in texts]


def _texts(nodes: list[bytes]) -> list[str]:
    return [base64.b64encode(node).decode() for node in nodes]


def last_signed(folder: Path, verifier: Verifier) -> Signed | None:
    """The tree's own last checkpoint. Raises ``NoteError``."""
    last = None
    for one in checkpoints_of(folder, verifier, None):
        last = one
    return last


def signed_at(folder: Path, verifier: Verifier, size: int) -> Signed | None:
    """The tree's own checkpoint of ``size`` records, if there is one. Raises ``NoteError``."""
    for one in checkpoints_of(folder, verifier, None):
        if one.checkpoint.size >= size:
            return one if one.checkpoint.size == size else None
    return None


class _Read:
    """What one reading of the first ``size`` records comes to. ``ranges`` do not overlap. ``roots``: over
    each of them; ``record``: the one wanted; ``old_root``, ``root``: of the first ``old`` and of all records,
    where ``old`` is not 0. Raises ``ProofError`` where the tree has no ``size`` records.
    """

    def __init__(
        self, folder: Path, ranges: list[Range], size: int, *, wanted: int = -1, old: int = 0
    ) -> None:
        self.record = b""
        self.old_root = b""
        trees = {begin: Frontier() for begin, _ in ranges}
        within = Frontier()
        until = 0
        whole = Frontier()
        ends = dict(ranges)
        count = 0
        for index, line in enumerate(lines_of(folder)):
            if index == size or not line.whole:
                break
            if index == wanted:
                self.record = line.content
            if index in ends:
                within, until = trees[index], ends[index]
            if index < until or old:
                hashed = leaf_hash(line.content)
                if index < until:
                    within.append(hashed)
                if old:
                    whole.append(hashed)
                    if whole.size == old:
                        self.old_root = whole.root()
            count = index + 1
        if count < size:
            raise ProofError(f"the tree has {count} records, not {size}")
        self.root = whole.root()
        self.roots = [trees[begin].root() for begin, _ in ranges]
