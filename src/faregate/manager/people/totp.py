"""Time-based one-time passwords (RFC 6238): six digits of HMAC-SHA-1 over steps of 30 seconds.

SHA-1 since every authenticator knows it; as a keyed hash of a counter it is sound. A code of the step before
and of the one after is taken too, for clocks that differ; which steps were used is the caller's to remember.
"""

import base64
import hashlib
import hmac
import secrets
from typing import Final, Literal, TypeAlias
from urllib.parse import quote, urlencode

STEP_S: Final = 30
DIGITS: Final = 6
SEED_BYTES: Final = 20
_DRIFT: Final = 1

Algorithm: TypeAlias = Literal["sha1", "sha256", "sha512"]


def make_seed() -> bytes:
    return secrets.token_bytes(SEED_BYTES)


def code_of(seed: bytes, step: int, digits: int = DIGITS, algorithm: Algorithm = "sha1") -> str:
    """The code of ``step`` (RFC 4226 section 5.3)."""
    digest = hmac.digest(seed, step.to_bytes(8, "big"), getattr(hashlib, algorithm))
    offset = digest[-1] & 15
    number = int.from_bytes(digest[offset : offset + 4], "big") & 0x7FFF_FFFF
    return f"{number % 10**digits:0{digits}d}"


def step_at(now_ms: int) -> int:
    return now_ms // 1000 // STEP_S


def matching_step(seed: bytes, code: str, now_ms: int, last_step: int) -> int | None:
    """The step whose code this is, later than ``last_step`` and at most one away from now."""
    here = step_at(now_ms)
    found = None
    for step in range(here - _DRIFT, here + _DRIFT + 1):  # all of them, so that time tells nothing
        fits = hmac.compare_digest(code_of(seed, step).encode(), code.encode("utf-8", "replace"))
        if fits and step > last_step:
            found = step
    return found


def seed_text(seed: bytes) -> str:
    """As people type it into an authenticator."""
    return base64.b32encode(seed).decode().rstrip("=")


def address_of(seed: bytes, person: str) -> str:
    """``otpauth://``, as authenticators scan it."""
    told = urlencode({"secret": seed_text(seed), "issuer": "Faregate", "digits": DIGITS, "period": STEP_S})
    return f"otpauth://totp/{quote(f'Faregate:{person}')}?{told}"
