"""``faregate doctor`` finishes the handshake with each target: what is wrong is named, with what mends it."""

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from faregate.cli.doctor_findings import Finding, Level, ok
from faregate.cli.doctor_network import check_network
from faregate.cli.doctor_tls import _ends
from faregate.snapshot.data import Target, Upstream, UpstreamTls
from tests.cli.test_doctor import snapshot_of
from tests.support.certificates import Authority, of_version

HOST = "bank.test"


class Bank:
    """One server, with a certificate of ``authority``. ``heard``: every byte of a request."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority("CN=partners")
        (folder / "ca.pem").write_bytes(self.authority.pem)
        (folder / "other.pem").write_bytes(Authority("CN=others").pem)
        self.issue()
        self.heard = b""
        self.plain = False
        self.protocols: list[str] = ["h2", "http/1.1"]
        self.client_ca = ""
        self.version = ssl.TLSVersion.TLSv1_3
        self.ciphers = ""

    def issue(self, *dns: str, days: tuple[float, float] = (-1, 200)) -> None:
        self.authority.issue("CN=bank", dns=dns or (HOST,), client=False, days=days).write(
            self.folder, "bank"
        )

    def own(self, authority: Authority) -> None:
        authority.issue("CN=gateway", client=True).write(self.folder, "own")

    def find(
        self, tls: UpstreamTls, *, protocol: str = "http1", more: tuple[Target, ...] = ()
    ) -> list[Finding]:
        """What doctor says; asyncio's own servers send no alerts, so this is one of threads."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            thread = threading.Thread(target=self._serve, args=(server, self._context()))
            thread.start()
            try:
                here = Target(f"127.0.0.1:{port}", "127.0.0.1", port, tls=True)
                upstream = Upstream("pay", (here, *more), tls=tls, protocol=protocol)
                found = asyncio.run(
                    check_network(snapshot_of(self.folder, upstreams=(upstream,)), online=False)
                )
            finally:
                server.shutdown(socket.SHUT_RDWR)
                thread.join()
        return [one._replace(message=one.message.replace(f":{port}", "")) for one in found]

    def _context(self) -> ssl.SSLContext | None:
        if self.plain:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / "bank.pem", self.folder / "bank.key")
        context.set_alpn_protocols(self.protocols)
        context.minimum_version = context.maximum_version = self.version
        if self.ciphers:
            context.set_ciphers(self.ciphers)
        if self.client_ca:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.folder / self.client_ca)
        return context

    def _serve(self, server: socket.socket, context: ssl.SSLContext | None) -> None:
        while True:
            try:
                accepted, _ = server.accept()
            except OSError:  # it is over
                return
            with accepted, contextlib.suppress(OSError):
                accepted.settimeout(5)
                if context is None:
                    accepted.recv(1000)
                    accepted.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
                    continue
                with context.wrap_socket(accepted, server_side=True) as secured:
                    self.heard += secured.recv(1000)


@pytest.fixture
def bank(tmp_path: Path) -> Bank:
    return Bank(tmp_path)


def settings(bank: Bank, *, ca: str = "ca.pem", own: bool = False, **other: object) -> UpstreamTls:
    folder = bank.folder
    mine = (str(folder / "own.pem"), str(folder / "own.key")) if own else ("", "")
    return UpstreamTls(str(folder / ca) if ca else "", *mine, **{"server_name": HOST, **other})  # type: ignore[arg-type]


def test_a_target_that_is_what_it_should_be(bank: Bank) -> None:
    assert bank.find(settings(bank)) == [ok("targets", "pay: 1 of 1 finish the TLS handshake")]
    assert bank.find(settings(bank), protocol="h2")[0].level is Level.OK
    unverified = bank.find(settings(bank, ca="", verify=False))
    assert unverified == [
        ok("targets", "pay: 1 of 1 finish the TLS handshake, unverified (`tls.verify: false`)")
    ]
    assert bank.heard == b"", "no request is sent"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_our_own_certificate_is_judged_by_the_target(bank: Bank, version: ssl.TLSVersion) -> None:
    bank.client_ca, bank.version = "ca.pem", version
    bank.own(bank.authority)
    assert bank.find(settings(bank, own=True))[0].level is Level.OK
    bank.own(Authority("CN=partners"))  # of the same name, and another key
    (finding,) = bank.find(settings(bank, own=True))
    assert finding.level is Level.PROBLEM
    assert f"it refuses our certificate {bank.folder / 'own.pem'}" in finding.message
    assert "renew it, or have the service trust" in finding.advice


def older(bank: Bank) -> UpstreamTls:
    bank.issue(days=(-9, -1))
    return settings(bank)


def later(bank: Bank) -> UpstreamTls:
    bank.issue(days=(1, 9))
    return settings(bank)


def renamed(bank: Bank) -> UpstreamTls:
    bank.issue("a.test", "b.test")
    return settings(bank)


def by_address(bank: Bank) -> UpstreamTls:
    return settings(bank, server_name="")


def distrusted(bank: Bank) -> UpstreamTls:
    return settings(bank, ca="other.pem")


def unknown(bank: Bank) -> UpstreamTls:
    return settings(bank, ca="")


def clear(bank: Bank) -> UpstreamTls:
    bank.plain = True
    return settings(bank)


def old_ciphers(bank: Bank) -> UpstreamTls:
    bank.version, bank.ciphers = ssl.TLSVersion.TLSv1_2, "ECDHE+AES+SHA256:@SECLEVEL=0:!AESGCM"
    return settings(bank)


def mixed_up(bank: Bank) -> UpstreamTls:
    bank.own(bank.authority)
    bank.issue()
    folder = bank.folder
    return UpstreamTls(str(folder / "ca.pem"), str(folder / "own.pem"), str(folder / "bank.key"), HOST)


def gone(bank: Bank) -> UpstreamTls:
    return settings(bank, ca="gone.pem")


@pytest.mark.parametrize(
    ("prepare", "fault", "advice"),
    [
        (older, "a certificate has expired; its own ends ", "have the service renew it"),
        (later, "not valid yet", "clock"),
        (renamed, "its certificate is for a.test, b.test, not for bank.test", "`tls.server_name`"),
        (by_address, "its certificate is for bank.test, not for 127.0.0.1", "`tls.server_name`"),
        (distrusted, "signed by CN=partners, is not trusted by /", "as `tls.ca`"),
        (unknown, "signed by CN=partners, is not trusted by the authorities of this machine", "as `tls.ca`"),
        (clear, "it does not speak TLS", "http://"),
        (old_ciphers, "the handshake fails: ", "TLS 1.2 and 1.3 with ECDHE"),
        (mixed_up, "no handshake is possible: /", "files there that fit each other"),
        (gone, "gone.pem: No such file", "files there"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_what_is_wrong_with_a_target_and_what_mends_it(
    bank: Bank, prepare: Callable[[Bank], UpstreamTls], fault: str, advice: str
) -> None:
    (finding,) = bank.find(prepare(bank))
    assert (finding.level, finding.check) == (Level.PROBLEM, "targets")
    assert fault in finding.message
    assert advice in finding.advice


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_target_that_wants_a_certificate_and_gets_none(bank: Bank, version: ssl.TLSVersion) -> None:
    bank.client_ca, bank.version = "ca.pem", version
    (finding,) = bank.find(settings(bank))
    assert (finding.level, "`tls.certificate`" in finding.advice) == (Level.PROBLEM, True), finding


def test_h2_must_be_offered(bank: Bank) -> None:
    bank.protocols = ["http/1.1"]
    (finding,) = bank.find(settings(bank), protocol="h2")
    assert "does not offer h2" in finding.message
    assert "`protocol: h2`" in finding.advice


def test_one_of_two_is_a_warning_that_names_it(bank: Bank) -> None:
    closed = Target("127.0.0.1:1", "127.0.0.1", 1, tls=True)
    (finding,) = bank.find(settings(bank), more=(closed,))
    assert finding.level is Level.WARNING
    assert finding.message == "pay: 1 of 2 finish the TLS handshake; not 127.0.0.1:1 (refused)"


def test_a_certificate_that_ends_soon_is_told(bank: Bank) -> None:
    bank.issue(days=(-9, 5))
    fine, soon = bank.find(settings(bank))
    assert (fine.level, soon.level) == (Level.OK, Level.WARNING)
    assert soon.message == "pay: the certificate of 127.0.0.1 ends within 5 days"


def test_a_certificate_that_cannot_be_read_has_no_end() -> None:
    certificate = Authority().certificate
    assert _ends(of_version(2, certificate)) == certificate.not_valid_after_utc.timestamp()
    assert _ends(of_version(1, certificate)) == _ends(b"") == 0.0
