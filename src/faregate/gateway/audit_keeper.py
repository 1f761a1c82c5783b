"""The process that writes the audit tree: kept running while anything may have to be recorded."""

from asyncio.subprocess import Process
from pathlib import Path

from faregate.gateway import voice
from faregate.gateway.child_keeper import ChildKeeper
from faregate.gateway.children import start_audit
from faregate.snapshot.data import AuditTree


class AuditKeeper(ChildKeeper):
    """Keeps one process on ``folder``."""

    name = "audit tree's writer"

    def __init__(self, folder: Path, settings: AuditTree) -> None:
        super().__init__()
        self._folder = folder
        self._settings = settings

    def follow(self, settings: AuditTree) -> None:
        """How it, and any successor, signs and publishes from now on."""
        if settings != self._settings:
            self._settings = settings
            self.tell(**_told(settings))

    def say_ended(self, status: int, pause: float) -> None:
        voice.audit_ended(status, pause)

    async def start(self) -> Process:
        return await start_audit(self._folder, _told(self._settings))


def _told(settings: AuditTree) -> dict[str, object]:
    return {
        "origin": settings.origin,
        "publish": settings.publish,
        "every_s": settings.every,
        "every_records": settings.records,
    }
