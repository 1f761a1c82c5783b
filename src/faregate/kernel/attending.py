"""Child processes that die while they are written to.

They are known by their end. asyncio of Python 3.11 prints a traceback of its own besides, when nobody asks
their standard input how it ended; apart from ``processes``, which commands import that need no asyncio.
"""

import asyncio
from contextlib import suppress
from typing import Final

_asking: Final[set[asyncio.Task[None]]] = set()


def attend(process: asyncio.subprocess.Process) -> None:
    """Asks the child's standard input how it ended, and says nothing of it."""
    if process.stdin is not None:
        task = asyncio.get_running_loop().create_task(_closed(process.stdin))
        _asking.add(task)
        task.add_done_callback(_asking.discard)


async def _closed(stdin: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        await stdin.wait_closed()
