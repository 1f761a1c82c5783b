"""Keys, tokens and a ready verifier for the identity tests. Time stands still at ``WALL``; keys are made
once.
"""

import functools
import hashlib
import hmac
import json
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from faregate.kernel import base64url
from faregate.kernel.problems import Refusal
from faregate.policies.authenticate.step import Authenticators
from faregate.snapshot.call import Call, ReadyConsumer
from faregate.snapshot.data import (
    FORMAT,
    ApiKeyCredential,
    Consumer,
    Gateway,
    Issuer,
    JwtCredential,
    Route,
    Snapshot,
)
from faregate.stores.keysets import FetchError, KeySets

WALL = 1_790_000_000
ISSUER = "https://id.acme.example"
OTHER_ISSUER = "https://id.globex.example"
AUDIENCE = "payments"
API_KEY = b"fg_live_7Q2vXk1mN8pR4tZ6wB3cD5eF9gH0jK2L"
SECRET = b"a shared secret of sixty-four bytes, which is enough for HS512.."
CURVES = {
    "ES256": ("P-256", ec.SECP256R1()),
    "ES384": ("P-384", ec.SECP384R1()),
    "ES512": ("P-521", ec.SECP521R1()),
}
HASHES = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
RSA_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
ASYMMETRIC = (*RSA_ALGORITHMS, "ES256", "ES384", "ES512", "EdDSA")


def b64(data: bytes) -> str:
    return base64url.encode(data).decode()


def whole_number(value: int) -> str:
    return b64(value.to_bytes((value.bit_length() + 7) // 8, "big"))


@functools.cache
def private_key(family: str, number: int = 0):
    """A private key for ``RSA``, ``ES256``, ``ES384``, ``ES512`` or ``EdDSA``; ``number`` tells several
    apart.
    """
    del number
    if family == "RSA":
        return rsa.generate_private_key(65537, 2048)
    if family == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key(CURVES[family][1])


def key_for(algorithm: str, number: int = 0):
    return private_key("RSA" if algorithm in RSA_ALGORITHMS else algorithm, number)


def jwk(key, **members: object) -> dict:
    """The public JWK of ``key``; ``members`` are added, None takes one away."""
    public = key.public_key()
    if isinstance(public, rsa.RSAPublicKey):
        numbers = public.public_numbers()
        found = {"kty": "RSA", "n": whole_number(numbers.n), "e": whole_number(numbers.e)}
    elif isinstance(public, ed25519.Ed25519PublicKey):
        found = {"kty": "OKP", "crv": "Ed25519", "x": b64(public.public_bytes_raw())}
    else:
        numbers = public.public_numbers()
        size = (public.curve.key_size + 7) // 8
        name = next(crv for crv, curve in CURVES.values() if curve.name == public.curve.name)
        found = {
            "kty": "EC",
            "crv": name,
            "x": b64(numbers.x.to_bytes(size, "big")),
            "y": b64(numbers.y.to_bytes(size, "big")),
        }
    found.update(members)
    return {name: value for name, value in found.items() if value is not None}


def key_set(*keys: dict) -> bytes:
    return json.dumps({"keys": list(keys)}).encode()


def sign(algorithm: str, key, data: bytes) -> bytes:
    if algorithm.startswith("HS"):
        return hmac.digest(key, data, f"sha{algorithm[2:]}")
    if algorithm == "EdDSA":
        return key.sign(data)
    digest = HASHES[algorithm[2:]]
    if algorithm.startswith("ES"):
        r, s = decode_dss_signature(key.sign(data, ec.ECDSA(digest)))
        size = (key.curve.key_size + 7) // 8
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")
    if algorithm.startswith("PS"):
        return key.sign(data, padding.PSS(padding.MGF1(digest), digest.digest_size), digest)
    return key.sign(data, padding.PKCS1v15(), digest)


def compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def claims(**changes: object) -> dict:
    """The claims of a good token, with ``changes``; None takes one away."""
    found = {
        "iss": ISSUER,
        "sub": "acme-server",
        "aud": AUDIENCE,
        "exp": WALL + 600,
        "iat": WALL - 10,
        **changes,
    }
    return {name: value for name, value in found.items() if value is not None}


def raw_token(header: bytes, payload: bytes, algorithm: str = "ES256", key=None) -> bytes:
    """A token over these very bytes, signed well."""
    signed = base64url.encode(header) + b"." + base64url.encode(payload)
    return signed + b"." + base64url.encode(sign(algorithm, key or key_for(algorithm), signed))


def token(
    body: dict | None = None, *, algorithm: str = "ES256", key=None, header: dict | None = None
) -> bytes:
    """A token that is good unless told otherwise; ``header`` replaces and adds, None takes away."""
    top = {"alg": algorithm, "typ": "JWT", "kid": "k1", **(header or {})}
    top = {name: value for name, value in top.items() if value is not None}
    return raw_token(compact(top), compact(claims() if body is None else body), algorithm, key)


def issuer(**changes: object) -> Issuer:
    found = {
        "name": "acme-id",
        "issuer": ISSUER,
        "audience": (AUDIENCE,),
        "algorithms": ("ES256",),
        "leeway": 10.0,
    }
    if not {"jwks_url", "secret"} & set(changes):
        found["jwks"] = key_set(jwk(key_for("ES256"), kid="k1"))
    return Issuer(**{**found, **changes})


class FrozenClock:
    """Time that moves only when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return WALL - 1000.0 + self.now


def no_network(authority: str | None):
    """A fetcher that fails the test which would open a connection."""

    async def fetch(url: str) -> bytes:
        raise FetchError(f"unexpected fetch of {url} trusting {authority}")

    return fetch


CONSUMERS = (
    Consumer(
        "acme",
        "standard",
        ("payments:read", "payments:write"),
        (
            JwtCredential("acme-id", "acme-server"),
            ApiKeyCredential("key_7Q2", hashlib.sha256(API_KEY).digest()),
        ),
    ),
    Consumer("globex", None, ("payments:read",), (JwtCredential("globex-id", "globex-server"),)),
    Consumer(
        "asleep",
        None,
        ("payments:read",),
        (
            JwtCredential("acme-id", "asleep"),
            ApiKeyCredential("key_zz", hashlib.sha256(b"fg_asleep").digest()),
        ),
        suspended=True,
    ),
)


def ready(consumers: tuple[Consumer, ...] = CONSUMERS) -> dict[str, ReadyConsumer]:
    return {
        one.name: ReadyConsumer(
            one.name, plan=one.plan, permissions=frozenset(one.permissions), suspended=one.suspended
        )
        for one in consumers
    }


def authenticators(
    *issuers: Issuer, keysets: KeySets | None = None, consumers: tuple[Consumer, ...] = CONSUMERS
) -> Authenticators:
    """What a worker would make of these issuers (the usual one when none is named)."""
    snapshot = Snapshot(
        FORMAT, 1, Gateway((), None, 1, ""), issuers or (issuer(),), (), (), consumers, (), ()
    )
    return Authenticators(
        snapshot, ready(consumers), keysets or KeySets(no_network, FrozenClock(), Path("/nonexistent"))
    )


def route(*kinds: str, require: tuple[str, ...] = ()) -> Route:
    return Route("payments", 0, "POST", "/payments", "POST /payments", "up", kinds, require)


def call_with(
    authorization: bytes | None = None,
    *,
    api_key: bytes | None = None,
    wall: float = WALL,
    ip: str = "127.0.0.1",
) -> Call:
    call = Call(1000.0, wall)
    call.authorization, call.api_key, call.client_ip = authorization, api_key, ip
    return call


def verdict_on(value: bytes, *issuers: Issuer, wall: float = WALL) -> Refusal | None:
    """What becomes of a call with ``Authorization: Bearer <value>`` on a fresh gateway."""
    step = authenticators(*issuers).step_for(route("jwt"))
    verdict = step(call_with(b"Bearer " + value, wall=wall))
    assert verdict is None or isinstance(verdict, Refusal)
    return verdict


def reason_of(value: bytes, *issuers: Issuer, wall: float = WALL) -> str:
    """The log's reason for refusing ``value``; ``accepted`` if it is not. Checks what the caller sees."""
    verdict = verdict_on(value, *issuers, wall=wall)
    if verdict is None:
        return "accepted"
    assert verdict.code == "credential_invalid"
    assert verdict.headers == b'WWW-Authenticate: Bearer realm="faregate", error="invalid_token"\r\n'
    assert verdict.parameter == ""
    return verdict.reason
