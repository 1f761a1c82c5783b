"""A second reader of HTTP/1.1, written from RFC 9112 alone: slow, strict, without any state between messages.

The fuzz targets hold the gateway against it: what the gateway passes on must be what this reader reads. It may take what the gateway
refuses, never the other way round.
"""

import re
from dataclasses import dataclass
from typing import Final

_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_REQUEST: Final = re.compile(rb"(" + _TOKEN + rb") ([\x21-\x7e]+) HTTP/1\.([01])")
_STATUS: Final = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: [\t\x20-\x7e\x80-\xff]*)?")
_FIELD: Final = re.compile(
    rb"("
    + _TOKEN
    + rb"):[ \t]*((?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?)[ \t]*"
)
_CHUNK: Final = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?")
_NUMBER: Final = re.compile(rb"(?:0|[1-9][0-9]{0,15})")  # fmt: skip


class NotHttp(Exception):  # noqa: N818 - what it is
    """These bytes are no message."""


class Cut(Exception):  # noqa: N818 - what it is
    """The bytes end inside a message."""


@dataclass(frozen=True)
class Message:
    """``first``: method, target, minor version; or minor version, status. ``fields``: names in lower case."""

    first: tuple[bytes, ...]
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes
    until_close: bool = False

    def all(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.fields if key == name]


def _head(
    data: bytes, start: "re.Pattern[bytes]"
) -> tuple[tuple[bytes, ...], tuple[tuple[bytes, bytes], ...], bytes]:
    if re.search(rb"(?<!\r)\n|\r(?!\n)", data.partition(b"\r\n\r\n")[0] + b"\r\n"):
        raise NotHttp("bare CR or LF")
    head, end, rest = data.partition(b"\r\n\r\n")
    if not end:
        raise Cut("head")
    first, *lines = head.split(b"\r\n")
    match = start.fullmatch(first)
    if match is None:
        raise NotHttp("start line")
    return match.groups(), _fields(lines), rest


def _fields(lines: list[bytes]) -> tuple[tuple[bytes, bytes], ...]:
    found = []
    for line in lines:
        match = _FIELD.fullmatch(line)
        if match is None:
            raise NotHttp("field line")
        found.append((match[1].lower(), match[2]))
    return tuple(found)


def _framing(fields: tuple[tuple[bytes, bytes], ...]) -> int | None:
    """The body's length, -1 for chunked, None when nothing says. Raises NotHttp on anything in two minds."""
    lengths = [value for name, value in fields if name == b"content-length"]
    codings = [value for name, value in fields if name == b"transfer-encoding"]
    if codings:
        if lengths or [coding.lower() for coding in codings] != [b"chunked"]:
            raise NotHttp("framing")
        return -1
    if not lengths:
        return None
    if len(lengths) > 1 or _NUMBER.fullmatch(lengths[0]) is None:
        raise NotHttp("length")
    return int(lengths[0])


def read_chunks(data: bytes) -> tuple[bytes, bytes]:
    """Body and rest of a chunked body. Raises NotHttp or Cut."""
    body = bytearray()
    while True:
        line, end, data = data.partition(b"\r\n")
        if not end:
            raise Cut("size")
        match = _CHUNK.fullmatch(line)
        if match is None:
            raise NotHttp("size")
        size = int(match[1], 16)
        if not size:
            break
        if len(data) < size + 2:
            raise Cut("chunk")
        if data[size : size + 2] != b"\r\n":
            raise NotHttp("chunk end")
        body += data[:size]
        data = data[size + 2 :]
    while True:
        line, end, data = data.partition(b"\r\n")
        if not end:
            raise Cut("trailers")
        if not line:
            return bytes(body), data
        _fields([line])


def read_request(data: bytes) -> tuple[Message, bytes]:
    """The first request and what follows it. Raises NotHttp or Cut."""
    first, fields, rest = _head(data.removeprefix(b"\r\n"), _REQUEST)
    hosts = [value for name, value in fields if name == b"host"]
    if len(hosts) != 1 or not hosts[0]:
        raise NotHttp("host")
    length = _framing(fields)
    if length == -1:
        if first[2] == b"0":
            raise NotHttp("coding in 1.0")
        body, rest = read_chunks(rest)
        return Message(first, fields, body), rest
    if len(rest) < (length or 0):
        raise Cut("body")
    return Message(first, fields, rest[: length or 0]), rest[length or 0 :]


def read_requests(data: bytes) -> list[Message]:
    """All whole requests from the start, up to the first byte that is none."""
    messages = []
    try:
        while data:
            message, data = read_request(data)
            messages.append(message)
    except (NotHttp, Cut):
        pass
    return messages


def read_answer(data: bytes, method: bytes, *, clean_end: bool) -> tuple[Message, bytes]:
    """The first final answer and what follows it. ``clean_end``: the bytes ended by FIN. Raises NotHttp or Cut."""
    while True:
        first, fields, rest = _head(data, _STATUS)
        status = int(first[1])
        if status >= 200:
            break
        data = rest
    length = _framing(fields)
    if method == b"HEAD" or status in {204, 304}:
        return Message(first, fields, b""), rest
    if length == -1:
        if first[0] == b"0":
            raise NotHttp("coding in 1.0")
        body, rest = read_chunks(rest)
        return Message(first, fields, body), rest
    if length is None:
        if status == 205:
            return Message(first, fields, b""), rest
        if not clean_end:
            raise Cut("until close")
        return Message(first, fields, rest, until_close=True), b""
    if len(rest) < length:
        raise Cut("body")
    return Message(first, fields, rest[:length]), rest[length:]
