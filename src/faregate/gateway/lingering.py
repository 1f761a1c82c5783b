"""The transport of a caller's connection: its one deadline, and how it ends without losing the last answer.

The base of ``ClientConnection``. Closing takes three steps: what is unsent goes out, the end of the stream
after it, and what the caller still sends is dropped for a moment, so that a reset does not destroy the
answer (W06; RFC 9112 section 9.6). A caller who takes nothing more is given up.
"""

from typing import TYPE_CHECKING, Final

from faregate.gateway.caller import STALLED_READER_S, Caller
from faregate.gateway.unsent import reset, unsent_bytes

if TYPE_CHECKING:
    import asyncio

    from faregate.gateway.plane import Plane

FIRST_CALL_S: Final = 1.0
"""How long a new connection may take to its first call even while everything here ends."""
LINGER_S: Final = 1.0
TAKEN_BYTES_PER_S: Final = 1024
"""The least rate at which a caller takes its answers, on the whole; it may fall behind by 30 s."""
LINGER_BYTES_MAX: Final = 64 << 10
"""What is still read and dropped after the last answer."""


class Lingering(Caller):
    """A protocol to asyncio by its methods, not by its base, which would keep it from being compiled.

    ``made_at``: when it came about, over TLS when that was settled. ``place``: the listener that it came in
    by. ``transport`` None: made not yet, or lost.
    """

    __slots__ = (
        "_behind_s",
        "_buffer",
        "_closing",
        "_eof",
        "_linger_left",
        "_looked_at",
        "_read_paused",
        "_unsent",
        "_unusual",
        "made_at",
        "place",
        "transport",
    )

    def __init__(self, plane: "Plane") -> None:
        super().__init__(plane)
        self.made_at = 0.0
        self.place = ""
        self.transport: asyncio.Transport | None = None
        self._behind_s = 0.0  # how far the caller is behind the least rate in taking its answers
        self._buffer = bytearray()
        self._closing = False
        self._eof = False
        self._linger_left = LINGER_BYTES_MAX
        self._looked_at = 0.0
        self._read_paused = False
        self._unsent = 0  # at the last look, once the caller is slow or the connection closing
        self.look_s = LINGER_S
        self._unusual = False  # closing, or something else than the common path

    def write(self, data: bytes) -> None:
        if self.transport is not None:
            self.transport.write(data)

    def write_last(self, data: bytes) -> None:
        if self.transport is not None:
            self.transport.write(data)

    def pause_reading(self) -> None:
        if not self._read_paused and self.transport is not None:
            self._read_paused = True
            self.transport.pause_reading()

    def break_off(self) -> None:
        """Ends the connection so that a truncated answer cannot pass for a whole one."""
        self._closing = self._unusual = True
        if self.transport is not None:
            reset(self.transport)

    def _linger_on(self, now: float) -> None:
        """The linger time is over: the end, unless the caller is still taking the answer in."""
        if self.has_stalled(now) or not self._unsent:  # what the kernel still holds would die with a reset
            self.break_off()
        else:
            self.arm(now + LINGER_S, now)

    def _watch_unsent(self, now: float) -> None:
        """From now on the caller must take what is unsent at the least rate."""
        self._behind_s = 0.0
        self._looked_at = now
        self._unsent = 0 if self.transport is None else unsent_bytes(self.transport)

    def has_stalled(self, now: float) -> bool:
        """Whether the caller is ``STALLED_READER_S`` behind in taking its answers: nothing for so long, or
        less than ``TAKEN_BYTES_PER_S`` for longer.
        """
        unsent = 0 if self.transport is None else unsent_bytes(self.transport)
        taken_s = max(0, self._unsent - unsent) / TAKEN_BYTES_PER_S
        self._behind_s = max(0.0, self._behind_s + now - self._looked_at - taken_s)
        self._looked_at = now
        self._unsent = unsent
        return self._behind_s >= STALLED_READER_S

    def has_unsent(self) -> bool:
        """Whether part of an answer still waits for the caller to take it."""
        return self.transport is not None and self.transport.get_write_buffer_size() > 0

    def is_fresh(self, now: float) -> bool:
        """Whether its first call may still be on its way."""
        return now < self.made_at + FIRST_CALL_S

    def end_now(self) -> None:
        """The process ends. What was handed over still reaches the caller; what was not shows that it is
        cut.
        """
        if self.has_unsent():
            self.break_off()
        else:
            self._close_now()

    def _close_gently(self, now: float) -> None:
        """Sends the end of the stream, then reads on for a moment so that the last answer is not lost to a
        reset.
        """
        self._closing = self._unusual = True
        self._buffer.clear()
        transport = self.transport
        if transport is None:
            return
        self._watch_unsent(now)
        self.arm(now + LINGER_S, now)
        if self._eof:
            transport.close()
            return
        if transport.can_write_eof():
            transport.write_eof()
        if self._read_paused:
            self._read_paused = False
            transport.resume_reading()

    def _close_now(self) -> None:
        self._closing = self._unusual = True
        transport = self.transport
        if transport is not None:
            now = self.plane.monotonic()
            self._watch_unsent(now)
            self.arm(now + LINGER_S, now)
            transport.close()
