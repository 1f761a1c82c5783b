"""Reads what a fake transport was given: whole requests or answers in a row, and whether the last one is whole.

Slow, simple and independent of the code under test, for the invariants of test_exchange_machine.
"""

import re
from typing import NamedTuple


class Message(NamedTuple):
    """One message on a wire. ``start``: its first line. ``whole``: head and body are complete."""

    start: bytes
    fields: dict[bytes, bytes]
    body: bytes
    whole: bool

    @property
    def request_id(self) -> bytes:
        return self.fields.get(b"x-request-id", b"")

    @property
    def status(self) -> int:
        return int(self.start.split(b" ")[1])


def read_requests(wire: bytes) -> list[Message]:
    """All requests on an upstream's wire; only the last may be cut."""
    messages = []
    while wire:
        message, wire = _read(wire, bodiless=False, until_close=False)
        messages.append(message)
    return messages


def read_answers(wire: bytes, methods: dict[bytes, bytes]) -> list[Message]:
    """All final answers on a caller's wire. ``methods``: by request id, to tell what has no body."""
    messages = []
    while wire:
        if re.match(rb"HTTP/1\.1 1[0-9][0-9] ", wire) and b"\r\n\r\n" in wire:
            wire = wire[wire.index(b"\r\n\r\n") + 4 :]
            continue
        head = wire.partition(b"\r\n\r\n")[0]
        found = re.search(rb"(?i)\r\nx-request-id: ([!-~]+)", head)
        bodiless = head[9:12] in {b"204", b"304"} or (found is not None and methods.get(found[1]) == b"HEAD")
        message, wire = _read(wire, bodiless=bodiless, until_close=True)
        messages.append(message)
    return messages


def _read(wire: bytes, *, bodiless: bool, until_close: bool) -> tuple[Message, bytes]:
    head, end, rest = wire.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    fields: dict[bytes, bytes] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(b": ")
        if not end:
            break
        assert colon, line
        lower = name.lower()
        assert lower not in fields or lower == b"via", f"{name!r} twice in {head!r}"
        fields[lower] = value
    if not end:
        return Message(lines[0], fields, b"", whole=False), b""
    if bodiless:
        return Message(lines[0], fields, b"", whole=True), rest
    if b"transfer-encoding" in fields:
        assert fields[b"transfer-encoding"] == b"chunked"
        assert b"content-length" not in fields
        return _read_chunked(lines[0], fields, rest)
    if b"content-length" in fields or not until_close:
        length = int(fields.get(b"content-length", b"0"))
        return Message(lines[0], fields, rest[:length], whole=len(rest) >= length), rest[length:]
    return Message(lines[0], fields, rest, whole=True), b""


def _read_chunked(start: bytes, fields: dict[bytes, bytes], wire: bytes) -> tuple[Message, bytes]:
    body = b""
    while True:
        size, end, rest = wire.partition(b"\r\n")
        if not end:
            return Message(start, fields, body, whole=False), b""
        length = int(size, 16)
        if length == 0:
            _trailers, end, rest = (b"\r\n" + rest).partition(b"\r\n\r\n")
            return Message(start, fields, body, whole=bool(end)), rest
        if len(rest) < length + 2:
            return Message(start, fields, body + rest[:length], whole=False), b""
        assert rest[length : length + 2] == b"\r\n"
        body += rest[:length]
        wire = rest[length + 2 :]
