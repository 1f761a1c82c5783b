"""One side of a tunnel: what its transport tells the event loop, and what it may still be told.

It follows its own frames and hands on what may pass; every decision that concerns both sides is the tunnel's.
"""

import asyncio
import os
from typing import TYPE_CHECKING, Final

from faregate.gateway.unsent import unsent_bytes
from faregate.gateway.websocket import Frames, close_frame
from faregate.gateway.wheel import NEVER

if TYPE_CHECKING:
    from faregate.gateway.tunnel import Tunnel

STALLED_S: Final = 30.0
"""How long a side may take none of what is meant for it (http-rules.md section 3)."""


class End:
    """One side of a tunnel, to the event loop a protocol. ``frames``: what this side says.

    ``told``: a Close frame went to it, or the last that it will get. ``due``: a Close frame of ours that
    waits for the end of the other side's frame. ``full``: it does not take what is written. ``lost``: gone.
    It knows its tunnel only while that lasts: a tunnel that is over is freed at once, with its whole call.
    """

    __slots__ = (
        "_progress_at",
        "_tunnel",
        "_unsent",
        "due",
        "ended",
        "frames",
        "full",
        "is_caller",
        "lost",
        "received_bytes",
        "told",
        "transport",
    )

    def __init__(
        self, tunnel: "Tunnel", transport: asyncio.Transport, *, is_caller: bool, extended: bool
    ) -> None:
        self._tunnel: Tunnel | None = tunnel
        self._progress_at = 0.0
        self._unsent = 0
        self.transport = transport
        self.is_caller = is_caller
        self.frames = Frames(masked=is_caller, extended=extended)
        self.due = b""
        self.ended = False
        self.full = False
        self.lost = False
        self.received_bytes = 0
        self.told = False

    # what the event loop calls

    def data_received(self, data: bytes) -> None:
        tunnel = self._tunnel
        if tunnel is None:
            return
        tunnel.last_at = tunnel.plane.monotonic()
        frames = self.frames
        other = tunnel.upstream if self.is_caller else tunnel.caller
        before = frames.left
        passed = frames.feed(data)
        self.received_bytes += len(data)
        if other.due:
            other.finish(passed, before)
        elif passed and not other.told:
            other.transport.write(passed)
            if frames.said_close:
                other.told = True
        if frames.fault or frames.closed:
            tunnel.heard(self)

    def eof_received(self) -> bool:
        """This side has no more to say; the other hears of it and may finish."""
        self.ended = True
        tunnel = self._tunnel
        if tunnel is None:
            return False
        tunnel.ended(self)
        return not tunnel.done and self.transport.can_write_eof()

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True
        if self._tunnel is not None:
            self._tunnel.lost(self, error)

    def pause_writing(self) -> None:
        self.full = True
        if self._tunnel is not None:
            self._tunnel.full(self)

    def resume_writing(self) -> None:
        self.full = False
        if self._tunnel is not None:
            self._tunnel.drained(self)

    # what the tunnel calls

    def release(self) -> None:
        """The tunnel is over: its transports have their connections again."""
        self._tunnel = None

    def finish(self, passed: bytes, before: int) -> None:
        """The rest of the other side's frame, ``before`` bytes at most, and the Close frame behind it."""
        if len(passed) < before:
            self.transport.write(passed)
            return
        self.transport.write(passed[:before] + self.due)
        self.due = b""
        self.told = True

    def tell(self, code: int, reason: str, *, within_frame: bool) -> None:
        """Sends a Close frame, once the frame that is on its way has ended."""
        if self.told or self.due:
            return
        frame = close_frame(code, reason, b"" if self.is_caller else os.urandom(4))
        if within_frame:
            self.due = frame
        else:
            self.transport.write(frame)
            self.told = True

    def stuck_at(self, now: float) -> float:
        """When to give this side up, should it go on taking nothing."""
        if not self.full:
            self._progress_at = 0.0
            return NEVER
        unsent = unsent_bytes(self.transport)
        if not self._progress_at or unsent < self._unsent:
            self._progress_at = now
        self._unsent = unsent
        return self._progress_at + STALLED_S
