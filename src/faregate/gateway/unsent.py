"""How much of an answer has not reached its caller: what waits here, and what waits in the kernel.

The transport's own count stands still for minutes while a slow caller empties a kernel's buffer of megabytes,
so that progress shows only in both together. Asked once a second of callers who take their answers slowly, of
no others.
"""

import fcntl
import socket
import struct
import termios
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio

_NOTHING: Final = bytes(4)
_RESET: Final = struct.pack("ii", 1, 0)
KERNEL_HELD_BYTES_MAX: Final = 128 << 10
"""Of an answer, what the kernel takes beyond what is on its way to the caller; by itself it takes
megabytes.
"""


def bound_unsent(transport: "asyncio.Transport") -> None:
    """Has the kernel hold no more than ``KERNEL_HELD_BYTES_MAX`` for a caller who does not read (tcp(7),
    TCP_NOTSENT_LOWAT).
    """
    sock = transport.get_extra_info("socket")
    if sock is not None:
        with suppress(OSError):  # no TCP socket, or its caller is gone
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, KERNEL_HELD_BYTES_MAX)


def reset(transport: "asyncio.Transport") -> None:
    """Ends the connection at once and leaves nothing of it with the kernel, which would offer what is unsent
    for minutes.
    """
    sock = transport.get_extra_info("socket")
    if sock is not None:
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    transport.abort()


def unsent_bytes(transport: "asyncio.Transport") -> int:
    """Bytes that the caller's machine has not acknowledged (tcp(7), SIOCOUTQ)."""
    waiting = transport.get_write_buffer_size()
    sock = transport.get_extra_info("socket")
    if sock is None:
        return waiting
    try:
        answer = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, _NOTHING)
    except OSError:  # not a TCP socket, or closed by now
        return waiting
    (queued,) = struct.unpack("i", answer)
    return waiting + int(queued)
