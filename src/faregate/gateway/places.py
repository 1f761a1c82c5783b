"""One place for a worker, as the supervisor keeps it: the process in it changes, the place stays."""

import asyncio

from faregate.gateway import control
from faregate.gateway.control import Message


class WorkerPlace:
    """One place for a worker and the process that holds it now."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.process: asyncio.subprocess.Process | None = None
        self.writer: asyncio.StreamWriter | None = None
        self.ready = asyncio.Event()
        self.revision = 0
        self.started_at = 0.0
        self.quick_deaths = 0
        self.was_ready = False

    def send(self, message: Message) -> None:
        if self.writer is not None and not self.writer.is_closing():
            self.writer.write(control.encode(message))
