"""Requests and answers carried from one version's form into another's: what of their heads follows from that.

``policies.transform`` changes bodies and lines; here stand the length, the coding and the digests that a
changed body has no more. Only whole bodies come here.
"""

from typing import TYPE_CHECKING, Final

from faregate.gateway.http1.response import ResponseHead
from faregate.kernel.problems import Refusal
from faregate.policies.transform.step import BODY_BYTES_MAX, Carried, changed_body, changed_lines, is_json
from faregate.records.stored_answer import plain_body

if TYPE_CHECKING:
    from faregate.gateway.http1.request import Fields

_OF_THE_BYTES: Final = frozenset((b"content-digest", b"repr-digest", b"digest", b"content-md5"))
"""What says something of the body's own bytes."""
_ANSWERS: Final = range(200, 300)


class NotCarried(Exception):  # noqa: N818 - what it is
    """An answer that cannot be brought into the caller's form; ``args[0]`` is the reason word."""


def carried_request(fields: "Fields", body: bytes, carried: Carried) -> "tuple[Fields, bytes]":
    """The facts and the body that go upstream; those that came where nothing applies. Raises ``Refusal``."""
    made = body
    if body and carried.request_body and is_json(fields.content_type):
        lines = fields.lines if fields.base is None else fields.base.lines
        if any(_name(line) == b"content-encoding" for line in lines):
            raise Refusal("validation_failed", reason="body_encoded", parameter="Content-Encoding")
        try:
            made = changed_body(body, carried.request_body)
        except ValueError:
            raise Refusal("validation_failed", reason="body_not_json", parameter="body") from None
    base = fields if fields.base is None else fields.base
    lines = base.lines
    key = fields.idempotency_key
    if fields.base is not None and key is not None:
        lines = [*lines, b"Idempotency-Key: %b\r\n" % key]  # it was told apart from the others
    kept = changed_lines(lines, carried.request_headers)
    answers_are_read = bool(carried.response_body)
    if made is body and kept is lines and not answers_are_read:
        return fields, body
    if made is not body:
        kept = [line for line in kept if _name(line) not in _OF_THE_BYTES]
    if answers_are_read:  # an answer that comes encoded would have to be decoded
        before = len(kept)
        plain = [line for line in kept if _name(line) != b"accept-encoding"]
        if made is body and kept is lines and len(plain) == before:
            return fields, body
        kept = plain
    own = base.with_credential(fields.raw, None, None)
    own.idempotency_key = key
    own.lines = kept
    own.passed = b"Host: %b\r\n%b" % (own.host, b"".join(kept))
    if made is not body:
        own.chunked = False
        own.content_length = len(made)
    return own, made


def concerns(head: ResponseHead, carried: Carried) -> bool:
    """Whether the body of such an answer is changed: successes in JSON are."""
    return bool(carried.response_body) and head.status in _ANSWERS and is_json(head.content_type)


def carried_answer(head: ResponseHead, body: bytes, carried: Carried) -> tuple[ResponseHead, bytes]:
    """Head and body as the caller gets them; those that came where nothing applies. Raises ``NotCarried``."""
    made = body
    coding = b""
    if body and concerns(head, carried):
        coding = next((_value(line) for line in head.lines if _name(line) == b"content-encoding"), b"")
        plain = plain_body(body, coding)
        if plain is None or len(plain) > BODY_BYTES_MAX:
            raise NotCarried("answer_encoded" if plain is None else "answer_too_long")
        try:
            changed = changed_body(plain, carried.response_body)
        except ValueError:
            raise NotCarried("answer_not_json") from None
        if changed is not plain:
            made = changed
    lines = changed_lines(head.lines, carried.response_headers) if head.status in _ANSWERS else head.lines
    if not body and head.content_length > 0 and concerns(head, carried):  # of a HEAD: the other form's length
        lines = [line for line in lines if _name(line) != b"content-length"]
    if made is body and lines is head.lines:
        return head, body
    if made is not body:
        gone = _OF_THE_BYTES | {b"content-length", b"content-encoding"}
        lines = [line for line in lines if _name(line) not in gone]
        lines.append(b"Content-Length: %d\r\n" % len(made))
    own = ResponseHead(head.raw, head.status, keep_alive=head.keep_alive)
    own.lines = lines
    own.content_length = len(made) if made is not body else head.content_length
    own.content_type = head.content_type
    own.dated = head.dated
    own.limit_lines = head.limit_lines
    own.via = head.via
    own.bodiless = head.bodiless
    own.common = head.common
    own.chunked = head.chunked and made is body
    own.passed = head.passed[: head.passed.find(b"\r\n") + 2] + b"".join(lines)
    return own, made


def _name(line: bytes) -> bytes:
    return line.partition(b":")[0].lower()


def _value(line: bytes) -> bytes:
    return line.partition(b":")[2].strip(b" \t\r\n")
