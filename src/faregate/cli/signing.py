"""Keys and signatures for development tokens: the private half of what ``stores.jwk`` verifies.

The gateway itself never signs a token; only ``faregate token`` does, from a key file of the developer's own
(PEM) or an issuer's shared secret. A key's id is the kid that the issuer's key set gives it, else its RFC
7638 thumbprint.
"""

import hashlib
import hmac
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final, TypeAlias

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from faregate.kernel import base64url

PrivateKey: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

KEY_FILE: Final = "private.pem"
JWKS_FILE: Final = "jwks.json"
_KEY_BYTES_MAX: Final = 64 << 10
_HASHES: Final = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
_CURVES: Final[dict[str, tuple[str, ec.EllipticCurve]]] = {
    "ES256": ("P-256", ec.SECP256R1()),
    "ES384": ("P-384", ec.SECP384R1()),
    "ES512": ("P-521", ec.SECP521R1()),
}
_RSA: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
ALGORITHMS: Final = (*_RSA, *_CURVES, "EdDSA")
"""What ``--new-key`` makes keys for."""


class KeyFileError(Exception):
    """A key file that cannot be used or made; the text says why and quotes nothing of it."""


def new_key(algorithm: str) -> PrivateKey:
    """A fresh key for one of ``ALGORITHMS``."""
    if algorithm in _RSA:
        return rsa.generate_private_key(65537, 2048)
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key(_CURVES[algorithm][1])


def algorithms_of(key: PrivateKey) -> tuple[str, ...]:
    """What ``key`` can sign with."""
    if isinstance(key, rsa.RSAPrivateKey):
        return _RSA
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return ("EdDSA",)
    return tuple(name for name, (_, curve) in _CURVES.items() if curve.name == key.curve.name)


def read_key(path: Path) -> PrivateKey:
    """The private key in a PEM file without a pass phrase. Raises ``KeyFileError``."""
    try:
        with path.open("rb") as file:
            text = file.read(_KEY_BYTES_MAX)
        key = load_pem_private_key(text, password=None)
    except OSError as error:
        raise KeyFileError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise KeyFileError(f"{path} holds no private key in PEM without a pass phrase") from None
    if not isinstance(key, PrivateKey) or not algorithms_of(key):
        raise KeyFileError(f"{path} holds a key of a kind that signs no tokens here")
    return key


def write_key_pair(folder: Path, key: PrivateKey, algorithm: str) -> tuple[Path, Path]:
    """Writes the private key (mode 0600) and its key set into ``folder``, over nothing. Raises
    ``KeyFileError``.
    """
    private, public = folder / KEY_FILE, folder / JWKS_FILE
    jwk = {**public_jwk(key), "kid": thumbprint(key), "alg": algorithm, "use": "sig"}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if public.exists():
            raise KeyFileError(f"{public} exists; choose another folder")
        handle = os.open(private, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        with public.open("x", encoding="utf-8") as text:
            text.write(json.dumps({"keys": [jwk]}, indent=2) + "\n")
    except FileExistsError as error:
        raise KeyFileError(f"{error.filename} exists; choose another folder") from None
    except OSError as error:
        raise KeyFileError(f"{folder} cannot be written: {error.strerror}") from None
    return private, public


def public_jwk(key: PrivateKey) -> dict[str, str]:
    """The members that RFC 7638 requires, so the ones that make the key what it is."""
    public = key.public_key()
    if isinstance(public, ed25519.Ed25519PublicKey):
        return {"crv": "Ed25519", "kty": "OKP", "x": _text(public.public_bytes_raw())}
    if isinstance(public, rsa.RSAPublicKey):
        numbers = public.public_numbers()
        return {"e": _number(numbers.e), "kty": "RSA", "n": _number(numbers.n)}
    point, size = public.public_numbers(), (public.key_size + 7) // 8
    curve = next(crv for crv, curve in _CURVES.values() if curve.name == public.curve.name)
    return {
        "crv": curve,
        "kty": "EC",
        "x": _text(point.x.to_bytes(size, "big")),
        "y": _text(point.y.to_bytes(size, "big")),
    }


def thumbprint(key: PrivateKey) -> str:
    """The key's RFC 7638 thumbprint: SHA-256 over its required members in the order of their names."""
    text = json.dumps(public_jwk(key), sort_keys=True, separators=(",", ":"))
    return _text(hashlib.sha256(text.encode()).digest())


def kid_in(jwks: bytes, key: PrivateKey) -> str | None:
    """The kid that a (well-formed) key set gives ``key``, "" when it gives none, None when the key is not in
    it.
    """
    members = public_jwk(key)
    for entry in json.loads(jwks)["keys"]:
        if all(entry.get(name) == value for name, value in members.items()):
            return str(entry.get("kid", ""))
    return None


def encode_token(claims: Mapping[str, object], algorithm: str, key: PrivateKey | bytes, kid: str) -> str:
    """A signed JWT; ``key`` is a shared secret for HS algorithms, ``kid`` "" for none."""
    header = {"alg": algorithm, "typ": "JWT"} | ({"kid": kid} if kid else {})
    signed = b".".join(
        base64url.encode(json.dumps(part, separators=(",", ":")).encode()) for part in (header, claims)
    )
    return (signed + b"." + base64url.encode(_sign(signed, algorithm, key))).decode()


def _sign(signed: bytes, algorithm: str, key: PrivateKey | bytes) -> bytes:
    if isinstance(key, bytes):
        return hmac.digest(key, signed, f"sha{algorithm[2:]}")
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(signed)
    digest = _HASHES[algorithm[2:]]
    if isinstance(key, rsa.RSAPrivateKey):
        if algorithm.startswith("PS"):
            return key.sign(signed, padding.PSS(padding.MGF1(digest), digest.digest_size), digest)
        return key.sign(signed, padding.PKCS1v15(), digest)
    # RFC 7518 section 3.4: R and S side by side, each as long as a coordinate
    r, s = decode_dss_signature(key.sign(signed, ec.ECDSA(digest)))
    size = (key.key_size + 7) // 8
    return r.to_bytes(size, "big") + s.to_bytes(size, "big")


def _text(data: bytes) -> str:
    return base64url.encode(data).decode()


def _number(value: int) -> str:
    return _text(value.to_bytes((value.bit_length() + 7) // 8, "big"))
