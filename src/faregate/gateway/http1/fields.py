"""Which header fields mean something to a proxy, in either direction, and what is done with them.

One table each way, from the name in lower case to a kind. A kind is a small integer so that the loop over a
head's fields is one dictionary look-up per field: names are learned in the spelling in which they arrive
(bounded), 0 means "pass on". The rules are http-rules.md sections 2 and 2.2; what we ourselves set is
removed from the other side first (W03).
"""

import re
from typing import Final

PASS: Final = 0
DROP: Final = 1
HOST: Final = 2
CONTENT_LENGTH: Final = 3
TRANSFER_ENCODING: Final = 4
CONNECTION: Final = 5
AUTHORIZATION: Final = 6
API_KEY: Final = 7
EXPECT: Final = 8
UPGRADE: Final = 9
REQUEST_ID: Final = 10
TRACEPARENT: Final = 11
TRACESTATE: Final = 12
VIA: Final = 13
FORWARDED_FOR: Final = 14
IDEMPOTENCY_KEY: Final = 15
CONTENT_TYPE: Final = 16
TE: Final = 17
TRAILER: Final = 18
LIMIT: Final = 19
FORWARDED_PROTO: Final = 20
FORWARDED_HOST: Final = 21
DATE: Final = 22
DPOP: Final = 23
DEADLINE: Final = 24
BAD: Final = 99

_HOP_BY_HOP: Final = (
    b"keep-alive",
    b"proxy-connection",
    b"http2-settings",
)  # W02, besides those with a kind of their own

_REQUEST: Final[dict[bytes, int]] = {
    b"host": HOST,
    b"content-length": CONTENT_LENGTH,
    b"transfer-encoding": TRANSFER_ENCODING,
    b"connection": CONNECTION,
    b"authorization": AUTHORIZATION,
    b"x-api-key": API_KEY,
    b"expect": EXPECT,
    b"upgrade": UPGRADE,
    b"x-request-id": REQUEST_ID,
    b"traceparent": TRACEPARENT,
    b"tracestate": TRACESTATE,
    b"via": VIA,
    b"x-forwarded-for": FORWARDED_FOR,
    b"x-forwarded-proto": FORWARDED_PROTO,
    b"x-forwarded-host": FORWARDED_HOST,
    b"content-type": CONTENT_TYPE,
    b"te": TE,
    b"trailer": DROP,
    b"proxy-authorization": DROP,
    b"idempotency-key": IDEMPOTENCY_KEY,
    b"date": DATE,
    b"dpop": DPOP,
    b"x-request-deadline": DEADLINE,
    b"forwarded": DROP,
    b"x-real-ip": DROP,
    b"x-api-version": DROP,
    b"x-anonymous-consumer": DROP,
    **dict.fromkeys(_HOP_BY_HOP, DROP),
}
_OF_THE_HANDSHAKE: Final = (
    b"client-cert",
    b"x-client-cert",
    b"x-client-dn",
    b"x-client-verify",
    b"x-ssl-",
    b"x-tls-client-",
    b"ssl-client-",
)
"""Names by which proxies tell of a client's certificate, RFC 9440's among them: what a caller says under them
is no proof of anything. (``X-Forwarded-Client-Cert`` and ``-Tls-Client-Cert`` go with ``X-Forwarded-``.)
"""
_REQUEST_DROP_PREFIXES: Final = (b"x-forwarded-", b"x-consumer-", b"x-credential-", *_OF_THE_HANDSHAKE)

_RESPONSE: Final[dict[bytes, int]] = {
    b"content-length": CONTENT_LENGTH,
    b"transfer-encoding": TRANSFER_ENCODING,
    b"connection": CONNECTION,
    b"content-type": CONTENT_TYPE,
    b"upgrade": DROP,
    b"te": DROP,
    b"trailer": TRAILER,
    b"date": DATE,
    b"proxy-authenticate": DROP,
    b"proxy-authentication-info": DROP,
    b"x-request-id": DROP,
    b"via": VIA,
    b"ratelimit": LIMIT,
    b"ratelimit-policy": LIMIT,
    b"x-ratelimit-limit": LIMIT,
    b"x-ratelimit-remaining": LIMIT,
    b"x-ratelimit-reset": LIMIT,
    **dict.fromkeys(_HOP_BY_HOP, DROP),
}

_PROTECTED: Final = frozenset(
    {
        b"host",
        b"authorization",
        b"cookie",
        b"date",
        b"cache-control",
        b"idempotency-key",
        b"traceparent",
        b"tracestate",
        b"forwarded",
        b"x-real-ip",
        b"x-request-id",
        b"x-request-deadline",
        b"x-api-version",
        b"x-api-key",
        b"via",
        b"expect",
        b"dpop",
        b"x-anonymous-consumer",
    }
)
_PROTECTED_PREFIXES: Final = (
    b"content-",
    b"x-forwarded-",
    b"x-consumer-",
    b"x-credential-",
    *_OF_THE_HANDSHAKE,
)

_FORBIDDEN_IN_TRAILERS: Final = frozenset(
    {
        b"transfer-encoding",
        b"host",
        b"connection",
        b"te",
        b"trailer",
        b"upgrade",
        b"expect",
        b"via",
        b"set-cookie",
        b"authorization",
        b"cookie",
        b"www-authenticate",
        b"proxy-authorization",
        b"cache-control",
        b"range",
        b"max-forwards",
        b"if-match",
        b"if-none-match",
        b"date",
        b"location",
        b"retry-after",
        b"vary",
        b"age",
        b"expires",
        b"x-api-key",
        b"dpop",
        b"signature",
        b"signature-input",
        b"idempotency-key",
        b"forwarded",
        b"x-real-ip",
        b"x-request-id",
        b"x-request-deadline",
        b"traceparent",
        b"x-api-version",
        b"keep-alive",
        b"proxy-connection",
    }
)

_LEARNED_MAX: Final = 4096
"""Spellings remembered per table: callers choose names, so the table must not grow with them."""
_NAME_BYTES_LEARNED_MAX: Final = 64

_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^`|~0-9A-Za-z]+")  # RFC 9110 section 5.6.2 without "_" (F15)


class FieldTable(dict[bytes, int]):
    """Kinds by the name as spelt; a name met for the first time is classified and, up to a bound,
    remembered.
    """

    __slots__ = ("_drop_prefixes", "_known", "_strict")

    def __init__(self, known: dict[bytes, int], drop_prefixes: tuple[bytes, ...], *, strict: bool) -> None:
        super().__init__(known)
        self._known = known
        self._drop_prefixes = drop_prefixes
        self._strict = strict

    def __missing__(self, name: bytes) -> int:
        lower = name.lower()
        kind = self._known.get(lower, PASS)
        if kind == PASS and lower.startswith(self._drop_prefixes):
            kind = DROP
        if self._strict and _TOKEN.fullmatch(name) is None:
            kind = BAD
        if len(self) < _LEARNED_MAX and len(name) <= _NAME_BYTES_LEARNED_MAX:
            self[name] = kind
        return kind


REQUEST_FIELDS: Final = FieldTable(_REQUEST, _REQUEST_DROP_PREFIXES, strict=True)
RESPONSE_FIELDS: Final = FieldTable(_RESPONSE, (), strict=False)


def is_protected(lower_name: bytes) -> bool:
    """Whether a ``Connection`` list may not name this field (W02); ``_`` counts as ``-`` (F15)."""
    name = lower_name.replace(b"_", b"-")
    return name in _PROTECTED or name.startswith(_PROTECTED_PREFIXES)


def is_forbidden_in_trailers(lower_name: bytes) -> bool:
    """Whether a trailer of this name is refused: framing, routing, auth, identity, content (F26)."""
    name = lower_name.replace(b"_", b"-")
    return name in _FORBIDDEN_IN_TRAILERS or name.startswith(_PROTECTED_PREFIXES)
