"""A token's header and claims, read strictly (RFC 7515 section 4, RFC 7519 section 4, RFC 8725).

Pure: bytes, an issuer and the time go in; a value or a ``TokenFault`` comes out. The header says only which
key is meant; nothing in it can bring a key along or switch anything on. Claims are read after their signature
was found good.
"""

from typing import Final, TypeAlias

from faregate.kernel import base64url
from faregate.kernel.strict_json import JsonObject, JsonValue, decode_object
from faregate.policies.authenticate.challenge import Reason
from faregate.snapshot.data import Issuer
from faregate.stores.jwk import ALGORITHMS, KID

# keys by reference or by value (RFC 8725 section 3.10), extensions that must be understood (RFC 7515 section
# 4.1.11), nested or compressed content, unencoded payloads: none is ever needed here
_REFUSED_MEMBERS: Final = frozenset(
    {"jwk", "jku", "x5u", "x5c", "crit", "b64", "cty", "zip", "enc", "epk", "p2c", "p2s"}
)
_TYPES: Final = frozenset({"jwt", "at+jwt", "application/at+jwt", "application/jwt"})
_TIME_MAX: Final = 253_402_300_800  # the year 10000; no token means to live that long


class TokenFault(Exception):  # noqa: N818 - a fault of the token, not of the program
    """Why a token is refused."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


Claims: TypeAlias = "tuple[str, float, float, str | tuple[str, ...] | None, bytes | None]"
"""What is used of a good token: subject; not before and expires, in seconds since the epoch, leeway included;
the scope as sent, words in one text or several, None when the token has none and so narrows nothing; the
thumbprint of the certificate that it is bound to, None when it is not.
"""


def read_header(start: bytes) -> tuple[str, str | None]:
    """``(alg, kid)`` of ``Bearer <header segment>``. Raises ``TokenFault``."""
    if start[:7].lower() != b"bearer ":
        raise TokenFault(Reason.MALFORMED_TOKEN)
    try:
        header = decode_object(base64url.decode(start[7:]))
    except ValueError:
        raise TokenFault(Reason.MALFORMED_TOKEN) from None
    algorithm, kid, kind = header.get("alg"), header.get("kid"), header.get("typ", "JWT")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise TokenFault(Reason.ALGORITHM_NOT_ALLOWED)
    if not _REFUSED_MEMBERS.isdisjoint(header):
        raise TokenFault(Reason.HEADER_NOT_ALLOWED)
    if not isinstance(kind, str) or kind.lower() not in _TYPES:
        raise TokenFault(Reason.WRONG_TYPE)
    if kid is None and "kid" not in header:
        return algorithm, None
    if not isinstance(kid, str) or KID.fullmatch(kid) is None:
        raise TokenFault(Reason.MALFORMED_TOKEN)
    return algorithm, kid


def read_claims(payload: bytes, issuer: Issuer, wall: float) -> Claims:
    """The claims of a payload segment whose signature is good, checked at ``wall``. Raises ``TokenFault``."""
    try:
        claims = decode_object(base64url.decode(payload))
    except ValueError:
        raise TokenFault(Reason.MALFORMED_CLAIMS) from None
    get = claims.get
    if get("iss") != issuer.issuer:
        raise TokenFault(Reason.WRONG_ISSUER)
    audience = get("aud")
    # a list or one name, compared whole (RFC 7519 section 4.1.3)
    if audience not in issuer.audience and not _names_one(audience, issuer.audience):
        raise TokenFault(Reason.WRONG_AUDIENCE)
    # exp is required (RFC 8725 section 3.10); only an absent nbf or iat is no bound, null is malformed
    expires, begins, issued = _time(get("exp")), _time(get("nbf", 0)), _time(get("iat", 0))
    leeway = issuer.leeway
    if wall >= expires + leeway:
        raise TokenFault(Reason.EXPIRED)
    if begins > expires or issued > expires:
        raise TokenFault(Reason.MALFORMED_CLAIMS)
    if wall < begins - leeway:
        raise TokenFault(Reason.NOT_YET_VALID)
    if wall < issued - leeway:
        raise TokenFault(Reason.ISSUED_IN_FUTURE)
    subject = get(issuer.consumer_claim)
    if type(subject) is not str or not subject:
        raise TokenFault(Reason.UNKNOWN_CONSUMER)
    scope = get("scope")
    narrowing = scope if type(scope) is str else _read_scope(claims)
    bound = None if "cnf" not in claims else _confirmation(claims["cnf"])
    return subject, (max(issued, begins)) - leeway, expires + leeway, narrowing, bound


def _confirmation(cnf: JsonValue) -> bytes:
    """The thumbprint that a token demands (RFC 8705 section 3.1). A proof that is not known here is one that
    is not given: such a token is refused, never taken for a free one.
    """
    if not isinstance(cnf, dict) or set(cnf) != {"x5t#S256"}:
        raise TokenFault(Reason.OTHER_CERTIFICATE)
    thumbprint = cnf["x5t#S256"]
    if not isinstance(thumbprint, str) or not thumbprint.isascii() or not thumbprint:
        raise TokenFault(Reason.MALFORMED_CLAIMS)
    return thumbprint.encode()


def peek_issuer(payload: bytes) -> tuple[str, JsonValue]:
    """``iss`` and ``aud`` as an unverified payload claims them: for choosing which keys to try, never
    believed.

    Raises ``TokenFault``.
    """
    try:
        claims = decode_object(base64url.decode(payload))
    except ValueError:
        raise TokenFault(Reason.MALFORMED_TOKEN) from None
    issuer = claims.get("iss")
    if not isinstance(issuer, str):
        raise TokenFault(Reason.UNKNOWN_ISSUER)
    return issuer, claims.get("aud")


def _names_one(audience: JsonValue, ours: tuple[str, ...]) -> bool:
    if not isinstance(audience, list) or not all(isinstance(name, str) for name in audience):
        return False
    return any(name in audience for name in ours)


def _time(value: JsonValue) -> float:
    """A NumericDate (RFC 7519 section 2). ``True`` is an int to Python, and is not a time."""
    if (type(value) is int or type(value) is float) and 0 <= value < _TIME_MAX:
        return value
    raise TokenFault(Reason.MALFORMED_CLAIMS)


def _read_scope(claims: JsonObject) -> str | tuple[str, ...] | None:
    """The scope as sent: ``scope``, else ``scp``; text or a list of words; None when there is neither."""
    if "scope" in claims:
        scope = claims["scope"]
    elif "scp" in claims:
        scope = claims["scp"]
    else:
        return None
    if isinstance(scope, str):
        return scope
    if not isinstance(scope, list):
        raise TokenFault(Reason.MALFORMED_CLAIMS)
    words = tuple(word for word in scope if isinstance(word, str))
    if len(words) != len(scope):
        raise TokenFault(Reason.MALFORMED_CLAIMS)
    return words
