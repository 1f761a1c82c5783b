"""Lines of a growing file from its end: what was written last is what people look for first.

Reads in blocks, takes the same memory whatever the file's size, and looks at no more bytes than a ``Budget``
that several files share allows.
"""

import os
from collections.abc import Iterator
from typing import Final, NamedTuple

BLOCK_BYTES: Final = 256 << 10
LINE_BYTES_MAX: Final = 4 << 20
"""Of what is longer only the beginning is told, which is no JSON."""


class Budget:
    """How many bytes may still be looked at. ``spent``: something was left unread for that."""

    def __init__(self, bytes_max: int) -> None:
        self.left = bytes_max
        self.spent = False

    def take(self, size: int) -> bool:
        if self.left <= 0:
            self.spent = True
            return False
        self.left -= size
        return True


class Back(NamedTuple):
    """A line without its end. ``at``: the offset of its first byte."""

    content: bytes
    at: int


def lines_back(descriptor: int, end: int, budget: Budget) -> Iterator[Back]:
    """The lines that end at or before byte ``end``, the last one first; none that is half written. Raises
    OSError.
    """
    held = b""  # what stands at ``begin``, up to the end of a line
    begin = end
    trimmed = False
    while begin > 0 and budget.take(min(BLOCK_BYTES, begin)):
        size = min(BLOCK_BYTES, begin)
        begin -= size
        held = os.pread(descriptor, size, begin) + held
        if not trimmed:
            held = held[: held.rfind(b"\n") + 1]
            trimmed = bool(held)
        start = 0 if begin == 0 else held.find(b"\n") + 1  # the first line may begin in the block before
        at = begin + len(held)
        for line in reversed(held[start:].split(b"\n")[:-1]):
            at -= len(line) + 1
            if line:
                yield Back(line, at)
        held = held[:start] if start <= LINE_BYTES_MAX else b"\n"
