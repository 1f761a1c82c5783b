"""Tools that change nothing: a configuration checked, an OpenAPI document imported or compared, a call tried.

Each runs in a process of its own that is bounded in time, memory and what it may answer, two at a time: what
is sent here is anybody's who may see anything.
"""

import asyncio
import contextlib
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from faregate.manager.cases import permits
from faregate.manager.cases.domain import EVERYWHERE, Actor
from faregate.manager.cases.errors import Forbidden, Invalid, TooMany

RUNS_MAX: Final = 2
WAITING_MAX: Final = 8
RUN_S: Final = 30.0
ANSWER_BYTES_MAX: Final = 16 << 20
TEXT_CHARACTERS_MAX: Final = 16 << 20

_TOOLS: Final = ("-m", "faregate.compile.tools")
_COMMAND: Final = ("-m", "faregate")


class Tools:
    """Use cases; ``data``: the gateway's data folder."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._turn = asyncio.Semaphore(RUNS_MAX)
        self._waiting = 0

    async def check(self, actor: Actor, text: str) -> Mapping[str, Any]:
        """What is wrong with a configuration. Raises Forbidden, TooMany, Invalid, Unavailable."""
        permits.demand_anywhere(actor, "see")
        folder = await asyncio.to_thread(folder_of_files, self._data)
        return await self._tool({"op": "check", "text": text, "folder": folder})

    async def openapi_import(
        self, actor: Actor, text: str, *, name: str, upstream: str, file: str
    ) -> Mapping[str, Any]:
        """The configuration of the API that an OpenAPI document describes. Raises as ``check``."""
        permits.demand_anywhere(actor, "see")
        told = {"op": "import", "text": text, "name": name, "upstream": upstream, "file": file}
        return await self._tool(told)

    async def openapi_diff(self, actor: Actor, old: str, new: str) -> Mapping[str, Any]:
        """What changed between two OpenAPI documents. Raises as ``check``."""
        permits.demand_anywhere(actor, "see")
        return await self._tool({"op": "diff", "text": old, "newer": new})

    async def call_try(self, actor: Actor, arguments: Sequence[str]) -> Mapping[str, Any]:
        """What the gateway would decide of a call, nothing sent, as ``faregate try`` tells it. It shows how
        everything stands, and so is for those who may see everything. Raises as ``check``.
        """
        if not permits.may(actor, "see", (EVERYWHERE,)):
            raise Forbidden("This needs the role viewer, for everything.")
        _, told, said = await self._run((*_COMMAND, "try", *arguments), b"")
        try:
            found = msgspec.json.decode(told, type=dict[str, Any])
        except msgspec.MsgspecError as error:
            raise Invalid(f"{_message(said)[:1].upper()}{_message(said)[1:]}.") from error
        return found

    async def _tool(self, asked: Mapping[str, object]) -> Mapping[str, Any]:
        status, told, _ = await self._run(_TOOLS, msgspec.json.encode(asked))
        try:
            found = msgspec.json.decode(told, type=dict[str, Any])
        except msgspec.MsgspecError as error:
            raise Invalid("It takes more time or memory than is given to it.") from error
        if status != 0:
            raise Invalid("It takes more time or memory than is given to it.")
        if "problem" in found:
            at = f" (at {found['pointer']})" if found.get("pointer") else ""
            hint = f"; expected {found['expected']}" if found.get("expected") else ""
            raise Invalid(f"{found['problem']}{at}{hint}")
        return found

    async def _run(self, arguments: Sequence[str], sent: bytes) -> tuple[int, bytes, bytes]:
        """Exit status, answer and what was said of one run. Raises TooMany, Invalid."""
        if self._waiting >= WAITING_MAX:
            raise TooMany("Several of these run already; try again in a moment.")
        self._waiting += 1
        try:
            async with self._turn:
                return await answered(arguments, sent)
        finally:
            self._waiting -= 1


async def answered(
    arguments: Sequence[str], sent: bytes, run_s: float | None = None
) -> tuple[int, bytes, bytes]:
    """Exit status, answer and what was said of one process. Raises Invalid after ``run_s`` seconds, None for
    ``RUN_S``.
    """
    within_s = RUN_S if run_s is None else run_s
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={name: value for name, value in os.environ.items() if not name.startswith("FAREGATE_")},
    )
    try:
        async with asyncio.timeout(within_s):
            told, said = await process.communicate(sent)
    except TimeoutError:
        raise Invalid(f"It takes longer than the {within_s:.0f} seconds that are given to it.") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if len(told) > ANSWER_BYTES_MAX:
        raise Invalid(f"The answer is longer than {ANSWER_BYTES_MAX >> 20} MiB.")
    return process.returncode or 0, told, said


class _Failure(msgspec.Struct):
    message: str


class _Said(msgspec.Struct):
    error: _Failure


def _message(said: bytes) -> str:
    """What a command says of its failure (``cli.errors``)."""
    try:
        return msgspec.json.decode(said.strip().rpartition(b"\n")[2], type=_Said).error.message[:1000]
    except msgspec.MsgspecError:
        return "the call cannot be tried"


class _Base(msgspec.Struct):
    files: list[tuple[str, str]] = []


def folder_of_files(data: Path) -> str:
    """The folder of the configuration file, below which entries may name files."""
    try:
        base = msgspec.json.decode((data / "base.json").read_bytes(), type=_Base)
    except (OSError, msgspec.MsgspecError):
        base = _Base()
    return str(Path(base.files[0][0]).parent) if base.files else str(data / "none")
