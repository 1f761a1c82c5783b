"""Connections to one target: kept idle, checked before reuse, opened when there is none, never more than
the cap. How one is opened is ``dial``'s affair.

A connection is lent to one exchange at a time and comes back only when its request was wholly written and
its answer wholly read (W07). Opening is the one thing here that waits; it ends by ``connect_timeout`` and
is told to the exchange that asked, which decides what next. Nothing queues: at the cap, ``can_open`` is
false and the exchange goes elsewhere.
"""

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final, Protocol, cast

from faregate.gateway.dial import DialError, Dialler
from faregate.gateway.upstream import UpstreamConnection
from faregate.gateway.wheel import NEVER
from faregate.snapshot.data import Target, Upstream

if TYPE_CHECKING:
    from collections.abc import Callable

    from faregate.gateway.upstream_tls import TlsClient

PEEK_AFTER_S: Final = 0.010
"""A connection idle for longer is looked at before reuse: the event loop may not yet have seen its end. One
used within the last turns of a busy loop is not: it costs a system call on every call, and saves only those
sent in the very turn in which the upstream died.
"""


IDLE_LEARNED_MIN_S: Final = 0.5
"""A connection that ends sooner tells of a restart, not of a bound."""
SURE_MARGIN: Final = 0.1
SURE_MARGIN_S: Final = 2.0
"""A call that must not run twice goes by no connection idle for longer than the target's bound less this."""
_FORGET: Final = 1.01
"""What was learned of a target's bound is doubted by this each second, so that a restart is not for ever."""


class Asker(Protocol):
    """Who asked for a connection."""

    def connected(self, connection: UpstreamConnection, now: float) -> None: ...

    def connect_failed(self, reason: str, now: float) -> None: ...


class Pool:
    """The connections of one worker to one target. ``open_count`` includes those being opened, lent and
    idle.
    """

    __slots__ = (
        "_generation",
        "_headers_max",
        "_idle",
        "_idle_max",
        "_loop",
        "_max",
        "_monotonic",
        "_opening",
        "_sure_s",
        "_target_idle_s",
        "closed",
        "connect_timeout",
        "dial_failures",
        "dialler",
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
        tls: "TlsClient | None" = None,
    ) -> None:
        self.dialler = Dialler(target, tls, loop, monotonic)
        self.dial_failures = 0
        self._generation = tls.generation if tls is not None else 0
        self._loop = loop
        self._monotonic = monotonic
        self._idle: deque[UpstreamConnection] = deque()
        self._opening: set[asyncio.Task[None]] = set()
        self._headers_max = headers_max
        self.header_bytes_max = header_bytes_max
        self.open_count = 0
        self.closed = False
        self.reconfigure(upstream)

    def serves(self, target: Target, tls: "TlsClient | None") -> bool:
        """Whether the connections of this pool are what ``target`` asks for."""
        dialler = self.dialler
        return dialler.target.tls == target.tls and (not target.tls or dialler.tls is tls)

    def reconfigure(self, upstream: Upstream) -> None:
        """Takes the bounds of a new revision; connections live on."""
        self._idle_max = upstream.idle
        self._max = upstream.max_connections
        self.connect_timeout = min(upstream.connect_timeout, upstream.total_timeout)
        self.idle_timeout = upstream.idle_timeout
        self._target_idle_s = NEVER
        self._set_sure()

    def take(self, now: float) -> UpstreamConnection | None:
        """A live idle connection, the most recently used first, or None."""
        idle = self._idle
        while idle:
            connection = idle.pop()
            transport = connection.transport
            if transport is None or transport.is_closing():
                continue  # it has ended, and the loop has not yet said so
            if now - connection.idle_since > PEEK_AFTER_S and connection.has_ended():
                connection.close()
                continue
            return connection
        return None

    def has_sure(self, now: float) -> bool:
        """Whether ``take_sure`` would find one, as far as is known without looking at it."""
        idle = self._idle
        return bool(idle) and now - idle[-1].idle_since <= self._sure_s

    def take_sure(self, now: float) -> UpstreamConnection | None:
        """The same for a call that must not meet a connection which its other end is about to close: not one
        idle for nearly as long as the target lets them be (payments.md section 4).
        """
        idle = self._idle
        while idle:
            connection = idle[-1]
            if now - connection.idle_since > self._sure_s:
                if not self.can_open():
                    self._make_room()
                return None  # all others are older
            idle.pop()
            transport = connection.transport
            if transport is None or transport.is_closing():
                continue
            if now - connection.idle_since > PEEK_AFTER_S and connection.has_ended():
                connection.close()
                continue
            return connection
        return None

    def _make_room(self) -> None:
        """Closes the oldest idle one so that a fresh one may be opened at once."""
        idle = self._idle
        while idle:
            connection = idle.popleft()
            if connection.transport is not None:  # else it is lost, and counted no more
                connection.counted = False
                self.open_count -= 1
                connection.close()
                return

    def ended_idle(self, connection: UpstreamConnection) -> None:
        """The target closed it while it was idle: so long it lets them be, at most."""
        idle_s = self._monotonic() - connection.idle_since
        if idle_s >= IDLE_LEARNED_MIN_S:
            self._target_idle_s = min(self._target_idle_s, idle_s)
            self._set_sure()

    def _set_sure(self) -> None:
        idle_s = min(self.idle_timeout, self._target_idle_s)
        self._sure_s = idle_s - max(SURE_MARGIN * idle_s, min(SURE_MARGIN_S, 0.5 * idle_s))

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
        """Closes what has been idle too long, or leads where the name no longer does; called about once a
        second.
        """
        if self._target_idle_s < self.idle_timeout:
            self._target_idle_s *= _FORGET
            self._set_sure()
        dialler = self.dialler
        addresses = dialler.addresses
        addresses.keep_fresh(now)
        tls = dialler.tls
        if tls is not None:
            tls.look(now, self._loop)
            self._generation = tls.generation
        kept = deque[UpstreamConnection]()
        for connection in self._idle:
            if (
                connection.transport is None
                or now - connection.idle_since > self.idle_timeout
                or connection.generation != self._generation
                or (connection.address is not None and not addresses.knows(connection.address))
            ):
                connection.close()
            else:
                kept.append(connection)
        self._idle = kept

    def close(self) -> None:
        """Closes what is idle; lent connections close when they come back."""
        self.closed = True
        self.let_go()

    def let_go(self) -> None:
        """Closes what is idle: the target is out, and what comes after its return shall find out by a fresh
        connect, which is told as ``not_sent``, and not on a connection that may be long dead.
        """
        while self._idle:
            self._idle.pop().close()

    def end(self) -> None:
        """Closes what is idle and gives up what is being opened: the worker ends."""
        self.close()
        self.dialler.addresses.close()  # not before: who is being connected waits for the name
        for task in list(self._opening):
            task.cancel()

    @property
    def idle_count(self) -> int:
        return len(self._idle)

    async def _open(self, asker: Asker) -> None:
        connection = UpstreamConnection(self, self._headers_max)
        tls = self.dialler.tls
        reason = ""
        if tls is not None:
            connection.secure = True
            connection.generation = tls.generation
        try:
            made = await self.dialler.dial(cast("asyncio.Protocol", connection), self.connect_timeout)
            connection.socket = made[1]
            connection.address = made[2]
        except DialError as error:
            reason = error.reason
            self.dial_failures += 1
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
