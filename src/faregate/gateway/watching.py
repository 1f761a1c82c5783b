"""``--watch``: reloads when the configuration file, what it includes, or a file it names has changed.

Looks at the files twice a second: a few dozen stats cost less than a notification library is worth, and work
on every file system. A change counts once nothing has moved for one look, so that a file that is being
written is not read in the middle. Folders are looked at as well, by the names of their configuration files: a
pattern may match a new one.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

LOOK_S: Final = 0.5
_SUFFIXES: Final = (".yaml", ".yml", ".json")
FOLDERS_MAX: Final = 100

State = dict[str, object]


def look(files: Iterable[str]) -> State:
    """What tells whether any of ``files``, or the names beside them, have changed."""
    state: State = {}
    folders = []
    for name in files:
        try:
            found = os.stat(name)  # noqa: PTH116 - a path object costs more
        except OSError:
            state[name] = None
        else:
            state[name] = [found.st_mtime_ns, found.st_size, found.st_ino]
        folders.append(str(Path(name).parent))
    for folder in list(dict.fromkeys(folders))[:FOLDERS_MAX]:
        try:
            names = os.listdir(folder)  # noqa: PTH208 - likewise
        except OSError:
            names = []
        state[folder] = frozenset(name for name in names if name.endswith(_SUFFIXES))
    return state


async def watch(
    files: Callable[[], Mapping[str, list[int] | None]],
    changed: Callable[[], Awaitable[object]],
    pause: Callable[[], Awaitable[None]] = lambda: asyncio.sleep(LOOK_S),
) -> None:
    """Calls ``changed`` whenever a file has, for ever. ``files``: what to look at now, with the state in
    which each was last read.
    """
    known: State = {**look(files()), **files()}
    while True:
        await pause()
        seen = look(files())
        if seen == known:
            continue
        while True:
            await pause()
            again = look(files())
            if again == seen:
                break
            seen = again
        known = seen
        await changed()
        # Files are known in the state in which they were read, which may not be the present one any more.
        read = files()
        after = look(read)
        known = {name: read.get(name, known.get(name, after[name])) for name in after}
