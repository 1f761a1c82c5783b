"""What a caller presents is known before OpenSSL judges it, and no record of a call passes the same way."""

import ssl
from base64 import encodebytes
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from faregate.gateway.tls.connection import TlsConnection
from faregate.gateway.tls.front import Front
from faregate.gateway.tls.presented import first_certificate, unwatch, watch
from faregate.gateway.tls.profile import build
from faregate.gateway.tls.words import verification_failed
from faregate.snapshot.data import ListenerTls, ServerCertificate
from tests.gateway.fakes import FakeTransport, World
from tests.support.certificates import Authority, Issued, of_version

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


class Ends:
    """A caller and a listener that wants certificates, joined in memory."""

    def __init__(self, folder: Path, caller: Issued, authority: Authority, version: ssl.TLSVersion) -> None:
        authority.issue("CN=server", dns=("a.test",)).write(folder, "server")
        caller.write(folder, "caller")
        (folder / "ca.pem").write_bytes(authority.pem)
        self.shown: list[tuple[int, bytes]] = []
        listening = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        listening.load_cert_chain(folder / "server.pem", folder / "server.key")
        listening.load_verify_locations(folder / "ca.pem")
        listening.verify_mode = ssl.CERT_REQUIRED
        watch(listening, lambda version, message: self.shown.append((version, message)))
        calling = ssl.create_default_context(cafile=str(folder / "ca.pem"))
        calling.load_cert_chain(folder / "caller.pem", folder / "caller.key")
        calling.minimum_version = calling.maximum_version = version
        self.up, self.down = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.caller = calling.wrap_bio(self.down, self.up, server_hostname="a.test")
        self.listener = listening.wrap_bio(self.up, self.down, server_side=True)

    def shake_hands(self) -> None:
        """Raises ssl.SSLCertVerificationError, of the listener."""
        left = [self.caller, self.listener]
        while left:
            end = left.pop(0)
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                left.append(end)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_refused_certificate_is_known_by_name(tmp_path: Path, version: ssl.TLSVersion) -> None:
    foreign = Authority("CN=foreign").issue("CN=acme,O=Acme Ltd", client=True)
    ends = Ends(tmp_path, foreign, Authority("CN=partners"), version)
    with pytest.raises(ssl.SSLCertVerificationError) as refused:
        ends.shake_hands()
    (shown,) = ends.shown
    certificate = first_certificate(*shown)
    assert certificate == foreign.certificate
    words = verification_failed(refused.value.verify_message, certificate)
    assert f"subject CN=acme,O=Acme Ltd, issuer CN=foreign, serial {certificate.serial_number:X};" in words


@pytest.mark.parametrize("version", VERSIONS)
def test_no_record_is_watched_once_the_handshake_is_over(tmp_path: Path, version: ssl.TLSVersion) -> None:
    authority = Authority("CN=partners")
    ends = Ends(tmp_path, authority.issue("CN=acme", client=True), authority, version)
    ends.shake_hands()
    unwatch(ends.listener)
    heard = len(ends.shown)
    watched = ends.listener.context
    assert watched._msg_callback is None  # type: ignore[attr-defined]  # OpenSSL calls nobody
    ends.caller.write(b"a call")
    assert ends.listener.read(100) == b"a call"
    ends.listener.write(b"an answer")
    assert ends.caller.read(100) == b"an answer"
    assert ends.listener.getpeercert(binary_form=True)
    assert len(ends.shown) == heard == 1


@pytest.mark.parametrize("version", [0x0303, 0x0304])
@pytest.mark.parametrize("cut", [0, 1, 4, 5, 7, 10, 40, -1])
def test_a_broken_message_names_nobody(version: int, cut: int) -> None:
    der = b"\x30\x03abc"
    listed = len(der).to_bytes(3, "big") + der
    body = (b"\0" if version == 0x0304 else b"") + len(listed).to_bytes(3, "big") + listed
    message = b"\x0b" + len(body).to_bytes(3, "big") + body
    assert first_certificate(version, message[:cut]) is None
    assert first_certificate(version, message) is None  # whole, and no certificate


def message_of(der: bytes) -> bytes:
    """A Certificate message of TLS 1.2 with one certificate."""
    listed = len(der).to_bytes(3, "big") + der
    body = len(listed).to_bytes(3, "big") + listed
    return b"\x0b" + len(body).to_bytes(3, "big") + body


@pytest.mark.parametrize("number", [0, 1, 3, 9, 255])
def test_a_certificate_of_another_version_names_nobody(number: int) -> None:
    certificate = Authority("CN=partners").issue("CN=acme", client=True).certificate
    assert first_certificate(0x0303, message_of(of_version(2, certificate))) == certificate
    assert first_certificate(0x0303, message_of(of_version(number, certificate))) is None


@dataclass
class OfVersion2(Issued):
    """With a chain of X.509 version 2, which no parser of ours takes."""

    @property
    def pem(self) -> bytes:
        coded = encodebytes(of_version(1, self.certificate))
        return b"-----BEGIN CERTIFICATE-----\n%b-----END CERTIFICATE-----\n" % coded


@pytest.mark.parametrize("version", VERSIONS)
def test_a_handshake_with_a_certificate_of_version_2_is_refused_for_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, version: ssl.TLSVersion
) -> None:
    authority = Authority("CN=partners")
    issued = authority.issue("CN=acme", client=True)
    ends = Ends(tmp_path, OfVersion2(issued.certificate, issued.key), authority, version)
    asks = ListenerTls(
        (ServerCertificate(str(tmp_path / "server.pem"), str(tmp_path / "server.key")),),
        client_mode="required",
        client_ca=str(tmp_path / "ca.pem"),
    )
    with World() as world:
        front = Front(world.plane, "127.0.0.1:1")
        front.adopt(asks, build(asks, ("http/1.1",), front.name_asked, front.certificate_shown), 0.0)
        transport = FakeTransport(world.loop, TlsConnection(front))  # type: ignore[arg-type]
        while transport.delivers:
            with suppress(ssl.SSLWantReadError):
                ends.caller.do_handshake()
            transport.deliver(ends.up.read())
            ends.down.write(transport.take())
        world.run()
        assert front.failures == {"certificate": 1}
        assert front.handshakes == 0
        assert "the handshake of 203.0.113.9 was refused: its certificate is not good" in caplog.text


@pytest.mark.parametrize("version", VERSIONS)
def test_a_listener_watches_handshakes_and_no_more(tmp_path: Path, version: ssl.TLSVersion) -> None:
    authority = Authority("CN=partners")
    ends = Ends(tmp_path, authority.issue("CN=acme", client=True), authority, version)
    asks = ListenerTls(
        (ServerCertificate(str(tmp_path / "server.pem"), str(tmp_path / "server.key")),),
        client_mode="required",
        client_ca=str(tmp_path / "ca.pem"),
    )
    with World() as world:
        front = Front(world.plane, "127.0.0.1:1")
        made = build(asks, ("http/1.1",), front.name_asked, front.certificate_shown)
        front.adopt(asks, made, 0.0)
        ends.listener = front.secure(ends.up, ends.down)
        ends.shake_hands()
        assert first_certificate(*front.shown) is not None
        speaker = front.speaker(SimpleNamespace(secured=ends.listener, name="a.test"))  # type: ignore[arg-type]
        assert speaker is not None
        assert speaker.certificate is not None
        assert ends.listener.context._msg_callback is None  # type: ignore[attr-defined]
