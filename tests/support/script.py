"""What a recording upstream does when a request arrives: a short list of actions, sent as written.

Bytes are sent as they stand, valid or not. The other actions wait, end or break the connection. Helpers at the bottom write the
usual well-formed answers, so that a test names only what is unusual about its own.
"""

import asyncio
from dataclasses import dataclass, field
from typing import TypeAlias


@dataclass(frozen=True)
class Pause:
    """Waits ``seconds``: a delay ahead of the head or a stall inside the body."""

    seconds: float


@dataclass(frozen=True)
class Cut:
    """Closes the connection with a FIN."""


@dataclass(frozen=True)
class Reset:
    """Closes the connection with an RST (linger 0)."""


@dataclass(frozen=True)
class Stall:
    """Sends nothing more and waits until the other side closes."""


@dataclass(frozen=True)
class AwaitBody:
    """Reads the request's body to its end before going on; for answers that begin early."""


@dataclass
class Gate:
    """Waits until the test calls ``open()``, from any thread."""

    _event: asyncio.Event = field(default_factory=asyncio.Event)
    _loop: asyncio.AbstractEventLoop | None = None
    _opened: bool = False

    def open(self) -> None:
        self._opened = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._event.set)

    async def wait(self) -> None:
        self._loop = asyncio.get_running_loop()
        if not self._opened:
            await self._event.wait()


@dataclass(frozen=True)
class Stream:
    """Sends ``total_bytes`` of filler in pieces of ``piece_bytes``, each framed as a chunk when ``chunks``."""

    total_bytes: int
    piece_bytes: int = 64 << 10
    chunks: bool = False


Action: TypeAlias = bytes | Pause | Cut | Reset | Stall | AwaitBody | Gate | Stream


@dataclass(frozen=True)
class Script:
    """``early``: the actions begin when the head is in; otherwise when the whole request is. ``slice_bytes``: size of each write."""

    actions: tuple[Action, ...]
    early: bool = False
    slice_bytes: int = 0


def head(status: int, *headers: str, reason: str = "Scripted", version: str = "1.1") -> bytes:
    """A response head, ended by its empty line."""
    return "\r\n".join([f"HTTP/{version} {status} {reason}", *headers, "", ""]).encode("latin-1")


def sized(body: bytes = b"{}", status: int = 200, *headers: str) -> Script:
    """An answer with ``Content-Length``."""
    return Script((head(status, f"Content-Length: {len(body)}", *headers) + body,))


def in_chunks(*pieces: bytes, trailers: bytes = b"", headers: tuple[str, ...] = ()) -> Script:
    """An answer in chunks, one write a chunk."""
    framed = tuple(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return Script((head(200, "Transfer-Encoding: chunked", *headers), *framed, b"0\r\n" + trailers + b"\r\n"))


def until_close(body: bytes, *headers: str) -> Script:
    """An answer whose body ends with the connection."""
    return Script((head(200, *headers) + body, Cut()))


def raw(*actions: Action, early: bool = False) -> Script:
    """The actions and nothing else."""
    return Script(actions, early=early)
