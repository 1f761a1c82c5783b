"""Keys of our own making: ``fg_live_`` or ``fg_test_``, 30 random digits of base 62, 6 of a checksum.

The checksum (CRC-32 of all before it, as in GitHub's tokens) lets scanners of source code and a mistyped key
be told without asking anybody; it proves nothing. What is kept of a key is an HMAC under a pepper that lies
apart from the keys' records: either alone is of no use. Who owns a key is the records' question.
"""

import hmac
import secrets
from hashlib import sha256
from typing import Final, Literal, TypeAlias
from zlib import crc32

from faregate.kernel.secrets import Secret

Mode: TypeAlias = Literal["live", "test"]

RANDOM_DIGITS: Final = 30
"""178 bits."""
CHECKSUM_DIGITS: Final = 6
PEPPER_BYTES: Final = 32
PEPPERS_MAX: Final = 4
"""Peppers in use at once: what a key that nobody owns costs at most."""
KEY_LENGTH: Final = len("fg_live_") + RANDOM_DIGITS + CHECKSUM_DIGITS
SHOWN_DIGITS: Final = 4

_ALPHABET: Final = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_BASE: Final = 62
_VALUES: Final = bytes(max(0, _ALPHABET.find(code)) for code in range(256))
"""A character's value as a digit."""
_BLOCK_BYTES: Final = 64  # of SHA-256
_INNER: Final = bytes(code ^ 0x36 for code in range(256))
_OUTER: Final = bytes(code ^ 0x5C for code in range(256))


def make(mode: Mode) -> Secret:
    """A new key of 44 characters, from the system's source of randomness."""
    if mode not in ("live", "test"):
        raise ValueError("a key is live or test")
    digits = bytes(secrets.choice(_ALPHABET) for _ in range(RANDOM_DIGITS))
    body = b"fg_%b_%b" % (mode.encode(), digits)
    return Secret(body + _checksum(body))


def make_pepper() -> Secret:
    """A new pepper of ``PEPPER_BYTES``."""
    return Secret(secrets.token_bytes(PEPPER_BYTES))


def is_ours(key: bytes) -> bool:
    """Whether ``key`` has the form of those made here; others may begin alike."""
    return len(key) == KEY_LENGTH and key.startswith((b"fg_live_", b"fg_test_")) and key[8:].isalnum()


def checksum_ok(key: bytes) -> bool:
    """Whether the last six characters of a key of our form fit all before them."""
    if not is_ours(key):
        return False
    number = 0
    for value in key[-CHECKSUM_DIGITS:].translate(_VALUES):
        number = number * _BASE + value
    return number == crc32(key[:-CHECKSUM_DIGITS])


def shown(key: bytes) -> str:
    """What may be shown of a key for people to know it by: ``fg_live_…x7Qa``; 24 of its bits."""
    if not is_ours(key):
        return "…"
    text = key.decode("ascii", "replace")
    return f"{text[:8]}…{text[-SHOWN_DIGITS:]}"


def digest(pepper: bytes, key: bytes) -> bytes:
    """What is kept of ``key``: HMAC-SHA256 under ``pepper``, 32 bytes."""
    return hmac.digest(pepper, key, "sha256")


class Peppered:
    """A pepper ready for many digests: the two halves of its HMAC (RFC 2104) are begun once."""

    __slots__ = ("_inner", "_outer")

    def __init__(self, pepper: bytes) -> None:
        block = (sha256(pepper).digest() if len(pepper) > _BLOCK_BYTES else pepper).ljust(_BLOCK_BYTES, b"\0")
        self._inner = sha256(block.translate(_INNER))
        self._outer = sha256(block.translate(_OUTER))

    def digest(self, key: bytes) -> bytes:
        """As ``digest``, in a third of its time."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(key)
        outer.update(inner.digest())
        return outer.digest()


def _checksum(body: bytes) -> bytes:
    number, digits = crc32(body), bytearray()
    for _ in range(CHECKSUM_DIGITS):
        number, value = divmod(number, _BASE)
        digits.append(_ALPHABET[value])
    digits.reverse()
    return bytes(digits)
