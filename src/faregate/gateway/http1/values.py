"""Values that a proxy must understand exactly: lengths, hosts, codings, token lists."""

import re
from typing import Final

from faregate.kernel.problems import Refusal

_CONTENT_LENGTH_MAX: Final = 2**53 - 1
_DIGITS: Final = re.compile(rb"0|[1-9][0-9]{0,15}")
_HOST: Final = re.compile(
    rb"(?:[A-Za-z0-9](?:[A-Za-z0-9\-.]{0,253}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\])(?::([0-9]{1,5}))?"
)
_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


def content_length(value: bytes) -> int:
    """F18: ``0`` or ``[1-9][0-9]*`` up to 2^53-1. Raises ``Refusal``."""
    if _DIGITS.fullmatch(value) is None or (length := int(value)) > _CONTENT_LENGTH_MAX:
        raise Refusal("malformed_request", reason="content_length")
    return length


def milliseconds(value: bytes) -> int:
    """A span of time in ``X-Request-Deadline``: 1 to 9 digits, else -1."""
    return int(value) if len(value) <= 9 and _DIGITS.fullmatch(value) is not None else -1


def check_host(value: bytes) -> None:
    """F09: a name or address literal with an optional port, no trailing dot. Raises ``Refusal``."""
    match = _HOST.fullmatch(value)
    if match is None or b".." in value or (match[1] is not None and not 0 < int(match[1]) <= 65535):
        raise Refusal("malformed_request", reason="host_invalid")


def check_transfer_encoding(value: bytes) -> None:
    """F21: one line that holds just ``chunked``; another single coding is 501, anything else 400. Raises
    ``Refusal``.
    """
    coding = value.lower()
    if coding == b"chunked":
        return
    if _TOKEN.fullmatch(coding) is not None and coding != b"identity" and b"chunked" not in coding:
        raise Refusal("method_not_implemented", reason="transfer_coding_unknown")
    raise Refusal("malformed_request", reason="transfer_encoding")


def tokens(value: bytes) -> list[bytes]:
    """The members of a ``#token`` list in lower case (RFC 9110 section 5.6.1). Raises ``Refusal``."""
    members = [token.strip(b" \t").lower() for token in value.split(b",")]
    members = [token for token in members if token]
    if any(_TOKEN.fullmatch(token) is None for token in members):
        raise Refusal("malformed_request", reason="connection_syntax")
    return members
