"""API keys: from the raw key to a proven caller.

Only SHA-256 digests are configured and held, one dictionary for all keys, so a lookup tells nothing by its
time but of a hash that the caller cannot steer. Raw keys are not remembered between calls: the digest costs
0.3 us, and memory without keys has none to lose. A key is never taken from the query (it would end up in
logs).
"""

import re
from collections.abc import Iterable, Mapping
from hashlib import sha256
from math import inf
from typing import Final

import msgspec

from faregate.kernel.problems import Refusal
from faregate.policies.authenticate.challenge import Reason, invalid
from faregate.snapshot.call import Call, Identity, ReadyConsumer
from faregate.snapshot.data import ApiKeyCredential, Consumer

PREFIX: Final = b"fg_"
"""What tells a key from a token in ``Authorization: Bearer``."""
_KEY: Final = re.compile(rb"[!-~]{1,256}")


class ReadyKey(msgspec.Struct, gc=False):
    """A key as workers hold it; its identity is made at first use, for most of 100,000 keys are idle."""

    consumer: ReadyConsumer
    id: str
    expires: int
    identity: Identity | None = None


class ApiKeyVerifier:
    """All API keys of one snapshot by digest."""

    __slots__ = ("_keys",)

    def __init__(self, keys: dict[bytes, ReadyKey]) -> None:
        self._keys = keys

    def __len__(self) -> int:
        return len(self._keys)

    def ends(self, key: bytes) -> float:
        """When ``key`` ends, in seconds since the epoch; ``inf`` for never, 0 for one that is not known."""
        found = self._keys.get(sha256(key).digest())
        if found is None:
            return 0.0
        return float(found.expires) if found.expires > 0 else inf

    def verify(self, call: Call, key: bytes, header: bytes) -> Refusal | None:
        """Proves the caller by ``key``, which stood in the field ``header`` (name in lower case)."""
        if _KEY.fullmatch(key) is None:
            return invalid(Reason.MALFORMED_KEY)
        found = self._keys.get(sha256(key).digest())
        if found is None:
            return invalid(Reason.UNKNOWN_API_KEY)
        if 0 < found.expires <= call.wall:
            return invalid(Reason.EXPIRED)
        identity = found.identity
        if identity is None:
            found.identity = identity = Identity(found.consumer, found.id)
        call.identity = identity
        call.credential_used = header
        if found.consumer.suspended:
            return Refusal("consumer_suspended", reason="consumer_suspended")
        return None


def build_verifier(
    consumers: Iterable[Consumer], ready_consumers: Mapping[str, ReadyConsumer]
) -> ApiKeyVerifier:
    """A verifier for a snapshot. Raises ``ValueError`` on a digest of wrong length, one owned twice, or a bad
    id.
    """
    keys: dict[bytes, ReadyKey] = {}
    for consumer in consumers:
        for credential in consumer.credentials:
            if isinstance(credential, ApiKeyCredential):
                if credential.sha256 in keys:
                    raise ValueError(f"API key {credential.id!r} of {consumer.name}: repeated digest")
                digest, key = ready_key(credential, ready_consumers[consumer.name])
                keys[digest] = key
    return ApiKeyVerifier(keys)


def ready_key(credential: ApiKeyCredential, consumer: ReadyConsumer) -> tuple[bytes, ReadyKey]:
    """The digest and the key as workers hold it. Raises ``ValueError`` on a digest of wrong length or a bad
    id.
    """
    if len(credential.sha256) != 32 or not credential.id.isprintable():
        raise ValueError(f"API key {credential.id!r} of {consumer.name}: bad digest or bad id")
    # Copies: see ``assembly``, which names its consumers by copies too.
    key = ReadyKey(consumer, credential.id.encode().decode(), credential.expires)
    return bytes(bytearray(credential.sha256)), key
