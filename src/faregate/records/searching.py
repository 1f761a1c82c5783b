"""Ended calls as the access log has them, the newest first: looked for in ``access.jsonl`` and the files that
rotation made of it, beside whoever writes there.

A search looks at a bounded part of the files and says where it stopped. Compressed files are not looked into.
Lines stand in the order in which calls ended, roughly: workers write by batches.
"""

import os
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from json.encoder import encode_basestring_ascii as quoted
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

import msgspec

from faregate.records.backwards import Back, Budget, lines_back

LOG: Final = "access.jsonl"
BYTES_MAX: Final = 64 << 20
"""Of the files for one page: some 200,000 calls."""
FILES_MAX: Final = 100
_PACKED: Final = (".gz", ".bz2", ".xz", ".zst")
_PLACE: Final = re.compile(r"([0-9]{1,20})\.([0-9]{1,15})")
_SLACK: Final = timedelta(hours=1)
"""A call is written when it ended and carries the time at which it began."""

Call: TypeAlias = "Mapping[str, object]"
TEXTS: Final = (
    "consumer", "credential", "api", "version", "route", "outcome", "refusal", "request_id", "idempotency",
)  # fmt: skip
"""Members that a search may name."""


class PlaceError(ValueError):
    """The file that the page before ended in is gone."""


class Wanted(NamedTuple):
    """Which calls. ``texts``: members of ``TEXTS`` and their values; ``status``: ``503`` or ``5xx``;
    ``since``, ``until``: from, and before, these moments; ``apis``: of these alone, None for all.
    """

    texts: Mapping[str, str]
    status: str = ""
    since: str = ""
    until: str = ""
    apis: frozenset[str] | None = None

    def fits(self, call: Call) -> bool:
        if any(call.get(name) != value for name, value in self.texts.items()):
            return False
        if self.status and not _is_status(self.status, call.get("status")):
            return False
        moment = str(call.get("time", ""))
        if (self.since and moment < self.since) or (self.until and moment >= self.until):
            return False
        return self.apis is None or call.get("api") in self.apis


class Found(NamedTuple):
    """``next``: where the following page begins, empty at the end. ``early``: the page ended because enough
    was looked at, not because it is full. ``looked``: how many bytes that were.
    """

    calls: list[dict[str, object]]
    next: str
    early: bool
    looked: int


def time_text(text: str) -> str:
    """An RFC 3339 time as lines have it: UTC, milliseconds. Raises ``ValueError``."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time zone is missing, such as Z")
    return _text(moment)


def search(folder: Path, wanted: Wanted, *, size: int, place: str = "", bytes_max: int = BYTES_MAX) -> Found:
    """The ``size`` newest calls before ``place`` (empty: of all). Raises ``PlaceError``, OSError."""
    budget = Budget(bytes_max)
    words = _words(wanted)
    floor = _text(datetime.fromisoformat(wanted.since) - _SLACK) if wanted.since else ""
    found: list[dict[str, object]] = []
    last = ""
    full = over = False
    for inode, line in _lines(folder, place, budget):
        last = f"{inode}.{line.at}"
        if any(word not in line.content for word in words):
            continue
        call = _read(line.content)
        if call is None:
            continue
        if floor and str(call.get("time", "")) < floor:
            over = True
            break
        if wanted.fits(call):
            found.append(call)
            full = len(found) == size
            if full:
                break
    goes_on = not over and (full or budget.spent)
    return Found(found, last if goes_on else "", budget.spent and not full, bytes_max - budget.left)


def _read(line: bytes) -> dict[str, object] | None:
    try:
        return msgspec.json.decode(line, type=dict[str, object])
    except (msgspec.MsgspecError, ValueError):
        return None


def _words(wanted: Wanted) -> list[bytes]:
    """What the line of each such call holds."""
    words = [b'"%b":%b' % (name.encode(), quoted(value).encode()) for name, value in wanted.texts.items()]
    if wanted.status:
        words.append(b'"status":%b' % wanted.status.rstrip("x").encode())
    return words


def _is_status(wanted: str, status: object) -> bool:
    text = str(status)
    return len(text) == 3 and text.startswith(wanted.rstrip("x"))


def _text(moment: datetime) -> str:
    told = moment.astimezone(UTC).isoformat(timespec="milliseconds")
    return told.replace("+00:00", "Z")


def _lines(folder: Path, place: str, budget: Budget) -> Iterator[tuple[int, Back]]:
    """Lines of all files with the inode of each. A file that goes meanwhile is passed over."""
    files = _files(folder)
    end = -1
    if place:
        match = _PLACE.fullmatch(place)
        inodes = [inode for inode, _ in files]
        if match is None or int(match[1]) not in inodes:
            raise PlaceError("the log file that the page before ended in is gone: begin anew")
        files, end = files[inodes.index(int(match[1])) :], int(match[2])
    for inode, path in files:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            size = os.fstat(descriptor).st_size
            for line in lines_back(descriptor, size if end < 0 else min(end, size), budget):
                yield inode, line
        finally:
            os.close(descriptor)
        end = -1


def _files(folder: Path) -> list[tuple[int, Path]]:
    """The log and what it was before, the newest first, each with its inode."""
    found = []
    for path in folder.glob(f"{LOG}*"):
        try:
            state = path.stat()
        except OSError:
            continue
        if path.suffix not in _PACKED and path.is_file():
            found.append((path.name != LOG, -state.st_mtime_ns, state.st_ino, path))
    return [(inode, path) for _, _, inode, path in sorted(found)[:FILES_MAX]]
