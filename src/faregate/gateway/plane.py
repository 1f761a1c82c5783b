"""What all connections of a worker share: the running snapshot, time, ids, the recorder, who is connected.

One per worker process. ``runtime`` is the one reference that a reload swaps; calls keep the one they began
with.
"""

import asyncio
import resource
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from faregate.gateway.wheel import Wheel
from faregate.kernel.ids import IdSource
from faregate.snapshot.call import Call

if TYPE_CHECKING:
    from faregate.gateway.assembly import Runtime
    from faregate.gateway.exchange import Exchange
    from faregate.gateway.listener import ClientConnection

_DESCRIPTORS_OWN: Final = 64
_CLIENTS_MIN: Final = 16
REAP_EVERY_S: Final = 1.0
FLUSH_AT: Final = 256
"""Calls recorded between two ticks of the wheel before a flush is asked for ahead of time."""


def clients_max() -> int:
    """How many callers' connections a worker takes: less than half its descriptors, so that each may need
    one to its upstream and the log and the stores keep theirs.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(_CLIENTS_MIN, (soft - _DESCRIPTORS_OWN) // 2)


class Recorder(Protocol):
    """Takes the record of each call; must not block."""

    def record(self, call: Call) -> None: ...

    def flush(self) -> int: ...


class Plane:
    """The shared state of one worker. ``via`` is this gateway's name in ``Via``: unlike any other's (W04)."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        runtime: "Runtime",
        recorder: Recorder,
        via: bytes,
        monotonic: Callable[[], float] = time.monotonic,
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
        self.clients_max = clients_max()
        self.clients_refused = 0
        self.orphans: set[Exchange] = set()  # sent calls whose callers are gone
        self.in_flight = 0
        self.draining = False
        self.wheel = Wheel(loop, monotonic, self._on_tick)
        self._reaped_at = monotonic()

    def _on_tick(self, now: float) -> None:
        """The small regular works: the wall clock followed, records handed on, idle connections closed."""
        self.wall_offset = time.time() - now
        self._recorded = 0
        self.recorder.flush()
        if now - self._reaped_at >= REAP_EVERY_S:
            self._reaped_at = now
            for upstream in self.runtime.upstreams.values():
                upstream.reap(now)

    def record(self, call: Call) -> None:
        """Takes an ended call; the lines are made in batches off the call's path."""
        self._record(call)
        self._recorded += 1
        if self._recorded >= FLUSH_AT:
            self._recorded = 0
            self.loop.call_soon(self.recorder.flush)

    def drain(self) -> None:
        """No further call on any connection: idle ones close now, busy ones with their answer."""
        self.draining = True
        for client in list(self.clients):
            client.drain()

    def is_busy(self) -> bool:
        """Whether a call is in progress, or an answer not yet wholly handed over."""
        return self.in_flight > 0 or any(client.has_unsent() for client in self.clients)

    def end_calls(self) -> None:
        """Ends every call there is, each with its record: this process stops."""
        exchanges = [client.exchange for client in self.clients if client.exchange is not None]
        for exchange in [*exchanges, *self.orphans]:
            exchange.stop()

    def break_off(self) -> None:
        """Ends what is left, visibly."""
        for client in list(self.clients):
            client.break_off()
