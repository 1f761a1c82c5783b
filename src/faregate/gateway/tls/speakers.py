"""What is offered by ALPN on TLS listeners, and what speaks each of it."""

from typing import TYPE_CHECKING, Final

from faregate.gateway.http2.connection import Http2Connection
from faregate.gateway.listener import ClientConnection

if TYPE_CHECKING:
    from faregate.gateway.plane import Plane

OFFERED: Final = ("h2", "http/1.1")


def speaker_for(protocol: str, plane: "Plane") -> ClientConnection:
    """What speaks ``protocol``; a caller that named none, or connects in clear, speaks HTTP/1.1."""
    return Http2Connection(plane) if protocol == "h2" else ClientConnection(plane)
