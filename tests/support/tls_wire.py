"""A ``Wire`` under TLS: what goes out is encrypted in memory, so that the socket stays raw and can still be cut or reset anywhere.

Reading and writing may go on side by side; records leave in the order in which they were made. An end without close_notify is
an end like another: whether it may be is for whoever reads to judge.
"""

import asyncio
import socket
import ssl
from typing import Final

from tests.support.wire import Wire, sliced

_RECORD_BYTES: Final = 64 << 10


class TlsWire(Wire):
    """Call ``handshake`` first. ``broken``: what the other side sent was no TLS, in the library's words."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, name: str = "api.test") -> None:
        super().__init__(sock)
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)
        self._turn = asyncio.Lock()
        self.broken = ""

    @property
    def protocol(self) -> str | None:
        """What ALPN chose."""
        return self._tls.selected_alpn_protocol()

    async def handshake(self) -> None:
        """Raises ConnectionError when the other side ends first, ssl.SSLError when it sends no handshake."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                if not await self._receive():
                    raise ConnectionResetError("the connection ended in its handshake") from None
                continue
            await self._flush()
            return

    async def fill(self) -> bool:
        while not self.ended:
            piece = self._decrypted()
            if piece is None:
                if not await self._receive():
                    self.ended = True
                continue
            if piece:
                self.buffer += piece
                return True
            self.ended = True
        return False

    def _decrypted(self) -> bytes | None:
        """What is whole of what came; None when more must come first, nothing at the end."""
        try:
            return self._tls.read(_RECORD_BYTES)
        except ssl.SSLWantReadError:
            return None
        except ssl.SSLZeroReturnError:
            return b""
        except ssl.SSLError as error:
            self.broken = str(error)
            return b""

    def _arrived(self, piece: bytes) -> None:
        self.ended = not piece
        self._incoming.write(piece)
        while not self.ended and (content := self._decrypted()) is not None:
            self.ended = not content
            self.buffer += content

    async def send(self, data: bytes, slice_bytes: int = 0) -> None:
        for piece in sliced(data, slice_bytes):
            self._tls.write(piece)
            await self._flush()

    async def _flush(self) -> None:
        async with self._turn:
            if ready := self._outgoing.read():
                await asyncio.get_running_loop().sock_sendall(self.sock, ready)

    async def _receive(self) -> bool:
        """Reads the socket once; False at the end of the stream, however it came."""
        try:
            piece = await asyncio.get_running_loop().sock_recv(self.sock, _RECORD_BYTES)
        except (ConnectionError, TimeoutError):
            self.reset, piece = True, b""
        if piece:
            self._incoming.write(piece)
        return bool(piece)
