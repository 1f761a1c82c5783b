"""Answers and keys as stores see them: sealed by the worker, opened by a worker (payments.md section 3.7).

AES-256-GCM, bound to the record's key and the attempt, so that a store that swaps two answers is found out. A
worker seals by a key of its own, which BLAKE2b makes of the sealing key and a random salt; nonces count, and
after ``SEALS_MAX`` it takes another salt, so that no number of answers wears a sealing key out. What is
sealed says by which key and which salt.
"""

import os
from hashlib import blake2b
from struct import Struct
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from faregate.stores.ledger.secrets import ID_BYTES, Secrets

SALT_BYTES: Final = 16
COUNT_BYTES: Final = 8
TAG_BYTES: Final = 16
HEAD_BYTES: Final = ID_BYTES + SALT_BYTES + COUNT_BYTES
OVERHEAD_BYTES: Final = HEAD_BYTES + TAG_BYTES
SEALS_MAX: Final = 1 << 32
OPENERS_MAX: Final = 64
"""Keys made of salts that are kept: each worker since its start has one."""
_PURPOSE: Final = b"faregate seal 2"  # at most 16 bytes
_NONCE_BEGIN: Final = b"\0\0\0\0"  # a nonce has 96 bits
_count: Final = Struct("!Q").pack


class SealError(Exception):
    """What was sealed does not open: of another record, changed, or its key is gone. Says no more."""


class Sealer:
    """Seals and opens by ``secrets``. One for each process that seals, never handed to a child of it: two
    that count from the same number would use a nonce twice.
    """

    __slots__ = ("_cipher", "_head", "_openers", "_sealed", "secrets")

    def __init__(self, secrets: Secrets) -> None:
        self.secrets = secrets
        self._openers: dict[bytes, AESGCM] = {}
        self._renew()

    def __repr__(self) -> str:
        return "Sealer(***)"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("secrets are not pickled")

    def _renew(self) -> None:
        secrets = self.secrets
        salt = os.urandom(SALT_BYTES)
        self._head = secrets.current_id + salt
        self._cipher = AESGCM(_own_key(secrets.current, salt))
        self._sealed = 0

    def seal(self, key: bytes, attempt: bytes, plain: bytes) -> bytes:
        """Id of the sealing key, salt, count, ciphertext with tag. ``key``, ``attempt``: of the record."""
        if self._sealed >= SEALS_MAX:
            self._renew()
        self._sealed += 1
        count = _count(self._sealed)
        return self._head + count + self._cipher.encrypt(_NONCE_BEGIN + count, plain, key + attempt)

    def unseal(self, key: bytes, attempt: bytes, sealed: bytes) -> bytes:
        """What was sealed for this record and attempt. Raises ``SealError``."""
        if len(sealed) < OVERHEAD_BYTES:
            raise SealError("too short")
        try:
            return self._opener(sealed[: ID_BYTES + SALT_BYTES]).decrypt(
                _NONCE_BEGIN + sealed[ID_BYTES + SALT_BYTES : HEAD_BYTES], sealed[HEAD_BYTES:], key + attempt
            )
        except InvalidTag:
            raise SealError("does not open") from None

    def _opener(self, head: bytes) -> AESGCM:
        if head == self._head:
            return self._cipher
        opener = self._openers.get(head)
        if opener is None:
            master = self.secrets.key(head[:ID_BYTES])
            if master is None:
                raise SealError("no such key")
            if len(self._openers) >= OPENERS_MAX:
                self._openers.clear()
            opener = self._openers[head] = AESGCM(_own_key(master, head[ID_BYTES:]))
        return opener


def unseal(secrets: Secrets, key: bytes, attempt: bytes, sealed: bytes) -> bytes:
    """``Sealer.unseal`` for who opens one thing. Raises ``SealError``."""
    return Sealer(secrets).unseal(key, attempt, sealed)


def _own_key(master: bytes, salt: bytes) -> bytes:
    return blake2b(salt, digest_size=32, key=master, person=_PURPOSE).digest()
