"""The access log of a long run, followed through renames: two words a line are kept, and every line is checked for its form.

It also turns the log over, as log rotation does, so that hours of it need no disk. A line that is no JSON is a stump (of a writer that was killed,
or whose disk was full) and is judged with the faults that make stumps; one of another form than SPEC section 4 is wrong.
"""

import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

from tests.support.records import parse_line

TURN_BYTES: Final = 16 << 20
KEPT_S: Final = 5.0
"""How long a renamed log is still read: workers look for a new one every second."""


@dataclass
class _Part:
    file: BinaryIO
    rest: bytes = b""
    renamed_at: float = 0.0
    renamed_to: Path | None = None


@dataclass
class LogIndex:
    path: Path
    lines: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    stumps: list[float] = field(default_factory=list)
    """When each was read."""
    wrong: list[str] = field(default_factory=list)
    turns: int = 0
    keeps: bool = False
    """Nothing is removed while this holds: on a full disk that would make room."""
    _parts: dict[int, _Part] = field(default_factory=dict)

    def read(self) -> int:
        """Takes in what is new; the number of calls with a line."""
        self._look()
        now = time.monotonic()
        for inode, part in list(self._parts.items()):
            *whole, part.rest = (part.rest + part.file.read()).split(b"\n")
            for text in whole:
                self._take(text)
            if part.renamed_to is not None and not self.keeps and now > part.renamed_at + KEPT_S:
                self._end(self._parts.pop(inode))
        return len(self.lines)

    def turn(self) -> None:
        """Renames the log; the next look finds another."""
        self._look()
        if self.path.is_symlink() or not self.path.is_file():
            return
        self.turns += 1
        aside = self.path.with_name(f"{self.path.name}.{self.turns}")
        part = self._parts[self.path.stat().st_ino]
        self.path.rename(aside)
        part.renamed_to, part.renamed_at = aside, time.monotonic()

    def turn_when_large(self) -> None:
        if self.path.is_file() and not self.path.is_symlink() and self.path.stat().st_size > TURN_BYTES:
            self.turn()

    def close(self) -> None:
        self.read()
        for part in self._parts.values():
            part.file.close()

    def _look(self) -> None:
        if self.path.is_symlink() or not self.path.is_file():
            return
        file = self.path.open("rb")
        inode = os.fstat(file.fileno()).st_ino
        if inode in self._parts:
            file.close()
        else:
            self._parts[inode] = _Part(file)

    def _end(self, part: _Part) -> None:
        if part.rest:
            self.stumps.append(time.monotonic())
        part.file.close()
        assert part.renamed_to is not None
        part.renamed_to.unlink()

    def _take(self, text: bytes) -> None:
        if not text:
            return  # ends a stump that was read already
        try:
            json.loads(text)
        except ValueError:
            self.stumps.append(time.monotonic())
            return
        try:
            line = parse_line(text.decode())
            told = (int(str(line.get("status", 0))), str(line["outcome"]))
            self.lines.setdefault(str(line["request_id"]), []).append(told)
        except (AssertionError, KeyError) as error:
            self.wrong.append(str(error)[:300])
