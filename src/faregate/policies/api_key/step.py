"""API keys: from the raw key to a proven caller.

Only digests are configured and held, one dictionary for all keys, so a lookup tells nothing by its time but
of a hash that the caller cannot steer. A key of the gateway's own making is found by its HMAC under each of
the peppers, the newest first, unless its checksum is wrong; whatever is not found so, by its SHA-256. Raw
keys are not remembered between calls: a digest costs a microsecond, and memory without keys has none to lose.
A key is never taken from the query (it would end up in logs).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from math import inf
from typing import Final

import msgspec

from faregate.kernel.api_keys import Peppered, checksum_ok, is_ours
from faregate.kernel.problems import Refusal
from faregate.policies.authenticate.challenge import Reason, invalid
from faregate.snapshot.call import Call, Identity, ReadyConsumer
from faregate.snapshot.data import ApiKeyCredential, Consumer, Pepper

PREFIX: Final = b"fg_"
"""What tells a key from a token in ``Authorization: Bearer``."""
_KEY: Final = re.compile(rb"[!-~]{1,256}")


class ReadyKey(msgspec.Struct, gc=False):
    """A key as workers hold it; its identity is made at first use, for most of 100,000 keys are idle."""

    consumer: ReadyConsumer
    id: str
    expires: int
    not_before: int = 0
    identity: Identity | None = None


class ApiKeyVerifier:
    """All API keys of one snapshot by digest. ``peppers``: newest first."""

    __slots__ = ("_keys", "_peppers")

    def __init__(self, keys: dict[bytes, ReadyKey], peppers: Sequence[Pepper] = ()) -> None:
        self._keys = keys
        self._peppers = tuple([Peppered(pepper.key) for pepper in peppers])

    def __len__(self) -> int:
        return len(self._keys)

    def take(self, other: "ApiKeyVerifier") -> None:
        """Knows from now on what ``other`` does."""
        self._keys = other._keys  # noqa: SLF001 - of this class
        self._peppers = other._peppers  # noqa: SLF001 - likewise

    def ends(self, key: bytes) -> float:
        """When ``key`` ends, in seconds since the epoch; ``inf`` for never, 0 for one that is not known."""
        found = self._find(key)
        if found is None:
            return 0.0
        return float(found.expires) if found.expires > 0 else inf

    def verify(self, call: Call, key: bytes, header: bytes) -> Refusal | None:
        """Proves the caller by ``key``, which stood in the field ``header`` (name in lower case)."""
        if _KEY.fullmatch(key) is None:
            return invalid(Reason.MALFORMED_KEY)
        if is_ours(key) and not checksum_ok(key):
            return invalid(Reason.BAD_CHECKSUM)
        found = self._find(key)
        if found is None:
            return invalid(Reason.UNKNOWN_API_KEY)
        if not found.not_before <= call.wall < (found.expires or inf):
            return invalid(Reason.NOT_YET_VALID if call.wall < found.not_before else Reason.EXPIRED)
        identity = found.identity
        if identity is None:
            found.identity = identity = Identity(found.consumer, found.id)
        call.identity = identity
        call.credential_used = header
        if found.consumer.suspended:
            return Refusal("consumer_suspended", reason="consumer_suspended")
        return None

    def _find(self, key: bytes) -> ReadyKey | None:
        keys = self._keys
        if self._peppers and is_ours(key):
            for pepper in self._peppers:
                found = keys.get(pepper.digest(key))
                if found is not None:
                    return found
        return keys.get(sha256(key).digest())


def build_verifier(
    consumers: Iterable[Consumer],
    ready_consumers: Mapping[str, ReadyConsumer],
    peppers: Sequence[Pepper] = (),
) -> ApiKeyVerifier:
    """A verifier for a snapshot. Raises ``ValueError`` on a digest of wrong length, one owned twice, or a bad
    id.
    """
    keys: dict[bytes, ReadyKey] = {}
    for consumer in consumers:
        for credential in consumer.credentials:
            if isinstance(credential, ApiKeyCredential):
                digest, key = ready_key(credential, ready_consumers[consumer.name])
                if digest in keys:
                    raise ValueError(f"API key {credential.id!r} of {consumer.name}: repeated digest")
                keys[digest] = key
    return ApiKeyVerifier(keys, peppers)


def ready_key(credential: ApiKeyCredential, consumer: ReadyConsumer) -> tuple[bytes, ReadyKey]:
    """The digest and the key as workers hold it. Raises ``ValueError`` on a digest of wrong length or a bad
    id.
    """
    digest = credential.hmac or credential.sha256
    if len(digest) != 32 or not credential.id.isprintable():
        raise ValueError(f"API key {credential.id!r} of {consumer.name}: bad digest or bad id")
    # Copies: see ``assembly``, which names its consumers by copies too.
    key = ReadyKey(consumer, credential.id.encode().decode(), credential.expires, credential.not_before)
    return bytes(bytearray(digest)), key
