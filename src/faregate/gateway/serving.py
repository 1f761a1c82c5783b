"""The listening sockets of a worker, as its configuration names them: opened, added, taken away.

A socket is the supervisor's; here it only brings connections in. A listener that is taken away lets its
connections live until they are idle, within the grace time. One that is held closed is not accepted at: other
workers may serve it, and only connections that nobody takes are ended here.
"""

import asyncio
import os
import select
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from faregate.gateway.control import GRACE_S, IDLE_S
from faregate.gateway.listening import key_of
from faregate.snapshot.data import Listener

if TYPE_CHECKING:
    from faregate.gateway.plane import Plane

BACKLOG: Final = 4096
_LOOK_S: Final = 0.05
_LOOKS_LEFT: Final = 3
"""At so many looks in a row connections wait at a listener held closed: then no other worker takes them."""
_ENDED_AT_ONCE: Final = 256
_LET_IN_S: Final = 1.0
_ANY: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared, not bound

ProtocolFor = Callable[[Listener], Callable[[], asyncio.Protocol]]


class Serving:
    """``protocol_for`` gives what makes a listener's connections; ``is_held``: whether it is held closed;
    ``handshakes_at``: how many handshakes are in progress at a place (``key_of``).
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        plane: "Plane",
        protocol_for: ProtocolFor,
        is_held: Callable[[Listener], bool] = lambda _: False,
        handshakes_at: Callable[[str], int] = lambda _: 0,
    ) -> None:
        self._loop = loop
        self._plane = plane
        self._protocol_for = protocol_for
        self._is_held = is_held
        self._handshakes_at = handshakes_at
        self._held: dict[str, socket.socket] = {}
        self._looks: dict[str, int] = {}
        self._servers: dict[str, tuple[Listener, asyncio.Server]] = {}
        self._leaving: set[asyncio.Task[None]] = set()

    async def follow(self, wanted: Sequence[Listener], fresh: Mapping[str, socket.socket]) -> None:
        """Serves exactly ``wanted``; ``fresh`` are the sockets of those that are new, ours from now on."""
        sockets = self._taken_over(fresh)
        for listener in wanted:
            key = key_of(listener)
            known = self._servers.get(key)
            sock = sockets.pop(key, None)
            if known is not None and known[0] == listener:
                if sock is not None:
                    sock.close()
                continue
            if known is not None:
                if sock is None:
                    # the same address in other words: the descriptor passes from one server to the next
                    sock = socket.socket(fileno=os.dup(known[1].sockets[0].fileno()))
                known[1].close()
            if sock is not None:
                await self._begin(key, listener, sock)
        for sock in sockets.values():
            sock.close()
        kept = {key_of(listener) for listener in wanted}
        for key in [key for key in self._servers if key not in kept]:
            _, server = self._servers.pop(key, (None, None))
            if server is None:
                continue  # the worker drains by now
            address = server.sockets[0].getsockname()[:2]
            try:
                await _let_in([server])
            finally:
                server.close()
            self._leave(key, address)

    def _taken_over(self, fresh: Mapping[str, socket.socket]) -> dict[str, socket.socket]:
        """``fresh``, and those held closed, to be judged anew."""
        for key in fresh:
            if key in self._held:
                self._held.pop(key).close()
        sockets, self._held = {**self._held, **fresh}, {}
        return sockets

    async def _begin(self, key: str, listener: Listener, sock: socket.socket) -> None:
        if self._is_held(listener):
            sock.setblocking(False)  # noqa: FBT003 - the socket module's own signature
            self._held[key] = sock
            self._servers.pop(key, None)
        else:
            self._servers[key] = listener, await self._open(listener, sock)

    async def finish(self) -> None:
        """No new connections; who has connected before is a client when this returns."""
        await _let_in([server for _, server in self._servers.values()])
        self.close()
        await asyncio.sleep(0)  # who was accepted in the last turn of the loop is a client from the next on

    def close(self) -> None:
        """No new connections, at once: the kernel resets those that nobody has accepted."""
        for task in self._leaving:
            task.cancel()
        for _, server in self._servers.values():
            server.close()
        self._servers.clear()
        for sock in self._held.values():
            sock.close()
        self._held.clear()

    def look(self) -> None:
        """Ends connections that wait at listeners held closed, where no other worker takes them. Called a few
        times a second.
        """
        for key, sock in self._held.items():
            waits = _has_waiting(sock.fileno())
            self._looks[key] = self._looks.get(key, 0) + 1 if waits else 0
            if self._looks[key] < _LOOKS_LEFT:
                continue
            for _ in range(_ENDED_AT_ONCE):
                try:
                    accepted, _ = sock.accept()
                except OSError:
                    break
                accepted.close()

    async def _open(self, listener: Listener, sock: socket.socket) -> asyncio.Server:
        # The descriptor itself, not a copy: one left open would go on taking connections while we drain.
        return await self._loop.create_server(self._protocol_for(listener), sock=sock, backlog=BACKLOG)

    def _leave(self, key: str, address: tuple[str, int]) -> None:
        task = self._loop.create_task(self._see_off(key, address))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def _see_off(self, key: str, address: tuple[str, int]) -> None:
        """Ends the connections that came in at ``address`` when they are idle, at the latest by the grace;
        who was just connecting may make a call before.
        """
        deadline = time.monotonic() + GRACE_S
        await asyncio.sleep(IDLE_S)
        while (now := time.monotonic()) < deadline:
            theirs = [client for client in self._plane.clients if _came_in(client, address)]
            if not theirs and not self._handshakes_at(key):
                return
            for client in theirs:
                if not client.is_fresh(now):
                    client.drain()
            await asyncio.sleep(_LOOK_S)
        for client in [client for client in self._plane.clients if _came_in(client, address)]:
            client.break_off()


async def _let_in(servers: Sequence[asyncio.Server]) -> None:
    """Accepts who waits at these. More may come all the time, or accepting may fail: it ends after as many as
    may have waited, and in a second.
    """
    deadline = time.monotonic() + _LET_IN_S
    for _ in range(BACKLOG):
        await asyncio.sleep(0)  # a turn, in which uvloop accepts one at each
        if time.monotonic() > deadline:
            return
        if not any(_has_waiting(sock.fileno()) for server in servers for sock in server.sockets):
            return


def _has_waiting(sock: int) -> bool:
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


def _came_in(client: object, address: tuple[str, int]) -> bool:
    transport = getattr(client, "transport", None)
    name = None if transport is None else transport.get_extra_info("sockname")
    if not name:
        return False
    return bool(name[1] == address[1] and (name[0] == address[0] or address[0] in _ANY))
