"""TLS towards upstreams: verified unless the configuration says otherwise (http-rules.md section 5).

Contexts are made when the first connection needs one, in a thread: reading the system's authorities takes
tens of milliseconds, which no call may wait for. Files that change are read again; what cannot be read or
does not fit leaves the former context in use. Python's ``ssl`` names the fault when a handshake fails, and
only that name goes on: a certificate's own words are the other side's.
"""

import asyncio
import logging
import ssl
from pathlib import Path
from typing import Final

from faregate.snapshot.data import UpstreamTls

_log = logging.getLogger("faregate.gateway")

SHUTDOWN_S: Final = 1.0
"""How long a closed connection waits for the other side's close_notify."""
LOOK_EVERY_S: Final = 5.0
"""How often the files are looked at."""

# Of X509_verify_cert_error_string(3); what is not here is called ``certificate``.
_VERIFY: Final = {
    9: "not_yet_valid",
    10: "expired",
    18: "untrusted",
    19: "untrusted",
    20: "untrusted",
    21: "untrusted",
    23: "revoked",
    26: "wrong_purpose",
    62: "wrong_name",
    63: "wrong_name",
    64: "wrong_name",
    66: "key_too_weak",
    68: "digest_too_weak",
}
_Stamp = tuple[tuple[int, int, int], ...]


class TlsClient:
    """How one upstream's targets are spoken to by TLS. ``generation`` rises when the files have changed.

    ``alpn``: what is offered, the first one first.
    """

    def __init__(self, settings: UpstreamTls, alpn: tuple[str, ...] = ("http/1.1",)) -> None:
        self.settings = settings
        self.alpn = alpn
        self.server_name = settings.server_name
        self.generation = 0
        self._context: ssl.SSLContext | None = None
        self._stamp: _Stamp = ()
        self._looked_at = float("-inf")
        self._making: asyncio.Task[None] | None = None

    async def context(self, loop: asyncio.AbstractEventLoop) -> ssl.SSLContext:
        """The context for a new connection. Raises ``ssl.SSLError`` when the files cannot be used."""
        context = self._context
        if context is None:
            if self._making is None:
                self._making = loop.create_task(self._make(loop))
            await asyncio.shield(self._making)
            context = self._context
            if context is None:
                raise ssl.SSLError(0, "unusable settings")
        return context

    def look(self, now: float, loop: asyncio.AbstractEventLoop) -> None:
        """Reads the files again when they have changed; called about once a second."""
        if self._context is None or self._making is not None or now - self._looked_at < LOOK_EVERY_S:
            return
        self._looked_at = now
        if stamp(self.settings) != self._stamp:
            self._making = loop.create_task(self._make(loop))

    def close(self) -> None:
        if self._making is not None:
            self._making.cancel()

    async def _make(self, loop: asyncio.AbstractEventLoop) -> None:
        seen = stamp(self.settings)
        try:
            context = await loop.run_in_executor(None, client_context, self.settings, self.alpn)
        except (
            OSError,
            ValueError,
        ) as error:  # SSLError is an OSError; its text names no secret, and is left out
            _log.warning("TLS files of an upstream cannot be used (%s)", type(error).__name__)
        else:
            if self._context is not None:
                self.generation += 1
            self._context = context
        finally:
            self._stamp = seen
            self._making = None


def stamp(settings: UpstreamTls) -> _Stamp:
    """What changes when one of the files does."""
    found = []
    for name in (settings.ca, settings.certificate, settings.key):
        if name:
            try:
                status = Path(name).stat()
            except OSError:
                found.append((0, 0, 0))
            else:
                found.append((status.st_mtime_ns, status.st_size, status.st_ino))
    return tuple(found)


def client_context(settings: UpstreamTls, alpn: tuple[str, ...]) -> ssl.SSLContext:
    """TLS 1.2 and later, forward secrecy and AEAD only. Raises ``OSError``, ``ssl.SSLError`` or
    ``ValueError``.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20:@SECLEVEL=2")
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(list(alpn))
    if not settings.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif settings.ca:
        context.load_verify_locations(cafile=settings.ca)
        if not context.cert_store_stats()["x509_ca"]:
            raise ValueError("no authority in the file")  # an empty file must not mean any, nor none
    else:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    if settings.certificate:
        # A key with a pass phrase would have OpenSSL ask at the terminal.
        context.load_cert_chain(settings.certificate, settings.key or None, password=_no_pass_phrase)
    return context


def reason_of(error: ssl.SSLError) -> str:
    """Why a handshake failed, in a word."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return "upstream_tls_" + _VERIFY.get(error.verify_code, "certificate")
    if error.args[1:] == ("unusable settings",):
        return "upstream_tls_settings"
    return "upstream_tls_handshake"


def said_farewell(transport: asyncio.BaseTransport) -> bool:
    """Whether the other side's TLS has ended in good order (close_notify), and not just its connection.

    uvloop tells the end of a stream only then, asyncio's own loop in both cases.
    """
    connection = transport.get_extra_info("ssl_object")
    try:
        connection.unwrap()
    except ssl.SSLError:
        return False  # it would have to wait for it
    return True


def _no_pass_phrase() -> str:
    raise ValueError("the key has a pass phrase")
