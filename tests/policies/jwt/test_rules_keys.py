"""J20 of http-rules.md: which keys and key sets are fit to verify with."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from faregate.stores.jwk import KeySetError, is_safe_ed25519, parse_key_set, secret_key_set
from tests.policies.jwt.material import (
    SECRET,
    b64,
    issuer,
    jwk,
    key_for,
    key_set,
    private_key,
    reason_of,
    token,
    whole_number,
)


@pytest.mark.parametrize(
    ("algorithm", "members", "why"),
    [
        ("RS256", {"use": "enc"}, "not_for_signatures"),
        ("RS256", {"key_ops": ["sign", "encrypt"]}, "not_for_verifying"),
        ("RS256", {"key_ops": "verify"}, "not_for_verifying"),
        ("RS256", {"e": whole_number(1)}, "rsa_exponent"),
        ("RS256", {"e": whole_number(65538)}, "rsa_exponent"),
        ("RS256", {"e": whole_number(2**33 + 1)}, "rsa_exponent"),
        ("RS256", {"n": whole_number(2**1023 + 1)}, "rsa_size"),
        ("RS256", {"n": whole_number(2**16383 + 1)}, "rsa_size"),
        ("RS256", {"n": None}, "malformed_key"),
        ("RS256", {"n": "A+/="}, "malformed_key"),
        ("RS256", {"kty": "oct"}, "unknown_type"),
        ("ES256", {"x": b64(bytes(32))}, "malformed_key"),
        ("ES256", {"y": b64(b"\1" * 32)}, "malformed_key"),
        ("ES256", {"x": b64(b"\1" * 33)}, "malformed_key"),
        ("ES256", {"crv": "secp256k1"}, "unknown_curve"),
        ("EdDSA", {"x": b64(bytes(32))}, "unsafe_point"),
        ("EdDSA", {"x": b64(b"\1" + bytes(31))}, "unsafe_point"),
        ("EdDSA", {"x": b64(b"\1" * 31)}, "unsafe_point"),
        ("EdDSA", {"crv": "X25519"}, "unknown_curve"),
        ("ES256", {"kty": "unheard-of"}, "unknown_type"),
        ("ES384", {}, "algorithm_not_allowed"),
    ],
)
def test_j20_an_unfit_key_is_left_out_with_its_reason(algorithm: str, members: dict, why: str) -> None:
    allowed = ("RS256", "EdDSA", "ES256")
    unfit = jwk(key_for(algorithm), kid="k1", **members)
    fit = jwk(private_key("ES256", 3), kid="k2")
    found = parse_key_set(key_set(unfit, fit), allowed)
    assert found.skipped == (("k1", why),)
    assert (
        reason_of(
            token(algorithm=algorithm), issuer(algorithms=(*allowed, "ES384"), jwks=key_set(unfit, fit))
        )
        != "accepted"
        or why == "algorithm_not_allowed"
    )
    with pytest.raises(KeySetError, match="no_usable_key"):
        parse_key_set(key_set(unfit), allowed)


def test_j20_rsa_of_1024_bits_is_left_out_and_its_tokens_refused() -> None:
    small = rsa.generate_private_key(65537, 1024)
    weak = issuer(
        algorithms=("RS256", "ES256"), jwks=key_set(jwk(small, kid="k1"), jwk(key_for("ES256"), kid="k2"))
    )
    assert reason_of(token(algorithm="RS256", key=small), weak) == "unknown_key"


@pytest.mark.parametrize("member", ["d", "p", "q", "dp", "dq", "qi", "oth", "k"])
def test_j20_a_set_with_a_private_member_is_refused_whole(member: str) -> None:
    with pytest.raises(KeySetError, match="private_key_published"):
        parse_key_set(
            key_set(
                jwk(key_for("ES256"), kid="k1"), jwk(private_key("ES256", 2), kid="k2", **{member: "AQ"})
            ),
            ("ES256",),
        )


def test_j20_a_secret_shorter_than_its_hash_is_refused() -> None:
    for algorithm, size in (("HS256", 31), ("HS384", 47), ("HS512", 63)):
        with pytest.raises(KeySetError, match="secret_too_short"):
            secret_key_set(b"x" * size, (algorithm,))
        assert secret_key_set(b"x" * (size + 1), (algorithm,)).verifiers
    with pytest.raises(KeySetError, match="algorithm_mismatch"):
        secret_key_set(SECRET, ("RS256",))


def test_j20_all_points_of_small_order_are_refused_and_ordinary_keys_are_not() -> None:
    prime = 2**255 - 19
    d = -121665 * pow(121666, -1, prime) % prime
    # y of the points of order 8, from y^2 = (-1 +- sqrt(1 + d)) / d
    root = pow(1 + d, (prime + 3) // 8, prime)
    if root * root % prime != (1 + d) % prime:
        root = root * pow(2, (prime - 1) // 4, prime) % prime
    eighth = []
    for sign_ in (1, -1):
        square = (-1 + sign_ * root) * pow(d, -1, prime) % prime
        y = pow(square, (prime + 3) // 8, prime)
        if y * y % prime != square:
            y = y * pow(2, (prime - 1) // 4, prime) % prime
        if y * y % prime == square:
            eighth += [y, prime - y]
    assert len(eighth) == 2
    for y in [0, 1, prime - 1, prime, prime + 1, *eighth]:
        for top in (0, 1 << 255):
            assert not is_safe_ed25519((y | top).to_bytes(32, "little"))
    off_curve = [y for y in range(2, 40) if not is_safe_ed25519(y.to_bytes(32, "little"))]
    assert 8 < len(off_curve) < 30
    for _ in range(20):
        assert is_safe_ed25519(ed25519.Ed25519PrivateKey.generate().public_key().public_bytes_raw())


def test_reg_alg_bound_to_key_a_key_without_alg_serves_only_what_the_issuer_allows() -> None:
    usual = issuer(algorithms=("RS256",), jwks=key_set(jwk(key_for("RS256"), kid="k1")))
    assert reason_of(token(algorithm="RS256"), usual) == "accepted"
    assert reason_of(token(algorithm="PS256"), usual) == "algorithm_not_allowed"


def test_j02_an_alg_that_the_key_type_cannot_serve_condemns_the_set() -> None:
    with pytest.raises(KeySetError, match="algorithm_mismatch"):
        parse_key_set(key_set(jwk(key_for("ES256"), kid="k1", alg="RS256")), ("ES256", "RS256"))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"{}",
        b'{"keys":{}}',
        b'{"keys":[1]}',
        b"<html>",
        b'{"keys":[],"keys":[]}',
        b"\xff",
        b'{"keys":' + b"[" * 5000,
    ],
)
def test_text_that_is_no_key_set_is_refused(text: bytes) -> None:
    with pytest.raises(KeySetError, match="key_set_malformed"):
        parse_key_set(text, ("ES256",))


def test_empty_and_oversized_sets_are_refused() -> None:
    with pytest.raises(KeySetError, match="no_usable_key"):
        parse_key_set(b'{"keys":[]}', ("ES256",))
    with pytest.raises(KeySetError, match="too_many_keys"):
        parse_key_set(b'{"keys":[' + b",".join([b"{}"] * 257) + b"]}", ("ES256",))
    with pytest.raises(KeySetError, match="key_set_too_large"):
        parse_key_set(b" " * ((1 << 20) + 1), ("ES256",))
