"""TLS listeners of a running gateway: which certificate answers, what is spoken, what a call carries upward (http-rules.md section 5)."""

import socket
import ssl
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from tests.support.certificates import Authority, Issued
from tests.support.configuration import Tree, base
from tests.support.gateway import GatewayProcess, until
from tests.support.script import Stream, head, raw
from tests.support.tls_client import TlsCaller, plain_context, tls12_context
from tests.support.upstream import RecordingUpstream


class Secure(NamedTuple):
    gateway: GatewayProcess
    upstream: RecordingUpstream
    first: Issued
    second: Issued
    wild: Issued
    folder: Path

    @property
    def port(self) -> int:
        return self.gateway.port


def der(issued: Issued) -> bytes:
    return issued.certificate.public_bytes(Encoding.DER)


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    folder = tmp_path_factory.mktemp("tls")
    authority = Authority()
    first = authority.issue("CN=first", dns=("api.test", "alias.test"), client=False)
    second = authority.issue("CN=second", dns=("other.test",), client=False)
    wild = authority.issue("CN=wild", dns=("*.wild.test",), client=False)
    for stem, issued in (("first", first), ("second", second), ("wild", wild)):
        issued.write(folder / "certs", stem)

    with RecordingUpstream() as upstream:

        def make(port: int, manager_port: int) -> Tree:
            tree = base(port, manager_port, upstream.url, workers=1)
            certificates = [
                {"chain": f"certs/{stem}.pem", "key": f"certs/{stem}.key"}
                for stem in ("first", "second", "wild")
            ]
            tree["gateway"]["listen"] = [  # type: ignore[index,call-overload]
                {"address": f"127.0.0.1:{port}", "tls": {"certificates": certificates}}
            ]
            return tree

        with GatewayProcess(folder, make) as gateway:
            yield Secure(gateway, upstream, first, second, wild, folder)


@pytest.mark.parametrize(
    ("name", "which"),
    [
        ("api.test", "first"),
        ("alias.test", "first"),
        ("API.Test", "first"),
        ("other.test", "second"),
        ("OTHER.TEST", "second"),
        ("a.wild.test", "wild"),
        ("a.b.wild.test", "first"),
        ("wild.test", "first"),
        ("nobody.test", "first"),
        (None, "first"),
    ],
)
def test_the_name_asked_for_chooses_the_certificate(secure: Secure, name: str | None, which: str) -> None:
    with TlsCaller(secure.port, name) as caller:
        assert caller.served == der(getattr(secure, which))
        assert caller.ask("/open/v1/x", host=name or "api.test").status == 200


@pytest.mark.parametrize("context", [plain_context, tls12_context])
def test_a_call_over_either_version_carries_its_scheme_upward_and_its_cipher_into_the_log(
    secure: Secure, context: object
) -> None:
    with TlsCaller(secure.port, context=context()) as caller:  # type: ignore[operator]
        reply = caller.ask("/open/v1/scheme", "X-Forwarded-Proto: http")
        version, cipher = caller.sock.version(), caller.sock.cipher()
        assert caller.sock.selected_alpn_protocol() == "http/1.1"
        assert caller.sock.compression() is None
    assert reply.status == 200
    request = secure.upstream.requests[-1]
    assert request.header("x-forwarded-proto") == "https"
    assert cipher is not None
    line = secure.gateway.log.of(str(reply.headers["x-request-id"]))
    assert line["tls"] == f"{version} {cipher[0]}"


def test_f10_a_host_other_than_the_handshakes_is_misdirected(secure: Secure) -> None:
    before = len(secure.upstream.requests)
    for host in ("other.test", "alias.test", "api.test.evil.test", "127.0.0.1"):
        with TlsCaller(secure.port, "api.test") as caller:
            assert caller.ask("/open/v1/x", host="api.test").status == 200
            reply = caller.ask("/open/v1/x", host=host)
            assert (reply.status, reply.code) == (421, "misdirected_request")
            assert caller.ended()
    assert len(secure.upstream.requests) == before + 4
    with TlsCaller(secure.port, "api.test") as caller:
        assert caller.ask("/open/v1/x", host=f"API.test:{secure.port}").status == 200


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("https://api.test/open/v1/x", 200),
        ("https://api.test:443/open/v1/x", 200),
        ("http://api.test/open/v1/x", 400),
    ],
)
def test_f08_an_absolute_target_names_the_listeners_scheme(secure: Secure, target: str, status: int) -> None:
    with TlsCaller(secure.port) as caller:
        assert caller.ask(target).status == status


def test_a_hello_in_pieces_gets_the_settings_of_a_whole_one(secure: Secure) -> None:
    """CVE-2026-32305: a name that stands in a later segment counts all the same."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    hello = plain_context().wrap_bio(incoming, outgoing, server_hostname="other.test")
    with pytest.raises(ssl.SSLWantReadError):
        hello.do_handshake()
    with socket.create_connection(("127.0.0.1", secure.port), 8) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in bytearray(outgoing.read()):
            sock.sendall(bytes([at]))
        while True:
            incoming.write(sock.recv(65536))
            try:
                hello.do_handshake()
                break
            except ssl.SSLWantReadError:
                pass
    assert hello.getpeercert(binary_form=True) == der(secure.second)


def test_old_versions_and_weak_ciphers_are_refused(secure: Secure) -> None:
    for change in ("tls11", "cbc", "rsa_kx"):
        context = plain_context()
        context.set_ciphers("ALL:@SECLEVEL=0")
        if change == "tls11":
            with pytest.warns(DeprecationWarning, match="TLSv1_1"):
                context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
        else:
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            context.set_ciphers("ECDHE-ECDSA-AES128-SHA256" if change == "cbc" else "AES128-GCM-SHA256")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            TlsCaller(secure.port, context=context)


def test_a_session_is_resumed(secure: Secure) -> None:
    for make in (plain_context, tls12_context):
        context = make()
        with TlsCaller(secure.port, context=context) as caller:
            assert caller.ask("/open/v1/x").status == 200
            session = caller.sock.session
        with TlsCaller(secure.port, context=context, session=session) as caller:
            assert caller.ask("/open/v1/x").status == 200
            assert caller.sock.session_reused


def test_a_caller_that_only_connects_is_gone_after_the_handshake_time(secure: Secure) -> None:
    with socket.create_connection(("127.0.0.1", secure.port), 8) as silent:
        begun = time.monotonic()
        assert silent.recv(1) == b""
        assert 4.5 < time.monotonic() - begun < 6.5
    until(
        lambda: secure.gateway.metric("faregate_tls_handshakes_failed_total", cause="timeout") >= 1,
        "the count",
    )


def test_plain_http_on_a_tls_listener_gets_nothing(secure: Secure) -> None:
    before = len(secure.upstream.requests)
    with socket.create_connection(("127.0.0.1", secure.port), 8) as sock:
        sock.sendall(b"GET /open/v1/x HTTP/1.1\r\nHost: api.test\r\n\r\n")
        assert b"HTTP/1.1 200" not in sock.recv(65536)
    assert len(secure.upstream.requests) == before


@pytest.mark.parametrize("close_notify", [True, False])
def test_w08_a_caller_that_ends_its_side_is_still_answered(secure: Secure, close_notify: bool) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    caller = plain_context().wrap_bio(incoming, outgoing, server_hostname="api.test")
    with socket.create_connection(("127.0.0.1", secure.port), 8) as sock:

        def send() -> None:
            if outgoing.pending:
                sock.sendall(outgoing.read())

        def step(act: object) -> bytes:
            while True:
                try:
                    made = act()  # type: ignore[operator]
                    send()
                    return made if isinstance(made, bytes) else b""
                except ssl.SSLWantReadError:
                    send()
                    data = sock.recv(65536)
                    if not data:
                        raise
                    incoming.write(data)

        step(caller.do_handshake)
        body = b"{}"
        caller.write(b"POST /open/v1/x HTTP/1.1\r\nHost: api.test\r\nContent-Length: 2\r\n\r\n" + body)
        if close_notify:
            with pytest.raises(ssl.SSLWantReadError):
                caller.unwrap()
        send()
        if not close_notify:
            sock.shutdown(socket.SHUT_WR)
        assert step(lambda: caller.read(65536)).startswith(b"HTTP/1.1 200 ")


def test_a_large_answer_to_a_slow_reader_is_whole_and_ends_with_close_notify(secure: Secure) -> None:
    size = 8_000_000  # more than the kernel takes for the gateway (tcp_wmem, 4 MiB) and for the caller
    secure.upstream.script("/open/v1/large", raw(head(200, f"Content-Length: {size}"), Stream(size)))
    with TlsCaller(secure.port) as caller:
        # far below the segments of the loopback, 64 KiB, each window would wait a fifth of a second for its update
        caller.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 256 << 10)
        caller.sock.sendall(b"GET /open/v1/large HTTP/1.1\r\nHost: api.test\r\nConnection: close\r\n\r\n")
        time.sleep(1.5)  # the caller's own slowness is what is tested
        got = 0
        while chunk := caller.sock.recv(65536):  # an end without close_notify would raise
            got += len(chunk)
    assert got > size


def test_expiry_is_shown(secure: Secure) -> None:
    until(lambda: secure.gateway.metric("faregate_certificate_expires_timestamp_seconds") > 0, "the metric")
    shown = secure.gateway.metric(
        "faregate_certificate_expires_timestamp_seconds", file=str(secure.folder / "certs" / "second.pem")
    )
    assert shown == int(secure.second.certificate.not_valid_after_utc.timestamp())


def test_no_key_reaches_a_log(secure: Secure) -> None:
    texts = secure.gateway.stderr + secure.gateway.stdout
    for issued in (secure.first, secure.second, secure.wild):
        for line in issued.key_pem.splitlines()[1:-1]:
            assert line.decode() not in texts
    assert sha256(secure.first.key_pem).hexdigest() not in texts
