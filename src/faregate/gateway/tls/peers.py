"""A caller's certificate after its handshake: what OpenSSL found good, read, and what we refuse besides.

OpenSSL has checked signatures, times, constraints, strength and revocation. Added here: a certificate must
say that it is for clients (http-rules.md section 5), and its names must be plain text.
"""

import base64
import ssl
from _ssl import ENCODING_DER
from collections import OrderedDict
from hashlib import sha256
from typing import Final

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from faregate.gateway.tls.words import refused
from faregate.snapshot.call import PeerCertificate
from faregate.stores.certificates import CertificateFault, has_control_characters, subject_of

SESSIONS_MAX: Final = 20_480
"""As many as OpenSSL keeps of a context."""


class Peers:
    """The callers' certificates of one profile. OpenSSL keeps sessions of TLS 1.2 whatever it is told, and a
    resumed one comes without the chain: what the full handshake proved is kept beside it. A new profile,
    which has new sessions, has a new one of these.
    """

    def __init__(self, sessions_max: int = SESSIONS_MAX) -> None:
        self._known: OrderedDict[bytes, PeerCertificate] = OrderedDict()
        self._sessions_max = sessions_max

    def read(self, secured: ssl.SSLObject) -> PeerCertificate | None:
        """The caller's certificate, None when it sent none. Raises ``CertificateFault`` for one refused."""
        if secured.version() != "TLSv1.2":
            return read_peer(secured)
        session = secured.session
        identifier = b"" if session is None else session.id
        if secured.session_reused:
            if secured.getpeercert(binary_form=True) is None:
                return None
            known = self._known.get(identifier)
            if known is None:
                raise CertificateFault("the session it was proved in is forgotten")
            self._known.move_to_end(identifier)
            return known
        peer = read_peer(secured)
        if peer is not None and identifier:
            self._known[identifier] = peer
            if len(self._known) > self._sessions_max:
                self._known.popitem(last=False)
        return peer


def read_peer(secured: ssl.SSLObject) -> PeerCertificate | None:
    """The certificate of a full handshake, None when the caller sent none. Raises ``CertificateFault``."""
    der = secured.getpeercert(binary_form=True)
    if der is None:
        return None
    chain = verified_chain(secured)[1:]
    try:
        certificate = x509.load_der_x509_certificate(der)
        fault = _fault(certificate)
        peer = None if fault else _peer(certificate, der, chain)
    except Exception:  # noqa: BLE001 - a caller's bytes: whatever the parser makes of them
        raise CertificateFault("its certificate is not readable") from None
    if peer is None:
        raise refused(certificate, fault)
    return peer


def _peer(certificate: x509.Certificate, der: bytes, chain: list[bytes]) -> PeerCertificate:
    digest = sha256(der).digest()
    return PeerCertificate(
        sha256=digest,
        thumbprint=base64.urlsafe_b64encode(digest).rstrip(b"="),
        subject=subject_of(certificate.subject),
        chain=tuple(sha256(one).digest() for one in chain),
        issuer=certificate.issuer.public_bytes(),
        serial=certificate.serial_number,
        ends=certificate.not_valid_after_utc.timestamp(),
    )


def verified_chain(secured: ssl.SSLObject) -> list[bytes]:
    """The certificates that OpenSSL trusted the caller by, in DER form, the caller's own first."""
    public = getattr(secured, "get_verified_chain", None)  # Python 3.13
    if public is not None:
        return list(public())
    # Before that the method is there, but only below the public object.
    chain = secured._sslobj.get_verified_chain()  # type: ignore[attr-defined]  # noqa: SLF001
    return [one.public_bytes(ENCODING_DER) for one in chain or ()]


def _fault(certificate: x509.Certificate) -> str:
    """What we refuse it for, empty for nothing."""
    try:
        uses = list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        uses = []
    if ExtendedKeyUsageOID.CLIENT_AUTH not in uses:
        return "no clientAuth usage"
    return "control characters in a name" if has_control_characters(certificate) else ""
