"""Processes of this machine, as far as this user may look into them: who listens, who has a file open."""

import os
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

_LISTENING: Final = "0A"


def listening_processes(port: int) -> list[tuple[int, bytes]]:
    """Process id and command line of those that listen on the TCP port."""
    return processes_with(
        {f"socket:[{inode}]" for table in ("tcp", "tcp6") for inode in _listening_inodes(table, port)}
    )


def processes_with(links: Collection[str]) -> list[tuple[int, bytes]]:
    """Process id and command line of those that have one of ``links`` open: a path, or a socket as
    ``socket:[INODE]``.
    """
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        if links and _holds(process, links):
            with suppress(OSError):  # it may have ended meanwhile
                found.append((int(process.name), (process / "cmdline").read_bytes()))
    return sorted(found)


def program_name(command: bytes) -> str:
    """The program of a command line as ``proc(5)`` has it, without its folder."""
    return os.path.basename(command.partition(b"\0")[0]).decode("utf-8", "replace")  # noqa: PTH119 - bytes


def _holds(process: Path, links: Collection[str]) -> bool:
    with suppress(OSError):
        for entry in os.listdir(process / "fd"):  # noqa: PTH208 - names are enough
            with suppress(OSError):  # descriptors come and go
                if os.readlink(process / "fd" / entry) in links:  # noqa: PTH115 - a text
                    return True
    return False


def _listening_inodes(table: str, port: int) -> Iterator[str]:
    try:
        lines = Path("/proc/net", table).read_text(encoding="ascii").splitlines()[1:]
    except OSError:
        return
    for line in lines:
        parts = line.split()
        if parts[3] == _LISTENING and int(parts[1].rpartition(":")[2], 16) == port:
            yield parts[9]
