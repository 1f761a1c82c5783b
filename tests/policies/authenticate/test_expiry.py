"""When a credential ends, as tunnels ask: the key's day, the token's ``exp``, the certificate's last moment, or never."""

from hashlib import sha256
from math import inf

import pytest

from faregate.policies.api_key.step import ApiKeyVerifier, ReadyKey
from faregate.policies.authenticate.expiry import credential_ends
from faregate.policies.jwt.memory import Verified
from faregate.policies.jwt.step import JwtVerifier
from faregate.policies.mtls.step import CertificateVerifier
from faregate.snapshot.call import Call, Identity, PeerCertificate, ReadyConsumer
from faregate.snapshot.data import MtlsCredential

ACME = ReadyConsumer("acme")
KEYS = {
    sha256(b"fg_ends").digest(): ReadyKey(ACME, "ends", 500),
    sha256(b"fg_stays").digest(): ReadyKey(ACME, "stays", 0),
}
PEER = PeerCertificate(
    sha256=b"s" * 32, thumbprint=b"t", subject=(), chain=(), issuer=b"", serial=1, ends=700.0
)


def call(used: bytes, authorization: bytes | None = None, api_key: bytes | None = None) -> Call:
    made = Call(1.0, 100.0)
    made.credential_used = used
    made.authorization = authorization
    made.api_key = api_key
    made.identity = Identity(ACME, "any")
    return made


@pytest.mark.parametrize(
    ("asked", "ends"),
    [
        (call(b"x-api-key", api_key=b"fg_ends"), 500.0),
        (call(b"x-api-key", api_key=b"fg_stays"), inf),
        (call(b"x-api-key", b"Bearer x.y.z", b"fg_ends"), 500.0),
        (call(b"authorization", b"Bearer fg_ends"), 500.0),
        (call(b"authorization", b"Bearer x.y.z"), 600.0),
        (call(b"x-api-key", api_key=b"fg_unknown"), 0.0),
        (call(b"authorization", b"Bearer f.o.r"), 100.0),
        (call(b""), inf),
    ],
    ids=[
        "key",
        "key for ever",
        "key beside a token",
        "key as bearer",
        "token",
        "unknown key",
        "forgotten token",
        "none",
    ],
)
def test_the_credential_that_was_used_decides(asked: Call, ends: float) -> None:
    jwt = JwtVerifier([])
    jwt.memory.keep(b"Bearer x.y.z", Verified(Identity(ACME, "jwt"), 0.0, 600.0, None))  # type: ignore[arg-type]
    assert credential_ends(asked, jwt, ApiKeyVerifier(KEYS), CertificateVerifier()) == ends


@pytest.mark.parametrize(("proven", "ends"), [(True, 700.0), (False, inf)])
def test_a_certificate_counts_where_it_proved_the_caller(proven: bool, ends: float) -> None:
    asked = call(b"")
    asked.certificate = PEER
    if not proven:
        asked.identity = None
    assert credential_ends(asked, JwtVerifier([]), ApiKeyVerifier({}), CertificateVerifier()) == ends


@pytest.mark.parametrize(("expires", "ends"), [(650, 650.0), (0, 700.0), (800, 700.0)])
def test_a_certificate_counts_no_longer_than_its_credential(expires: int, ends: float) -> None:
    certificates = CertificateVerifier()
    certificates.add(MtlsCredential("cert", sha256=PEER.sha256, expires=expires), ACME)
    asked = call(b"")
    asked.certificate = PEER
    assert certificates.verify(asked, PEER) is None
    assert credential_ends(asked, JwtVerifier([]), ApiKeyVerifier({}), certificates) == ends
