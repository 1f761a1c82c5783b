"""A request head from bytes to facts, or a refusal (http-rules.md section 2: reject, never repair).

The request line is held against one pattern byte for byte, each field line against llhttp and our own
tables (``lines``), and what several lines say together is judged here: doubled fields, framing, counts.
``Fields`` are the facts of a whole field section; they depend on its bytes alone and never change, so that
a connection on which the same section comes again, as it does from most clients, takes them over for the
price of one comparison.
"""

import re
from typing import TYPE_CHECKING, Final

from faregate.gateway.http1 import fields as kinds
from faregate.gateway.http1.fields import REQUEST_FIELDS, is_protected
from faregate.gateway.http1.lines import Fact, LineError, LineMemory
from faregate.gateway.http1.paths import check_percent, normalise
from faregate.gateway.http1.targets import other_forms, unusual_request_line
from faregate.gateway.http1.values import (
    check_host,
    check_transfer_encoding,
    content_length,
    milliseconds,
    tokens,
)
from faregate.kernel.problems import Refusal

if TYPE_CHECKING:
    from faregate.gateway.http1.sections import FieldsMemory

TARGET_BYTES_MAX: Final = 8 << 10
LINE_BYTES_MAX: Final = 16 << 10

Line = tuple[bytes, bytes, bytes, bytes]
"""Method, target as received, normalised path, minor version (``b"0"`` or ``b"1"``)."""
REQUEST_LINE: Final = re.compile(
    rb"(GET|POST|HEAD|PUT|PATCH|DELETE|OPTIONS) ((/[!\"$&-:<->@-\[\]-~]*)(?:[?][!\"$&-\[\]-~]*)?)"
    rb" HTTP/1\.([01])\r\n"
)
"""The common request line: method, target, path, minor version. No ``%`` and, in the path, no ``;``: with
those, and with whatever else does not match, ``parse_line`` looks closer.
"""
_REQUEST_LINE_SLOW: Final = re.compile(
    rb"(GET|POST|HEAD|PUT|PATCH|DELETE|OPTIONS) (/[!\"$-\[\]-~]*) HTTP/1\.([01])\r\n"
)
_BEARER: Final = b"Authorization: Bearer "
_bearer: Final = re.compile(rb"Authorization: Bearer [A-Za-z0-9._~+/\-]+=*").fullmatch
_BODYLESS: Final = frozenset({b"GET", b"HEAD", b"OPTIONS"})
_CONNECTION_OPTIONS: Final = frozenset(
    {
        b"keep-alive",
        b"upgrade",
        b"te",
        b"http2-settings",
        b"trailer",
        b"transfer-encoding",
        b"proxy-connection",
    }
)
_ASCII_ONLY: Final = frozenset(
    {
        kinds.HOST,
        kinds.AUTHORIZATION,
        kinds.API_KEY,
        kinds.CONTENT_TYPE,
        kinds.VIA,
        kinds.EXPECT,
        kinds.CONNECTION,
        kinds.TE,
        kinds.FORWARDED_FOR,
        kinds.FORWARDED_HOST,
        kinds.DATE,
        kinds.DPOP,
    }
)
"""Read on every route. An idempotency key is read, and refused by its own code, where the route says so."""
_PASSED_ONCE: Final = frozenset({kinds.IDEMPOTENCY_KEY, kinds.DATE, kinds.DPOP})
_ONCE: Final = _PASSED_ONCE | {kinds.API_KEY, kinds.TRANSFER_ENCODING, kinds.EXPECT}


def _refine(kind: int, value: bytes) -> None:
    """Refuses what a single line settles: a byte over 0x7F where we interpret (F14), and the values of F09,
    F18, F21, F29.
    """
    if kind in _ASCII_ONLY and not value.isascii():
        raise Refusal("malformed_request", reason="field_not_ascii")
    if kind == kinds.HOST:
        check_host(value)
    elif kind == kinds.CONTENT_LENGTH:
        content_length(value)
    elif kind == kinds.TRANSFER_ENCODING:
        check_transfer_encoding(value)
    elif kind == kinds.EXPECT and value.lower() != b"100-continue":
        raise Refusal("expectation_failed", reason="expect_unknown")
    elif kind == kinds.CONNECTION:
        tokens(value)


_memory: Final = LineMemory(REQUEST_FIELDS, _refine)


class Fields:
    """The facts of one field section, never changed once parsed.

    ``raw``: its bytes, the empty line included. ``lines``: the fields to be passed on, each ending in CRLF,
    Host not among them; ``passed``: Host and those lines as one. ``content_length`` -1: none.
    ``deadline_ms``: how long the caller waits, -1 when it does not say. ``framed``: something here concerns
    the body, so ``check_framing`` must be asked. ``close``: the connection ends with the answer.
    ``count``: lines of the section. ``prepared``: a place for the sender to keep what it made of these
    fields. ``base``: the same section without its ``Idempotency-Key``, where that was told apart; ``lines``
    and ``passed`` are of the base then, and ``raw`` is ``before``, the key and ``after``.
    """

    after: bytes = b""
    api_key: bytes | None = None
    base: "Fields | None" = None
    authorization: bytes | None = None
    before: bytes = b""
    chunked: bool = False
    close: bool = False
    content_length: int = -1
    content_type: bytes = b""
    count: int = 0
    deadline_ms: int = -1
    expect: bool = False
    forwarded_for: bytes = b""
    forwarded_host: bytes = b""
    forwarded_proto: bytes = b""
    framed: bool = False
    host: bytes = b""
    idempotency_key: bytes | None = None
    passed: bytes = b""
    request_id: bytes | None = None
    te_trailers: bool = False
    traceparent: bytes | None = None
    tracestate: bool = False
    upgrade: bool = False
    via: bytes = b""
    prepared: object = None

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.lines: list[bytes] = []

    def with_credential(self, raw: bytes, api_key: bytes | None, authorization: bytes | None) -> "Fields":
        """The facts of ``raw``, which differs from this section by the line of the one that is given."""
        made = self._like(raw)
        made.api_key = api_key or self.api_key
        made.authorization = authorization or self.authorization
        made.count += 1
        return made

    def with_key(self, before: bytes, key: bytes, after: bytes) -> "Fields":
        """The facts of ``before``, ``key`` and ``after``, which differ from this section by the line of an
        idempotency key. ``lines`` and ``passed`` are without it.
        """
        made = self._like(before + key + after)
        made.after = after
        made.base = self
        made.before = before
        made.count += 1
        made.idempotency_key = key
        return made

    def _like(self, raw: bytes) -> "Fields":
        made = Fields(raw)
        made.api_key = self.api_key
        made.authorization = self.authorization
        made.chunked = self.chunked
        made.close = self.close
        made.content_length = self.content_length
        made.content_type = self.content_type
        made.count = self.count
        made.deadline_ms = self.deadline_ms
        made.expect = self.expect
        made.forwarded_for = self.forwarded_for
        made.forwarded_host = self.forwarded_host
        made.forwarded_proto = self.forwarded_proto
        made.framed = self.framed
        made.host = self.host
        made.idempotency_key = self.idempotency_key
        made.lines = self.lines
        made.passed = self.passed
        made.request_id = self.request_id
        made.te_trailers = self.te_trailers
        made.traceparent = self.traceparent
        made.tracestate = self.tracestate
        made.upgrade = self.upgrade
        made.via = self.via
        return made


def parse_line(data: bytes, host: bytes | None = None, scheme: bytes = b"http") -> Line:
    """Method, target, normalised path and minor version of the request line that ``data`` begins with.

    For lines that ``REQUEST_LINE`` does not settle. ``host``: for a target in another form, which must
    agree with it (F08); None while the fields are not known. Raises ``Refusal``.
    """
    match = _REQUEST_LINE_SLOW.match(data)
    method, target, minor = (
        match.groups() if match is not None else unusual_request_line(data, TARGET_BYTES_MAX)
    )
    if len(target) > TARGET_BYTES_MAX:
        raise Refusal("target_too_long", reason="target_too_long")
    if target[:1] != b"/" and host is not None:
        target = other_forms(method, target, host, scheme)
    if b"%" in target:
        check_percent(target)
    path = normalise(target.partition(b"?")[0]) if target[:1] == b"/" else target
    return method, target, path, minor


def parse_fields(raw: bytes, headers_max: int) -> Fields:  # noqa: C901, PLR0912 - one pass, one place
    """The facts of ``raw``, one field section ending in an empty line. Raises ``Refusal``; then the
    connection is done with.
    """
    split = raw[:-4].split(b"\r\n") if len(raw) > 2 else []
    if len(split) > headers_max:
        raise Refusal("headers_too_large", reason="too_many_fields")
    if len(raw) > LINE_BYTES_MAX and max(map(len, split)) > LINE_BYTES_MAX:
        raise Refusal("headers_too_large", reason="line_too_long")
    facts = Fields(raw)
    facts.count = len(split)
    lines = facts.lines
    seen = 0
    for kind, line, value in _sort(split, lines):
        if kind == kinds.HOST:
            if facts.host:
                raise _doubled("host")
            facts.host = value
        elif kind == kinds.AUTHORIZATION:
            if facts.authorization is not None:
                raise _doubled("authorization")
            facts.authorization = value
        elif kind == kinds.CONTENT_TYPE:
            if facts.content_type:
                raise _doubled("content_type")
            facts.content_type = value or b" "
            lines.append(line)
        elif kind == kinds.CONTENT_LENGTH:
            if facts.content_length >= 0:
                raise _doubled("content_length")
            facts.content_length = int(value)
        elif kind != kinds.DROP:
            seen = _take_rare(facts, kind, line, value, seen)
    if not facts.host:
        raise Refusal("malformed_request", reason="host_missing")
    if facts.chunked and facts.content_length >= 0:
        raise Refusal("malformed_request", reason="length_and_coding")
    facts.framed = facts.chunked or facts.content_length > 0
    facts.passed = b"Host: %b\r\n%b" % (facts.host, b"".join(lines))
    return facts


def parse_head(data: bytes, end: int, memory: "FieldsMemory", scheme: bytes = b"http") -> tuple[Line, Fields]:
    """The request line and the fields of the head that ``data`` begins with and that ends at ``end``.
    ``scheme``: the listener's. Raises ``Refusal``.
    """
    if end > memory.header_bytes_max:
        raise Refusal("headers_too_large", reason="head_too_large")
    match = REQUEST_LINE.match(data)
    line: Line = match.groups() if match is not None else parse_line(data)  # type: ignore[assignment]
    if len(line[1]) > TARGET_BYTES_MAX:
        raise Refusal("target_too_long", reason="target_too_long")
    fields = memory.recall(data[data.find(b"\r\n") + 2 : end])
    if line[1][:1] != b"/":
        line = parse_line(data, fields.host, scheme)
    if fields.framed:
        check_framing(fields, line)
    path = normalise(line[2]) if line[2] != b"*" else b"*"  # which no route has
    return (line[0], line[1], path, line[3]), fields


def may_have_body(facts: Fields, line: Line) -> bool:
    """Whether ``check_framing`` passes."""
    return not (line[0] in _BODYLESS or facts.upgrade or (facts.chunked and line[3] == b"0"))


def check_framing(facts: Fields, line: Line) -> None:
    """F22, F28, F30: whether a request of this method and version may have the body that its fields
    announce.
    """
    if facts.chunked and line[3] == b"0":
        raise Refusal("malformed_request", reason="coding_in_http_1_0")
    if line[0] in _BODYLESS:
        raise Refusal("malformed_request", reason="body_not_allowed")
    if facts.upgrade:
        raise Refusal("malformed_request", reason="upgrade_with_body")


def _sort(raw: list[bytes], lines: list[bytes]) -> list[Fact]:
    """Splits the field lines into those that pass, put into ``lines``, and those that mean something, in
    order.
    """
    special: list[Fact] = []
    facts = list(map(_memory.get, raw))
    if None in facts:
        facts = _learn(raw, facts)
    for fact in facts:
        if fact[0]:  # type: ignore[index]  # none is missing any more
            special.append(fact)  # type: ignore[arg-type]
        else:
            lines.append(fact[1])  # type: ignore[index]
    return special


def _learn(raw: list[bytes], facts: "list[Fact | None]") -> "list[Fact | None]":
    """``facts`` with the missing ones found out, each in its place: fields of one name keep their order
    (RFC 9110 section 5.3).
    """
    unknown = []
    for at, line in enumerate(raw):
        if facts[at] is None:
            if line.startswith(_BEARER) and _bearer(line) is not None:
                # The one long line that differs by caller; its characters leave nothing to parse.
                facts[at] = (kinds.AUTHORIZATION, line, line[15:])
            else:
                unknown.append(at)
    try:
        learned = _memory.learn([raw[at] for at in unknown])
    except LineError as error:
        raise Refusal("malformed_request", reason=str(error)) from None
    for at, fact in zip(unknown, learned, strict=True):
        facts[at] = fact
    return facts


def _take_rare(facts: Fields, kind: int, line: bytes, value: bytes, seen: int) -> int:  # noqa: C901, PLR0912 - one table
    """The fields that few requests carry. ``seen``: a bit per kind that has come."""
    bit = 1 << kind
    if seen & bit and kind in _ONCE:
        raise _doubled(line.partition(b":")[0].lower().decode().replace("-", "_"))
    if kind in _PASSED_ONCE:
        facts.lines.append(line)
        if kind == kinds.IDEMPOTENCY_KEY:
            facts.idempotency_key = value
    elif kind == kinds.TRACESTATE:
        facts.tracestate = True
        facts.lines.append(line)
    elif kind == kinds.API_KEY:
        facts.api_key = value
    elif kind == kinds.CONNECTION:
        _take_connection(facts, value)
    elif kind == kinds.REQUEST_ID:
        facts.request_id = b"" if seen & bit else value
    elif kind == kinds.TRACEPARENT:
        facts.traceparent = b"" if seen & bit else value
    elif kind == kinds.DEADLINE:
        facts.deadline_ms = -1 if seen & bit else milliseconds(value)
    elif kind == kinds.TRANSFER_ENCODING:
        facts.chunked = True
    elif kind == kinds.EXPECT:
        facts.expect = True
    elif kind == kinds.UPGRADE:
        facts.upgrade = True
    elif kind == kinds.VIA:
        facts.via = b"%b, %b" % (facts.via, value) if facts.via else value
    elif kind == kinds.TE:
        facts.te_trailers = facts.te_trailers or b"trailers" in value.lower().replace(b" ", b"").split(b",")
    elif kind == kinds.FORWARDED_FOR:
        facts.forwarded_for = b"%b, %b" % (facts.forwarded_for, value) if facts.forwarded_for else value
    elif kind == kinds.FORWARDED_PROTO:
        facts.forwarded_proto = value
    elif kind == kinds.FORWARDED_HOST:
        facts.forwarded_host = value
    return seen | bit


def _take_connection(facts: Fields, value: bytes) -> None:
    """Keep-alive or not, and the fields that the list removes (W02)."""
    if value.lower() == b"keep-alive":
        return
    named = set()
    for token in tokens(value):
        if token == b"close":
            facts.close = True
        elif token not in _CONNECTION_OPTIONS:
            if is_protected(token):
                raise Refusal("malformed_request", reason="connection_names_protected_field")
            named.add(token)
    if named:
        facts.lines[:] = [line for line in facts.lines if line.partition(b":")[0].lower() not in named]


def _doubled(what: str) -> Refusal:
    return Refusal("malformed_request", reason=what + "_doubled")
