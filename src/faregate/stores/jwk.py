"""JSON Web Keys turned into ready verifying functions (RFC 7517, RFC 7518 section 6, RFC 8037).

A key decides which algorithms it serves: by its type, curve, ``alg``, ``use`` and ``key_ops``, cut with what
the issuer allows; a token only picks among those pairs (RFC 8725 section 3.1). Keys are parsed once; padding
and hash objects are shared. A set that shows carelessness (a private member, a kid twice, ``alg`` against the
key's type) is refused whole; a key that is merely of no use here (encryption, unknown type, too weak) is left
out and said so.
"""

import hmac
import re
from collections.abc import Callable
from typing import Final, TypeAlias

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from faregate.kernel import base64url
from faregate.kernel.strict_json import JsonObject, JsonValue, decode_object

Verify: TypeAlias = Callable[[bytes, bytes], bool]
"""``verify(signature, signed bytes)``: whether the signature is good; never raises."""

KEY_SET_BYTES_MAX: Final = 1 << 20
KEYS_MAX: Final = 256
RSA_BITS_MIN: Final = 2048
RSA_BITS_MAX: Final = 8192  # larger ones only cost time: 8192 bits verify in about 0.2 ms
KID: Final = re.compile(r"[ -~]{1,256}")

_HASHES: Final = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
_CURVES: Final[dict[str, tuple[str, ec.EllipticCurve, int]]] = {
    "P-256": ("ES256", ec.SECP256R1(), 32),
    "P-384": ("ES384", ec.SECP384R1(), 48),
    "P-521": ("ES512", ec.SECP521R1(), 66),
}
_RSA_ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
ALGORITHMS: Final = frozenset(
    (*_RSA_ALGORITHMS, "ES256", "ES384", "ES512", "HS256", "HS384", "HS512", "EdDSA", "Ed25519")
)
"""What can be verified here (RFC 7518 section 3.1, RFC 8037; ``Ed25519`` is RFC 9864's name for ``EdDSA``).
"""
_PRIVATE_MEMBERS: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_ED25519_PRIME: Final = 2**255 - 19
_ED25519_D: Final = -121665 * pow(121666, -1, _ED25519_PRIME) % _ED25519_PRIME


class KeySetError(Exception):
    """A key set that is refused whole; the text names the fault and holds nothing of the set."""


class UnusableKeyError(Exception):
    """One key that serves no purpose here; the text says why."""


class KeySet:
    """The verifying functions of one issuer at one time, by ``(algorithm, kid)``. Immutable but for ``live``.

    ``live`` turns False when another set takes its place, which voids every cached token that rests on this
    one. A set of exactly one key is also found under kid None, for tokens that name none. ``skipped``: (kid,
    why).
    """

    __slots__ = ("kids", "live", "skipped", "verifiers")

    def __init__(
        self,
        verifiers: dict[tuple[str, str | None], Verify],
        kids: frozenset[str],
        skipped: tuple[tuple[str, str], ...] = (),
    ) -> None:
        self.verifiers = verifiers
        self.kids = kids
        self.skipped = skipped
        self.live = True


def parse_key_set(text: bytes, algorithms: tuple[str, ...]) -> KeySet:
    """The usable keys of a JWK set for ``algorithms``. Raises ``KeySetError`` when the set must not be used
    at all.
    """
    if len(text) > KEY_SET_BYTES_MAX:
        raise KeySetError("key_set_too_large")
    try:
        keys = decode_object(text).get("keys")
    except ValueError:
        raise KeySetError("key_set_malformed") from None
    if not isinstance(keys, list) or not all(isinstance(key, dict) for key in keys):
        raise KeySetError("key_set_malformed")
    if len(keys) > KEYS_MAX:
        raise KeySetError("too_many_keys")
    usable: list[tuple[str | None, dict[str, Verify]]] = []
    skipped: list[tuple[str, str]] = []
    seen: set[str | None] = set()
    for key in keys:
        assert isinstance(key, dict)
        kid = _check_careful(key, seen)
        try:
            usable.append((kid, _verifiers(key, algorithms)))
        except UnusableKeyError as error:
            skipped.append((kid or "", str(error)))
    if not usable:
        raise KeySetError("no_usable_key")
    verifiers = {(algorithm, kid): verify for kid, found in usable for algorithm, verify in found.items()}
    if len(usable) == 1:
        verifiers |= {(algorithm, None): verify for algorithm, verify in usable[0][1].items()}
    elif any(kid is None for kid, _ in usable):
        raise KeySetError("kid_missing")
    return KeySet(verifiers, frozenset(kid for kid, _ in usable if kid is not None), tuple(skipped))


def secret_key_set(secret: bytes, algorithms: tuple[str, ...]) -> KeySet:
    """A set of one shared secret, for tokens without kid. Raises ``KeySetError`` when it is shorter than the
    hash.

    RFC 7518 section 3.2: a key of the same size as the hash output or larger MUST be used.
    """
    verifiers: dict[tuple[str, str | None], Verify] = {}
    for algorithm in algorithms:
        if algorithm not in ("HS256", "HS384", "HS512"):
            raise KeySetError("algorithm_mismatch")
        if len(secret) * 8 < int(algorithm[2:]):
            raise KeySetError("secret_too_short")
        verifiers[algorithm, None] = _hmac_verifier(secret, f"sha{algorithm[2:]}")
    return KeySet(verifiers, frozenset())


def _check_careful(key: JsonObject, seen: set[str | None]) -> str | None:
    """The key's kid. Raises ``KeySetError`` on what no careful provider publishes."""
    if not _PRIVATE_MEMBERS.isdisjoint(key):
        raise KeySetError("private_key_published")
    kid = key.get("kid")
    if kid is not None and not (isinstance(kid, str) and KID.fullmatch(kid)):
        raise KeySetError("kid_malformed")
    if kid in seen:
        raise KeySetError("kid_twice" if kid else "kid_missing")
    seen.add(kid)
    return kid


def _verifiers(key: JsonObject, algorithms: tuple[str, ...]) -> dict[str, Verify]:
    """What this key verifies, by algorithm. Raises ``UnusableKeyError`` or ``KeySetError``."""
    if key.get("use", "sig") != "sig":
        raise UnusableKeyError("not_for_signatures")
    operations = key.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        raise UnusableKeyError("not_for_verifying")
    makers: dict[str, Callable[[JsonObject], dict[str, Verify]]] = {
        "RSA": _rsa_key,
        "EC": _ec_key,
        "OKP": _okp_key,
    }
    kind = key.get("kty")
    if not isinstance(kind, str) or kind not in makers:
        raise UnusableKeyError("unknown_type")
    try:
        found = makers[kind](key)
    except ValueError:
        raise UnusableKeyError("malformed_key") from None
    if "alg" in key:
        algorithm = key["alg"]
        if not isinstance(algorithm, str) or (algorithm in ALGORITHMS and algorithm not in found):
            raise KeySetError("algorithm_mismatch")
        if algorithm not in found:  # RSA-OAEP, ES256K: someone else's business
            raise UnusableKeyError("algorithm_not_allowed")
        found = {algorithm: found[algorithm]}
    allowed = {algorithm: verify for algorithm, verify in found.items() if algorithm in algorithms}
    if not allowed:
        raise UnusableKeyError("algorithm_not_allowed")
    return allowed


def _octets(value: JsonValue) -> bytes:
    if not isinstance(value, str):
        raise ValueError("not text")  # noqa: TRY004 - one class of fault: a malformed key
    return base64url.decode(value.encode("ascii"))


def _rsa_key(key: JsonObject) -> dict[str, Verify]:
    modulus, exponent = (int.from_bytes(_octets(key.get(member)), "big") for member in ("n", "e"))
    if not RSA_BITS_MIN <= modulus.bit_length() <= RSA_BITS_MAX:
        raise UnusableKeyError("rsa_size")
    # a large exponent makes verifying as dear as signing; e <= 1 or even is no RSA key (J20)
    if not 3 <= exponent < 1 << 32 or not exponent & 1 or not modulus & 1:
        raise UnusableKeyError("rsa_exponent")
    public = rsa.RSAPublicNumbers(exponent, modulus).public_key()
    return {name: _rsa_verifier(public, name) for name in _RSA_ALGORITHMS}


def _rsa_verifier(public: rsa.RSAPublicKey, algorithm: str) -> Verify:
    digest = _HASHES[algorithm[2:]]
    scheme: padding.PKCS1v15 | padding.PSS = padding.PKCS1v15()
    if algorithm.startswith("PS"):
        # RFC 7518 section 3.5: salt as long as the hash
        scheme = padding.PSS(padding.MGF1(digest), digest.digest_size)
    check, size = public.verify, (public.key_size + 7) // 8

    def verify(signature: bytes, signed: bytes) -> bool:
        if len(signature) != size:  # a shorter number would be the same number: one spelling only
            return False
        try:
            check(signature, signed, scheme, digest)
        except InvalidSignature:
            return False
        return True

    return verify


def _ec_key(key: JsonObject) -> dict[str, Verify]:
    curve_name = key.get("crv")
    if not isinstance(curve_name, str) or curve_name not in _CURVES:
        raise UnusableKeyError("unknown_curve")
    algorithm, curve, size = _CURVES[curve_name]
    x, y = _octets(key.get("x")), _octets(key.get("y"))
    if len(x) != size or len(y) != size:  # RFC 7518 section 6.2.1.2: the full size of a coordinate
        raise UnusableKeyError("malformed_key")
    numbers = ec.EllipticCurvePublicNumbers(int.from_bytes(x, "big"), int.from_bytes(y, "big"), curve)
    public = numbers.public_key()  # ValueError when the point is off the curve
    scheme, check, whole = ec.ECDSA(_HASHES[algorithm[2:]]), public.verify, size * 2

    def verify(signature: bytes, signed: bytes) -> bool:
        if len(signature) != whole:  # RFC 7518 section 3.4: R || S, fixed length, never DER
            return False
        r, s = int.from_bytes(signature[:size], "big"), int.from_bytes(signature[size:], "big")
        try:
            check(encode_dss_signature(r, s), signed, scheme)
        except (InvalidSignature, ValueError):
            return False
        return True

    return {algorithm: verify}


def _okp_key(key: JsonObject) -> dict[str, Verify]:
    if key.get("crv") != "Ed25519":
        raise UnusableKeyError("unknown_curve")
    octets = _octets(key.get("x"))
    if len(octets) != 32 or not is_safe_ed25519(octets):
        raise UnusableKeyError("unsafe_point")
    check = ed25519.Ed25519PublicKey.from_public_bytes(octets).verify

    def verify(signature: bytes, signed: bytes) -> bool:
        try:
            check(signature, signed)
        except InvalidSignature:
            return False
        return True

    return {"EdDSA": verify, "Ed25519": verify}


def is_safe_ed25519(octets: bytes) -> bool:
    """Whether 32 bytes name, in the canonical form, a point on edwards25519 whose order is not 1, 2, 4 or 8.

    Under a small-order key one signature fits many messages. RFC 8032 section 5.1.3; y of the points of order
    8 solves d*y^4 + 2*y^2 - 1 = 0 (doubling must give y = 0).
    """
    p, d = _ED25519_PRIME, _ED25519_D
    y = int.from_bytes(octets, "little") & ((1 << 255) - 1)
    if y >= p or y in (0, 1, p - 1):
        return False
    square = y * y % p
    if (d * square * square + 2 * square - 1) % p == 0:
        return False
    x_square = (square - 1) * pow(d * square + 1, -1, p) % p
    return pow(x_square, (p - 1) // 2, p) == 1


def _hmac_verifier(secret: bytes, digest: str) -> Verify:
    def verify(signature: bytes, signed: bytes) -> bool:
        return hmac.compare_digest(hmac.digest(secret, signed, digest), signature)

    return verify
