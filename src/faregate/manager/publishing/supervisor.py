"""The supervisor as the manager reaches it: its control socket in the data folder, one JSON object each way.

What the words mean stands in ``gateway.commands``; the manager does not import the gateway, it talks to
whichever version of it runs.
"""

import asyncio
import os
from pathlib import Path
from typing import Final

import msgspec

ANSWER_BYTES_MAX: Final = 64 << 20
NAME: Final = "control"


class Share(msgspec.Struct):
    """Whose calls a canary has, and for how many seconds without another word of ours."""

    percent: int
    consumers: list[str]
    lease: float


class Command(msgspec.Struct, omit_defaults=True):
    """``command``: publish, canary_keep, canary_off, audit, status or reload. ``path``, ``revision``,
    ``base``: of publish; ``canary``: for some of the calls only.
    """

    command: str
    path: str = ""
    revision: int = 0
    base: str = ""
    canary: Share | None = None
    reason: str = ""


class Reply(msgspec.Struct):
    """``revision``: the one that runs now. ``message``: in words."""

    ok: bool
    message: str = ""
    revision: int = 0
    seconds: float = 0.0


async def tell(data: Path, command: Command, seconds: float) -> Reply:
    """What the gateway on the data folder ``data`` answers within ``seconds``. Raises OSError when there is
    none, or none that answers.
    """
    folder = os.open(data, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        async with asyncio.timeout(seconds):
            # paths of unix sockets are short, those of data folders need not be
            reader, writer = await asyncio.open_unix_connection(
                f"/proc/self/fd/{folder}/{NAME}", limit=ANSWER_BYTES_MAX
            )
            try:
                writer.write(msgspec.json.encode(command) + b"\n")
                line = await reader.readline()
            finally:
                writer.close()
    finally:
        os.close(folder)
    try:
        return msgspec.json.decode(line, type=Reply)
    except (ValueError, msgspec.MsgspecError) as error:
        raise ConnectionResetError("the gateway ended without an answer") from error
