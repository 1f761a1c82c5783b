"""The tree over the records (RFC 9162 section 2.1, SHA-256): its root, proofs, and their check.

Nothing here holds a leaf: a ``Frontier`` keeps the roots of whole subtrees, one a bit of the size, and a
proof is named as ranges of leaves whose roots it consists of, so that whoever has the leaves goes through
them once.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = sha256(b"").digest()
Range = tuple[int, int]
"""Leaves from the first up to, not including, the second."""


def leaf_hash(record: bytes) -> bytes:
    return sha256(b"\x00" + record).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


class Frontier:
    """A tree that grows by leaves: 32 bytes a bit of its size. ``nodes``: the roots of its whole subtrees,
    largest first.
    """

    __slots__ = ("nodes", "size")

    def __init__(self, size: int = 0, nodes: Sequence[bytes] = ()) -> None:
        if len(nodes) != size.bit_count() or any(len(node) != HASH_BYTES for node in nodes):
            raise ValueError("not the subtrees of a tree of that size")
        self.size = size
        self.nodes = list(nodes)

    def append(self, leaf: bytes) -> None:
        """Adds the hash of one leaf."""
        nodes = self.nodes
        rest = self.size
        while rest & 1:
            leaf = sha256(b"\x01" + nodes.pop() + leaf).digest()
            rest >>= 1
        nodes.append(leaf)
        self.size += 1

    def root(self) -> bytes:
        nodes = self.nodes
        if not nodes:
            return EMPTY_ROOT
        root = nodes[-1]
        for node in nodes[-2::-1]:
            root = node_hash(node, root)
        return root

    def copy(self) -> "Frontier":
        return Frontier(self.size, self.nodes)


def _split(count: int) -> int:
    """The largest power of two below ``count``."""
    return 1 << ((count - 1).bit_length() - 1)


def inclusion_ranges(index: int, size: int) -> list[Range]:
    """What an inclusion proof of leaf ``index`` in a tree of ``size`` consists of (section 2.1.3.1). Raises
    ``ValueError`` where there is no such leaf.
    """
    if not 0 <= index < size:
        raise ValueError(f"no leaf {index} in a tree of {size}")
    ranges: list[Range] = []
    begin, end = 0, size
    while end - begin > 1:
        middle = begin + _split(end - begin)
        if index < middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((begin, middle))
            begin = middle
    return ranges[::-1]


def consistency_ranges(old: int, new: int) -> list[Range]:
    """What a proof consists of that the tree of ``new`` leaves begins with that of ``old`` (section
    2.1.4.1). Raises ``ValueError`` where ``old`` is 0 or larger than ``new``.
    """
    if not 0 < old <= new:
        raise ValueError(f"no proof leads from size {old} to {new}")
    ranges: list[Range] = []
    begin, end = 0, new
    whole = True
    while old < end:
        middle = begin + _split(end - begin)
        if old <= middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((begin, middle))
            begin = middle
            whole = False
    if not whole:
        ranges.append((begin, end))
    return ranges[::-1]


def is_included(index: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether ``proof`` shows that ``leaf``, a leaf's hash, stands at ``index`` of the tree with ``root``
    (section 2.1.3.2).
    """
    if not 0 <= index < size or len(leaf) != HASH_BYTES:
        return False
    place, last = index, size - 1
    for node in proof:
        if last == 0 or len(node) != HASH_BYTES:
            return False
        if place & 1 or place == last:
            leaf = node_hash(node, leaf)
            while not place & 1 and place:
                place >>= 1
                last >>= 1
        else:
            leaf = node_hash(leaf, node)
        place >>= 1
        last >>= 1
    return last == 0 and leaf == root


def is_consistent(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether ``proof`` shows that the tree of ``new`` leaves begins with that of ``old`` (section 2.1.4.2).
    From size 0 nothing is shown.
    """
    if not 0 < old <= new or any(len(node) != HASH_BYTES for node in proof):
        return False
    if old == new:
        return not proof and old_root == new_root
    nodes = [old_root, *proof] if not old & (old - 1) else list(proof)
    if not nodes:
        return False
    place, last = old - 1, new - 1
    while place & 1:
        place >>= 1
        last >>= 1
    before = after = nodes[0]
    for node in nodes[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            before, after = node_hash(node, before), node_hash(node, after)
            while not place & 1 and place:
                place >>= 1
                last >>= 1
        else:
            after = node_hash(after, node)
        place >>= 1
        last >>= 1
    return last == 0 and before == old_root and after == new_root
