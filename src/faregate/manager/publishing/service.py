"""The compiler as the manager sees it: a child process that is started when first needed and kept.

One request at a time, in the order in which they were asked. A child that dies is replaced at the next
request: it loads what the data folder holds, so whatever was applied and is not in the replica by then is
gone, and the request that met its death raises. ``restart`` is for when the file was reloaded.
"""

import asyncio
import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from faregate.kernel.attending import attend
from faregate.kernel.changes import LINE_BYTES_MAX, Answer, Change, Request

LOAD_S: Final = 120.0
ANSWER_S: Final = 60.0
_END_S: Final = 2.0


class CompilerError(Exception):
    """The compiler died, or does not answer; what was asked may or may not have been done by it. It starts
    anew with the next request, from the replica.
    """


class Compiler:
    """The compiler of the gateway whose data is in ``data``. Every method raises ``CompilerError``.

    ``writing``: held by whoever applies and commits a change. Who only looks does not start a child
    meanwhile: it would have loaded the replica without that change, and be written from.
    """

    def __init__(
        self, data: Path, *, writing: asyncio.Lock | None = None, program: Sequence[str] = ()
    ) -> None:
        self._writing = writing or asyncio.Lock()
        self._command = tuple(program) or (
            sys.executable,
            "-m",
            "faregate.compile.service",
            "--data",
            str(data),
        )
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()
        self._stale = False
        self.loaded: Answer | None = None
        """What the running child said of its load: ``ok`` false when file and database do not fit."""

    @property
    def pid(self) -> int | None:
        process = self._process
        return None if process is None or process.returncode is not None else process.pid

    async def check(self, changes: Sequence[Change]) -> Answer:
        """Whether these changes would do; changes nothing."""
        return await self.ask(Request("check", changes=list(changes)))

    async def apply(self, changes: Sequence[Change]) -> Answer:
        """Makes the changes in the compiler, all or none. Not in the replica: that is the caller's to write,
        once the database has them; or ``undo``.
        """
        return await self.ask(Request("apply", changes=list(changes)))

    async def undo(self) -> Answer:
        """Takes back the last ``apply``; ``ok`` false when there is none to take back."""
        return await self.ask(Request("undo"))

    async def write(self, path: Path, revision: int) -> Answer:
        """Writes the encoded snapshot of what was applied, numbered ``revision``, to ``path`` (mode 0600)."""
        return await self.ask(Request("write", path=str(path), revision=revision))

    async def show(self, section: str, name: str) -> Answer:
        """``items``: the entry with its owner, secrets masked; none when there is none."""
        return await self._look(Request("show", section=section, name=name))

    async def list(self, section: str, *, owner: str = "", after: str = "", limit: int = 100) -> Answer:
        """A page of a section by name. ``owner``: file or managed, empty for both."""
        return await self._look(Request("list", section=section, owner=owner, after=after, limit=limit))

    async def ask(self, request: Request) -> Answer:
        """Any request, once those before it are answered."""
        async with self._turn:
            await self._ready()
            return await self._exchange(request, ANSWER_S)

    async def _look(self, request: Request) -> Answer:
        """A request of somebody who does not hold ``writing``."""
        while self._stale or self.pid is None:
            async with self._writing, self._turn:
                await self._ready()
        return await self.ask(request)

    async def _ready(self) -> None:
        if self._stale:
            await self._end()
        if self.pid is None:
            self._stale = False
            await self._start()

    def restart(self) -> None:
        """The next request meets a child that has loaded anew."""
        self._stale = True

    async def close(self) -> None:
        """Ends the child."""
        async with self._turn:
            await self._end()

    async def _start(self) -> None:
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=LINE_BYTES_MAX,
            )
        except OSError as error:
            raise CompilerError(f"the compiler cannot be started: {error.strerror}") from error
        attend(self._process)
        self.loaded = await self._exchange(Request("load"), LOAD_S)

    async def _exchange(self, request: Request, seconds: float) -> Answer:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            async with asyncio.timeout(seconds):
                process.stdin.write(msgspec.json.encode(request) + b"\n")
                await process.stdin.drain()
                line = await process.stdout.readline()
            return msgspec.json.decode(line, type=Answer)
        except (OSError, ValueError, TimeoutError, msgspec.MsgspecError) as error:
            await self._end()
            why = "does not answer" if isinstance(error, TimeoutError) else "has ended"
            raise CompilerError(f"the compiler {why}; ask again") from error
        except BaseException:
            await self._end()  # its next answer would be taken for another's
            raise

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), _END_S)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
