"""A request head from bytes to facts, or a refusal (http-rules.md section 2: reject, never repair).

The request line is held against one pattern byte for byte, each field line against llhttp and our own tables (``lines``),
and what several lines say together is judged here: doubled fields, framing, counts. The caller hands over one whole
head; bodies and pipelining are not this module's affair. ``RequestHead.lines`` are the fields that go on to the upstream,
rebuilt from the parsed ones (W01).
"""

import re
from typing import Final

from faregate.gateway.http1 import fields as kinds
from faregate.gateway.http1.fields import REQUEST_FIELDS, is_protected
from faregate.gateway.http1.lines import Fact, LineError, LineMemory
from faregate.gateway.http1.paths import check_percent, normalise
from faregate.gateway.http1.targets import other_forms, unusual_request_line
from faregate.gateway.http1.values import check_host, check_transfer_encoding, content_length, tokens
from faregate.kernel.problems import Refusal

TARGET_BYTES_MAX: Final = 8 << 10
LINE_BYTES_MAX: Final = 16 << 10

_REQUEST_LINE: Final = re.compile(rb"(GET|POST|HEAD|PUT|PATCH|DELETE|OPTIONS) (/[!\"$-\[\]-~]*) HTTP/1\.([01])\r\n")
_BODYLESS: Final = frozenset({b"GET", b"HEAD", b"OPTIONS"})
_CONNECTION_OPTIONS: Final = frozenset({b"keep-alive", b"upgrade", b"te", b"http2-settings", b"trailer", b"transfer-encoding",
                                        b"proxy-connection"})
_ASCII_ONLY: Final = frozenset({kinds.HOST, kinds.AUTHORIZATION, kinds.API_KEY, kinds.CONTENT_TYPE, kinds.VIA,
                                kinds.EXPECT, kinds.CONNECTION, kinds.TE, kinds.FORWARDED_FOR,
                                kinds.FORWARDED_HOST, kinds.IDEMPOTENCY_KEY, kinds.DATE, kinds.DPOP})


def _refine(kind: int, value: bytes) -> None:
    """Refuses what a single line settles: a byte over 0x7F where we interpret (F14), and the values of F09, F18, F21, F29."""
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


class RequestHead:
    """The facts of one head. ``content_length`` -1: no sized body; ``body``: whether any body bytes are to come.

    ``minor``: b"0" or b"1". ``path``: normalised. ``lines``: to be passed on, each ending in CRLF.
    """

    api_key: bytes | None = None
    authorization: bytes | None = None
    body: bool = False
    chunked: bool = False
    content_length: int = -1
    content_type: bytes = b""
    expect: bool = False
    forwarded_for: bytes = b""
    forwarded_host: bytes = b""
    forwarded_proto: bytes = b""
    request_id: bytes | None = None
    te_trailers: bool = False
    traceparent: bytes | None = None
    upgrade: bool = False
    via: bytes = b""

    def __init__(self, method: bytes, minor: bytes, lines: list[bytes]) -> None:
        self.method = method
        self.minor = minor
        self.keep_alive = minor == b"1"
        self.lines = lines
        self.target = b""
        self.path = b""
        self.host = b""


def parse_request(data: bytes, headers_max: int) -> RequestHead:
    """The facts of ``data``, one whole head ending in an empty line. Raises ``Refusal``; then the connection is done with."""
    match = _REQUEST_LINE.match(data)
    method, target, minor = match.groups() if match is not None else unusual_request_line(data, TARGET_BYTES_MAX)
    if len(data) > TARGET_BYTES_MAX:
        _check_sizes(data, target)
    raw = data[:-4].split(b"\r\n")
    if len(raw) > headers_max + 1:
        raise Refusal("headers_too_large", reason="too_many_fields")
    lines: list[bytes] = []
    head = RequestHead(method, minor, lines)
    special = _sort(raw, lines)
    seen = 0
    for kind, line, value in special:
        if kind == kinds.HOST:
            if head.host:
                raise _doubled("host")
            head.host = value
        elif kind == kinds.AUTHORIZATION:
            if head.authorization is not None:
                raise _doubled("authorization")
            head.authorization = value
        elif kind == kinds.CONTENT_TYPE:
            if head.content_type:
                raise _doubled("content_type")
            head.content_type = value or b" "
            lines.append(line)
        elif kind == kinds.CONTENT_LENGTH:
            if head.content_length >= 0:
                raise _doubled("content_length")
            head.content_length = int(value)
        elif kind != kinds.DROP:
            seen = _take_rare(head, kind, line, value, seen)
    if not head.host:
        raise Refusal("malformed_request", reason="host_missing")
    if head.content_length > 0 or head.chunked or minor == b"0":
        _check_framing(head)
    if target[:1] != b"/":
        target = other_forms(method, target, head.host)
    head.target = target
    if b"%" in target:
        check_percent(target)
    path = target.partition(b"?")[0]
    head.path = normalise(path)
    return head


def _sort(raw: list[bytes], lines: list[bytes]) -> list[Fact]:
    """Splits the field lines into those that pass, put into ``lines``, and those that mean something, in order."""
    get = _memory.get
    special: list[Fact] = []
    unknown: list[bytes] | None = None
    for at in range(1, len(raw)):
        fact = get(raw[at])
        if fact is None:
            if unknown is None:
                unknown = []
            unknown.append(raw[at])
        elif fact[0]:
            special.append(fact)
        else:
            lines.append(fact[1])
    if unknown is not None:
        try:
            learned = _memory.learn(unknown)
        except LineError as error:
            raise Refusal("malformed_request", reason=str(error)) from None
        for fact in learned:
            if fact[0]:
                special.append(fact)
            else:
                lines.append(fact[1])
    return special


def _take_rare(head: RequestHead, kind: int, line: bytes, value: bytes, seen: int) -> int:  # noqa: C901, PLR0912 - one table
    """The fields that few requests carry. ``seen``: a bit per kind that may come only once."""
    bit = 1 << kind
    if seen & bit and kind in _ONCE:
        raise _doubled(line.partition(b":")[0].lower().decode().replace("-", "_"))
    if kind in _PASSED_ONCE:
        head.lines.append(line)
    elif kind == kinds.API_KEY:
        head.api_key = value
    elif kind == kinds.CONNECTION:
        _take_connection(head, value)
    elif kind == kinds.REQUEST_ID:
        head.request_id = b"" if seen & bit else value
    elif kind == kinds.TRACEPARENT:
        head.traceparent = b"" if seen & bit else value
    elif kind == kinds.TRACESTATE:
        head.lines.append(line)
    elif kind == kinds.TRANSFER_ENCODING:
        head.chunked = True
    elif kind == kinds.EXPECT:
        head.expect = True
    elif kind == kinds.UPGRADE:
        head.upgrade = True
    elif kind == kinds.VIA:
        head.via = b"%b, %b" % (head.via, value) if head.via else value
    elif kind == kinds.TE:
        head.te_trailers = head.te_trailers or b"trailers" in value.lower().replace(b" ", b"").split(b",")
    elif kind == kinds.FORWARDED_FOR:
        head.forwarded_for = b"%b, %b" % (head.forwarded_for, value) if head.forwarded_for else value
    elif kind == kinds.FORWARDED_PROTO:
        head.forwarded_proto = value
    elif kind == kinds.FORWARDED_HOST:
        head.forwarded_host = value
    return seen | bit


_PASSED_ONCE: Final = frozenset({kinds.IDEMPOTENCY_KEY, kinds.DATE, kinds.DPOP})
_ONCE: Final = _PASSED_ONCE | {kinds.API_KEY, kinds.TRANSFER_ENCODING, kinds.EXPECT}


def _check_framing(head: RequestHead) -> None:
    """F20, F22, F28, F29, F30: what the framing fields may say together."""
    if head.chunked:
        if head.content_length >= 0:
            raise Refusal("malformed_request", reason="length_and_coding")
        if head.minor == b"0":
            raise Refusal("malformed_request", reason="coding_in_http_1_0")
    head.body = head.chunked or head.content_length > 0
    if head.body:
        if head.method in _BODYLESS:
            raise Refusal("malformed_request", reason="body_not_allowed")
        if head.upgrade:
            raise Refusal("malformed_request", reason="upgrade_with_body")
    if head.minor == b"0":
        head.expect = False  # RFC 9110 section 10.1.1


def _take_connection(head: RequestHead, value: bytes) -> None:
    """Keep-alive or not, and the fields that the list removes (W02)."""
    if value.lower() == b"keep-alive":
        return
    named = set()
    for token in tokens(value):
        if token == b"close":
            head.keep_alive = False
        elif token not in _CONNECTION_OPTIONS:
            if is_protected(token):
                raise Refusal("malformed_request", reason="connection_names_protected_field")
            named.add(token)
    if named:
        head.lines[:] = [line for line in head.lines if line.partition(b":")[0].lower() not in named]


def _doubled(what: str) -> Refusal:
    return Refusal("malformed_request", reason=what + "_doubled")


def _check_sizes(data: bytes, target: bytes) -> None:
    """F05 and F16 for heads long enough to break them."""
    if len(target) > TARGET_BYTES_MAX:
        raise Refusal("target_too_long", reason="target_too_long")
    if len(data) > LINE_BYTES_MAX and max(map(len, data.split(b"\r\n"))) > LINE_BYTES_MAX:
        raise Refusal("headers_too_large", reason="line_too_long")
