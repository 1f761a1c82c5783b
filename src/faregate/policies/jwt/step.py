"""Bearer tokens: from the header's value to a proven caller (RFC 6750, RFC 7519, RFC 8725).

A call whose token was verified before costs one dictionary lookup and three compares. Otherwise: the form,
the header (parsed once per spelling), the issuer's key for exactly that algorithm and kid, the signature over
the bytes received, and only then the claims. What no key is known for may wait for one refetch of the
issuer's keys, shared by all.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

import msgspec

from faregate.kernel import base64url
from faregate.kernel.problems import Refusal
from faregate.policies.authenticate.challenge import Reason, invalid
from faregate.policies.jwt.claims import TokenFault, peek_issuer, read_claims, read_header
from faregate.policies.jwt.memory import FailureMemory, TokenMemory, Verified
from faregate.snapshot.call import Call, Identity, PeerCertificate, ReadyConsumer, Verdict
from faregate.snapshot.data import Consumer, Issuer, JwtCredential
from faregate.stores.jwk import KeySet
from faregate.stores.keysets import COOL_DOWN_S, KeySets, KeySource

TOKEN_BYTES_MAX: Final = 8 << 10
HEADERS_MAX: Final = 1_000
HEADER_BYTES_MAX: Final = 1 << 10
IDENTITIES_MAX: Final = 10_000
_HEALABLE: Final = frozenset(
    {Reason.NOT_YET_VALID, Reason.ISSUED_IN_FUTURE, Reason.UNKNOWN_KEY, Reason.OTHER_CERTIFICATE}
)


class Terms(msgspec.Struct, frozen=True, gc=False):
    """What a subject's credential says beside whose it is: a name of its own (or empty), when it begins and
    ends (0: never).
    """

    id: str = ""
    expires: int = 0
    not_before: int = 0


NO_TERMS: Final = Terms()
NOBODYS: Final[Mapping[str, Terms]] = MappingProxyType({})


class ReadyIssuer:
    """An issuer with its keys and the consumers that its tokens prove, by subject. ``terms``: of those that
    have any.
    """

    __slots__ = ("_narrowed", "_subjects", "_terms", "_whole", "data", "source")

    def __init__(
        self,
        data: Issuer,
        source: KeySource,
        subjects: Mapping[str, ReadyConsumer],
        terms: Mapping[str, Terms] = MappingProxyType({}),
    ) -> None:
        self.data = data
        self.source = source
        self._subjects = subjects
        self._terms = terms
        self._whole: dict[str, Identity] = {}  # of those seen: most of 100,000 are idle
        self._narrowed: dict[tuple[str, str | tuple[str, ...]], Identity] = {}

    def take(
        self,
        subjects: Mapping[str, ReadyConsumer],
        terms: Mapping[str, Terms],
        gone: Iterable[str],
    ) -> None:
        """Its tokens prove the consumers of ``subjects`` from now on; those of ``gone`` are others now."""
        self._subjects, self._terms = subjects, terms
        names = frozenset(gone)
        for subject in names:
            self._whole.pop(subject, None)
        if names and self._narrowed:
            self._narrowed = {key: one for key, one in self._narrowed.items() if key[0] not in names}

    def identity(self, subject: str, scope: str | tuple[str, ...] | None) -> Identity | None:
        """Who ``subject`` is, with its grants cut to ``scope``; None for a subject that no consumer owns."""
        whole = self._whole.get(subject)
        if whole is None:
            consumer = self._subjects.get(subject)
            if consumer is None:
                return None
            name = self.terms(subject).id or credential_id(self.data.name, subject)
            whole = self._whole[subject] = Identity(consumer, name)
        if scope is None:
            return whole
        found = self._narrowed.get((subject, scope))
        if found is None:
            words = frozenset(scope.split(" ") if isinstance(scope, str) else scope)
            found = Identity(whole.consumer, whole.credential, narrowed(whole.permissions, words))
            if len(self._narrowed) >= IDENTITIES_MAX:
                self._narrowed = {}
            self._narrowed[subject, scope] = found
        return found

    def terms(self, subject: str) -> Terms:
        """What the credential of ``subject`` says beside whose it is."""
        return self._terms.get(subject, NO_TERMS)


def narrowed(permissions: frozenset[str], words: frozenset[str]) -> frozenset[str]:
    """Those of ``permissions`` that ``words`` name; a grant for one place is named by its permission too."""
    return frozenset([grant for grant in permissions if grant in words or grant.partition("@")[0] in words])


def credential_id(issuer: str, subject: str) -> str:
    """The id of a JWT credential. Raises ``ValueError`` when it could not stand in a header field."""
    name = f"jwt:{issuer}:{subject}"
    if not name.isprintable():
        raise ValueError("a subject holds characters that no header field may carry")
    return name


class JwtVerifier:
    """Verifies the tokens of all issuers of one snapshot. ``check`` is the step; used from one event loop
    only.
    """

    __slots__ = ("_failures", "_headers", "_issuers", "_only", "memory")

    def __init__(self, issuers: Sequence[ReadyIssuer]) -> None:
        self._issuers: dict[str, list[ReadyIssuer]] = {}
        for issuer in issuers:
            self._issuers.setdefault(issuer.data.issuer, []).append(issuer)
        self._only = issuers[0] if len(issuers) == 1 else None
        self._headers: dict[bytes, tuple[str, str | None]] = {}
        self._failures = FailureMemory()
        self.memory = TokenMemory()

    def take(
        self,
        subjects: Mapping[str, Mapping[str, ReadyConsumer]],
        terms: Mapping[str, Mapping[str, Terms]],
        gone: Iterable[tuple[str, str, ReadyConsumer]],
    ) -> None:
        """Proves the consumers of ``subjects``, by issuer's name, from now on. ``gone``: issuer, subject and
        consumer of those that are others now: what is remembered of their tokens is forgotten.
        """
        by_issuer: dict[str, list[str]] = {}
        consumers: set[str] = set()
        for name, subject, consumer in gone:
            by_issuer.setdefault(name, []).append(subject)
            consumers.add(consumer.name)
        for issuers in self._issuers.values():
            for issuer in issuers:
                name = issuer.data.name
                issuer.take(subjects.get(name, {}), terms.get(name, NOBODYS), by_issuer.get(name, ()))
        if consumers:
            self.memory.forget(consumers)
        self._failures = FailureMemory()  # who was nobody may be somebody

    def check(self, call: Call) -> Verdict:
        """Proves the caller by its ``Authorization`` field, which holds a Bearer value unknown so far."""
        return self._decide(call, may_wait=True)

    def _decide(self, call: Call, *, may_wait: bool) -> Verdict:
        value = call.authorization
        assert value is not None
        kept_as = value
        entry = self.memory.recall(value)
        if entry is None and call.certificate is not None:
            kept_as = _with_certificate(value, call.certificate)
            entry = self.memory.find(kept_as)
        if entry is None or not (entry.not_before <= call.wall < entry.expires and entry.keys.live):
            reason = self._failures.find(value, call.now)
            if reason is not None:
                return invalid(reason)
            try:
                found = self._verify(value, call, may_wait=may_wait)
            except TokenFault as fault:
                if fault.reason not in _HEALABLE:
                    self._failures.keep(value, fault.reason, call.client_ip, call.now)
                return invalid(fault.reason)
            if type(found) is not Verified:
                return found  # type: ignore[return-value]  # a verdict, then
            entry = found
        call.identity = identity = entry.identity
        call.credential_used = b"authorization"
        if identity.consumer.suspended:
            return Refusal("consumer_suspended", reason="consumer_suspended")
        if not entry.bound:
            kept_as = value
        if self.memory.young.get(kept_as) is not entry:
            self.memory.keep(kept_as, entry)
        return None

    def remembered(self, call: Call) -> Verified | None:
        """What is known of the token of a call that was just checked."""
        value = call.authorization or b""
        entry = self.memory.find(value)
        if entry is None and call.certificate is not None:
            entry = self.memory.find(_with_certificate(value, call.certificate))
        return entry

    def _verify(self, value: bytes, call: Call, *, may_wait: bool) -> "Verified | Verdict":
        """The entry to remember, or a verdict when there is no key to decide with. Raises ``TokenFault``."""
        if len(value) > TOKEN_BYTES_MAX + 7:
            raise TokenFault(Reason.TOKEN_TOO_LONG)
        parts = value.split(b".", 3)  # never more pieces than it takes to see that there are too many (J14)
        if len(parts) != 3:
            raise TokenFault(Reason.MALFORMED_TOKEN)
        start, payload, signature = parts
        wanted = self._headers.get(start) or self._read_header(start)
        issuer = self._only or self._choose(payload)
        keys = issuer.source.current
        if keys is None:
            return self._wait(call, issuer.source, wanted[1], may_wait=may_wait)
        verify = keys.verifiers.get(wanted)
        if verify is None:
            return self._no_key(call, issuer, keys, wanted, may_wait=may_wait)
        try:
            octets = base64url.decode(signature)
        except ValueError:
            raise TokenFault(Reason.MALFORMED_TOKEN) from None
        if not verify(octets, value[7 : -1 - len(signature)]):
            raise TokenFault(Reason.BAD_SIGNATURE)
        # only now are the claims read (RFC 8725 section 3.3)
        subject, not_before, expires, scope, bound = read_claims(payload, issuer.data, call.wall)
        if bound is not None:
            certificate = call.certificate
            if certificate is None or certificate.thumbprint != bound or certificate.ends <= call.wall:
                raise TokenFault(Reason.OTHER_CERTIFICATE)
            expires = min(expires, certificate.ends)
        identity = issuer.identity(subject, scope)
        if identity is None:
            raise TokenFault(Reason.UNKNOWN_CONSUMER)
        not_before, expires = _within(issuer.terms(subject), not_before, expires, call.wall)
        return Verified(identity, not_before, expires, keys, bound is not None)

    def _read_header(self, start: bytes) -> tuple[str, str | None]:
        wanted = read_header(start)
        if len(start) <= HEADER_BYTES_MAX:
            if len(self._headers) >= HEADERS_MAX:
                self._headers = {}
            self._headers[start] = wanted
        return wanted

    def _choose(self, payload: bytes) -> ReadyIssuer:
        """The issuer whose keys to try: by ``iss``, and by ``aud`` among several with one ``iss``."""
        name, audience = peek_issuer(payload)
        candidates = self._issuers.get(name)
        if candidates is None:
            raise TokenFault(Reason.UNKNOWN_ISSUER)
        named = audience if isinstance(audience, list) else [audience]
        for candidate in candidates:
            if any(own in named for own in candidate.data.audience):
                return candidate
        return candidates[0]

    def _no_key(
        self, call: Call, issuer: ReadyIssuer, keys: KeySet, wanted: tuple[str, str | None], *, may_wait: bool
    ) -> Verdict:
        """What to do without a key for ``wanted``: wait for a refetch when its kid is new. Raises
        ``TokenFault``.
        """
        algorithm, kid = wanted
        if algorithm not in issuer.data.algorithms:
            raise TokenFault(Reason.ALGORITHM_NOT_ALLOWED)
        if kid in keys.kids:
            raise TokenFault(Reason.WRONG_ALGORITHM)
        if kid is None:  # several keys and no word which (J06)
            raise TokenFault(Reason.UNKNOWN_KEY)
        return self._wait(call, issuer.source, kid, may_wait=may_wait)

    def _wait(self, call: Call, source: KeySource, kid: str | None, *, may_wait: bool) -> Verdict:
        """An awaitable that decides once a fetch of the keys has ended, or the verdict when waiting is of no
        use.
        """
        if may_wait:
            task = source.join_fetch(None if source.current is None else kid, call.now)
            if task is not None:
                return self._decide_after(task, call, source, kid)
        if source.current is None:
            # not 401: nothing is known against this token, and a caller told otherwise would throw it away
            return Refusal("store_unavailable", reason="keys_unavailable", retry_after=int(COOL_DOWN_S))
        raise TokenFault(Reason.UNKNOWN_KEY)

    async def _decide_after(
        self, task: "asyncio.Task[None]", call: Call, source: KeySource, kid: str | None
    ) -> Refusal | None:
        if not source.take_place():
            return Refusal("overloaded", reason="too_many_wait_for_keys", retry_after=1)
        try:
            # wait, not await: a caller that leaves must not cancel the fetch, nor a cancelled fetch the call
            await asyncio.wait((task,))
        finally:
            source.free_place()
        if kid is not None:
            source.note_absent(kid, call.now)
        verdict = self._decide(call, may_wait=False)
        assert verdict is None or isinstance(verdict, Refusal)
        return verdict


def _within(terms: Terms, not_before: float, expires: float, wall: float) -> tuple[float, float]:
    """When a token may be used whose credential has ``terms``. Raises ``TokenFault`` when not now."""
    if terms is NO_TERMS:
        return not_before, expires
    if wall < terms.not_before:
        raise TokenFault(Reason.NOT_YET_VALID)
    ends = float(terms.expires) if terms.expires else expires
    if ends <= wall:
        raise TokenFault(Reason.EXPIRED)
    return max(not_before, float(terms.not_before)), min(expires, ends)


def _with_certificate(value: bytes, certificate: PeerCertificate) -> bytes:
    """What a bound token is remembered under; no field's value holds a NUL (F14)."""
    return b"%b\0%b" % (value, certificate.thumbprint)


def build_verifier(
    issuers: Iterable[Issuer],
    consumers: Iterable[Consumer],
    ready_consumers: Mapping[str, ReadyConsumer],
    keysets: KeySets,
) -> JwtVerifier:
    """A verifier for a snapshot. Raises ``KeySetError`` or ``ValueError`` when an issuer cannot be put to
    work.
    """
    subjects: dict[str, dict[str, ReadyConsumer]] = {}
    terms: dict[str, dict[str, Terms]] = {}
    for consumer in consumers:
        for credential in consumer.credentials:
            if isinstance(credential, JwtCredential):
                owned = subjects.setdefault(credential.issuer, {})
                if credential.subject in owned:
                    raise ValueError(
                        f"two consumers own subject {credential.subject!r} of {credential.issuer}"
                    )
                credential_id(credential.issuer, credential.subject)  # raises when it is no id
                owned[credential.subject] = ready_consumers[consumer.name]
                told = terms_of(credential)
                if told is not None:
                    terms.setdefault(credential.issuer, {})[credential.subject] = told
    return verifier_for(issuers, subjects, keysets, terms)


def terms_of(credential: JwtCredential) -> Terms | None:
    """Its terms; None for one that has none. Raises ``ValueError`` on an id that no header may carry."""
    if not credential.id.isprintable():
        raise ValueError("an id holds characters that no header field may carry")
    if credential.id or credential.expires or credential.not_before:
        return Terms(credential.id, credential.expires, credential.not_before)
    return None


def verifier_for(
    issuers: Iterable[Issuer],
    subjects: Mapping[str, Mapping[str, ReadyConsumer]],
    keysets: KeySets,
    terms: Mapping[str, Mapping[str, Terms]] = MappingProxyType({}),
) -> JwtVerifier:
    """A verifier of the tokens of ``issuers``; ``subjects`` and ``terms`` by issuer's name. Raises
    ``KeySetError``.
    """
    return JwtVerifier(
        [
            ReadyIssuer(
                issuer,
                keysets.source_for(issuer),
                subjects.get(issuer.name, {}),
                terms.get(issuer.name, {}),
            )
            for issuer in issuers
        ]
    )
