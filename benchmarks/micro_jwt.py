"""What one authentication costs: cached token, unknown token by algorithm, API key. Prints us a call, best of
7.

Run: ``python benchmarks/micro_jwt.py``. A miss is measured over distinct tokens, so nothing but the header
segment is remembered; ``signature alone`` is the bare library call on the same tokens, so the difference is
what this code adds.
"""

import hashlib
import ipaddress
import json
import time
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from faregate.gateway.side_call import fetcher_for
from faregate.kernel import base64url
from faregate.kernel.clock import SystemClock
from faregate.policies.address.step import build as build_address
from faregate.policies.authenticate.step import Authenticators
from faregate.policies.permit.step import build as build_permit
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
from faregate.stores.keysets import KeySets

NETWORKS = (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("127.0.0.0/8"))
WALL = 1_790_000_000.0
KEY = b"fg_live_7Q2vXk1mN8pR4tZ6wB3cD5eF9gH0jK2L"


def _number(value: int) -> str:
    return base64url.encode(value.to_bytes((value.bit_length() + 7) // 8, "big")).decode()


class Signer:
    """One private key and its public JWK."""

    def __init__(self, algorithm: str) -> None:
        self.algorithm = algorithm
        self.secret = b"s" * 64
        self.rsa = rsa.generate_private_key(65537, 2048)
        self.ec = ec.generate_private_key(ec.SECP256R1())
        self.ed = ed25519.Ed25519PrivateKey.generate()

    def jwk(self) -> dict[str, str]:
        base = {"kid": "key-2026-01", "use": "sig", "alg": self.algorithm}
        if self.algorithm == "EdDSA":
            return base | {
                "kty": "OKP",
                "crv": "Ed25519",
                "x": base64url.encode(self.ed.public_key().public_bytes_raw()).decode(),
            }
        if self.algorithm == "ES256":
            numbers = self.ec.public_key().public_numbers()
            return base | {
                "kty": "EC",
                "crv": "P-256",
                "x": base64url.encode(numbers.x.to_bytes(32, "big")).decode(),
                "y": base64url.encode(numbers.y.to_bytes(32, "big")).decode(),
            }
        public = self.rsa.public_key().public_numbers()
        return base | {"kty": "RSA", "n": _number(public.n), "e": _number(public.e)}

    def sign(self, data: bytes) -> bytes:
        if self.algorithm == "EdDSA":
            return self.ed.sign(data)
        if self.algorithm == "ES256":
            r, s = decode_dss_signature(self.ec.sign(data, ec.ECDSA(hashes.SHA256())))
            return r.to_bytes(32, "big") + s.to_bytes(32, "big")
        if self.algorithm == "PS256":
            return self.rsa.sign(data, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
        return self.rsa.sign(data, padding.PKCS1v15(), hashes.SHA256())

    def token(self, number: int) -> bytes:
        header = {"alg": self.algorithm, "typ": "JWT", "kid": "key-2026-01"}
        claims = {
            "iss": "https://id.acme.example",
            "sub": "acme-server",
            "aud": "payments",
            "exp": int(WALL) + 3600,
            "iat": int(WALL),
            "nbf": int(WALL),
            "jti": f"a7c1f4e2-{number:08x}",
            "scope": "payments:read payments:write",
        }
        parts = b".".join(
            base64url.encode(json.dumps(part, separators=(",", ":")).encode()) for part in (header, claims)
        )
        return b"Bearer " + parts + b"." + base64url.encode(self.sign(parts))


def snapshot_for(signer: Signer) -> Snapshot:
    issuer = Issuer(
        "acme-id",
        "https://id.acme.example",
        ("payments",),
        (signer.algorithm,),
        jwks=json.dumps({"keys": [signer.jwk()]}).encode(),
    )
    credentials = (
        JwtCredential("acme-id", "acme-server"),
        ApiKeyCredential("key_7Q2", hashlib.sha256(KEY).digest()),
    )
    others = tuple(ApiKeyCredential(f"key_{n}", hashlib.sha256(b"%d" % n).digest()) for n in range(100_000))
    grants = ("payments:read", "payments:write")
    return Snapshot(
        FORMAT,
        1,
        Gateway((), None, 1, ""),
        (issuer,),
        (),
        (),
        (Consumer("acme", None, grants, credentials), Consumer("others", credentials=others)),
        (),
        (),
    )


def measure(label: str, run: Callable[[], None], calls: int) -> float:
    """Best of 7 runs of ``calls`` calls, printed in microseconds a call."""
    best = min(_timed(run) for _ in range(7)) / calls * 1e6
    print(f"{label:34} {best:8.2f} us")
    return best


def _timed(run: Callable[[], None]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def main() -> None:
    print("us a call, best of 7")
    for algorithm in ("RS256", "PS256", "ES256", "EdDSA"):
        bench_tokens(algorithm)


def bench_tokens(algorithm: str) -> None:
    signer = Signer(algorithm)
    snapshot = snapshot_for(signer)
    grants = frozenset({"payments:read", "payments:write"})
    ready = {
        name: ReadyConsumer(name, plan="standard", permissions=grants, networks=NETWORKS)
        for name in ("acme", "others")
    }
    keysets = KeySets(fetcher_for, SystemClock(), Path("/nonexistent"))
    route = Route(
        "payments", 0, "POST", "/payments", "POST /payments", "up", ("jwt", "api_key"), ("payments:write",)
    )
    count = 400
    tokens = [signer.token(n) for n in range(count)]
    calls = [Call(1.0, WALL) for _ in tokens]
    fresh = [bytes(bytearray(token)) for token in tokens]
    key_set = keysets.source_for(snapshot.issuers[0]).current
    assert key_set is not None
    verify = key_set.verifiers[algorithm, "key-2026-01"]
    prepared = [(base64url.decode(token.split(b".")[2]), token[7 : token.rindex(b".")]) for token in tokens]

    def bare() -> None:
        for signature, signed in prepared:
            assert verify(signature, signed)

    steps = []

    def miss() -> None:
        step = Authenticators(snapshot_small, ready, keysets).step_for(route)
        steps[:] = [step]
        for call, token in zip(calls, tokens, strict=True):
            call.authorization = token
            assert step(call) is None

    def hit() -> None:
        step = steps[0]
        for call, token in zip(calls, fresh, strict=True):
            call.authorization = bytes(memoryview(token))  # a new object, so its hash is not known yet
            step(call)

    def copy_only() -> None:
        for call, token in zip(calls, fresh, strict=True):
            call.authorization = bytes(memoryview(token))

    snapshot_small = Snapshot(
        *(getattr(snapshot, name) for name in snapshot.__struct_fields__[:6]), snapshot.consumers[:1], (), ()
    )
    alone = measure(f"{algorithm} signature alone", bare, count)
    added = measure(f"{algorithm} unknown token", miss, count) - alone
    print(f"{algorithm + ' added to the signature':34} {added:8.2f} us   ({len(tokens[0])} byte tokens)")
    if algorithm == "RS256":
        base = min(_timed(copy_only) for _ in range(7)) / count * 1e6
        whole = measure("cached token, with a copy", hit, count)
        print(f"{'cached token, alone':34} {whole - base:8.2f} us")
        bench_rest(Authenticators(snapshot, ready, keysets), ready, route)


def bench_rest(authenticators: Authenticators, ready: dict[str, ReadyConsumer], route: Route) -> None:
    step, permit, address = authenticators.step_for(route), build_permit(route), build_address(ready.values())
    call = Call(1.0, WALL)
    call.api_key, call.client_ip = KEY, "127.0.0.1"
    for label, chosen in (("API key among 100,000", step), ("permit", permit), ("address", address)):

        def run(chosen: Callable[[Call], object] = chosen) -> None:
            for _ in range(20_000):
                chosen(call)

        assert chosen(call) is None
        measure(label, run, 20_000)


if __name__ == "__main__":
    main()
