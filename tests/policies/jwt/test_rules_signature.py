"""J01-J06 and J18 of http-rules.md: algorithm, signature and header."""

import asyncio
import hashlib
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding

from faregate.kernel import base64url
from faregate.stores.jwk import KeySetError, parse_key_set
from tests.policies.jwt.material import (
    ASYMMETRIC,
    SECRET,
    WALL,
    authenticators,
    call_with,
    claims,
    compact,
    issuer,
    jwk,
    key_for,
    key_set,
    private_key,
    raw_token,
    reason_of,
    route,
    sign,
    token,
    whole_number,
)

if TYPE_CHECKING:
    from faregate.snapshot.call import Call


def strong(algorithm: str, **members: object):
    """An issuer of one algorithm whose one key says so."""
    return issuer(algorithms=(algorithm,), jwks=key_set(jwk(key_for(algorithm), kid="k1", **members)))


@pytest.mark.parametrize("algorithm", ASYMMETRIC)
def test_a_good_token_of_every_algorithm_is_accepted(algorithm: str) -> None:
    assert reason_of(token(algorithm=algorithm), strong(algorithm)) == "accepted"
    assert (
        reason_of(token(algorithm=algorithm), strong(algorithm, alg=algorithm, use="sig", key_ops=["verify"]))
        == "accepted"
    )


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_a_shared_secret_signs_for_its_own_issuer(algorithm: str) -> None:
    by_secret = issuer(algorithms=(algorithm,), secret=SECRET)
    good = token(algorithm=algorithm, key=SECRET, header={"kid": None})
    assert reason_of(good, by_secret) == "accepted"
    assert (
        reason_of(token(algorithm=algorithm, key=SECRET[:-1], header={"kid": None}), by_secret)
        == "bad_signature"
    )
    assert reason_of(token(algorithm=algorithm, key=SECRET), by_secret) == "unknown_key"


@pytest.mark.parametrize(
    "alg",
    ["none", "None", "nOnE", "", ["ES256"], 256, None, "rs256", "es256", "ES257", "HS1", {"a": 1}, True],
)
def test_j01_an_algorithm_that_is_no_algorithm_is_refused(alg: object) -> None:
    top = {"typ": "JWT", "kid": "k1"} | ({} if alg is None else {"alg": alg})
    signed = raw_token(compact(top), compact(claims()))
    unsigned = signed.rpartition(b".")[0] + b"."
    assert reason_of(signed) == "algorithm_not_allowed"
    assert reason_of(unsigned) == "algorithm_not_allowed"


def test_j02_a_public_key_is_no_shared_secret() -> None:
    public = key_for("RS256").public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    text = compact(jwk(key_for("RS256"), kid="k1"))
    modulus = public.public_numbers().n.to_bytes(256, "big")
    for secret in (pem, pem.strip(), der, text, modulus, whole_number(public.public_numbers().n).encode()):
        for allowed in (("RS256",), ("RS256", "HS256")):
            forged = token(algorithm="HS256", key=secret)
            usual = issuer(algorithms=allowed, jwks=key_set(jwk(key_for("RS256"), kid="k1")))
            assert reason_of(forged, usual) in {"algorithm_not_allowed", "wrong_algorithm"}


@pytest.mark.parametrize(
    ("used", "bound"),
    [
        ("PS256", "RS256"),
        ("RS256", "PS256"),
        ("RS512", "RS256"),
        ("EdDSA", "ES256"),
        ("ES256", "EdDSA"),
        ("ES256", "ES384"),
        ("ES384", "ES256"),
    ],
)
def test_j02_the_key_decides_its_algorithm(used: str, bound: str) -> None:
    both = issuer(algorithms=(used, bound), jwks=key_set(jwk(key_for(bound), kid="k1", alg=bound)))
    assert reason_of(token(algorithm=used), both) == "wrong_algorithm"
    only = issuer(algorithms=(bound,), jwks=key_set(jwk(key_for(bound), kid="k1", alg=bound)))
    assert reason_of(token(algorithm=used), only) == "algorithm_not_allowed"


def test_j02_es256_over_a_p384_key_is_refused_even_when_signed_by_it() -> None:
    key = key_for("ES384")
    signed = (
        base64url.encode(compact({"alg": "ES256", "kid": "k1"})) + b"." + base64url.encode(compact(claims()))
    )
    forged = signed + b"." + base64url.encode(key.sign(signed, ec.ECDSA(hashes.SHA256())))
    assert (
        reason_of(forged, issuer(algorithms=("ES256", "ES384"), jwks=key_set(jwk(key, kid="k1"))))
        == "wrong_algorithm"
    )


@pytest.mark.parametrize("algorithm", ASYMMETRIC)
def test_j03_a_changed_signature_is_refused(algorithm: str) -> None:
    start, _, text = token(algorithm=algorithm).rpartition(b".")
    good = base64url.decode(text)
    changed = {
        "first bit": bytes([good[0] ^ 0x80]) + good[1:],
        "last bit": good[:-1] + bytes([good[-1] ^ 1]),
        "cut": good[:-1],
        "longer": good + b"\0",
        "zero in front": b"\0" + good,
        "halved": good[: len(good) // 2],
        "zeros": bytes(len(good)),
    }
    for name, signature in changed.items():
        assert reason_of(start + b"." + base64url.encode(signature), strong(algorithm)) == "bad_signature", (
            name
        )
    assert reason_of(start + b".", strong(algorithm)) == "malformed_token"
    assert reason_of(start + b"." + text, strong(algorithm)) == "accepted"


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "ES512"])
def test_j03_ecdsa_numbers_out_of_range_and_der_are_refused(algorithm: str) -> None:
    order = {
        "ES256": 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
        "ES384": 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973,
        "ES512": int(
            "01FF" + "F" * 62 + "FA51868783BF2F966B7FCC0148F709A5D03BB5C9B8899C47AEBB6FB71E91386409", 16
        ),
    }[algorithm]
    start, _, text = token(algorithm=algorithm).rpartition(b".")
    good = base64url.decode(text)
    size = len(good) // 2
    r, s = int.from_bytes(good[:size], "big"), int.from_bytes(good[size:], "big")

    def pair(first: int, second: int) -> bytes:
        return first.to_bytes(size, "big") + second.to_bytes(size, "big")

    signed = start
    der = key_for(algorithm).sign(
        signed,
        ec.ECDSA({"ES256": hashes.SHA256(), "ES384": hashes.SHA384(), "ES512": hashes.SHA512()}[algorithm]),
    )
    bad = [
        pair(0, 0),
        pair(0, s),
        pair(r, 0),
        pair(order, s),
        pair(r, order),
        pair(order, order),
        der,
        good[:-1],
        good + b"\0",
        good[:size] + b"\0" + good[size:],
    ]
    if r + order < 1 << (8 * size):
        bad.append(pair(r + order, s))
    for signature in bad:
        assert reason_of(start + b"." + base64url.encode(signature), strong(algorithm)) == "bad_signature"


def test_j03_rsa_padding_must_be_right_and_the_number_as_long_as_the_modulus() -> None:
    key = key_for("RS256")
    start = token(algorithm="RS256").rpartition(b".")[0]
    numbers = key.private_numbers()
    n, d = numbers.public_numbers.n, numbers.d
    prefix = bytes.fromhex("3031300d060960864801650304020105000420")
    digest = hashlib.sha256(start).digest()

    def raw(block: bytes) -> bytes:
        return pow(int.from_bytes(block, "big"), d, n).to_bytes(256, "big")

    good = b"\0\1" + b"\xff" * (256 - 3 - len(prefix) - 32) + b"\0" + prefix + digest
    short_padding = b"\0\1" + b"\xff" * 8 + b"\0" + prefix + digest + b"\0" * (256 - 11 - len(prefix) - 32)
    wrong_type = b"\0\2" + good[2:]
    broken = good[:20] + b"\xfe" + good[21:]
    no_prefix = b"\0\1" + b"\xff" * (256 - 3 - 32) + b"\0" + digest
    assert reason_of(start + b"." + base64url.encode(raw(good)), strong("RS256")) == "accepted"
    for block in (short_padding, wrong_type, broken, no_prefix):
        assert reason_of(start + b"." + base64url.encode(raw(block)), strong("RS256")) == "bad_signature"
    value = int.from_bytes(raw(good), "big")
    if value + n < 1 << 2048:
        assert (
            reason_of(start + b"." + base64url.encode((value + n).to_bytes(256, "big")), strong("RS256"))
            == "bad_signature"
        )


def test_j03_pss_salt_must_be_as_long_as_the_hash() -> None:
    key, start = key_for("PS256"), token(algorithm="PS256").rpartition(b".")[0]
    for length in (0, 20, 33):
        signature = key.sign(start, padding.PSS(padding.MGF1(hashes.SHA256()), length), hashes.SHA256())
        assert reason_of(start + b"." + base64url.encode(signature), strong("PS256")) == "bad_signature"


@pytest.mark.parametrize("algorithm", ["PS256", "RS256"])
def test_j03_a_leading_zero_of_an_rsa_signature_may_not_be_cut(algorithm: str) -> None:
    for number in range(4000):
        value = token(claims(jti=number), algorithm=algorithm)
        start, _, text = value.rpartition(b".")
        signature = base64url.decode(text)
        if signature[0] == 0:
            break
    assert reason_of(value, strong(algorithm)) == "accepted"
    assert reason_of(start + b"." + base64url.encode(signature[1:]), strong(algorithm)) == "bad_signature"


def test_j03_eddsa_s_must_be_canonical() -> None:
    order = 2**252 + 27742317777372353535851937790883648493
    start, _, text = token(algorithm="EdDSA").rpartition(b".")
    good = base64url.decode(text)
    s = int.from_bytes(good[32:], "little") + order
    forged = good[:32] + s.to_bytes(32, "little")
    assert reason_of(start + b"." + base64url.encode(forged), strong("EdDSA")) == "bad_signature"


@pytest.mark.parametrize("member", ["jwk", "jku", "x5u", "x5c"])
def test_j04_a_token_cannot_bring_its_key_along(member: str) -> None:
    own = private_key("ES256", 7)
    values = {
        "jwk": jwk(own, kid="k1"),
        "jku": "https://127.0.0.1:1/jwks",
        "x5u": "https://127.0.0.1:1/chain",
        "x5c": ["MIIB"],
    }
    # material.no_network would raise on any fetch; a remote source is given so that there is something to
    # fetch from
    for key in (own, None):
        assert reason_of(token(key=key, header={member: values[member]})) == "header_not_allowed"


@pytest.mark.parametrize(
    "header",
    [
        {"crit": ["exp"]},
        {"crit": ["unknown"], "unknown": 1},
        {"crit": []},
        {"crit": "exp"},
        {"crit": ["b64", "b64"], "b64": True},
        {"crit": ["alg"]},
        {"b64": False, "crit": ["b64"]},
        {"b64": False},
        {"crit": 1},
    ],
)
def test_j05_extensions_that_must_be_understood_are_refused(header: dict) -> None:
    assert reason_of(token(header=header)) == "header_not_allowed"


@pytest.mark.parametrize(
    "kid",
    [
        "unknown",
        "../../dev/null",
        "k1' OR '1'='1",
        "https://evil.example/jwks",
        "K1",
        "k1 ",
        "k2",
        "globex-key",
    ],
)
def test_j06_an_unknown_kid_is_refused(kid: str) -> None:
    other = issuer(
        name="globex-id",
        issuer="https://id.globex.example",
        jwks=key_set(jwk(private_key("ES256", 2), kid="globex-key")),
    )
    assert reason_of(token(header={"kid": kid})) == "unknown_key"
    assert (
        reason_of(token(key=private_key("ES256", 2), header={"kid": kid}), issuer(), other) == "unknown_key"
    )


@pytest.mark.parametrize("kid", ["\0", "k1\0", "", "ключ", 1, True, ["k1"], {"a": 1}, "x" * 257])
def test_j06_a_kid_that_is_no_short_visible_text_is_malformed(kid: object) -> None:
    assert reason_of(token(header={"kid": kid})) == "malformed_token"


def test_j06_a_null_kid_is_malformed() -> None:
    assert reason_of(raw_token(b'{"alg":"ES256","kid":null}', compact(claims()))) == "malformed_token"


def test_j06_without_kid_only_a_single_key_is_meant() -> None:
    assert reason_of(token(header={"kid": None})) == "accepted"
    two = issuer(jwks=key_set(jwk(key_for("ES256"), kid="k1"), jwk(private_key("ES256", 2), kid="k2")))
    assert reason_of(token(header={"kid": None}), two) == "unknown_key"
    assert reason_of(token(), two) == "accepted"


def test_j06_two_keys_with_one_kid_are_no_key_set() -> None:
    with pytest.raises(KeySetError, match="kid_twice"):
        parse_key_set(
            key_set(jwk(key_for("ES256"), kid="k1"), jwk(private_key("ES256", 2), kid="k1")), ("ES256",)
        )
    with pytest.raises(KeySetError, match="kid_missing"):
        parse_key_set(key_set(jwk(key_for("ES256")), jwk(private_key("ES256", 2))), ("ES256",))
    with pytest.raises(KeySetError, match="kid_missing"):
        parse_key_set(key_set(jwk(key_for("ES256")), jwk(private_key("ES256", 2), kid="k2")), ("ES256",))


def test_j18_wrong_signature_and_expired_is_logged_as_bad_signature() -> None:
    stale = token(claims(exp=WALL - 3600), key=private_key("ES256", 9))
    assert reason_of(stale) == "bad_signature"
    assert reason_of(token(claims(exp=WALL - 3600))) == "expired"
    assert (
        reason_of(raw_token(b'{"alg":"ES256","kid":"k1"}', b"not json", key=private_key("ES256", 9)))
        == "bad_signature"
    )
    assert reason_of(raw_token(b'{"alg":"ES256","kid":"k1"}', b"not json")) == "malformed_claims"


def test_signature_is_over_the_bytes_received_whatever_the_case_of_the_scheme() -> None:
    step = authenticators().step_for(route("jwt"))
    for scheme in (b"Bearer ", b"bearer ", b"BEARER ", b"bEaReR "):
        call: Call = call_with(scheme + token())
        assert step(call) is None
        assert call.identity is not None
        assert call.identity.consumer.name == "acme"
    assert not asyncio.iscoroutine(step(call_with(b"Bearer " + token())))
    assert sign("HS256", SECRET, b"x")
