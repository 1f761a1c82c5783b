"""The one HTTP/2 connection to a target, in the place of a pool: lends streams, opens what is missing.

While a connection is being opened, calls wait for it together; none waits for a free stream. A connection
that leaves (GOAWAY, idle, changed certificates) ends with its last stream, and a new one takes its place.
"""

import asyncio
from typing import TYPE_CHECKING, Final, cast

from faregate.gateway.dial import DialError
from faregate.gateway.http2.frames import STREAMS_MAX
from faregate.gateway.http2.upstream import Http2Upstream
from faregate.gateway.http2.upstream_link import UpstreamLink
from faregate.gateway.pool import Asker, Pool
from faregate.snapshot.data import Target, Upstream

if TYPE_CHECKING:
    from collections.abc import Callable

    from faregate.gateway.upstream import UpstreamConnection
    from faregate.gateway.upstream_tls import TlsClient

ALPN: Final = "h2"


class Http2Pool(Pool):
    """``open_count`` counts connections: one, or two while an old one ends."""

    __slots__ = ("_asking", "_connection")

    def __init__(  # noqa: PLR0913 - a pool's
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
        super().__init__(
            target,
            upstream,
            loop,
            monotonic,
            header_bytes_max=header_bytes_max,
            headers_max=headers_max,
            tls=tls,
        )
        self._asking: list[Asker] = []
        self._connection: Http2Upstream | None = None

    def take(self, now: float) -> "UpstreamConnection | None":  # noqa: ARG002 - a pool's signature
        connection = self._connection
        if connection is None or connection.leaving or len(connection.streams) >= self._room(connection):
            return None
        return connection.new_stream()

    def has_sure(self, now: float) -> bool:
        connection = self._connection
        return (
            connection is not None
            and not connection.leaving
            and len(connection.streams) < self._room(connection)
            and (bool(connection.streams) or now - connection.idle_since <= self._sure_s)
        )

    def take_sure(self, now: float) -> "UpstreamConnection | None":
        connection = self._connection
        if connection is not None and not connection.streams and now - connection.idle_since > self._sure_s:
            self._connection = None  # nothing runs on it
            connection.leave()
        return self.take(now)

    def _room(self, connection: Http2Upstream) -> int:
        return min(connection.streams_max, self._max)

    def can_open(self) -> bool:
        connection = self._connection
        if connection is not None and not connection.leaving:
            return False  # it is full
        return len(self._asking) < min(STREAMS_MAX, self._max)

    def open(self, asker: Asker) -> "asyncio.Task[None]":
        self._asking.append(asker)
        for task in self._opening:
            if not task.done():  # one that has told its askers already may still stand there
                return task
        return super().open(asker)

    def give_back(self, connection: "UpstreamConnection", now: float) -> None:
        """A stream that was not used."""

    def ended(self, connection: UpstreamLink) -> None:
        """It takes no more calls."""
        if self._connection is connection:
            self._connection = None

    def now(self) -> float:
        return self._monotonic()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    def reap(self, now: float) -> None:
        super().reap(now)
        connection = self._connection
        if connection is not None and (
            (not connection.streams and now - connection.idle_since > self.idle_timeout)
            or connection.generation != self._generation
            or (connection.address is not None and not self.dialler.addresses.knows(connection.address))
        ):
            self._connection = None
            connection.leave()

    def let_go(self) -> None:
        """What comes after the target's return begins with a fresh connect, as on any pool."""
        super().let_go()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.leave()

    async def _open(self, asker: Asker) -> None:  # noqa: ARG002 - one of those in the list
        tls = self.dialler.tls
        connection = Http2Upstream(
            self,
            self._headers_max,
            secure=tls is not None,
            generation=0 if tls is None else tls.generation,
        )
        reason = ""
        try:
            made = await self.dialler.dial(cast("asyncio.Protocol", connection), self.connect_timeout)
            connection.address = made[2]
        except DialError as error:
            reason = error.reason
        if not reason and tls is not None and not connection.speaks(ALPN):
            reason = "upstream_without_h2"
        now = self._monotonic()
        asking, self._asking = self._asking, []
        if reason:
            self.dial_failures += 1
            if connection.made:
                connection.close()
            else:
                self.open_count -= 1
            for waiting in asking:
                waiting.connect_failed(reason, now)
            return
        connection.idle_since = now
        if not self.closed:
            self._connection = connection
        for waiting in asking:
            waiting.connected(connection.new_stream(), now)
        if self.closed:
            connection.leave()  # after those who waited for it: they asked before it was closed
