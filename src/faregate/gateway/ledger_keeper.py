"""The process of the embedded ledger: kept running while workers may need it, with the bound of its disk."""

from asyncio.subprocess import Process
from pathlib import Path

from faregate.gateway import voice
from faregate.gateway.child_keeper import ChildKeeper
from faregate.gateway.children import start_ledger


class LedgerKeeper(ChildKeeper):
    """Keeps one process on ``folder``, which may fill ``disk_bytes``."""

    name = "ledger"

    def __init__(self, folder: Path, disk_bytes: int) -> None:
        super().__init__()
        self._folder = folder
        self._disk_bytes = disk_bytes

    def bound(self, disk_bytes: int) -> None:
        """How much disk it, and any successor, may fill from now on."""
        if disk_bytes != self._disk_bytes:
            self._disk_bytes = disk_bytes
            self.tell(disk_bytes=disk_bytes)

    def say_ended(self, status: int, pause: float) -> None:
        voice.ledger_ended(status, pause)

    async def start(self) -> Process:
        return await start_ledger(self._folder, self._disk_bytes)
