"""Certificates for tests, made on the spot: authorities, servers, callers, revocation lists, in every state of disrepair."""

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
DAY: Final = dt.timedelta(days=1)
_WORDS: Final = {
    "CN": NameOID.COMMON_NAME,
    "O": NameOID.ORGANIZATION_NAME,
    "OU": NameOID.ORGANIZATIONAL_UNIT_NAME,
}


def name(text: str) -> x509.Name:
    """``CN=acme,O=Acme Ltd``, the last part first in the certificate."""
    parts = [part.partition("=") for part in text.split(",")]
    return x509.Name([x509.NameAttribute(_WORDS[word], value) for word, _, value in reversed(parts)])


@dataclass
class Issued:
    """A certificate with its key; ``above``: the chain up to the authority, without it."""

    certificate: x509.Certificate
    key: Key
    above: tuple[x509.Certificate, ...] = ()

    @property
    def pem(self) -> bytes:
        return b"".join(one.public_bytes(Encoding.PEM) for one in (self.certificate, *self.above))

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    @property
    def fingerprint(self) -> str:
        return self.certificate.fingerprint(hashes.SHA256()).hex()

    def write(self, folder: Path, stem: str) -> tuple[Path, Path]:
        """Chain and key under ``stem``; each file is replaced in one step, as good renewal scripts do."""
        folder.mkdir(parents=True, exist_ok=True)
        return replace(folder / f"{stem}.pem", self.pem), replace(folder / f"{stem}.key", self.key_pem)


def of_version(version: int, certificate: x509.Certificate) -> bytes:
    """The same in DER form but for its version, as written (2 is X.509 version 3); its signature fits no more."""
    der = certificate.public_bytes(Encoding.DER)
    mark = bytes.fromhex("a0030201")
    before, found, after = der.partition(mark)
    assert found
    return before + mark + bytes([version]) + after[1:]


def replace(path: Path, content: bytes) -> Path:
    fresh = path.with_suffix(path.suffix + ".new")
    fresh.write_bytes(content)
    return fresh.replace(path)


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


class Authority:
    """Signs; ``parent``: another authority, of which this is an intermediate one."""

    def __init__(
        self, subject: str = "CN=test authority", *, parent: "Authority | None" = None, ca: bool = True
    ) -> None:
        self.key = new_key()
        self.parent = parent
        self._revoked: list[int] = []
        signer = parent or self
        self.subject = name(subject)
        now = dt.datetime.now(dt.UTC)
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(self.subject)
            .issuer_name(signer.subject)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - DAY)
            .not_valid_after(now + 365 * DAY)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .sign(signer.key, hashes.SHA256())
        )

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    def issue(
        self,
        subject: str,
        *,
        dns: tuple[str, ...] = (),
        client: bool | None = None,
        days: tuple[float, float] = (-1, 200),
        key: Key | None = None,
    ) -> Issued:
        """``client``: True for clientAuth, False for serverAuth, None for no usage at all. ``days``: valid from and to,
        counted from now.
        """
        key = key or new_key()
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name(subject))
            .issuer_name(self.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + days[0] * DAY)
            .not_valid_after(now + days[1] * DAY)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        )
        if dns:
            names = x509.SubjectAlternativeName([x509.DNSName(one) for one in dns])
            builder = builder.add_extension(names, critical=False)
        if client is not None:
            use = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
            builder = builder.add_extension(x509.ExtendedKeyUsage([use]), critical=False)
        above = () if self.parent is None else (self.certificate,)
        return Issued(builder.sign(self.key, hashes.SHA256()), key, above)

    def revoke(self, issued: Issued) -> None:
        self._revoked.append(issued.certificate.serial_number)

    def revocations(self, *, days: tuple[float, float] = (-1, 7)) -> bytes:
        """The list in PEM form."""
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.subject)
            .last_update(now + days[0] * DAY)
            .next_update(now + days[1] * DAY)
        )
        for serial in self._revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now - DAY).build()
            builder = builder.add_revoked_certificate(entry)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM)
