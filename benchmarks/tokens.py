"""The identities of the benchmark: an RS256 issuer, its key set, and tokens made once and kept.

Two series: `repeated`, one token per consumer, as callers that fetch a token an hour send; `unique`, a
token per call, the worst case for whoever remembers verified tokens. Signing takes about 0.5 ms, so the
unique series is made in parallel and cached under benchmarks/.work/tokens until less than two hours of its
life are left.
"""

import base64
import hashlib
import json
import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

ISSUER: Final = "https://id.bench.example"
AUDIENCE: Final = "payments"
KEY_ID: Final = "bench-1"
SCOPE: Final = "payments:read payments:write"
CONSUMERS: Final = tuple(f"merchant-{number:03d}" for number in range(100))
SMALL_CONSUMER: Final = "merchant-small"
"""The consumer whose plan admits SMALL_LIMIT calls a minute: it proves that limits bite."""
SMALL_LIMIT: Final = 5

_LIFE_S: Final = 24 * 3600
_LIFE_LEFT_S_MIN: Final = 2 * 3600


@dataclass(frozen=True)
class TokenSeries:
    """Where keys lie and the tokens of each kind; ``proof`` holds one token per claim to prove."""

    folder: Path
    repeated: list[str]
    unique: list[str]
    proof: dict[str, str]

    @property
    def public_key(self) -> Path:
        """PEM file of the issuer's public key."""
        return self.folder / "public.pem"

    @property
    def key_set(self) -> Path:
        """JWKS file of the issuer."""
        return self.folder / "issuer.jwks.json"


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def sign_token(key: rsa.RSAPrivateKey, claims: dict[str, str | int]) -> str:
    """A compact RS256 JWT of ``claims`` (RFC 7515 section 3.1)."""
    header = {"alg": "RS256", "typ": "JWT", "kid": KEY_ID}
    text = ".".join(_encode(json.dumps(part, separators=(",", ":")).encode()) for part in (header, claims))
    return f"{text}.{_encode(key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def token_claims(subject: str, serial: int, now: int) -> dict[str, str | int]:
    """Claims as identity providers issue them for machine clients, valid for a day from ``now`` (epoch
    seconds).
    """
    identity = hashlib.sha256(f"{subject}/{serial}/{now}".encode()).hexdigest()
    return {"iss": ISSUER, "sub": subject, "aud": AUDIENCE, "iat": now, "nbf": now, "exp": now + _LIFE_S,
            "jti": identity[:32], "scope": SCOPE, "client_id": subject}  # fmt: skip


def _sign_range(pem: bytes, start: int, stop: int, now: int) -> list[str]:
    os.nice(5)
    key = _load_key(pem)
    return [sign_token(key, token_claims(CONSUMERS[n % len(CONSUMERS)], n, now)) for n in range(start, stop)]


def _load_key(pem: bytes) -> rsa.RSAPrivateKey:
    key = serialization.load_pem_private_key(pem, password=None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return key


def _write_keys(folder: Path) -> rsa.RSAPrivateKey:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    numbers = key.public_key().public_numbers()
    words = {
        name: _encode(value.to_bytes((value.bit_length() + 7) // 8))
        for name, value in (("n", numbers.n), ("e", numbers.e))
    }
    jwk = {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": KEY_ID, **words}
    (folder / "issuer.jwks.json").write_text(json.dumps({"keys": [jwk]}))
    (folder / "public.pem").write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    (folder / "private.pem").touch(mode=0o600)
    (folder / "private.pem").write_bytes(pem)
    return key


def _proof_tokens(key: rsa.RSAPrivateKey, now: int) -> dict[str, str]:
    good = token_claims(CONSUMERS[0], -1, now)
    other_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    valid = sign_token(key, good)
    signed, _, signature = valid.rpartition(".")
    forged = sign_token(key, token_claims(CONSUMERS[1], -1, now)).rpartition(".")[0]
    return {
        "valid": valid,
        "small": sign_token(key, token_claims(SMALL_CONSUMER, -1, now)),
        "other_key": sign_token(other_key, good),
        "forged_claims": f"{forged}.{signature}",
        "flipped_signature": f"{signed}.{signature[:20]}{'AB'[signature[20] == 'A']}{signature[21:]}",
        "expired": sign_token(key, good | {"iat": now - 7200, "nbf": now - 7200, "exp": now - 3600}),
        "other_audience": sign_token(key, good | {"aud": "accounting"}),
        "other_issuer": sign_token(key, good | {"iss": "https://id.other.example"}),
    }


def _still_good(folder: Path, unique_count: int, now: int) -> bool:
    try:
        meta = json.loads((folder / "meta.json").read_text())
        return bool(meta["unique"] >= unique_count and meta["expires"] - now > _LIFE_LEFT_S_MIN)
    except (FileNotFoundError, KeyError, ValueError):
        return False


def _generate(folder: Path, unique_count: int, now: int, processes: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "meta.json").unlink(missing_ok=True)
    key = _write_keys(folder)
    pem = (folder / "private.pem").read_bytes()
    repeated = [sign_token(key, token_claims(consumer, -1, now)) for consumer in CONSUMERS]
    (folder / "repeated.txt").write_text("\n".join(repeated))
    step = 2000
    starts = range(0, unique_count, step)
    with ProcessPoolExecutor(processes) as pool, (folder / "unique.txt").open("w") as out:
        stops = [min(start + step, unique_count) for start in starts]
        parts = pool.map(_sign_range, [pem] * len(starts), starts, stops, [now] * len(starts))
        out.writelines(f"{token}\n" for part in parts for token in part)
    (folder / "proof.json").write_text(json.dumps(_proof_tokens(key, now)))
    (folder / "meta.json").write_text(json.dumps({"unique": unique_count, "expires": now + _LIFE_S}))


def load_tokens(folder: Path, unique_count: int, processes: int) -> TokenSeries:
    """The cached series of ``folder``, made anew when too short or too old. Cost: 0.5 ms of CPU per unique
    token.
    """
    now = int(time.time())
    if not _still_good(folder, unique_count, now):
        print(f"signing {unique_count} tokens (kept in {folder}) ...", flush=True)
        _generate(folder, unique_count, now, processes)
    unique = (folder / "unique.txt").read_text().split()
    repeated = (folder / "repeated.txt").read_text().split()
    return TokenSeries(folder, repeated, unique, json.loads((folder / "proof.json").read_text()))


def token_slice(unique: Sequence[str], number: int, count: int) -> Sequence[str]:
    """The ``number``-th run of ``count`` tokens, so that no token is sent twice. Raises ValueError past the
    end.
    """
    part = unique[number * count : (number + 1) * count]
    if len(part) < count:
        raise ValueError(f"only {len(unique)} unique tokens, slice {number} of {count} needs more")
    return part
