"""Keys and tokens of the demo's own identity provider: made at each start, good for one day.

Only the demo signs; the gateway verifies with its own code. ES256 as RFC 7518 section 3.4 writes it,
straight on ``cryptography``, so that a fault of the gateway's JOSE code cannot hide behind the same fault
here.
"""

import hashlib
import json
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

ISSUER: Final = "https://id.demo.example"
AUDIENCE: Final = "payments"
_COORDINATE_BYTES: Final = 32


class DevelopmentIssuer:
    """An identity provider with one fresh P-256 key; the private half never leaves this object."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._kid = "demo-" + secrets.token_hex(4)

    def jwks(self) -> str:
        """The public key set as JSON text (RFC 7517)."""
        point = self._key.public_key().public_numbers()
        key = {
            "kty": "EC",
            "crv": "P-256",
            "use": "sig",
            "alg": "ES256",
            "kid": self._kid,
            "x": _base64url(point.x.to_bytes(_COORDINATE_BYTES, "big")),
            "y": _base64url(point.y.to_bytes(_COORDINATE_BYTES, "big")),
        }
        return json.dumps({"keys": [key]}, indent=2) + "\n"

    def token(self, subject: str, issued_at: int, lifetime_s: int) -> str:
        """A JWT for ``subject``, issued at ``issued_at`` (seconds since the epoch), for ``lifetime_s``."""
        header: dict[str, str | int] = {"alg": "ES256", "typ": "JWT", "kid": self._kid}
        claims: dict[str, str | int] = {
            "iss": ISSUER,
            "sub": subject,
            "aud": AUDIENCE,
            "iat": issued_at,
            "exp": issued_at + lifetime_s,
        }
        signed = f"{_json(header)}.{_json(claims)}"
        r, s = decode_dss_signature(self._key.sign(signed.encode(), ec.ECDSA(SHA256())))
        # RFC 7518 section 3.4: the two numbers side by side, not the DER that libraries speak.
        signature = r.to_bytes(_COORDINATE_BYTES, "big") + s.to_bytes(_COORDINATE_BYTES, "big")
        return f"{signed}.{_base64url(signature)}"


def new_api_key() -> tuple[str, str]:
    """A fresh API key of 192 random bits, and the SHA-256 in hex that a configuration keeps of it."""
    key = "fg_" + secrets.token_hex(24)
    return key, hashlib.sha256(key.encode()).hexdigest()


def _json(value: Mapping[str, str | int]) -> str:
    return _base64url(json.dumps(value, separators=(",", ":")).encode())


def _base64url(value: bytes) -> str:
    return urlsafe_b64encode(value).rstrip(b"=").decode()
