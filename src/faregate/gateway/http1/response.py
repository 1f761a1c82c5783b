"""A response head from bytes to facts, or an invalid answer (http-rules.md W09, W10).

The upstream is as hostile as anyone: its head obeys the same rules, and whatever breaks them is one exception with a
reason word, which the exchange turns into 502. ``ResponseHead.lines`` are the fields that go to the caller.
"""

import re
from typing import Final

from faregate.gateway.http1 import fields as kinds
from faregate.gateway.http1.fields import RESPONSE_FIELDS
from faregate.gateway.http1.lines import LineError, LineMemory
from faregate.gateway.http1.request import LINE_BYTES_MAX
from faregate.gateway.http1.values import content_length
from faregate.kernel.problems import Refusal

_STATUS_LINE: Final = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: [\t -~\x80-\xff]*)?\r\n")


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
    """The facts of one head. ``lines``: status line first, then the fields to pass on, each ending in CRLF.

    ``content_length`` -1: none given. ``limit_lines``: the upstream's own rate-limit fields.
    """

    chunked: bool = False
    content_length: int = -1
    content_type: bytes = b""
    limit_lines: bytes = b""
    via: bytes = b""

    def __init__(self, status: int, lines: list[bytes], *, keep_alive: bool) -> None:
        self.status = status
        self.lines = lines
        self.keep_alive = keep_alive


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
    lines = [b"HTTP/1.1 %b\r\n" % raw[0][9:]]
    head = ResponseHead(int(match[2]), lines, keep_alive=minor)
    get = _memory.get
    unknown: list[bytes] | None = None
    named: set[bytes] | None = None
    for at in range(1, len(raw)):
        fact = get(raw[at])
        if fact is None:
            if unknown is None:
                unknown = []
            unknown.append(raw[at])
        elif fact[0]:
            named = _take(head, fact[0], fact[1], fact[2], named)
        else:
            lines.append(fact[1])
    if unknown is not None:
        try:
            learned = _memory.learn(unknown)
        except LineError as error:
            raise InvalidAnswer(str(error)) from None
        for kind, line, value in learned:
            if kind:
                named = _take(head, kind, line, value, named)
            else:
                lines.append(line)
    if head.chunked and (head.content_length >= 0 or not minor):
        raise InvalidAnswer("length_and_coding")
    if named:
        lines[1:] = [line for line in lines[1:] if line.partition(b":")[0].lower() not in named]
    return head


def _take(head: ResponseHead, kind: int, line: bytes, value: bytes, named: set[bytes] | None) -> set[bytes] | None:
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
    elif kind == kinds.LIMIT:
        head.limit_lines += line
    elif kind == kinds.VIA:
        head.via = b"%b, %b" % (head.via, value) if head.via else value
    return named
