"""Certificates, keys and revocation lists from files, and what is wrong with them, in words for the operator.

Used where a configuration is checked and where a worker takes the files into use, so that what passes the one
does not fail in the other. Nothing of a key is ever repeated. Whether a caller's chain is good is OpenSSL's
to say at the handshake; ``gateway/tls/peers`` adds what we refuse besides.
"""

import datetime as dt
import re
import ssl
from collections.abc import Sequence
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.oid import ExtensionOID

FILE_BYTES_MAX: Final = 1 << 20
RSA_BITS_MIN: Final = 2048
CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20:@SECLEVEL=2"
"""TLS 1.2: authenticated encryption with forward secrecy; level 2 refuses SHA-1 and RSA below 2048 bits. The
suites of TLS 1.3 are all of that kind.
"""
_PART: Final = re.compile(r"((?:\\.|[^\\,])*)(?:,|$)")
"""What stands between two commas that are not escaped."""
_WEAK: Final = frozenset({"md5", "sha1"})

Stamp: TypeAlias = tuple[tuple[int, int, int], ...]
"""Modification time, size and inode of each file; zeros for one that is not there."""

Subject: TypeAlias = tuple[tuple[tuple[str, str], ...], ...]
"""A distinguished name: its parts from the last to the first, as RFC 4514 writes them; of each part the
attributes, as object id and value, sorted.
"""


class CertificateFault(ValueError):  # noqa: N818 - a fault of the file, not of the program
    """Why a file cannot be used; for the operator, and free of what the file says."""


class Served(NamedTuple):
    """A server's certificate. ``names``: the DNS names it is for, lower case. Times: seconds since the
    epoch.
    """

    names: tuple[str, ...]
    begins: float
    ends: float


class Authorities(NamedTuple):
    """Certificates that sign others. ``digests``: SHA-256 of each. ``ends``: the first end among them.
    ``names``: subject and issuer of each (DER), by digest. ``sign``: whether any of them may.
    """

    digests: frozenset[bytes]
    subjects: frozenset[bytes]
    ends: float
    names: dict[bytes, tuple[bytes, bytes]]
    sign: bool = True


class Revocations(NamedTuple):
    """``serials``: what is revoked, by issuer's name (DER) and serial number. ``ends``: when the first of the
    lists is out of date.
    """

    issuers: frozenset[bytes]
    serials: frozenset[tuple[bytes, int]]
    ends: float


def shown(at: float) -> str:
    """A moment as certificates have it. ``at``: seconds since the epoch."""
    return dt.datetime.fromtimestamp(at, dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def stamp(files: Sequence[str]) -> Stamp:
    """What changes when one of the files does."""
    found = []
    for name in files:
        try:
            status = Path(name).stat()
        except (OSError, ValueError):
            found.append((0, 0, 0))
        else:
            found.append((status.st_mtime_ns, status.st_size, status.st_ino))
    return tuple(found)


def read_file(name: str) -> bytes:
    """Raises ``CertificateFault``."""
    try:
        with Path(name).open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "bad name"
        raise CertificateFault(f"the file cannot be read: {why}") from None
    if len(content) > FILE_BYTES_MAX:
        raise CertificateFault(f"the file is larger than {FILE_BYTES_MAX >> 20} MiB")
    return content


def read_chain(content: bytes) -> Served:
    """A server's certificate and those that sign it, in this order. Raises ``CertificateFault``."""
    chain = _certificates(content)
    for signed, signer in pairwise(chain):
        try:
            signed.verify_directly_issued_by(signer)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
            raise CertificateFault(
                "the chain is not in order: each certificate must be followed by the one that signs it"
            ) from None
    own = chain[0]
    _check_strength(chain)
    return Served(_dns_names(own), own.not_valid_before_utc.timestamp(), own.not_valid_after_utc.timestamp())


def check_key(chain: bytes, key: bytes) -> None:
    """Whether ``key`` is that of the chain's first certificate. Raises ``CertificateFault``."""
    own = _certificates(chain)[0]
    try:
        private = load_pem_private_key(key, None)
    except TypeError:
        raise CertificateFault("the key is encrypted; the gateway has no passphrase for it") from None
    except (ValueError, UnsupportedAlgorithm):
        raise CertificateFault("not a private key in PEM form") from None
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if private.public_key().public_bytes(*form) != own.public_key().public_bytes(*form):
        raise CertificateFault("the key does not belong to the chain's first certificate")


def read_authorities(content: bytes) -> Authorities:
    """Raises ``CertificateFault``, for an empty file too: it would trust nobody, or be taken for no check."""
    certificates = _certificates(content)
    return Authorities(
        frozenset(sha256(one.public_bytes(Encoding.DER)).digest() for one in certificates),
        frozenset(one.subject.public_bytes() for one in certificates),
        min(one.not_valid_after_utc.timestamp() for one in certificates),
        {
            sha256(one.public_bytes(Encoding.DER)).digest(): (
                one.subject.public_bytes(),
                one.issuer.public_bytes(),
            )
            for one in certificates
        },
        any(_may_sign(one) for one in certificates),
    )


def _may_sign(certificate: x509.Certificate) -> bool:
    """False where it is certain that it signs no other (RFC 5280, 4.2.1.9)."""
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return certificate.issuer == certificate.subject  # a root of old
    except ValueError:
        return True  # what cannot be read is not judged here


def read_revocations(content: bytes) -> Revocations:
    """One or more lists in PEM form. Raises ``CertificateFault``."""
    mark = b"-----END X509 CRL-----"
    pieces = [piece + mark for piece in content.split(mark)[:-1]]
    try:
        lists = [x509.load_pem_x509_crl(piece) for piece in pieces]
        serials = frozenset(
            (one.issuer.public_bytes(), entry.serial_number) for one in lists for entry in one
        )
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise CertificateFault("not a certificate revocation list in PEM form") from None
    if not lists:
        raise CertificateFault("no certificate revocation list in PEM form is in the file")
    ends = [one.next_update_utc for one in lists]
    known = [end.timestamp() for end in ends if end is not None]
    return Revocations(
        frozenset(one.issuer.public_bytes() for one in lists),
        serials,
        min(known) if len(known) == len(ends) else 0.0,
    )


def read_subject(text: str) -> Subject:
    """``CN=acme, O=Acme Ltd`` (RFC 4514). Raises ``ValueError``."""
    # Blanks behind a comma are what people and older norms write (RFC 1779); the strict form has none.
    parts = _PART.findall(text)[:-1]
    if ",".join(parts) != text:
        raise ValueError("not a distinguished name")
    strict = ",".join(part.lstrip(" ") for part in parts)
    try:
        name = x509.Name.from_rfc4514_string(strict)
    except ValueError:
        raise ValueError("not a distinguished name") from None
    subject = subject_of(name)
    if not subject:
        raise ValueError("an empty name")
    return subject


def subject_of(name: x509.Name) -> Subject:
    """All attributes with their values, compared letter by letter; how they are encoded is left out."""
    return tuple(
        tuple(sorted((attribute.oid.dotted_string, str(attribute.value)) for attribute in part))
        for part in reversed(name.rdns)
    )


def has_control_characters(certificate: x509.Certificate) -> bool:
    """Whether a name in it holds what no name holds: a NUL may end it for some other reader."""
    texts = [str(attribute.value) for name in (certificate.subject, certificate.issuer) for attribute in name]
    try:
        names = certificate.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME).value
    except x509.ExtensionNotFound:
        names = None
    if isinstance(names, x509.SubjectAlternativeName):
        texts += [str(one.value) for one in names if not isinstance(one, x509.OtherName)]
    return any(ord(character) < 32 or ord(character) == 127 for text in texts for character in text)


def try_out(chain: str, key: str, ca: str = "", crl: str = "") -> None:
    """Whether OpenSSL takes the files as a listener will give them to it. Raises ``CertificateFault``."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.set_ciphers(CIPHERS)
        if chain:
            context.load_cert_chain(chain, key, password=_no_passphrase)
        for name in (ca, crl):
            if name:
                context.load_verify_locations(cafile=name)
    except (ssl.SSLError, OSError, ValueError) as error:
        why = getattr(error, "reason", None) or "not usable"
        raise CertificateFault(f"OpenSSL does not take it: {why.replace('_', ' ').lower()}") from None


def _no_passphrase() -> str:
    """Without this OpenSSL asks the terminal."""
    raise ValueError("encrypted key")


def _certificates(content: bytes) -> list[x509.Certificate]:
    try:
        found = x509.load_pem_x509_certificates(content)
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion):
        raise CertificateFault("no certificate in PEM form is in the file") from None
    return found


def _check_strength(chain: list[x509.Certificate]) -> None:
    for one in chain:
        key = one.public_key()
        if isinstance(key, rsa.RSAPublicKey) and key.key_size < RSA_BITS_MIN:
            raise CertificateFault(f"an RSA key of less than {RSA_BITS_MIN} bits")
        digest = one.signature_hash_algorithm
        if digest is not None and digest.name in _WEAK and one.issuer != one.subject:
            raise CertificateFault(f"a signature over {digest.name.upper()}, which can be forged")


def _dns_names(certificate: x509.Certificate) -> tuple[str, ...]:
    """The DNS names among the subject's alternative names; the common name is none (RFC 9525 section 2)."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ()
    return tuple(dict.fromkeys(name.lower() for name in names.get_values_for_type(x509.DNSName)))
