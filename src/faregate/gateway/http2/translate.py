"""Between HTTP/2's fields and HTTP/1.1's heads, in both directions (http-rules.md H09, RFC 9113 section 8).

A request's fields become the bytes of a head that ``http1.request`` judges like any other, so that one set of
rules holds for both protocols. What those bytes could hide is refused here, before they exist: line ends,
pseudo-fields, a connection's fields, framing. An answer's head, which the gateway has written itself, becomes
fields. Pure.
"""

import re
from typing import TYPE_CHECKING, Final

from faregate.gateway.http1.fields import is_forbidden_in_trailers
from faregate.gateway.http1.request import REQUEST_LINE, TARGET_BYTES_MAX, Fields, Line, parse_head
from faregate.gateway.http2.grpc import timeout_ms
from faregate.kernel.problems import Refusal

if TYPE_CHECKING:
    from faregate.gateway.http1.sections import FieldsMemory

_METHOD, _SCHEME, _AUTHORITY, _PATH, _HOST, _COOKIE, _TE, _LENGTH, _BAD, _TIMEOUT = range(1, 11)
_SPECIAL: Final[dict[bytes, int]] = {
    b":method": _METHOD,
    b":scheme": _SCHEME,
    b":authority": _AUTHORITY,
    b":path": _PATH,
    b"host": _HOST,
    b"cookie": _COOKIE,
    b"te": _TE,
    b"content-length": _LENGTH,
    b"connection": _BAD,
    b"transfer-encoding": _BAD,
    b"upgrade": _BAD,
    b"keep-alive": _BAD,
    b"proxy-connection": _BAD,
    b"grpc-timeout": _TIMEOUT,
}
_method: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_path: Final = re.compile(rb"/[!\"$-~]*").fullmatch
_lines: Final = re.compile(
    rb"(?:[!#$%&'*+\-.^_`|~0-9a-z]+: (?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?\r\n)*"
).fullmatch
"""Field lines as made here: lower-case names, no blank at an end of a value, no other control character.
What a line gives back cannot match otherwise, so that time grows with length alone. No possessive
quantifiers: Python 3.11.2, which is Debian's, lets through what they should not.
"""
_PORTS: Final = {b"https": b":443", b"http": b":80"}
_KEPT_OUT_OF_TABLES: Final = frozenset(
    {
        b"set-cookie",
        b"x-request-id",
        b"etag",
        b"location",
        b"ratelimit",
        b"x-ratelimit-remaining",
        b"x-ratelimit-reset",
    }
)
"""Of answers: what is secret, or comes once and would push out what comes again."""
_OF_A_CONNECTION: Final = frozenset(
    {b"connection", b"transfer-encoding", b"keep-alive", b"upgrade", b"proxy-connection"}
)
_REQUEST_KEPT_OUT: Final = frozenset(
    {b"authorization", b"cookie", b"x-api-key", b"x-request-id", b"traceparent", b"idempotency-key"}
)
_LEARNED_MAX: Final = 2048
_LEARNED_BYTES_MAX: Final = 128
_learned: dict[bytes, "AnswerField | None"] = {}

AnswerField = tuple[bytes, bytes, bool]
"""Name, value, and whether to keep it out of the tables."""
_request_line: Final = REQUEST_LINE.match


class RequestReader:
    """The requests of one connection. Most come with the fields of the one before, behind four pseudo-fields
    of which only ``:path`` differs: then their facts stand, as on an HTTP/1.1 connection.
    """

    __slots__ = ("_authority", "_facts", "_fields")

    def __init__(self) -> None:
        self._authority = b""
        self._facts: Fields | None = None
        self._fields: list[tuple[bytes, ...]] = []

    def forget(self) -> None:
        """The configuration has changed: fields are judged anew."""
        self._facts = None

    def read(
        self, fields: list[tuple[bytes, ...]], scheme: bytes, memory: "FieldsMemory", *, end_stream: bool
    ) -> tuple[Line, Fields]:
        """What ``fields`` ask for; the line's minor version is ``b"2"``. Raises ``Refusal``."""
        facts = self._facts
        if facts is not None and end_stream and fields[4:] == self._fields:
            line = self._line_again(fields, scheme)
            if line is not None:
                return line, facts
        head = request_head(fields, scheme, end_stream=end_stream)
        (method, target, path, _), facts = parse_head(head, len(head), memory)
        if (
            end_stream
            and len(fields) > 4
            and fields[3][0][:1] == b":"
            and len(head) <= memory.section_bytes_max
        ):
            self._facts = facts
            self._fields = fields[4:]
            self._authority = facts.host
        return (method, target, path, b"2"), facts

    def _line_again(self, fields: list[tuple[bytes, ...]], scheme: bytes) -> Line | None:
        """The line of a request whose other fields are known; None when it needs a closer look."""
        method = target = b""
        seen = 0
        for field in fields[:4]:
            name, value = field[0], field[1]
            if name == b":path":
                target = value
                seen |= 1
            elif name == b":method":
                method = value
                seen |= 2
            elif name == b":scheme" and value == scheme:
                seen |= 4
            elif name == b":authority" and value == self._authority:
                seen |= 8
        if seen != 15:
            return None
        line = b"%b %b HTTP/1.1\r\n" % (method, target)
        match = _request_line(line)
        if match is None or match.end() != len(line) or len(target) > TARGET_BYTES_MAX:
            return None
        path = match[3]
        return None if b"/." in path or b"//" in path else (method, target, path, b"2")


def request_head(  # noqa: C901, PLR0912, PLR0915 - one pass, one place
    fields: list[tuple[bytes, ...]], scheme: bytes, *, end_stream: bool
) -> bytes:
    """The head that says what ``fields`` say, the empty line included. Raises ``Refusal``.

    A body whose length is not given is announced as chunks. ``scheme``: the listener's.
    """
    pseudo = [b""] * 5
    cookies: list[bytes] = []
    lines: list[bytes] = []
    host: bytes | None = None
    framing = b"" if end_stream else b"transfer-encoding: chunked\r\n"
    count = extra = 0
    for field in fields:
        name, value = field[0], field[1]
        kind = _SPECIAL.get(name, 0)
        if not kind:
            lines.append(b"%b: %b\r\n" % (name, value))
            continue
        if kind <= _PATH:
            if pseudo[kind] or lines or cookies or count:
                raise _malformed("pseudo_field")
            if not value:
                raise _malformed("pseudo_field_empty")
            pseudo[kind] = value
            continue
        count += 1
        if kind == _HOST:
            if host is not None:
                raise _malformed("host_doubled")
            host = value
        elif kind == _COOKIE:
            cookies.append(value)
        elif kind == _LENGTH:
            if end_stream and value != b"0":
                raise _malformed("length_mismatch")
            framing = b""
            lines.append(b"%b: %b\r\n" % (name, value))
        elif kind == _TIMEOUT:
            lines.append(b"%b: %b\r\nx-request-deadline: %d\r\n" % (name, value, timeout_ms(value)))
            extra += 1
        elif kind == _BAD or value != b"trailers":
            raise _malformed("connection_field")
        else:
            lines.append(b"te: trailers\r\n")
    method, path = pseudo[_METHOD], pseudo[_PATH]
    if method == b"CONNECT":
        raise Refusal("method_not_implemented", reason="method_unknown")
    if _method(method) is None or (_path(path) is None and not (path == b"*" and method == b"OPTIONS")):
        raise _malformed("pseudo_field_value")
    if pseudo[_SCHEME] != scheme:
        raise _malformed("scheme")
    authority = pseudo[_AUTHORITY] or host or b""
    if host is not None and _folded(host, scheme) != _folded(authority, scheme):
        raise _malformed("authority_and_host")
    if cookies:
        lines.append(b"cookie: %b\r\n" % b"; ".join(cookies))  # RFC 9113 section 8.2.3
    section = b"host: %b\r\n%b" % (authority, b"".join(lines))
    if _lines(section) is None or section.count(b"\n") != len(lines) + extra + 1:
        raise _malformed("field_syntax")
    return b"%b %b HTTP/1.1\r\n%b%b\r\n" % (method, path, section, framing)


def upstream_fields(head: bytes, *, secure: bool) -> tuple[list[AnswerField], int, bool]:
    """The fields of a request for a target, the length of its body (0: none) and whether it comes in chunks;
    ``head``: as the exchange wrote it, without its empty line.
    """
    lines = head.split(b"\r\n")
    method, target, _ = lines[0].split(b" ")
    fields: list[AnswerField] = [
        (b":method", method, False),
        (b":scheme", b"https" if secure else b"http", False),
    ]
    rest: list[AnswerField] = []
    authority = b""
    length = 0
    chunked = False
    for line in lines[1:]:
        name, _, value = line.partition(b":")
        name = name.lower()
        value = value.strip(b" \t")
        if name == b"host":
            authority = value
        elif name == b"transfer-encoding":
            chunked = True
        elif name not in _OF_A_CONNECTION:
            if name == b"content-length":
                length = int(value)
            rest.append((name, value, name in _REQUEST_KEPT_OUT))
    fields.append((b":authority", authority, False))
    fields.append((b":path", target, True))
    fields += rest
    return fields, length, chunked


def answer_head(fields: list[tuple[bytes, ...]]) -> bytes:
    """The head that a target's fields say, the empty line included; its rules are judged from there. Raises
    ``Refusal``.
    """
    if not fields or fields[0][0] != b":status" or len(fields[0][1]) != 3 or not fields[0][1].isdigit():
        raise _malformed("http2_status")
    lines = []
    for field in fields[1:]:
        name, value = field[0], field[1]
        if _SPECIAL.get(name, 0) == _BAD:
            raise _malformed("http2_connection_field")
        lines.append(b"%b: %b\r\n" % (name, value))
    section = b"".join(lines)
    if _lines(section) is None or section.count(b"\n") != len(lines):
        raise _malformed("http2_field_syntax")
    return b"HTTP/1.1 %b\r\n%b\r\n" % (fields[0][1], section)


def trailer_fields(fields: list[tuple[bytes, ...]]) -> list[tuple[bytes, bytes]]:
    """The trailers of a request or an answer, judged as F26 and H09 say. Raises ``Refusal``."""
    found = []
    for field in fields:
        name, value = field[0], field[1]
        if name[:1] == b":":
            raise _malformed("pseudo_field")
        if _SPECIAL.get(name, 0) or is_forbidden_in_trailers(name):
            raise _malformed("trailer_forbidden")
        line = b"%b: %b\r\n" % (name, value)
        if _lines(line) is None or line.count(b"\n") != 1:
            raise _malformed("trailer_syntax")
        found.append((name, value))
    return found


def answer_fields(head: bytes) -> tuple[int, list[AnswerField]]:
    """Status and fields, ``:status`` first, of a head that the exchange wrote; ``head`` without its empty
    line.
    """
    lines = head.split(b"\r\n")
    status = lines[0][9:12]
    fields: list[AnswerField] = [(b":status", status, False)]
    known = _learned
    for line in lines[1:]:
        field = known.get(line)
        if field is None:
            field = _answer_field(line)
            if field is None:
                continue
        fields.append(field)
    return int(status), fields


def _answer_field(line: bytes) -> AnswerField | None:
    """None for fields that have no meaning in HTTP/2."""
    name, _, value = line.partition(b":")
    name = name.lower()
    if name in _OF_A_CONNECTION:
        return None
    field = (name, value.strip(b" \t"), name in _KEPT_OUT_OF_TABLES)
    if len(line) <= _LEARNED_BYTES_MAX and not field[2]:
        if len(_learned) >= _LEARNED_MAX:
            _learned.clear()
        _learned[line] = field
    return field


def _folded(authority: bytes, scheme: bytes) -> bytes:
    return authority.lower().removesuffix(_PORTS.get(scheme, b":"))


def _malformed(reason: str) -> Refusal:
    return Refusal("malformed_request", reason=reason)
