"""What all connections of a worker share: the running snapshot, time, ids, the recorder, who is connected.

One per worker process. ``runtime`` is the one reference that a reload swaps; calls keep the one they began
with.
"""

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from faregate.gateway.admission import Admission
from faregate.gateway.doorkeeper import Doorkeeper, descriptors_allow
from faregate.gateway.overload import Overload
from faregate.gateway.wheel import TICK_S, Wheel
from faregate.kernel.ids import IdSource
from faregate.snapshot.call import Call

if TYPE_CHECKING:
    from faregate.gateway.assembly import Runtime
    from faregate.gateway.canary import Canary
    from faregate.gateway.exchange import Exchange
    from faregate.gateway.listener import ClientConnection
    from faregate.stores.shared_counts import SharedCounts

REAP_EVERY_S: Final = 1.0
_LOOK_AT_BYTES: Final = 1 << 20
FLUSH_AT: Final = 256
"""Calls recorded between two ticks of the wheel before a flush is asked for ahead of time."""


class Recorder(Protocol):
    """Takes the record of each call; must not block."""

    def record(self, call: Call) -> None: ...

    def flush(self) -> int: ...


class Plane:
    """The shared state of one worker. ``header_timeout``, ``body_timeout``, ``idle_timeout``: seconds as they
    hold now. ``closes``: answers end their connections. ``calls_least``: calls in progress up to which every
    class of route is let in. ``memory_bytes``: the memory it may use, 0 without end. ``via``: this gateway's
    name in ``Via``, unlike any other's (W04).
    """

    def __init__(  # noqa: PLR0913, PLR0917 - wired in one place
        self,
        loop: asyncio.AbstractEventLoop,
        runtime: "Runtime",
        recorder: Recorder,
        via: bytes,
        monotonic: Callable[[], float] = time.monotonic,
        memory_bytes: int = 0,
    ) -> None:
        self.loop = loop
        self.runtime = runtime
        self.recorder = recorder
        self._recorded = 0
        self._record = recorder.record
        self.via = via
        self.via_line = b"Via: %b\r\nX-Request-Id: " % via
        self.monotonic = monotonic
        self.wall_offset = time.time() - monotonic()
        self.ids = IdSource()
        self.clients: set[ClientConnection] = set()
        self._descriptors = descriptors_allow()
        self.doorkeeper = Doorkeeper(runtime.limits, self._descriptors)
        self.admission = Admission(runtime.limits.calls, runtime.priorities)
        self.calls_least = self.admission.least
        self.canary: Canary | None = None
        self.overload = Overload(memory_bytes, monotonic())
        self._held_bytes = 0  # since memory was last looked at for it
        self._look_at_bytes = memory_bytes // 100 or _LOOK_AT_BYTES
        self._patience = 1.0
        self.set_patience(1.0)
        self.orphans: set[Exchange] = set()  # sent calls whose callers are gone
        self.in_flight = 0
        self.tunnels = runtime.tunnels
        self.draining = False
        self.closes = False
        self.answers_misfit = 0  # answers that were not as their OpenAPI document has them
        self.http2_faults = 0  # connections ended because they broke HTTP/2 or a bound of it
        self.on_tick: Callable[[float], None] | None = None
        """Runs every 50 ms; must not raise."""
        self.wheel = Wheel(loop, monotonic, self._on_tick)
        self._reaped_at = monotonic()

    def _on_tick(self, now: float) -> None:
        """The small regular works: the wall clock followed, records handed on, idle connections closed."""
        self.wall_offset = time.time() - now
        self._recorded = 0
        self.overload.tick(self, now, TICK_S)
        self.recorder.flush()
        if self.on_tick is not None:
            self.on_tick(now)
        if now - self._reaped_at >= REAP_EVERY_S:
            self._reaped_at = now
            for upstream in self.runtime.upstreams.values():
                upstream.reap(now)
            for upstream in () if self.canary is None else self.canary.own:
                upstream.reap(now)

    def held(self, size: int, now: float) -> bool:
        """Counts bytes held for a caller who has more to send; False when there is no memory left for such.

        A flood fills memory faster than the ticks come.
        """
        self._held_bytes += size
        if self._held_bytes >= self._look_at_bytes:
            self._held_bytes = 0
            self.overload.look(self, now)
        return not self.doorkeeper.narrow

    def adopt(self, runtime: "Runtime") -> None:
        """Puts a new revision to work; calls in progress keep theirs."""
        self.runtime = runtime
        self.tunnels.reloaded()
        self.doorkeeper.take(runtime.limits, self._descriptors)
        self.admission.take(runtime.limits.calls, runtime.priorities)
        self.set_least()
        self.set_patience(self._patience)

    def divide(self, canary: "Canary | None") -> None:
        """Gives ``canary`` its part of the calls from now on; None: all are the running revision's."""
        self.canary = canary
        self._record = self.recorder.record if canary is None else canary.record
        self.set_least()

    def set_least(self) -> None:
        """``calls_least`` as admission has it; below any count where a canary looks at every call."""
        watches = self.canary is not None and self.canary.consumers
        self.calls_least = -1 if watches else self.admission.least

    def share(self, counts: "SharedCounts") -> None:
        """The caps on connections and WebSockets hold together with those who count there too. Before any
        connection.
        """
        self.doorkeeper.shared = self.tunnels.shared = counts

    def bound_memory(self, memory_bytes: int) -> None:
        """The memory it may use from now on, 0 without end."""
        self.overload.watched_bytes = memory_bytes
        self._look_at_bytes = memory_bytes // 100 or _LOOK_AT_BYTES

    def set_patience(self, part: float) -> None:
        """Grants callers ``part`` of the configured times."""
        self._patience = part
        limits = self.runtime.limits
        self.header_timeout = limits.header_timeout * part
        self.body_timeout = limits.body_timeout * part
        self.idle_timeout = limits.idle_timeout * part

    def record(self, call: Call) -> None:
        """Takes an ended call; the lines are made in batches off the call's path."""
        self._record(call)
        self._recorded += 1
        if self._recorded >= FLUSH_AT:
            self._recorded = 0
            self.loop.call_soon(self.recorder.flush)

    def announce_drain(self) -> None:
        """The next answer on each connection is its last; an idle one may still ask, for a request may be on
        its way.
        """
        self.draining = self.closes = True
        self.tunnels.drain()
        for client in list(self.clients):
            client.announce_drain()

    def forget(self, client: "ClientConnection") -> None:
        """A caller's connection has ended, or become something else."""
        if client in self.clients:
            self.clients.discard(client)
            self.doorkeeper.left(client.peer_ip)

    def drain(self) -> None:
        """No further call on any connection: idle ones close now, busy ones with their answer."""
        if not self.draining:
            self.announce_drain()
        for client in list(self.clients):
            client.drain()

    def awaits_calls(self, now: float) -> bool:
        """Whether a connection is so new that its first call may still be on its way."""
        return any(client.is_fresh(now) for client in self.clients)

    def is_busy(self) -> bool:
        """Whether a call is in progress, or an answer not yet wholly handed over."""
        return (
            self.in_flight > 0
            or bool(self.tunnels.open)
            or any(client.has_unsent() for client in self.clients)
        )

    def end_calls(self) -> None:
        """Ends every call there is, each with its record: this process stops."""
        exchanges = [exchange for client in self.clients for exchange in client.exchanges()]
        for exchange in [*exchanges, *self.orphans]:
            exchange.stop()

    def break_off(self) -> None:
        """Ends what is left; an answer that is not out is seen to be cut."""
        for client in list(self.clients):
            client.end_now()
