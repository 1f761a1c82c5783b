"""ID tokens of a sign-in by a provider, verified (OpenID Connect Core 3.1.3.7, RFC 7515, RFC 8725).

Pure: text, keys, what is expected and the time go in; a person or a ``TokenFault`` comes out. A token picks a
key among those that its provider publishes, for an algorithm that needs a public key; nothing in its header
can bring a key along. Claims are read after the signature was found good.
"""

import hmac
from dataclasses import dataclass, field
from typing import Final

from faregate.kernel import base64url
from faregate.kernel.strict_json import JsonObject, JsonValue, decode_object
from faregate.stores.jwk import KID, KeySet

ALGORITHMS: Final = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519",
)  # fmt: skip
"""None with a shared secret: whoever can verify such a token can make it."""
LEEWAY_S: Final = 60
AGE_MAX_S: Final = 600
"""An ID token of a sign-in is made for it, so it is young."""
TOKEN_BYTES_MAX: Final = 64 << 10
GROUPS_MAX: Final = 2_000
_SUBJECT_MAX: Final = 255  # OpenID Connect Core, section 2
_TIME_MAX: Final = 253_402_300_800  # the year 10000
# keys by value or by reference, what must be understood, content that is encrypted or compressed
_REFUSED_MEMBERS: Final = frozenset(
    {"jwk", "jku", "x5u", "x5c", "crit", "b64", "cty", "zip", "enc", "epk", "p2c", "p2s"}
)


class TokenFault(Exception):  # noqa: N818 - a fault of the token, not of the program
    """Why a token is refused, in one word for the audit tree."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Signed:
    """A token taken apart, believed in nothing."""

    algorithm: str
    kid: str | None
    signed: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    payload: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Expected:
    """What a good token says."""

    issuer: str
    client_id: str
    nonce: str = field(repr=False)
    groups_claim: str


@dataclass(frozen=True, slots=True)
class Proven:
    """A person as the provider knows them. ``authenticated_s``: when they proved it, 0 where it is not said;
    ``multi_factor``: with more than one factor, says the provider.
    """

    subject: str
    groups: frozenset[str]
    name: str
    display: str
    email: str
    authenticated_s: float
    multi_factor: bool


def take_apart(token: bytes) -> Signed:
    """Raises TokenFault."""
    parts = token.split(b".")
    if len(token) > TOKEN_BYTES_MAX or len(parts) != 3:
        raise TokenFault("malformed_token")
    try:
        header = decode_object(base64url.decode(parts[0]))
        signature = base64url.decode(parts[2])
    except ValueError:
        raise TokenFault("malformed_token") from None
    algorithm, kid, kind = header.get("alg"), header.get("kid"), header.get("typ", "JWT")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise TokenFault("algorithm_not_allowed")
    if not _REFUSED_MEMBERS.isdisjoint(header):
        raise TokenFault("header_not_allowed")
    if not isinstance(kind, str) or kind.lower() not in {"jwt", "application/jwt"}:
        raise TokenFault("wrong_type")  # an access or logout token of the same provider (RFC 8725, 3.11)
    if "kid" in header and (not isinstance(kid, str) or KID.fullmatch(kid) is None):
        raise TokenFault("malformed_token")
    found = kid if isinstance(kid, str) else None
    return Signed(algorithm, found, parts[0] + b"." + parts[1], signature, parts[1])


def verified(token: Signed, keys: KeySet, expected: Expected, now_s: float) -> Proven:
    """Who the token proves. Raises TokenFault; ``unknown_key`` where other keys might fit."""
    verify = keys.verifiers.get((token.algorithm, token.kid))
    if verify is None:
        raise TokenFault("unknown_key")
    if not verify(token.signature, token.signed):
        raise TokenFault("bad_signature")
    try:
        claims = decode_object(base64url.decode(token.payload))
    except ValueError:
        raise TokenFault("malformed_claims") from None
    if claims.get("iss") != expected.issuer:
        raise TokenFault("wrong_issuer")
    _check_audience(claims, expected.client_id)
    _check_times(claims, now_s)
    nonce = claims.get("nonce")
    if not isinstance(nonce, str) or not hmac.compare_digest(nonce.encode(), expected.nonce.encode()):
        raise TokenFault("wrong_nonce")
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= _SUBJECT_MAX or not _is_plain(subject):
        raise TokenFault("malformed_claims")
    methods = claims.get("amr")
    several = isinstance(methods, list) and "mfa" in methods
    return Proven(
        subject,
        _groups(claims.get(expected.groups_claim)),
        _text(claims.get("preferred_username"), 63),
        _text(claims.get("name"), 200),
        _text(claims.get("email"), 254),
        _time(claims["auth_time"]) if "auth_time" in claims else 0,
        several or claims.get("acr") == "mfa",
    )


def _check_audience(claims: JsonObject, client_id: str) -> None:
    """For us, and made for us: with others beside us in ``aud``, ``azp`` must say so."""
    audience, party = claims.get("aud"), claims.get("azp", client_id)
    listed: list[JsonValue] = audience if isinstance(audience, list) else [audience]
    if client_id not in listed or not all(isinstance(one, str) for one in listed):
        raise TokenFault("wrong_audience")
    if party != client_id or (len(listed) > 1 and "azp" not in claims):
        raise TokenFault("wrong_party")


def _check_times(claims: JsonObject, now_s: float) -> None:
    expires, issued, begins = _time(claims.get("exp")), _time(claims.get("iat")), _time(claims.get("nbf", 0))
    if now_s >= expires + LEEWAY_S:
        raise TokenFault("expired")
    if max(issued, begins) > now_s + LEEWAY_S:
        raise TokenFault("not_yet_valid")
    if issued >= expires:
        raise TokenFault("malformed_claims")
    if issued < now_s - AGE_MAX_S:
        raise TokenFault("too_old")


def _time(value: JsonValue) -> float:
    """A NumericDate (RFC 7519 section 2). ``True`` is an int to Python, and is no time."""
    if (type(value) is int or type(value) is float) and 0 <= value < _TIME_MAX:
        return value
    raise TokenFault("malformed_claims")


def _groups(value: JsonValue) -> frozenset[str]:
    """One name or a list of them; without the claim, none."""
    listed: list[JsonValue] = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    if len(listed) > GROUPS_MAX:
        raise TokenFault("too_many_groups")
    return frozenset(one for one in listed if isinstance(one, str))


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable()


def _text(value: JsonValue, most: int) -> str:
    """What is shown to people and decides nothing: left out where it does not fit."""
    return value if isinstance(value, str) and len(value) <= most and value.isprintable() else ""
