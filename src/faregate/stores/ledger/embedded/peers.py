"""Who is connected to the ledger's process."""

import select
import socket

from faregate.kernel.unix_sockets import is_ours as is_ours  # noqa: PLC0414 - who may be one
from faregate.stores.ledger.embedded.book import Owner  # noqa: TC001 - compiled: looked up at run time


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
