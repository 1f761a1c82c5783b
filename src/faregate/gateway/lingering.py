"""The transport of a caller's connection: its one deadline, and how it ends without losing the last answer.

The base of ``ClientConnection``. Closing takes three steps: what is unsent goes out, the end of the stream
after it, and what the caller still sends is dropped for a moment, so that a reset does not destroy the
answer (W06; RFC 9112 section 9.6). A caller who takes nothing more is given up.
"""

from typing import TYPE_CHECKING, Final

from faregate.gateway.caller import Caller
from faregate.gateway.ending import STALLED_READER_S

if TYPE_CHECKING:
    import asyncio

    from faregate.gateway.plane import Plane

LINGER_S: Final = 1.0
LINGER_BYTES_MAX: Final = 64 << 10
"""What is still read and dropped after the last answer."""


class Lingering(Caller):
    """A protocol to asyncio by its methods, not by its base, which would keep it from being compiled.

    ``transport`` None: made not yet, or lost.
    """

    __slots__ = (
        "_buffer",
        "_closing",
        "_eof",
        "_linger_left",
        "_progress_at",
        "_read_paused",
        "_unsent",
        "_unusual",
        "transport",
    )

    def __init__(self, plane: "Plane") -> None:
        super().__init__(plane)
        self.transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._closing = False
        self._eof = False
        self._linger_left = LINGER_BYTES_MAX
        self._progress_at = 0.0
        self._read_paused = False
        self._unsent = 0  # at the last look, once closing
        self._unusual = False  # closing, or something else than the common path

    def write(self, data: bytes) -> None:
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
            self.transport.abort()

    def _linger_on(self, now: float) -> None:
        """The linger time is over: the end, unless the caller is still taking the answer in, however
        slowly.
        """
        unsent = 0 if self.transport is None else self.transport.get_write_buffer_size()
        if unsent < self._unsent or not self._progress_at:
            self._progress_at = now
        self._unsent = unsent
        if not unsent or now - self._progress_at >= STALLED_READER_S:
            self.break_off()
        else:
            self.arm(now + LINGER_S, now)

    def has_unsent(self) -> bool:
        """Whether part of an answer still waits for the caller to take it."""
        return self.transport is not None and self.transport.get_write_buffer_size() > 0

    def _close_gently(self, now: float) -> None:
        """Sends the end of the stream, then reads on for a moment so that the last answer is not lost to a
        reset.
        """
        self._closing = self._unusual = True
        self._buffer.clear()
        transport = self.transport
        if transport is None:
            return
        self._unsent = transport.get_write_buffer_size()
        self._progress_at = now
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
            self._unsent = transport.get_write_buffer_size()
            self._progress_at = now = self.plane.monotonic()
            self.arm(now + LINGER_S, now)
            transport.close()
