"""Connections to one target: kept idle, checked before reuse, opened when there is none, never more than
the cap.

A connection is lent to one exchange at a time and comes back only when its request was wholly written and
its answer wholly read (W07). Opening is the one thing here that waits; it ends by ``connect_timeout`` and
is told to the exchange that asked, which decides what next. Nothing queues: at the cap, ``can_open`` is
false and the exchange goes elsewhere.
"""

import asyncio
import ipaddress
import socket
from collections import deque
from typing import TYPE_CHECKING, Final, Protocol, cast

from faregate.gateway.upstream import UpstreamConnection
from faregate.snapshot.data import Target, Upstream

if TYPE_CHECKING:
    from collections.abc import Callable

PEEK_AFTER_S: Final = 0.010
"""A connection idle for longer is looked at before reuse: the event loop may not yet have seen its end. One
used within the last turns of a busy loop is not: it costs a system call on every call, and saves only those
sent in the very turn in which the upstream died.
"""
RESOLVED_FOR_S: Final = 10.0
"""How long a name's addresses are used before they are asked for again; kept beyond that while the resolver
fails.
"""


class Asker(Protocol):
    """Who asked for a connection."""

    def connected(self, connection: UpstreamConnection, now: float) -> None: ...

    def connect_failed(self, reason: str, now: float) -> None: ...


class Pool:
    """The connections of one worker to one target. ``open_count`` includes those being opened, lent and
    idle.
    """

    __slots__ = (
        "_addresses",
        "_headers_max",
        "_idle",
        "_idle_max",
        "_loop",
        "_max",
        "_monotonic",
        "_opening",
        "_resolved_at",
        "_target",
        "closed",
        "connect_timeout",
        "header_bytes_max",
        "idle_timeout",
        "open_count",
    )

    def __init__(  # noqa: PLR0913 - one value per property
        self,
        target: Target,
        upstream: Upstream,
        loop: asyncio.AbstractEventLoop,
        monotonic: "Callable[[], float]",
        *,
        header_bytes_max: int = 64 << 10,
        headers_max: int = 128,
    ) -> None:
        self._target = target
        self._loop = loop
        self._monotonic = monotonic
        self._idle: deque[UpstreamConnection] = deque()
        self._opening: set[asyncio.Task[None]] = set()
        self._addresses: list[tuple[socket.AddressFamily, tuple[str, int]]] = _literal_address(target)
        self._resolved_at = float("inf") if self._addresses else float("-inf")
        self._headers_max = headers_max
        self.header_bytes_max = header_bytes_max
        self.open_count = 0
        self.closed = False
        self.reconfigure(upstream)

    def reconfigure(self, upstream: Upstream) -> None:
        """Takes the bounds of a new revision; connections live on."""
        self._idle_max = upstream.idle
        self._max = upstream.max_connections
        self.connect_timeout = upstream.connect_timeout
        self.idle_timeout = upstream.idle_timeout

    def take(self, now: float) -> UpstreamConnection | None:
        """A live idle connection, the most recently used first, or None."""
        idle = self._idle
        while idle:
            connection = idle.pop()
            if connection.transport is None:
                continue
            if now - connection.idle_since > PEEK_AFTER_S and connection.has_ended():
                connection.close()
                continue
            return connection
        return None

    def give_back(self, connection: UpstreamConnection, now: float) -> None:
        """Takes a connection whose exchange ended cleanly."""
        if self.closed or len(self._idle) >= self._idle_max:
            connection.close()
            return
        connection.idle_since = now
        self._idle.append(connection)

    def can_open(self) -> bool:
        return self.open_count < self._max

    def open(self, asker: Asker) -> asyncio.Task[None]:
        """Opens a connection for ``asker``, who is told how it went, unless the task is cancelled first."""
        self.open_count += 1
        task = self._loop.create_task(self._open(asker))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)
        return task

    def gone(self) -> None:
        """One of ours is closed."""
        self.open_count -= 1

    def reap(self, now: float) -> None:
        """Closes what has been idle too long; called about once a second."""
        kept = deque[UpstreamConnection]()
        for connection in self._idle:
            if connection.transport is None or now - connection.idle_since > self.idle_timeout:
                connection.close()
            else:
                kept.append(connection)
        self._idle = kept

    def close(self) -> None:
        """Closes what is idle; lent connections close when they come back."""
        self.closed = True
        while self._idle:
            self._idle.pop().close()

    @property
    def idle_count(self) -> int:
        return len(self._idle)

    async def _open(self, asker: Asker) -> None:
        connection = UpstreamConnection(self, self._headers_max)
        reason = ""
        try:
            async with asyncio.timeout(self.connect_timeout):
                await self._connect(connection)
        except TimeoutError:
            reason = "connect_timeout"
        except ConnectionRefusedError:
            reason = "connect_refused"
        except socket.gaierror:
            reason = "name_not_resolved"
        except UnicodeError:
            reason = "name_invalid"
        except OSError as error:
            reason = f"connect_errno_{error.errno}"
        finally:
            # Once made, a connection counts until it is lost; before that, until here.
            if not connection.made:
                self.open_count -= 1
            elif reason:
                connection.abort()
        now = self._monotonic()
        if reason:
            asker.connect_failed(reason, now)
        else:
            asker.connected(connection, now)

    async def _connect(self, connection: UpstreamConnection) -> None:
        last: OSError | None = None
        for family, address in await self._resolve():
            sock = socket.socket(family, socket.SOCK_STREAM)
            try:
                sock.setblocking(False)  # noqa: FBT003 - the socket module's own signature
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                await self._loop.sock_connect(sock, address)
            except OSError as error:
                sock.close()
                last = error
                continue
            except BaseException:
                sock.close()
                raise
            connection.socket = sock
            await self._loop.create_connection(lambda: cast("asyncio.Protocol", connection), sock=sock)
            return
        raise last or OSError("no address")

    async def _resolve(self) -> list[tuple[socket.AddressFamily, tuple[str, int]]]:
        if self._monotonic() - self._resolved_at < RESOLVED_FOR_S or self._resolved_at == float("inf"):
            return self._addresses
        try:
            found = await self._loop.getaddrinfo(
                self._target.host, self._target.port, type=socket.SOCK_STREAM
            )
        except OSError:
            if not self._addresses:
                raise
        else:
            self._addresses = [(entry[0], (str(entry[4][0]), int(entry[4][1]))) for entry in found]
            self._resolved_at = self._monotonic()
        return self._addresses


def _literal_address(target: Target) -> list[tuple[socket.AddressFamily, tuple[str, int]]]:
    try:
        address = ipaddress.ip_address(target.host.strip("[]"))
    except ValueError:
        return []
    return [(socket.AF_INET if address.version == 4 else socket.AF_INET6, (str(address), target.port))]
