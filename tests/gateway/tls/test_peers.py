"""A caller's certificate that OpenSSL found good and no parser of ours can read is refused with a reason."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from faregate.gateway.tls import peers
from faregate.gateway.tls.peers import read_peer
from faregate.stores.certificates import CertificateFault
from tests.support.certificates import Authority, of_version

CERTIFICATE = Authority().issue("CN=acme", client=True).certificate
DER = CERTIFICATE.public_bytes(Encoding.DER)


class Secured:
    """A connection whose handshake went well."""

    def __init__(self, der: bytes) -> None:
        self._der = der

    def getpeercert(self, *, binary_form: bool) -> bytes:
        assert binary_form
        return self._der

    def get_verified_chain(self) -> list[bytes]:
        return [self._der]


@pytest.mark.parametrize("der", [b"", DER[:-1], of_version(1, CERTIFICATE)])
def test_what_is_no_certificate_is_refused_as_such(der: bytes) -> None:
    with pytest.raises(CertificateFault, match="not readable"):
        read_peer(Secured(der))  # type: ignore[arg-type]


@pytest.mark.parametrize("error", [OverflowError("x"), x509.InvalidVersion("2", 1), AttributeError("x")])
def test_whatever_reading_it_raises_refuses_it(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fails(_: x509.Name) -> None:
        raise error

    peer = read_peer(Secured(DER))  # type: ignore[arg-type]
    assert peer is not None
    assert peer.subject
    monkeypatch.setattr(peers, "subject_of", fails)
    with pytest.raises(CertificateFault, match="not readable"):
        read_peer(Secured(DER))  # type: ignore[arg-type]
