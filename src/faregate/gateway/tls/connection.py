"""TLS on one accepted connection: a protocol to the TCP transport below, a transport to what speaks above.

OpenSSL does the work through two memory buffers; this moves the bytes. It is ours, and not the event loop's
(decision 0011), because a gateway needs what loops leave out: what speaks is chosen after the handshake, by
ALPN; handshakes have their deadline on the worker's wheel and their place under its cap; a caller may end its
side and still get its answer (W08); and what is unsent is counted down to the socket, so that no answer is
cut for being taken slowly.
"""

import asyncio
import contextlib
import ssl
from typing import TYPE_CHECKING, Final, Protocol

from faregate.gateway.tls.presented import first_certificate
from faregate.gateway.tls.words import NO_CERTIFICATE, verification_failed
from faregate.gateway.wheel import NEVER

if TYPE_CHECKING:
    from faregate.gateway.plane import Plane
    from faregate.snapshot.call import PeerCertificate

HANDSHAKE_S: Final = 5.0
"""From the connection's first moment to the handshake's end (http-rules.md section 3)."""
READ_BYTES: Final = 256 << 10
LINGER_BYTES_MAX: Final = 64 << 10
"""Ciphertext still read and dropped after our end of the stream."""

NOTHING_SHOWN: Final = (0, b"")

_HANDSHAKE: Final = 0
_OPEN: Final = 1
_ENDED: Final = 2
"""Our end of the stream is written; what still comes is dropped."""
_CLOSED: Final = 3


class Hearer(Protocol):
    """Whom the connection tells of what comes: its speaker, or the end of a tunnel in the speaker's place."""

    def data_received(self, data: bytes) -> None: ...

    def eof_received(self) -> bool: ...

    def connection_lost(self, error: Exception | None) -> None: ...

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...


class Speaker(Hearer, Protocol):
    """What speaks on the connection once it is secure: an HTTP connection of either version. What the
    handshake told is put into its attributes before ``connection_made``.
    """

    certificate: "PeerCertificate | None"
    place: str
    proto: bytes
    server_name: str
    tls: str

    def connection_made(self, transport: asyncio.BaseTransport) -> None: ...


class Host(Protocol):
    """The listener that a connection came in by. ``asked``: the name in the ClientHello being read, put
    there by the handshake's own callback; ``shown``: TLS version and message with the caller's certificate,
    put there likewise.
    """

    plane: "Plane"
    asked: str
    shown: tuple[int, bytes]

    def secure(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> ssl.SSLObject: ...

    def admit(self, connection: "TlsConnection") -> bool:
        """Whether there is room for one more handshake."""
        ...

    def speaker(self, connection: "TlsConnection") -> "Speaker | None":
        """What speaks after a good handshake; None refuses the peer for what it presented."""
        ...

    def failed(self, connection: "TlsConnection", cause: str, detail: str) -> None:
        """The handshake ended badly. ``cause``: a word of a closed list."""
        ...

    def gone(self, connection: "TlsConnection") -> None: ...


class TlsConnection:
    """One connection. ``name``: what the caller asked for by SNI, lower case, empty when it did not."""

    __slots__ = (
        "_host",
        "_incoming",
        "_linger_left",
        "_outgoing",
        "_paused",
        "_state",
        "deadline",
        "hearer",
        "name",
        "secured",
        "tcp",
        "wheel_at",
    )

    def __init__(self, host: Host) -> None:
        self._host = host
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._state = _HANDSHAKE
        self._paused = False
        self._linger_left = LINGER_BYTES_MAX
        self.deadline = NEVER
        self.wheel_at = NEVER
        self.name = ""
        self.secured: ssl.SSLObject | None = None
        self.hearer: Hearer | None = None
        self.tcp: asyncio.Transport | None = None

    # what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.tcp = transport  # type: ignore[assignment]  # uvloop's transports share no base with asyncio's
        host = self._host
        if not host.admit(self):
            self.abort()
            return
        self.secured = host.secure(self._incoming, self._outgoing)
        now = host.plane.monotonic()
        self.deadline = now + HANDSHAKE_S
        host.plane.wheel.watch(self, now)

    def data_received(self, data: bytes) -> None:
        if self._state == _OPEN:
            self._incoming.write(data)
            self._read()
        elif self._state == _HANDSHAKE:
            self._incoming.write(data)
            self._shake_hands()
        elif self._state == _ENDED:
            self._linger_left -= len(data)
            if self._linger_left < 0:
                self.abort()

    def eof_received(self) -> bool:
        """The end of the TCP stream. What HTTP sees of it frames itself, so a missing close_notify hides
        nothing from it; the speaker judges as on a plain connection.
        """
        hearer = self.hearer
        if hearer is not None and self._state == _OPEN:
            return hearer.eof_received()
        if self._state == _HANDSHAKE:
            self._fail("closed", "")
        return False

    def connection_lost(self, error: Exception | None) -> None:
        if self._state == _HANDSHAKE and self.secured is not None:
            self._host.failed(self, "closed", "")
        self._state = _CLOSED
        self.deadline = NEVER
        self.tcp = None
        self.secured = None
        self._host.gone(self)
        hearer, self.hearer = self.hearer, None
        if hearer is not None:
            hearer.connection_lost(error)

    def pause_writing(self) -> None:
        if self.hearer is not None:
            self.hearer.pause_writing()

    def resume_writing(self) -> None:
        if self.hearer is not None:
            self.hearer.resume_writing()

    def on_deadline(self, now: float) -> None:  # noqa: ARG002 - the wheel's signature
        """The handshake has taken too long."""
        self.deadline = NEVER
        if self._state == _HANDSHAKE:
            self._fail("timeout", "")

    # the handshake, and what comes after it

    def _shake_hands(self) -> None:
        secured, host = self.secured, self._host
        if secured is None:
            return
        host.asked = ""
        host.shown = NOTHING_SHOWN
        try:
            secured.do_handshake()
        except ssl.SSLWantReadError:
            self.name = host.asked or self.name
            self._send_out()
            return
        except ssl.SSLCertVerificationError as refused:
            self._send_out()
            presented = first_certificate(*host.shown)
            self._fail("certificate", verification_failed(refused.verify_message, presented))
            return
        except ssl.SSLError as broken:
            self._send_out()
            if broken.reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
                self._fail("certificate", NO_CERTIFICATE)
            else:
                self._fail("protocol", broken.reason or "")
            return
        self.name = host.asked or self.name
        self.deadline = NEVER
        self._send_out()
        self._state = _OPEN
        speaker = host.speaker(self)
        if speaker is None:
            self._state = _ENDED  # the host has told why
            self.abort()
            return
        self.hearer = speaker
        speaker.connection_made(self)  # type: ignore[arg-type]  # a transport by its methods
        if self._incoming.pending:
            self._read()

    def _read(self) -> None:
        """Hands on what has come. Asking for more than there is raises, which costs; so it is not asked."""
        incoming = self._incoming
        secured = self.secured
        while secured is not None and not self._paused and self._state == _OPEN:
            try:
                data = secured.read(READ_BYTES)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLZeroReturnError:
                data = b""
            except ssl.SSLError:
                self._send_out()  # the alert that says why
                self.abort()
                return
            hearer = self.hearer
            if hearer is None:
                return
            if not data:  # close_notify
                if not hearer.eof_received():
                    self.close()
                return
            hearer.data_received(data)
            if not incoming.pending and not secured.pending():
                break
        if self._outgoing.pending:
            self._send_out()

    def _send_out(self) -> None:
        tcp = self.tcp
        if tcp is not None and self._outgoing.pending:
            tcp.write(self._outgoing.read())

    def _fail(self, cause: str, detail: str) -> None:
        self._state = _ENDED
        self.deadline = NEVER
        self._host.failed(self, cause, detail)
        tcp = self.tcp
        if tcp is not None:
            tcp.close()  # an alert may still be on its way out

    def _say_goodbye(self) -> None:
        """Writes close_notify, which tells a whole stream from a cut one."""
        secured = self.secured
        if self._state == _OPEN and secured is not None:
            self._state = _ENDED
            # The peer's own may not have come: nobody waits for it (RFC 8446 section 6.1).
            with contextlib.suppress(ssl.SSLError, ValueError):
                secured.unwrap()
            self._send_out()

    # what the speaker calls

    def set_protocol(self, hearer: Hearer) -> None:
        """From now on ``hearer`` is told; the speaker stays who answers for the connection."""
        self.hearer = hearer

    def write(self, data: bytes) -> None:
        secured, tcp = self.secured, self.tcp
        if self._state != _OPEN or secured is None or tcp is None or not data:
            return
        try:
            sent = secured.write(data)
            if sent < len(data):
                view = memoryview(data)
                while sent < len(data):
                    sent += secured.write(view[sent:])
        except ssl.SSLError:
            self.abort()
            return
        tcp.write(self._outgoing.read())

    def writelines(self, pieces: list[bytes]) -> None:
        self.write(b"".join(pieces))

    def close(self) -> None:
        """Sends what is unsent, close_notify and the end of the stream."""
        self._say_goodbye()
        tcp = self.tcp
        if tcp is not None:
            tcp.close()

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        """Ends our side; the peer's goes on, and what it says is dropped."""
        if self._state == _OPEN:
            self._say_goodbye()
            if self.tcp is not None:
                self.tcp.write_eof()

    def abort(self) -> None:
        if self._state != _CLOSED:
            self._state = _ENDED
        if self.tcp is not None:
            self.tcp.abort()

    def is_closing(self) -> bool:
        return self._state >= _ENDED or self.tcp is None

    def pause_reading(self) -> None:
        self._paused = True
        if self.tcp is not None and self._state < _CLOSED:
            self.tcp.pause_reading()

    def resume_reading(self) -> None:
        self._paused = False
        tcp = self.tcp
        if tcp is None:
            return
        tcp.resume_reading()
        secured = self.secured
        if secured is not None and (self._incoming.pending or secured.pending()):
            self._host.plane.loop.call_soon(self._read)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        if self.tcp is not None:
            self.tcp.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        """Nothing waits in this layer: whatever was written has been handed to the socket's."""
        return 0 if self.tcp is None else self.tcp.get_write_buffer_size()

    def get_extra_info(self, name: str, default: object = None) -> object:
        if name == "ssl_object":
            return self.secured
        return default if self.tcp is None else self.tcp.get_extra_info(name, default)
