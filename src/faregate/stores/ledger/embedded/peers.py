"""Who is connected to the ledger's process."""

import os
import select
import socket
import struct
from typing import Final

from faregate.stores.ledger.embedded.book import Owner  # noqa: TC001 - compiled: looked up at run time

_CREDENTIALS: Final = struct.Struct("iII")


class Peer:
    """A connection. ``replies``: of this turn; ``unsent``: what the socket did not take, since ``moved_at``.
    ``stalled``: nothing is read of it until it has read. ``wanted``: the events that are looked for.
    """

    __slots__ = ("moved_at", "owner", "replies", "rest", "sock", "stalled", "unsent", "wanted")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.owner: Owner | None = None
        self.rest = b""
        self.replies: list[bytes] = []
        self.unsent = b""
        self.moved_at = 0.0
        self.stalled = False
        self.wanted = select.EPOLLIN


def is_ours(sock: socket.socket) -> bool:
    """Whether the other end is of this user, or root's."""
    _, uid, _ = _CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return uid in {0, os.geteuid()}
