"""Client certificates: from the one that a connection's handshake proved to the consumer that owns it.

The handshake has done the work; here is a look-up. A fingerprint is one certificate's; a subject is whoever
holds that name from one of the authorities named with it, compared part by part and letter by letter: names
that only look alike are others. Only what the handshake proved counts, never a header (http-rules.md W03).
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final

from faregate.kernel.problems import Refusal
from faregate.policies.authenticate.challenge import CERTIFICATE, Reason, invalid, missing
from faregate.snapshot.call import Call, Identity, PeerCertificate, ReadyConsumer, Step, Verdict
from faregate.snapshot.data import Consumer, MtlsCredential

_UNAUTHORIZED: Final = 401
_ALWAYS: Final = (0, 0)


class CertificateVerifier:
    """All certificates of one snapshot, by fingerprint and by subject."""

    __slots__ = ("_by_digest", "_by_subject", "_terms")

    def __init__(self) -> None:
        self._by_digest: dict[bytes, Identity] = {}
        self._by_subject: dict[
            tuple[tuple[tuple[str, str], ...], ...], list[tuple[frozenset[bytes], Identity]]
        ] = {}
        self._terms: dict[Identity, tuple[int, int]] = {}  # of those that begin or end by themselves

    def add(self, credential: MtlsCredential, consumer: ReadyConsumer) -> None:
        """Raises ``ValueError`` on one that is no credential, or owned already."""
        if not credential.id.isprintable() or not credential.id.isascii():
            raise ValueError(f"a certificate of {consumer.name}: bad id")
        identity = Identity(consumer, credential.id)
        if credential.sha256:
            if len(credential.sha256) != 32 or credential.sha256 in self._by_digest:
                raise ValueError(f"certificate {credential.id!r} of {consumer.name}: bad or repeated digest")
            self._by_digest[credential.sha256] = identity
        elif credential.subject and credential.authorities:
            owners = self._by_subject.setdefault(credential.subject, [])
            owners.append((frozenset(credential.authorities), identity))
        else:
            raise ValueError(f"certificate {credential.id!r} of {consumer.name}: no fingerprint, no subject")
        if credential.expires or credential.not_before:
            self._terms[identity] = (credential.not_before, credential.expires)

    def take(self, other: "CertificateVerifier") -> None:
        """Knows from now on what ``other`` does."""
        self._by_digest = other._by_digest  # noqa: SLF001 - of this class
        self._by_subject = other._by_subject  # noqa: SLF001 - likewise
        self._terms = other._terms  # noqa: SLF001 - likewise

    def find(self, certificate: PeerCertificate) -> Identity | None:
        """Whose it is; a fingerprint says more than a name."""
        identity = self._by_digest.get(certificate.sha256)
        if identity is not None:
            return identity
        for authorities, owner in self._by_subject.get(certificate.subject, ()):
            if not authorities.isdisjoint(certificate.authorities):
                return owner
        return None

    def verify(self, call: Call, certificate: PeerCertificate) -> Refusal | None:
        """Proves the caller by its connection's certificate."""
        if certificate.ends <= call.wall:
            return invalid(Reason.EXPIRED)  # since the handshake
        identity = self.find(certificate)
        if identity is None:
            return invalid(Reason.UNKNOWN_CERTIFICATE)
        begins, ends = self._terms.get(identity, _ALWAYS)
        if 0 < ends <= call.wall:
            return invalid(Reason.EXPIRED)
        if call.wall < begins:
            return invalid(Reason.NOT_YET_VALID)
        call.identity = identity
        if identity.consumer.suspended:
            return Refusal("consumer_suspended", reason="consumer_suspended")
        return None

    def ends(self, call: Call, certificate: PeerCertificate) -> float:
        """When what proved ``call`` ends, in seconds since the epoch."""
        _, ends = self._terms.get(call.identity, _ALWAYS) if call.identity is not None else _ALWAYS
        return min(certificate.ends, ends) if ends else certificate.ends

    def agrees(self, call: Call, certificate: PeerCertificate) -> Refusal | None:
        """After another credential has passed: a certificate that is a different consumer's refuses the
        call, for it would depend on the order of checks who calls.
        """
        identity = self.find(certificate)
        proven = call.identity
        if identity is None or (proven is not None and identity.consumer is proven.consumer):
            return None
        call.identity = None
        return invalid(Reason.SEVERAL_CREDENTIALS)


def certificate_step(certificates: CertificateVerifier) -> Step:
    """For routes that accept certificates only; other credentials may be the upstream's own affair."""
    verify = certificates.verify

    def authenticate_certificate(call: Call) -> Refusal | None:
        certificate = call.certificate
        if certificate is None:
            return missing(challenge=CERTIFICATE)
        refusal = verify(call, certificate)
        if refusal is not None and refusal.problem.status == _UNAUTHORIZED:
            refusal.headers = CERTIFICATE  # a token would not help here
        return refusal

    return authenticate_certificate


def certificate_or(certificates: CertificateVerifier, others: Step, carries: Callable[[Call], bool]) -> Step:
    """For routes that accept a certificate or what ``others`` checks. ``carries``: whether the request itself
    holds a credential of those; then that one decides, for the certificate is the connection's and may be a
    proxy's or an app's that carries many users, and the certificate must not contradict it.
    """

    def authenticate(call: Call) -> Verdict:
        certificate = call.certificate
        if certificate is None:
            return others(call)
        if not carries(call):
            return certificates.verify(call, certificate)
        verdict = others(call)
        if verdict is None:
            return certificates.agrees(call, certificate)
        if isinstance(verdict, Refusal):
            return verdict
        return _agreed(verdict, call, certificate)

    async def _agreed(
        verdict: Awaitable[Refusal | None], call: Call, certificate: PeerCertificate
    ) -> Refusal | None:
        refusal = await verdict
        return certificates.agrees(call, certificate) if refusal is None else refusal

    return authenticate


def build_verifier(
    consumers: Iterable[Consumer], ready_consumers: Mapping[str, ReadyConsumer]
) -> CertificateVerifier:
    """A verifier for a snapshot. Raises ``ValueError`` on credentials that cannot be put to work."""
    verifier = CertificateVerifier()
    for consumer in consumers:
        for credential in consumer.credentials:
            if isinstance(credential, MtlsCredential):
                verifier.add(credential, ready_consumers[consumer.name])
    return verifier
