"""One end of the line between supervisor and worker: whole messages out of a socket pair, descriptors with
them.

Written on a plain socket, for streams lose what ``SCM_RIGHTS`` carries. Sending never waits: what the other
end does not take at once is kept, bounded, and goes out when it does.
"""

import asyncio
import os
import socket
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from faregate.gateway import control
from faregate.gateway.control import LINE_BYTES_MAX, Message

_DESCRIPTORS_MAX: Final = 64
UNSENT_BYTES_MAX: Final = 1 << 20
"""Beyond it the other end is stuck, and is treated as gone."""

Hear = Callable[[Message, list[socket.socket]], None]


class Line:
    """Calls ``hear`` for each message with the sockets that came with it, and ``ended`` once, when the other
    end is gone. Owns ``sock``. Belongs to the loop's thread.
    """

    def __init__(
        self, sock: socket.socket, loop: asyncio.AbstractEventLoop, hear: Hear, ended: Callable[[], None]
    ) -> None:
        sock.setblocking(False)  # noqa: FBT003 - the socket module's own signature
        self._sock = sock
        self._loop = loop
        self._hear = hear
        self._ended = ended
        self._buffer = bytearray()
        self._descriptors: list[int] = []
        self._unsent = bytearray()
        self.closed = False
        loop.add_reader(sock.fileno(), self._readable)

    def send(self, message: Message, descriptors: Sequence[int] = ()) -> bool:
        """False when the other end is gone, or when ``descriptors`` could not go out at once."""
        if self.closed:
            return False
        line = control.encode(message)
        if descriptors:
            return not self._unsent and self._send_now(line, descriptors)
        if self._unsent or not self._send_now(line, ()):
            self._unsent += line
            if len(self._unsent) > UNSENT_BYTES_MAX:
                self._end()
                return False
            if not self.closed:
                self._loop.add_writer(self._sock.fileno(), self._writable)
        return not self.closed

    def close(self) -> None:
        """Lets go without calling ``ended``."""
        if self.closed:
            return
        self.closed = True
        self._loop.remove_reader(self._sock.fileno())
        self._loop.remove_writer(self._sock.fileno())
        self._sock.close()
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors.clear()

    def _send_now(self, line: bytes, descriptors: Sequence[int]) -> bool:
        """Whether the whole line went out. A message is far smaller than the socket's buffer."""
        try:
            if descriptors:
                sent = socket.send_fds(self._sock, [line], list(descriptors))
            else:
                sent = self._sock.send(line)
        except BlockingIOError:
            return False
        except OSError:
            self._end()
            return True
        if sent < len(line):
            self._unsent += line[sent:]
            self._loop.add_writer(self._sock.fileno(), self._writable)
        return True

    def _writable(self) -> None:
        try:
            sent = self._sock.send(self._unsent)
        except BlockingIOError:
            return
        except OSError:
            self._end()
            return
        del self._unsent[:sent]
        if not self._unsent:
            self._loop.remove_writer(self._sock.fileno())

    def _readable(self) -> None:
        try:
            data, descriptors, _, _ = socket.recv_fds(self._sock, LINE_BYTES_MAX, _DESCRIPTORS_MAX)
        except BlockingIOError:
            return
        except OSError:
            data, descriptors = b"", []
        self._descriptors += descriptors
        if not data:
            self._end()
            return
        self._buffer += data
        while not self.closed:
            line, found, rest = self._buffer.partition(b"\n")
            if not found:
                if len(line) > LINE_BYTES_MAX:
                    self._end()
                return
            self._buffer = rest
            try:
                message = control.decode(bytes(line))
            except msgspec.DecodeError:
                self._end()
                return
            taken, self._descriptors = (
                self._descriptors[: len(message.fresh)],
                self._descriptors[len(message.fresh) :],
            )
            self._hear(message, [socket.socket(fileno=descriptor) for descriptor in taken])

    def _end(self) -> None:
        if not self.closed:
            self.close()
            self._ended()
