"""Which credential a call carries, and who it proves: one step per set of accepted kinds (SPEC section 2
``authenticate``).

The credential present decides: ``Authorization: Bearer fg_...`` and ``X-API-Key`` are API keys, any other
Bearer value is a token; without either, the certificate of the connection counts. Two accepted ones at once
are refused, for it would depend on the order of checks who calls (RFC 6750 section 2). Verifying is left to
the jwt, api_key and mtls policies; permissions and addresses to the steps after this.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final

from faregate.policies.api_key.step import PREFIX, ApiKeyVerifier
from faregate.policies.api_key.step import build_verifier as build_api_key_verifier
from faregate.policies.authenticate.challenge import Reason, invalid, missing
from faregate.policies.authenticate.expiry import credential_ends
from faregate.policies.jwt.step import JwtVerifier, verifier_for
from faregate.policies.jwt.step import build_verifier as build_jwt_verifier
from faregate.policies.mtls.step import build_verifier as build_certificate_verifier
from faregate.policies.mtls.step import certificate_or, certificate_step
from faregate.snapshot.call import Call, ReadyConsumer, Step, Verdict
from faregate.snapshot.data import Route, Snapshot
from faregate.stores.keysets import KeySets

if TYPE_CHECKING:
    from faregate.policies.authenticate.index import CredentialIndex, Part

KINDS: Final = frozenset({"jwt", "api_key", "mtls"})


class Authenticators:
    """The authenticating steps of one snapshot; routes that accept the same kinds share one, and all share
    the caches.

    Raises ``KeySetError`` or ``ValueError`` when the snapshot's issuers or credentials cannot be put to work.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        ready_consumers: Mapping[str, ReadyConsumer],
        keysets: KeySets,
        index: "CredentialIndex | None" = None,
    ) -> None:
        """``index``: tokens' subjects and API keys, gathered already; else they are ``snapshot``'s."""
        if index is None:
            self.jwt = build_jwt_verifier(snapshot.issuers, snapshot.consumers, ready_consumers, keysets)
            self.api_keys = build_api_key_verifier(snapshot.consumers, ready_consumers, snapshot.peppers)
        else:
            self.jwt = verifier_for(snapshot.issuers, index.subjects, keysets, index.terms)
            self.api_keys = ApiKeyVerifier(index.keys, snapshot.peppers)
        self.certificates = build_certificate_verifier(snapshot.consumers, ready_consumers)
        self._steps: dict[frozenset[str], Step] = {}

    def swap(
        self, snapshot: Snapshot, index: "CredentialIndex", gone: Iterable["Part"]
    ) -> Callable[[], None]:
        """What has the steps made so far prove the callers of ``snapshot``, whose issuers are the same; that
        cannot fail. ``gone``: consumers that are others now. Raises ``ValueError`` when the credentials
        cannot be put to work.
        """
        certificates = build_certificate_verifier(snapshot.consumers, index.other_consumers())
        peppered = ApiKeyVerifier(index.keys, snapshot.peppers)
        subjects = [subject for part in gone for subject in part.subjects]

        def swap() -> None:
            self.api_keys.take(peppered)
            self.certificates.take(certificates)
            self.jwt.take(index.subjects, index.terms, subjects)

        return swap

    def step_for(self, route: Route) -> "Step | None":
        """The step of ``route``, None for a public one. Raises ``ValueError`` on an unknown kind."""
        kinds = frozenset(route.authenticate)
        if not kinds <= KINDS:
            raise ValueError(f"{route.label}: cannot authenticate by {', '.join(sorted(kinds - KINDS))}")
        if not kinds:
            return None
        step = self._steps.get(kinds)
        if step is None:
            step = self._steps[kinds] = self._build(kinds)
        return step

    def ends(self, call: Call) -> float:
        """When the credential that proved ``call``, which was just checked, ends; see ``credential_ends``."""
        return credential_ends(call, self.jwt, self.api_keys, self.certificates)

    def _build(self, kinds: frozenset[str]) -> Step:
        if kinds == {"mtls"}:
            return certificate_step(self.certificates)
        if "mtls" in kinds:
            others = kinds - {"mtls"}
            return certificate_or(self.certificates, self._build(others), _carries(others))
        if kinds == {"jwt"}:
            return jwt_step(self.jwt)
        if kinds == {"api_key"}:
            return api_key_step(self.api_keys)
        return jwt_or_api_key_step(self.jwt, self.api_keys)


def has_scheme_bearer(value: bytes) -> bool:
    """Whether an ``Authorization`` value names the scheme ``Bearer``, in any case (RFC 9110 section 11.1)."""
    return value[:6].lower() == b"bearer" and (len(value) == 6 or value.startswith(b" ", 6))


def _carries(kinds: frozenset[str]) -> Callable[[Call], bool]:
    """Whether a request holds a credential of ``kinds``."""
    tokens, keys = "jwt" in kinds, "api_key" in kinds

    def carries(call: Call) -> bool:
        value = call.authorization
        if keys and call.api_key is not None:
            return True
        if value is None or not has_scheme_bearer(value):
            return False
        return tokens or value.startswith(PREFIX, 7)

    return carries


def jwt_step(jwt: JwtVerifier) -> Step:
    """For routes that accept tokens only; ``X-API-Key`` means nothing there."""
    check, memory = jwt.check, jwt.memory

    def authenticate_jwt(call: Call) -> Verdict:
        value = call.authorization
        entry = memory.young.get(value)  # type: ignore[arg-type]  # None is never found
        if entry is not None and entry.not_before <= call.wall < entry.expires and entry.keys.live:
            call.identity = entry.identity
            call.credential_used = b"authorization"
            return None
        if value is None:
            return missing()
        if value[:7] != b"Bearer " and not has_scheme_bearer(value):
            return missing(Reason.OTHER_SCHEME)
        return check(call)

    return authenticate_jwt


def api_key_step(api_keys: ApiKeyVerifier) -> Step:
    """For routes that accept API keys only; a Bearer value beside ``X-API-Key`` may be the upstream's own
    affair.
    """
    verify = api_keys.verify

    def authenticate_api_key(call: Call) -> Verdict:
        key, value = call.api_key, call.authorization
        if value is None or not has_scheme_bearer(value):
            if key is not None:
                return verify(call, key, b"x-api-key")
            return missing(Reason.NONE_SENT if value is None else Reason.OTHER_SCHEME)
        if not value.startswith(PREFIX, 7):
            return invalid(Reason.NOT_ACCEPTED_HERE) if key is None else verify(call, key, b"x-api-key")
        if key is not None:
            return invalid(Reason.SEVERAL_CREDENTIALS)
        return verify(call, value[7:], b"authorization")

    return authenticate_api_key


def jwt_or_api_key_step(jwt: JwtVerifier, api_keys: ApiKeyVerifier) -> Step:
    """For routes that accept either."""
    authenticate_jwt, memory, verify = jwt_step(jwt), jwt.memory, api_keys.verify

    def authenticate(call: Call) -> Verdict:
        key, value = call.api_key, call.authorization
        if key is None:
            entry = memory.young.get(value)  # type: ignore[arg-type]  # None is never found
            if entry is not None and entry.not_before <= call.wall < entry.expires and entry.keys.live:
                call.identity = entry.identity
                call.credential_used = b"authorization"
                return None
            if value is not None and value.startswith(PREFIX, 7) and has_scheme_bearer(value):
                return verify(call, value[7:], b"authorization")
            return authenticate_jwt(call)
        if value is not None and has_scheme_bearer(value):
            return invalid(Reason.SEVERAL_CREDENTIALS)
        return verify(call, key, b"x-api-key")

    return authenticate
