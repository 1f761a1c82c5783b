"""The embedded ledger as a worker or a command uses it: connects to its process, and goes on trying.

What each call runs through is the ``Link``; this part connects it again whenever the process was replaced,
and asks what people and the resolver want to know.
"""

import asyncio
import contextlib
import secrets
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Final, cast

import msgspec

from faregate.stores.ledger.embedded import wire
from faregate.stores.ledger.embedded.asking import PAGE, Ask
from faregate.stores.ledger.embedded.link import AWAY, Link
from faregate.stores.ledger.embedded.places import short_name, socket_in
from faregate.stores.ledger.protocol import Claim, Entry, Figures, Ledger, LedgerError, Teller

_BACK_OFF_S: Final = 0.02
_BACK_OFF_MAX_S: Final = 0.05
"""A try is one call of the system, and calls wait for it."""
_CLOSE_S: Final = 1.0
_LOOK_S: Final = 0.01


class EmbeddedLedger(Ledger):
    """The ledger of the data folder ``data``. ``holds``: False for a command, which only asks."""

    def __init__(self, data: Path, *, holds: bool = True) -> None:
        self._owner = secrets.token_bytes(wire.OWNER_BYTES) if holds else wire.NO_OWNER
        self._made: Link | None = None
        self._path = socket_in(data)
        self._connecting: asyncio.Task[None] | None = None

    @property
    def link(self) -> Link:
        """The line, made when it is first used: only then an event loop must run."""
        link = self._made
        if link is None:
            link = self._made = Link(asyncio.get_running_loop(), self._owner)
        return link

    @property
    def away(self) -> str:
        """Known since the first try to connect."""
        return AWAY if self._connecting is not None and not self.link.connected else ""

    @property
    def mover(self) -> Link:
        return self.link

    # the moves of a call

    def claim(self, claim: Claim, teller: Teller) -> None:
        (self._made or self.link).claim(claim, teller)

    def mark_sent(self, key: bytes, attempt: bytes, teller: Teller) -> None:
        (self._made or self.link).mark_sent(key, attempt, teller)

    def settle(self, key: bytes, attempt: bytes, state: int, answer: bytes, teller: Teller | None) -> None:
        (self._made or self.link).settle(key, attempt, state, answer, teller)

    # what is awaited

    async def due(self, most: int) -> list[Entry]:
        return _entries(await self._ask(Ask("due", most=most)))

    async def defer(self, key: bytes, attempt: bytes, after_s: float) -> None:
        await self._ask(Ask("defer", key, attempt, after_s=after_s))

    async def decide(  # noqa: PLR0913, PLR0917 - as the protocol has it
        self, key: bytes, attempt: bytes, state: int, answer: bytes, by: str, note: str
    ) -> bool:
        payload = await self._ask(Ask("decide", key, attempt, state, answer, by, note))
        return msgspec.msgpack.decode(payload, type=bool)

    async def entries(self, states: Sequence[int], after: bytes, most: int) -> list[Entry]:
        found: list[Entry] = []
        while len(found) < most:
            wanted = min(PAGE, most - len(found))
            ask = Ask("entries", states=list(states), most=wanted, after=after)
            page = _entries(await self._ask(ask))
            found += page
            if len(page) < wanted:
                break
            after = page[-1].key
        return found

    async def entry(self, key: bytes) -> Entry | None:
        payload = await self._ask(Ask("entry", key))
        return msgspec.msgpack.decode(payload, type=Entry | None)

    async def figures(self) -> Figures:
        return msgspec.msgpack.decode(await self._ask(Ask("figures")), type=Figures)

    async def _ask(self, ask: Ask) -> bytes:
        return await self.link.ask(msgspec.msgpack.encode(ask))

    # its life

    async def start(self) -> None:
        connected = await self._connect()
        self._connecting = asyncio.ensure_future(self._keep_connected(connected=connected))

    async def close(self) -> None:
        deadline = asyncio.get_running_loop().time() + _CLOSE_S
        while self.link.waits_for_storing and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_S)
        task, self._connecting = self._connecting, None
        self.link.close()
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await asyncio.sleep(0)  # lets connection_lost run

    async def _keep_connected(self, *, connected: bool) -> None:
        pause = _BACK_OFF_S
        while True:
            if connected:
                pause = _BACK_OFF_S
                lost = self.link.lost
                assert lost is not None
                await lost.wait()
            await asyncio.sleep(pause)
            pause = min(2 * pause, _BACK_OFF_MAX_S)
            connected = await self._connect()

    async def _connect(self) -> bool:
        """Whether a connection is open now."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        self.link.lost = asyncio.Event()
        try:
            with short_name(self._path) as name:
                sock.connect(name)
            loop = asyncio.get_running_loop()
            link = cast("asyncio.Protocol", self.link)  # has all of it, and is compiled
            await loop.create_unix_connection(lambda: link, sock=sock)
        except OSError:
            with contextlib.suppress(OSError):
                sock.close()
            return False
        return True


def _entries(payload: bytes) -> list[Entry]:
    return msgspec.msgpack.decode(payload, type=list[Entry])


__all__ = ["EmbeddedLedger", "LedgerError"]
