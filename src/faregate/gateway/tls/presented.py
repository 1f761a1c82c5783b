"""The certificate that a caller shows in a handshake which OpenSSL then refuses.

Python's ssl tells why OpenSSL refused it, and no more: the certificate is kept only of handshakes that
succeed, and under TLS 1.3 it goes over the wire encrypted. OpenSSL does show every handshake message to a
callback before it judges it; Python has that callback for its own tests, below the public object. It is asked
for in handshakes with callers' certificates alone, and taken off with their end, so that no record of a call
passes it. Where a Python lacks it, the operator reads the reason without the name.
"""

import _ssl
import ssl
from collections.abc import Callable
from typing import Final

from cryptography import x509

_HANDSHAKE_RECORD: Final = 22
_CERTIFICATE_MESSAGE: Final = 11
_HEAD_BYTES: Final = 4
_LENGTH_BYTES: Final = 3
_TLS_1_3: Final = 0x0304

Showing = Callable[[int, bytes], None]
"""Hears the version of TLS and the Certificate message of the peer, before it is judged."""

_DEAF: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)


def watch(context: ssl.SSLContext, showing: Showing) -> None:
    """Has ``showing`` hear of certificates in the handshakes of ``context``."""
    callback = getattr(_ssl._SSLContext, "_msg_callback", None)  # noqa: SLF001
    if callback is None:
        return

    def message(
        _: ssl.SSLObject, direction: str, version: int, record: int, kind: int, content: bytes
    ) -> None:
        if kind == _CERTIFICATE_MESSAGE and record == _HANDSHAKE_RECORD and direction == "read":
            showing(version, content)

    # Not through ssl's own property, which makes enumerations of every number.
    callback.__set__(context, message)


def unwatch(secured: ssl.SSLObject) -> None:
    """Ends the watch over a connection whose handshake is over: the rest is records, of which there are many.

    OpenSSL takes the callback of the context that a connection is given to; what else a context decides was
    settled by the handshake.
    """
    secured.context = _DEAF


def first_certificate(version: int, message: bytes) -> x509.Certificate | None:
    """The peer's own certificate in a Certificate message (RFC 5246 section 7.4.2, RFC 8446 section 4.4.2);
    None when it is not readable.
    """
    at = _HEAD_BYTES
    if version >= _TLS_1_3:  # the request's context, and its length
        at += 1 + message[at] if len(message) > at else 0
    at += _LENGTH_BYTES  # of the whole list
    size = int.from_bytes(message[at : at + _LENGTH_BYTES], "big")
    at += _LENGTH_BYTES
    der = message[at : at + size] if at <= len(message) else b""
    if not size or len(der) != size:
        return None
    try:
        return x509.load_der_x509_certificate(der)
    except Exception:  # noqa: BLE001 - strangers' bytes: whatever the parser makes of them, nobody is named
        return None
