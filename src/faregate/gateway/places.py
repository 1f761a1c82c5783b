"""One place for a worker, as the supervisor keeps it: the process in it changes, the place stays."""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from faregate.gateway.control import Message

if TYPE_CHECKING:
    from faregate.gateway.line import Line


class WorkerPlace:
    """One place for a worker and the process that holds it now.

    ``retired``: the process ends and gets no successor. ``said``: the last of each word it said, by word.
    ``unheard``: how often it was told the number of sharers and has not answered.
    """

    def __init__(self, index: int) -> None:
        self.index = index
        self.process: asyncio.subprocess.Process | None = None
        self.line: Line | None = None
        self.ready = asyncio.Event()
        self.revision = 0
        self.started_at = 0.0
        self.quick_deaths = 0
        self.was_ready = False
        self.retired = False
        self.said: dict[str, Message] = {}
        self.unheard = 0

    @property
    def pid(self) -> int | None:
        """The process's id while it runs."""
        process = self.process
        return None if process is None or process.returncode is not None else process.pid

    def retire(self) -> None:
        """Ends the process at once, for good: it has never served."""
        self.retired = True
        if self.process is not None and self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()

    def send(self, message: Message, descriptors: Sequence[int] = ()) -> bool:
        """False when nobody is there to hear it."""
        if self.line is None:
            return False
        if message.what == "share":
            self.unheard += 1
        return self.line.send(message, descriptors)

    def heard(self, message: Message) -> None:
        """Notes what the process says. Of several answers to one word the last is the one to wait for."""
        if message.what == "shared":
            self.unheard -= 1
            if self.unheard > 0:
                return
        self.said[message.what] = message

    def left(self) -> None:
        """The process is gone."""
        self.ready.clear()
        self.revision = 0
        self.unheard = 0
