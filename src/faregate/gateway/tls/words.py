"""What the operator reads of callers' certificates that were refused: why, whose, and what to do."""

from collections.abc import Callable
from typing import Final

from cryptography import x509

from faregate.stores.certificates import CertificateFault

TEXT_MAX: Final = 200
NOT_YET_ASKED: Final = "certificates have been required since its handshake began"
TAKEN_AWAY: Final = "its certificate's authority was taken away, or it was revoked, during the handshake"
NO_CERTIFICATE: Final = "it sent no certificate, and this listener requires one (`mode: required`)"
_ASK: Final = "the caller needs another certificate"
_TO_DO: Final = (
    ("revoked", "the caller needs a new certificate; `crl` lists this one"),
    ("get certificate crl", "`crl` needs a list of each authority, an intermediate's too"),
    ("crl has expired", "put a renewed list in the place of `crl`"),
    ("crl is not yet valid", "look at the machine's clock, and at the list in `crl`"),
    ("not yet valid", "look at the caller's clock and this machine's"),
    ("expired", "the caller needs a renewed certificate"),
    ("issuer certificate", "the caller must send its intermediates, and `ca` must hold its authority"),
    ("self-signed", "`ca` must hold its authority, if it is to be trusted"),
    ("usage", "it needs the usage clientAuth (`-addext extendedKeyUsage=clientAuth`)"),
    ("purpose", "it needs the usage clientAuth (`-addext extendedKeyUsage=clientAuth`)"),
)


def verification_failed(message: str, certificate: x509.Certificate | None = None) -> str:
    """``message``: OpenSSL's. ``certificate``: what the caller presented, None where that is not known. The
    fault may be in what stands above it.
    """
    shown = "" if certificate is None else f"{whose(certificate)}; "
    return f"its certificate is not good: {message}; {shown}{to_do(message)}"


def refused(certificate: x509.Certificate, fault: str) -> CertificateFault:
    return CertificateFault(f"its certificate is not good: {fault}; {whose(certificate)}; {to_do(fault)}")


def to_do(message: str) -> str:
    folded = message.lower()
    return next((what for word, what in _TO_DO if word in folded), _ASK)


def whose(certificate: x509.Certificate) -> str:
    """Subject, issuer and serial number, as ``openssl x509 -subject -issuer -serial`` has them, fit for one
    line. Nothing of it is proven.
    """
    subject, issuer = _plain(lambda: certificate.subject), _plain(lambda: certificate.issuer)
    serial = _plain(lambda: certificate.serial_number)
    return f"subject {subject}, issuer {issuer}, serial {serial}"


def _plain(read: Callable[[], x509.Name | int]) -> str:
    try:
        found = read()
        name = f"{found:X}" if isinstance(found, int) else found.rfc4514_string()
    except Exception:  # noqa: BLE001 - a stranger's certificate is read piece by piece, only here
        return "?"
    plain = "".join(one if one.isprintable() else "?" for one in name)
    return plain if len(plain) <= TEXT_MAX else f"{plain[:TEXT_MAX]}..."
