"""What the operator reads of callers' certificates that were refused: why, whose, and what to do."""

from typing import Final

from cryptography import x509

from faregate.stores.certificates import CertificateFault

TEXT_MAX: Final = 200
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


def verification_failed(message: str) -> str:
    """``message``: OpenSSL's."""
    return f"its certificate is not good: {message}; {to_do(message)}"


def refused(certificate: x509.Certificate, fault: str) -> CertificateFault:
    return CertificateFault(f"its certificate is not good: {fault}; {whose(certificate)}; {to_do(fault)}")


def to_do(message: str) -> str:
    folded = message.lower()
    return next((what for word, what in _TO_DO if word in folded), _ASK)


def whose(certificate: x509.Certificate) -> str:
    """Subject and serial number, as ``openssl x509 -subject -serial`` has them, fit for one line."""
    try:
        subject = certificate.subject.rfc4514_string()
    except ValueError:
        subject = "?"
    plain = "".join(one if one.isprintable() else "?" for one in subject)
    cut = plain if len(plain) <= TEXT_MAX else f"{plain[:TEXT_MAX]}..."
    return f"subject {cut}, serial {certificate.serial_number:X}"
