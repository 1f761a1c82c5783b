"""A certificate proves the consumer that owns it, by fingerprint or by name and authority, and nobody else."""

import asyncio
from collections.abc import Awaitable
from typing import Final

import pytest

from faregate.kernel.problems import Refusal
from faregate.policies.mtls.step import build_verifier, certificate_or, certificate_step
from faregate.snapshot.call import Call, Identity, PeerCertificate, ReadyConsumer
from faregate.snapshot.data import Consumer, MtlsCredential
from faregate.stores.certificates import read_subject

ROOT, OTHER_ROOT, MIDDLE = b"r" * 32, b"o" * 32, b"m" * 32
NAME: Final = read_subject("CN=acme, O=Acme Ltd")
PRINT: Final = b"p" * 32
WALL: Final = 1_000.0


def certificate(
    *,
    sha256: bytes = b"?" * 32,
    subject: object = NAME,
    chain: tuple[bytes, ...] = (ROOT,),
    ends: float = 2_000.0,
) -> PeerCertificate:
    return PeerCertificate(
        sha256=sha256,
        thumbprint=b"t",
        subject=subject,
        chain=chain,
        issuer=b"i",
        serial=1,
        ends=ends,  # type: ignore[arg-type]
    )


CONSUMERS: Final = (
    Consumer("named", credentials=(MtlsCredential("mtls:named", subject=NAME, authorities=(ROOT,)),)),
    Consumer("printed", credentials=(MtlsCredential("mtls:printed", sha256=PRINT),)),
    Consumer("asleep", credentials=(MtlsCredential("mtls:asleep", sha256=b"s" * 32),), suspended=True),
)
READY: Final = {one.name: ReadyConsumer(one.name, suspended=one.suspended) for one in CONSUMERS}
VERIFIER: Final = build_verifier(CONSUMERS, READY)


def call_with(presented: PeerCertificate | None) -> Call:
    call = Call(1.0, WALL)
    call.certificate = presented
    return call


@pytest.mark.parametrize(
    ("presented", "owner"),
    [
        (certificate(), "named"),
        (certificate(chain=(MIDDLE, ROOT)), "named"),
        (certificate(chain=(OTHER_ROOT,)), None),
        (certificate(chain=()), None),
        (certificate(sha256=PRINT, subject=()), "printed"),
        (certificate(sha256=PRINT), "printed"),  # a fingerprint says more than a name
        (certificate(sha256=ROOT, subject=()), None),
        *((certificate(subject=read_subject(text)), None) for text in (
            "CN=Acme, O=Acme Ltd", "O=Acme Ltd,CN=acme", "CN=acme", "CN=acme,O=Acme Ltd,C=NO", "CN=acme+O=Acme Ltd",
            "OU=acme,O=Acme Ltd",
        )),
    ],
)  # fmt: skip
def test_who_owns_what(presented: PeerCertificate, owner: str | None) -> None:
    call = call_with(presented)
    verdict = certificate_step(VERIFIER)(call)
    if owner is None:
        assert isinstance(verdict, Refusal)
        assert (verdict.code, verdict.reason, call.identity) == (
            "credential_invalid",
            "unknown_certificate",
            None,
        )
    else:
        assert verdict is None
        assert call.identity is not None
        assert call.identity.consumer is READY[owner]


@pytest.mark.parametrize(
    ("presented", "code", "reason"),
    [
        (None, "credential_missing", "none_sent"),
        (certificate(ends=WALL), "credential_invalid", "expired"),
        (certificate(sha256=b"s" * 32), "consumer_suspended", "consumer_suspended"),
    ],
)
def test_what_is_refused(presented: PeerCertificate | None, code: str, reason: str) -> None:
    verdict = certificate_step(VERIFIER)(call_with(presented))
    assert isinstance(verdict, Refusal)
    assert (verdict.code, verdict.reason) == (code, reason)
    # RFC 9110 section 11.6.1: a 401 names a scheme that could help; where only certificates count, not Bearer
    challenge = b'WWW-Authenticate: ClientCertificate realm="faregate"\r\n'
    assert verdict.headers == (challenge if verdict.problem.status == 401 else b"")


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize(
    ("other", "presented", "passes"),
    [
        ("named", certificate(), True),
        ("printed", certificate(), False),
        ("printed", certificate(subject=()), True),  # which proves nobody
        ("printed", None, True),
        (None, certificate(), False),
    ],
)
def test_beside_another_credential_the_certificate_may_not_contradict(
    other: str | None,
    presented: PeerCertificate | None,
    passes: bool,
    waits: bool,
) -> None:
    def check(call: Call) -> Refusal | Awaitable[Refusal | None] | None:
        if other is None:
            return Refusal("credential_invalid", reason="bad")
        call.identity = Identity(READY[other], "jwt:x:y")
        return _later() if waits else None

    async def _later() -> None:
        await asyncio.sleep(0)

    call = call_with(presented)
    verdict = certificate_or(VERIFIER, check, lambda _: True)(call)
    if verdict is not None and not isinstance(verdict, Refusal):
        verdict = asyncio.run(_result(verdict))
    assert (verdict is None) is passes
    if not passes:
        assert other is None or call.identity is None


async def _result(waiting: Awaitable[Refusal | None]) -> Refusal | None:
    return await waiting


@pytest.mark.parametrize(
    "credential",
    [
        MtlsCredential("mtls:x"),
        MtlsCredential("mtls:x", sha256=b"short"),
        MtlsCredential("mtls:x", sha256=PRINT),
        MtlsCredential("mtls:x", subject=NAME),  # from any authority at all
        MtlsCredential("mtls:\r\nX-Consumer-Id: root", sha256=b"q" * 32),
    ],
)
def test_what_is_no_credential_does_not_build(credential: MtlsCredential) -> None:
    with pytest.raises(ValueError, match="certificate"):
        build_verifier(
            (*CONSUMERS, Consumer("x", credentials=(credential,))), {**READY, "x": ReadyConsumer("x")}
        )


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        ({"expires": 1_001}, "accepted"),
        ({"expires": 1_000}, "expired"),
        ({"not_before": 1_000}, "accepted"),
        ({"not_before": 1_001}, "not_yet_valid"),
    ],
)
def test_a_certificate_counts_while_its_credential_does(terms: dict[str, int], expected: str) -> None:
    own = Consumer("own", credentials=(MtlsCredential("mtls:own", sha256=PRINT, **terms),))
    verifier = build_verifier((own,), {"own": ReadyConsumer("own")})
    presented = certificate(sha256=PRINT)
    refusal = verifier.verify(call_with(presented), presented)
    assert (refusal.reason if refusal else "accepted") == expected
