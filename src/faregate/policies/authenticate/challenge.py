"""The two 401 refusals, written once: what a caller reads is the same whatever was wrong with its credential.

The reason goes to the operator's log only. ``Reason`` is the closed list of words; the docs list each of
them. A 401 must name a scheme by which the route could be called (RFC 9110 section 11.6.1). For client
certificates none is registered: ``Mutual`` is a password protocol (RFC 8120), so where nothing but a
certificate counts, the name is that of draft-thomson-httpbis-cant, which no client can take for another.
"""

from enum import StrEnum
from typing import Final

from faregate.kernel.problems import Refusal

REALM: Final = b'WWW-Authenticate: Bearer realm="faregate"\r\n'
_INVALID: Final = b'WWW-Authenticate: Bearer realm="faregate", error="invalid_token"\r\n'
CERTIFICATE: Final = b'WWW-Authenticate: ClientCertificate realm="faregate"\r\n'
INSUFFICIENT_SCOPE: Final = b'WWW-Authenticate: Bearer realm="faregate", error="insufficient_scope"\r\n'


class Reason(StrEnum):
    """Why a credential was not accepted."""

    NONE_SENT = "none_sent"
    OTHER_SCHEME = "other_scheme"
    SEVERAL_CREDENTIALS = "several_credentials"
    NOT_ACCEPTED_HERE = "not_accepted_here"
    MALFORMED_TOKEN = "malformed_token"  # noqa: S105 - a word, no secret
    TOKEN_TOO_LONG = "token_too_long"  # noqa: S105 - a word, no secret
    ALGORITHM_NOT_ALLOWED = "algorithm_not_allowed"
    HEADER_NOT_ALLOWED = "header_not_allowed"
    WRONG_TYPE = "wrong_type"
    UNKNOWN_ISSUER = "unknown_issuer"
    UNKNOWN_KEY = "unknown_key"
    WRONG_ALGORITHM = "wrong_algorithm"
    BAD_SIGNATURE = "bad_signature"
    MALFORMED_CLAIMS = "malformed_claims"
    WRONG_ISSUER = "wrong_issuer"
    WRONG_AUDIENCE = "wrong_audience"
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    ISSUED_IN_FUTURE = "issued_in_future"
    UNKNOWN_CONSUMER = "unknown_consumer"
    MALFORMED_KEY = "malformed_key"
    BAD_CHECKSUM = "bad_checksum"
    UNKNOWN_API_KEY = "unknown_api_key"
    UNKNOWN_CERTIFICATE = "unknown_certificate"
    OTHER_CERTIFICATE = "other_certificate"


def missing(reason: Reason = Reason.NONE_SENT, challenge: bytes = REALM) -> Refusal:
    """401 without an error word, as RFC 6750 section 3.1 asks when no credential of a known kind was sent."""
    return Refusal("credential_missing", reason=reason.value, headers=challenge)


def invalid(reason: Reason, challenge: bytes = _INVALID) -> Refusal:
    """401 for a credential that was sent and is not accepted."""
    return Refusal("credential_invalid", reason=reason.value, headers=challenge)
