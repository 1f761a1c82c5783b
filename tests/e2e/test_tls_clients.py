"""Client certificates of a running gateway: who is let in, who is not, and what a certificate proves (http-rules.md sections 5 and 6, J17)."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.support.certificates import Authority, Issued
from tests.support.configuration import ISSUER, Tree, base, bearer, consumer, key_line, with_payments
from tests.support.gateway import GatewayProcess, until
from tests.support.http2_client import Http2Caller
from tests.support.tls_client import TlsCaller, plain_context, refused, tls12_context
from tests.support.upstream import RecordingUpstream


class Partners(NamedTuple):
    gateway: GatewayProcess
    upstream: RecordingUpstream
    authority: Authority
    middle: Authority
    folder: Path
    callers: dict[str, Issued]
    required: int

    @property
    def port(self) -> int:
        return self.gateway.port

    def files(self, who: str) -> tuple[Path, Path]:
        return self.folder / "callers" / f"{who}.pem", self.folder / "callers" / f"{who}.key"

    def strange(self, issued: Issued) -> tuple[Path, Path]:
        return issued.write(self.folder / "callers", "strange")


def thumbprint(issued: Issued) -> str:
    return base64.urlsafe_b64encode(bytes.fromhex(issued.fingerprint)).rstrip(b"=").decode()


@pytest.fixture(scope="module")
def partners(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Partners]:
    folder = tmp_path_factory.mktemp("mtls")
    authority, other = Authority("CN=partners"), Authority("CN=others")
    middle = Authority("CN=middle", parent=authority)
    server = authority.issue("CN=server", dns=("api.test",), client=False)
    server.write(folder / "certs", "server")
    (folder / "certs" / "partners.pem").write_bytes(authority.pem + other.pem)
    (folder / "certs" / "narrow.pem").write_bytes(authority.pem)
    revoked = authority.issue("CN=revoked", client=True)
    authority.revoke(revoked)
    crl = authority.revocations() + other.revocations() + middle.revocations()
    (folder / "certs" / "partners.crl").write_bytes(crl)
    callers = {
        "acme": authority.issue("CN=acme,O=Acme Ltd", client=True),
        "printed": authority.issue("CN=printed", client=True),
        "unowned": authority.issue("CN=unowned", client=True),
        "via": middle.issue("CN=via,O=Acme Ltd", client=True),
        "namesake": other.issue("CN=acme,O=Acme Ltd", client=True),
        "asleep": authority.issue("CN=asleep", client=True),
        "revoked": revoked,
    }
    for who, issued in callers.items():
        issued.write(folder / "callers", who)

    def credentials(*certificates: Tree, name: str = "") -> Tree:
        made = (
            consumer(name, "payments:read") if name else {"permissions": ["payments:read"], "credentials": []}
        )
        made["credentials"] = [*made["credentials"], *({"mtls": one} for one in certificates)]  # type: ignore[misc]
        return made

    with RecordingUpstream() as upstream:
        required: list[int] = []

        def make(port: int, manager_port: int) -> Tree:
            from tests.support.ports import free_ports

            (second,) = free_ports(1)
            required.append(second)
            tree = with_payments(base(port, manager_port, upstream.url))
            own = [{"chain": "certs/server.pem", "key": "certs/server.key"}]
            ask = {"ca": "certs/partners.pem", "crl": "certs/partners.crl"}
            tree["gateway"]["listen"] = [  # type: ignore[index,call-overload]
                {
                    "address": f"127.0.0.1:{number}",
                    "tls": {"certificates": own, "client_certificates": {"mode": mode, **ask}},
                }
                for number, mode in ((port, "optional"), (second, "required"))
            ]
            consumers: Tree = tree["consumers"]  # type: ignore[assignment]
            consumers["by-name"] = credentials({"subject": "CN=acme, O=Acme Ltd", "ca": "certs/narrow.pem"})
            consumers["by-print"] = credentials({"sha256": callers["printed"].fingerprint}, name="by-print")
            consumers["by-middle"] = credentials({"subject": "CN=via,O=Acme Ltd", "ca": "partners"})
            asleep = credentials({"sha256": callers["asleep"].fingerprint.upper()})
            consumers["asleep"] = {**asleep, "state": "suspended"}
            for kinds in (
                ["mtls"],
                ["mtls", "jwt"],
                ["api_key", "mtls"],
                ["mtls", "jwt", "api_key"],
                ["jwt"],
            ):
                word = "-".join(kinds).replace("_", "")
                tree["apis"][word] = {  # type: ignore[index,call-overload]
                    "upstream": "main",
                    "authenticate": kinds,
                    "versions": {"v1": {"path": f"/{word}/v1"}},
                    "routes": [{"match": "GET /x"}, {"match": "POST /x"}],
                }
            return tree

        with GatewayProcess(folder, make) as gateway:
            yield Partners(gateway, upstream, authority, middle, folder, callers, required[0])


@pytest.mark.parametrize(
    ("who", "status", "known_as"),
    [
        ("acme", 200, "by-name"),
        ("printed", 200, "by-print"),
        ("via", 200, "by-middle"),
        ("unowned", 401, None),
        ("namesake", 401, None),
        ("asleep", 403, None),
        (None, 401, None),
    ],
)
def test_a_certificate_proves_its_owner(
    partners: Partners, who: str | None, status: int, known_as: str | None
) -> None:
    certificate = None if who is None else partners.files(who)
    for context in (plain_context(), tls12_context()):
        with TlsCaller(partners.port, certificate=certificate, context=context) as caller:
            reply = caller.ask("/mtls/v1/x")
        assert reply.status == status
        line = partners.gateway.log.of(str(reply.headers["x-request-id"]))
        if known_as is not None:
            assert line["consumer"] == known_as
            assert str(line["credential"]).startswith("mtls:")
            assert partners.upstream.requests[-1].header("x-consumer-id") == known_as
            assert partners.upstream.requests[-1].header("x-credential-id") == line["credential"]
        elif status == 401:
            assert line["reason"] == ("none_sent" if who is None else "unknown_certificate")


def test_a_certificate_proves_its_owner_over_http2_too(partners: Partners) -> None:
    with Http2Caller(partners.port, certificate=partners.files("acme")) as caller:
        for _ in range(2):
            assert caller.ask2("/mtls/v1/x").status == 200
            assert partners.upstream.requests[-1].header("x-consumer-id") == "by-name"
    with Http2Caller(partners.port, certificate=partners.files("unowned")) as caller:
        reply = caller.ask2("/mtls/v1/x")
        assert (reply.status, reply.code) == (401, "credential_invalid")
    with Http2Caller(partners.port) as caller:
        reply = caller.ask2("/mtls/v1/x")
        assert (reply.status, reply.code) == (401, "credential_missing")


def test_every_refusal_of_a_credential_reads_alike(partners: Partners) -> None:
    with TlsCaller(partners.port, certificate=partners.files("unowned")) as caller:
        unknown = caller.ask("/mtls/v1/x")
    with TlsCaller(partners.port, certificate=partners.files("namesake")) as caller:
        other = caller.ask("/mtls/v1/x")
    bodies = [
        reply.body.replace(str(reply.headers["x-request-id"]).encode(), b"") for reply in (unknown, other)
    ]
    assert bodies[0] == bodies[1]


def test_a_listener_that_requires_one_takes_nobody_without(partners: Partners) -> None:
    def count(cause: str) -> float:
        return partners.gateway.metric("faregate_tls_handshakes_failed_total", cause=cause)

    protocol, certificate = count("protocol"), count("certificate")
    assert refused(partners.required)
    until(lambda: count("certificate") == certificate + 1, "the count")
    assert count("protocol") == protocol
    assert "sent no certificate" in partners.gateway.stderr
    with TlsCaller(partners.required, certificate=partners.files("acme")) as caller:
        assert caller.ask("/mtls/v1/x").status == 200


def bad_certificates(partners: Partners) -> dict[str, Issued]:
    good = partners.authority
    imitation = Authority("CN=partners")
    leaf_as_authority = Authority("CN=no authority", parent=good, ca=False)
    hidden = Authority("CN=hidden", parent=good).issue("CN=acme,O=Acme Ltd", client=True)
    hidden.above = ()
    foreign = Authority("CN=foreign").issue("CN=acme,O=Acme Ltd", client=True)
    return {
        "expired": good.issue("CN=acme,O=Acme Ltd", client=True, days=(-10, -1)),
        "not yet valid": good.issue("CN=acme,O=Acme Ltd", client=True, days=(1, 10)),
        "no usage": good.issue("CN=acme,O=Acme Ltd"),
        "for servers": good.issue("CN=acme,O=Acme Ltd", client=False),
        "signed by an imitation": imitation.issue("CN=acme,O=Acme Ltd", client=True),
        "signed by nobody known": foreign,
        "signed by a leaf": leaf_as_authority.issue("CN=acme,O=Acme Ltd", client=True),
        "intermediate missing": hidden,
        "revoked": partners.callers["revoked"],
        "RSA 1024": good.issue("CN=acme,O=Acme Ltd", client=True, key=rsa.generate_private_key(65537, 1024)),
        "NUL in a name": good.issue("CN=acme\0.evil,O=Acme Ltd", client=True),
    }


CAUSES = (
    "expired", "not yet valid", "no usage", "for servers", "signed by an imitation", "signed by nobody known",
    "signed by a leaf", "intermediate missing", "revoked", "RSA 1024", "NUL in a name",
)  # fmt: skip


@pytest.mark.parametrize("what", CAUSES)
@pytest.mark.parametrize("make", [plain_context, tls12_context])
def test_a_bad_certificate_ends_the_handshake_and_is_told_of(
    partners: Partners, what: str, make: object
) -> None:
    context = make()  # type: ignore[operator]
    context.set_ciphers("DEFAULT@SECLEVEL=0")  # what is tested is our refusal, not the caller's own
    before = len(partners.upstream.requests)
    certificate = partners.strange(bad_certificates(partners)[what])
    assert refused(partners.port, certificate=certificate, context=context)
    assert refused(partners.required, certificate=certificate, context=context)
    assert len(partners.upstream.requests) == before
    until(
        lambda: partners.gateway.metric("faregate_tls_handshakes_failed_total", cause="certificate") > 0,
        "the count",
    )


@pytest.mark.parametrize("make", [plain_context, tls12_context])
def test_the_operator_reads_whose_certificate_openssl_refused(partners: Partners, make: object) -> None:
    stranger = Authority("CN=foreign").issue("CN=acme,O=Acme Ltd", client=True)
    certificate = partners.strange(stranger)
    told = f"subject CN=acme,O=Acme Ltd, issuer CN=foreign, serial {stranger.certificate.serial_number:X};"

    def is_told() -> bool:  # a worker says ten lines in two seconds, no more
        assert refused(partners.port, certificate=certificate, context=make())  # type: ignore[operator]
        return told in partners.gateway.stderr

    until(is_told, "the line")


def test_no_session_stands_in_for_a_certificate(partners: Partners) -> None:
    """TLS 1.3 gives no ticket; a session of TLS 1.2 brings back who proved it, and nobody else."""
    with TlsCaller(partners.port, certificate=partners.files("acme")) as caller:
        assert caller.ask("/mtls/v1/x").status == 200
        assert caller.sock.session is None or not caller.sock.session.has_ticket
    context = tls12_context()
    with TlsCaller(partners.port, certificate=partners.files("via"), context=context) as caller:
        assert caller.ask("/mtls/v1/x").status == 200
        session = caller.sock.session
        assert session is None or not session.has_ticket
    with TlsCaller(partners.port, context=context, session=session) as caller:
        reply = caller.ask("/mtls/v1/x")
        assert reply.status == 200
        assert partners.gateway.log.of(str(reply.headers["x-request-id"]))["consumer"] == "by-middle"


@pytest.mark.parametrize(
    ("path", "who", "headers", "status", "reason"),
    [
        # nothing but the certificate
        ("mtls-jwt", "acme", (), 200, "by-name"),
        ("apikey-mtls", "acme", (), 200, "by-name"),
        ("mtls-jwt-apikey", "printed", (), 200, "by-print"),
        # another credential and no certificate
        ("mtls-jwt", None, ("jwt",), 200, "acme"),
        ("mtls-jwt-apikey", None, ("key",), 200, "acme"),
        ("mtls", None, ("jwt",), 401, "none_sent"),
        # both: the request's own decides, and the certificate may not contradict
        ("mtls-jwt", "printed", ("own jwt",), 200, "by-print"),
        ("apikey-mtls", "printed", ("own key",), 200, "by-print"),
        ("mtls-jwt", "unowned", ("jwt",), 200, "acme"),
        ("mtls-jwt", "acme", ("jwt",), 401, "several_credentials"),
        ("apikey-mtls", "acme", ("key",), 401, "several_credentials"),
        ("mtls-jwt-apikey", "acme", ("jwt",), 401, "several_credentials"),
        ("mtls-jwt", "acme", ("bad jwt",), 401, "malformed_token"),
        # what the route does not accept is the upstream's own affair
        ("mtls", "acme", ("jwt",), 200, "by-name"),
        ("apikey-mtls", "acme", ("jwt",), 200, "by-name"),
        ("mtls-jwt", "acme", ("key",), 200, "by-name"),
        ("jwt", "acme", ("jwt",), 200, "acme"),
        ("jwt", "acme", (), 401, "none_sent"),
    ],
)
def test_a_certificate_beside_other_credentials(
    partners: Partners, path: str, who: str | None, headers: tuple[str, ...], status: int, reason: str
) -> None:
    written = {
        "jwt": bearer("acme"),
        "own jwt": bearer("by-print"),
        "key": key_line("acme"),
        "own key": key_line("by-print"),
        "bad jwt": "Authorization: Bearer not.a-token",
    }
    certificate = None if who is None else partners.files(who)
    with TlsCaller(partners.port, certificate=certificate) as caller:
        for _ in range(3):  # the first call verifies, later ones remember
            reply = caller.ask(f"/{path}/v1/x", *(written[one] for one in headers))
            assert reply.status == status
            line = partners.gateway.log.of(str(reply.headers["x-request-id"]))
            assert line.get("consumer" if status == 200 else "reason") == reason


def test_j17_a_bound_token_counts_beside_its_certificate_only(partners: Partners) -> None:
    bound = bearer("acme", cnf={"x5t#S256": thumbprint(partners.callers["unowned"])})
    for _ in range(2):  # and what was remembered of the one is of no use to the other
        with TlsCaller(partners.port, certificate=partners.files("unowned")) as caller:
            for _ in range(3):
                assert caller.ask("/jwt/v1/x", bound).status == 200
        for certificate in (None, partners.files("printed")):
            with TlsCaller(partners.port, certificate=certificate) as caller:
                for _ in range(3):
                    header = f"X-Client-Cert: {thumbprint(partners.callers['unowned'])}"
                    reply = caller.ask("/jwt/v1/x", bound, header)
                    assert (reply.status, reply.code) == (401, "credential_invalid")
                    line = partners.gateway.log.of(str(reply.headers["x-request-id"]))
                    assert line["reason"] == "other_certificate"


@pytest.mark.parametrize(
    "cnf", [{"jkt": "abc"}, {}, "x", None, {"x5t#S256": "A" * 43}, {"x5t#S256": ""}, {"x5t#S256": 7}, []]
)
def test_j17_a_proof_that_is_not_understood_is_not_given(partners: Partners, cnf: object) -> None:
    token = bearer("acme", cnf=cnf) if cnf is not None else bearer("acme", cnf={"x5t#S256": None})
    assert ISSUER
    with TlsCaller(partners.port, certificate=partners.files("unowned")) as caller:
        assert caller.ask("/jwt/v1/x", token).status == 401


def test_w03_what_a_caller_says_of_certificates_does_not_reach_the_upstream(partners: Partners) -> None:
    names = (
        "X-Forwarded-Client-Cert", "X-Client-Cert", "X-SSL-Client-Cert", "X-SSL-Client-Verify", "X-SSL-CERT",
        "X-Forwarded-Tls-Client-Cert", "Client-Cert", "Client-Cert-Chain", "SSL-CLIENT-S-DN", "X-Client-Verify",
    )  # fmt: skip
    with TlsCaller(partners.port) as caller:
        assert caller.ask("/open/v1/strip", *(f"{name}: acme" for name in names), "X-Kept: 1").status == 200
        assert caller.ask("/mtls/v1/x", *(f"{name}: acme" for name in names)).status == 401
    request = partners.upstream.of_path("/open/v1/strip")[-1]
    assert request.header("x-kept") == "1"
    assert [name for name in names if request.head.all(name.lower())] == []
