"""A canary as use cases see it (``cases.ports.Trial``): compiled without being committed, run for some of the
calls, watched.

The compiler takes the changes, writes the snapshot and takes them back while nobody else writes. A compiler
that began anew in between has lost them, and its snapshot is not used.
"""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from faregate.kernel.changes import Change
from faregate.manager.arms import Arm, Arms
from faregate.manager.cases.errors import Conflict, Unavailable
from faregate.manager.cases.ports import Diagnostic
from faregate.manager.publishing.compiling import told
from faregate.manager.publishing.publisher import PUBLISH_S, Tell
from faregate.manager.publishing.service import Compiler, CompilerError
from faregate.manager.publishing.supervisor import Command, Share, tell

SNAPSHOT: Final = "snapshot.trial"
_ASK_S: Final = 5.0


class Trying:
    """``arms``: where the workers' counts arrive."""

    def __init__(self, compiler: Compiler, data: Path, arms: Arms, tell: Tell = tell) -> None:
        self._compiler = compiler
        self._data = data
        self._path = data / SNAPSHOT
        self._arms = arms
        self._tell = tell
        self._base = ""

    async def prepare(self, changes: Sequence[Mapping[str, object]], number: int) -> list[Diagnostic]:
        """Compiles the running configuration with ``changes``; nothing is kept of it when a diagnostic is an
        error. For whoever has the writer's turn. Raises Unavailable.
        """
        asked = [Change(str(one["section"]), str(one["name"]), one["content"]) for one in changes]
        try:
            applied = await self._compiler.apply(asked)
            if not applied.ok:
                return told(applied)
            child = self._compiler.loaded
            try:
                written = await self._compiler.write(self._path, number)
            finally:
                with contextlib.suppress(CompilerError):  # another one begins without them
                    await self._compiler.undo()
        except CompilerError as error:
            raise Unavailable(str(error)) from error
        if not written.ok or self._compiler.loaded is not child:
            raise Unavailable(written.message or "The compiler began anew; ask again.")
        self._base = written.base
        return told(applied)

    async def begin(self, number: int, percent: int, consumers: Sequence[str], lease_s: float) -> int:
        """Has the workers run what was prepared for their part of the calls; returns its number. Raises
        Conflict, Unavailable.
        """
        share = Share(percent, list(consumers), lease_s)
        command = Command("publish", str(self._path), number, self._base, canary=share)
        try:
            reply = await self._tell(self._data, command, PUBLISH_S)
        except OSError as error:
            why = error.strerror or type(error).__name__
            raise Unavailable(f"The gateway cannot be told: {why}.") from error
        finally:
            with contextlib.suppress(OSError):
                self._path.unlink()
        if not reply.ok:
            self._compiler.restart()  # the file may have been put to work meanwhile
            raise Conflict(f"The gateway does not take it: {reply.message}.")
        self._arms.watch(reply.revision)
        return reply.revision

    async def keep(self, number: int) -> bool:
        """Asks for the canary to go on; False when it runs no more. Raises OSError."""
        return (await self._tell(self._data, Command("canary_keep", revision=number), _ASK_S)).ok

    async def end(self, reason: str) -> None:
        """All calls are the running revision's. Raises OSError."""
        await self._tell(self._data, Command("canary_off", reason=reason), _ASK_S)

    def arms(self) -> tuple[Arm, Arm]:
        return self._arms.sums()
