"""The socket on which ``faregate reload``, ``status``, ``upgrade`` and the manager reach a running gateway:
``control`` in the data folder, mode 0600.

One JSON object a connection each way. Whoever may connect is this user or root, who could as well signal and
replace the process; others are refused by the file's mode and once more by their credentials. Paths of unix
sockets are short, those of data folders need not be: so they are reached through a descriptor of the folder.
"""

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec

NAME: Final = "control"
REQUEST_BYTES_MAX: Final = 16 << 10
ANSWER_BYTES_MAX: Final = 64 << 20
REQUEST_S: Final = 5.0
_CREDENTIALS: Final = struct.Struct("3i")


class Share(msgspec.Struct):
    """Whose calls a canary has: of all, ``percent``; besides, those of ``consumers``. ``lease``: seconds
    after which it ends where nobody asks for it again.
    """

    percent: int = 0
    consumers: list[str] = []
    lease: float = 30.0


class Request(msgspec.Struct):
    """``command``: reload, publish, canary_keep, canary_off, status or upgrade. ``program``: of an upgrade,
    the Python to run it with. ``path``, ``revision``, ``base``: of a publish, the encoded snapshot, its
    number, and the digest of the ``base.json`` that it was compiled with. ``canary``: it is published for
    some of the calls only; that lasts as long as ``canary_keep`` with its ``revision`` comes, until
    ``canary_off`` (``reason``: why), or until it is published without ``canary``.
    """

    command: str
    program: str = ""
    path: str = ""
    revision: int = 0
    base: str = ""
    canary: Share | None = None
    reason: str = ""


Answer = Callable[[Request], Awaitable[object]]


class CommandServer:
    """Answers on ``folder``/control by ``answer``, whose results are written as JSON."""

    def __init__(self, folder: Path, answer: Answer) -> None:
        self._folder = folder
        self._answer = answer
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Takes the place of whatever socket is there. Raises OSError."""
        fresh = f"{NAME}.{os.getpid()}"
        sock = socket.socket(socket.AF_UNIX)
        try:
            with _short(self._folder) as folder:
                mask = os.umask(0o177)
                try:
                    sock.bind(f"{folder}/{fresh}")
                finally:
                    os.umask(mask)
                sock.listen(16)
                os.replace(f"{folder}/{fresh}", f"{folder}/{NAME}")  # noqa: PTH105 - the same call
            sock.setblocking(False)  # noqa: FBT003 - the socket module's own signature
            self._server = await asyncio.start_unix_server(self._serve, sock=sock, limit=REQUEST_BYTES_MAX)
        except BaseException:
            sock.close()
            raise

    async def close(self, *, remove: bool = True) -> None:
        """``remove`` False: the file is another's by now."""
        if self._server is None:
            return
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if remove:
            with contextlib.suppress(OSError):
                (self._folder / NAME).unlink()

    async def settle(self) -> None:
        """Waits until what was asked is answered."""
        others = [task for task in self._tasks if task is not asyncio.current_task()]
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            if not _is_ours(writer.get_extra_info("socket")):
                return
            line = await asyncio.wait_for(reader.readline(), REQUEST_S)
            request = msgspec.json.decode(line, type=Request)
            writer.write(msgspec.json.encode(await self._answer(request)) + b"\n")
            await asyncio.wait_for(writer.drain(), REQUEST_S)
        except (OSError, ValueError, TimeoutError, msgspec.MsgspecError):
            pass  # whoever asked has gone, or is none of our commands
        finally:
            self._tasks.discard(task)
            writer.close()


def ask(folder: Path, request: Request, timeout: float) -> dict[str, object]:
    """What the gateway on the data folder ``folder`` answers. Raises OSError when none is there, or none
    answers within ``timeout`` seconds.
    """
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(timeout)
        with _short(folder) as short:
            sock.connect(f"{short}/{NAME}")
        sock.sendall(msgspec.json.encode(request) + b"\n")
        data = bytearray()
        while not data.endswith(b"\n"):
            part = sock.recv(1 << 16)
            if not part:
                raise ConnectionResetError("the gateway ended without an answer")
            data += part
            if len(data) > ANSWER_BYTES_MAX:
                raise ConnectionError("the answer has no end")
    return msgspec.json.decode(data, type=dict[str, object])


@contextlib.contextmanager
def _short(folder: Path) -> Iterator[str]:
    """A short path to ``folder``: unix sockets have room for 107 bytes."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _is_ours(sock: socket.socket) -> bool:
    """Whether the peer is this user or root (``unix(7)``, SO_PEERCRED)."""
    _, user, _ = _CREDENTIALS.unpack(
        sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    )
    return user in {0, os.geteuid()}
