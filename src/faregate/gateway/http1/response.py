"""A response head from bytes to facts, or an invalid answer (http-rules.md W09, W10).

The upstream is as hostile as anyone: its head obeys the same rules, and whatever breaks them is one
exception with a reason word, which the exchange turns into 502. ``ResponseHead.lines`` are the fields that
go to the caller.
"""

import re
from typing import Final

from faregate.gateway.http1 import fields as kinds
from faregate.gateway.http1.fields import RESPONSE_FIELDS
from faregate.gateway.http1.lines import Fact, LineError, LineMemory
from faregate.gateway.http1.request import LINE_BYTES_MAX
from faregate.gateway.http1.values import content_length
from faregate.kernel.problems import Refusal

_BODILESS: Final = frozenset({204, 205, 304})
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: [\t -~\x80-\xff]*)?\r\n")
_BARE_STATUS_BYTES: Final = len(b"HTTP/1.1 200")


class InvalidAnswer(Exception):  # noqa: N818 - what it is
    """The upstream's answer breaks HTTP; ``args[0]`` is the reason word."""


def _refine(kind: int, value: bytes) -> None:
    if kind == kinds.CONTENT_LENGTH:
        try:
            content_length(value)
        except Refusal:
            raise InvalidAnswer("content_length") from None
    elif kind == kinds.TRANSFER_ENCODING and value.lower() != b"chunked":
        raise InvalidAnswer("transfer_encoding")


_memory: Final = LineMemory(RESPONSE_FIELDS, _refine)


class ResponseHead:
    """The facts of one head, never changed once parsed.

    ``raw``: its bytes. ``passed``: the status line and the fields to pass on, ``Content-Length`` as
    received among them. ``content_length`` -1: none given. ``limit_lines``: the upstream's own rate-limit
    fields. ``bodiless``: no body follows whatever the fields say (W10). ``common``: it needs no Date and no
    Via of its own.
    """

    chunked: bool = False
    content_length: int = -1
    content_type: bytes = b""
    dated: bool = False
    limit_lines: bytes = b""
    via: bytes = b""
    bodiless: bool = False
    common: bool = False
    passed: bytes = b""

    def __init__(self, raw: bytes, status: int, *, keep_alive: bool) -> None:
        self.raw = raw
        self.status = status
        self.keep_alive = keep_alive
        self.lines: list[bytes] = []


def parse_response(data: bytes, headers_max: int) -> ResponseHead:
    """The facts of ``data``, one whole head ending in an empty line. Raises ``InvalidAnswer``."""
    match = _STATUS_LINE.match(data)
    if match is None:
        raise InvalidAnswer("status_line")
    raw = data[:-4].split(b"\r\n")
    if len(raw) > headers_max + 1:
        raise InvalidAnswer("too_many_fields")
    if len(data) > LINE_BYTES_MAX and max(map(len, raw)) > LINE_BYTES_MAX:
        raise InvalidAnswer("line_too_long")
    minor = match[1] == b"1"
    head = ResponseHead(data, int(match[2]), keep_alive=minor)
    lines = head.lines
    named: set[bytes] | None = None
    facts = list(map(_memory.get, raw[1:]))
    if None in facts:
        facts = _learn(raw, facts)
    for fact in facts:
        kind, line, value = fact  # type: ignore[misc]  # none is missing any more
        if kind:
            named = _take(head, kind, line, value, named)
        else:
            lines.append(line)
    if head.chunked and (head.content_length >= 0 or not minor):
        raise InvalidAnswer("length_and_coding")
    if named:
        lines[:] = [line for line in lines if line.partition(b":")[0].lower() not in named]
    _settle_length(head, lines)
    head.common = head.dated and not head.via
    if len(raw[0]) == _BARE_STATUS_BYTES:
        raw[0] += b" "  # sent even where no reason follows (RFC 9112 section 4); HTTP/2 has none
    head.passed = b"HTTP/1.1 %b\r\n%b" % (raw[0][9:], b"".join(lines))
    return head


def _learn(raw: list[bytes], facts: "list[Fact | None]") -> "list[Fact | None]":
    """``facts`` of the lines after the first, with the missing ones found out, each in its place."""
    unknown = [at for at, fact in enumerate(facts) if fact is None]
    try:
        learned = _memory.learn([raw[at + 1] for at in unknown])
    except LineError as error:
        raise InvalidAnswer(str(error)) from None
    for at, fact in zip(unknown, learned, strict=True):
        facts[at] = fact
    return facts


def _settle_length(head: ResponseHead, lines: list[bytes]) -> None:
    """What length the caller is told: none on 1xx and 204, 0 on 205, else as received (W10; RFC 9110
    section 8.6).
    """
    status = head.status
    if status in _BODILESS or status < 200:
        head.bodiless = True
        if status == 205:
            if head.chunked or head.content_length > 0:
                raise InvalidAnswer("body_on_205")
            head.content_length = 0
        elif status != 304:
            return
    if head.content_length >= 0:
        lines.append(b"Content-Length: %d\r\n" % head.content_length)


def _take(  # noqa: C901 - one table
    head: ResponseHead, kind: int, line: bytes, value: bytes, named: set[bytes] | None
) -> set[bytes] | None:
    """A field that means something; returns the names that ``Connection`` listed so far."""
    if kind == kinds.CONTENT_LENGTH:
        if head.content_length >= 0:
            raise InvalidAnswer("content_length_doubled")
        head.content_length = int(value)
    elif kind == kinds.CONTENT_TYPE:
        head.content_type = value
        head.lines.append(line)
    elif kind == kinds.CONNECTION:
        lower = value.lower()
        if lower != b"keep-alive":
            words = {word.strip(b" \t") for word in lower.split(b",")}
            if b"close" in words:
                head.keep_alive = False
            return (named or set()) | words - {b"close", b"keep-alive", b""}
    elif kind == kinds.TRANSFER_ENCODING:
        if head.chunked:
            raise InvalidAnswer("transfer_encoding")
        head.chunked = True
    elif kind == kinds.DATE:
        head.dated = True
        head.lines.append(line)
    elif kind == kinds.LIMIT:
        head.limit_lines += line
    elif kind == kinds.VIA:
        head.via = b"%b, %b" % (head.via, value) if head.via else value
    return named
