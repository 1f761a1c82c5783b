"""Which calls are the same, and what settles one (SPEC section 6, payments.md section 3): the caller's key,
the request's fingerprint, the verdict of an answer. Pure; the exchange claims, sends and settles.

A key is 1 to 255 visible ASCII characters. Where several values make one, each is such, and they are joined
so that no two lists of values make the same key. A body that could be read in two ways is refused: which of
two order numbers counts is the service's guess, not ours. Where a verdict is in doubt the record stays open:
one that is freed wrongly is a second payment, one that stays open is a question.
"""

import re
from hashlib import sha256
from typing import Final
from urllib.parse import unquote_to_bytes

from faregate.kernel import canonical_json
from faregate.kernel.json_pointer import ABSENT, find
from faregate.kernel.problems import Refusal
from faregate.kernel.strict_json import DoubledError, JsonValue, decode_object, decode_value
from faregate.snapshot.idempotency import AnswerRule, Idempotency
from faregate.stores.ledger.protocol import COMPLETED, RELEASED, UNKNOWN

_FINGERPRINT: Final = b"faregate-idem-1"
_FORM: Final = b"application/x-www-form-urlencoded"
_INTEGER_MAX: Final = 10**64
_MEDIA_TYPES_MAX: Final = 256
_MEDIA_TYPE_BYTES_MAX: Final = 256
_media_types: Final[dict[bytes, bytes]] = {}
"""By what came as ``Content-Type``: a service's callers write a few."""

# What a caller can mend differs by cause, and ``parameter`` names the place anyway.
_DETAILS: Final = {
    "key_body_doubled": "A name stands twice in the body that holds the idempotency key.",
    "key_body_unreadable": "The body that holds the idempotency key is not one JSON object, or not a form.",
    "key_value": "The idempotency key is no text of 1 to 255 visible ASCII characters and no whole number.",
    "key_value_missing": "Several values make the idempotency key; the request carries only some of them.",
}

# Item, a String (RFC 8941 section 3.3.3) without parameters; or bare, as most SDKs send it
_VISIBLE: Final = bytes(range(0x21, 0x7F))
KEY_BYTES_MAX: Final = 255
QUOTE: Final = 0x22
_plainly_quoted: Final = re.compile(rb'"([!#-\[\]-~]{1,255})"').fullmatch
_quoted: Final = re.compile(rb'"((?:[!#-\[\]-~]|\\["\\]){1,255})"').fullmatch
_value: Final = re.compile(r"[!-~]{1,255}").fullmatch
_bad_percent: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})").search


class Keying:
    """How one route reads keys. ``header``: in lower case, empty where the key stands in the body;
    ``needs_body``: the reverse.
    """

    __slots__ = ("_fields", "_name", "_pointers", "header", "needs_body", "required")

    def __init__(self, idempotency: Idempotency) -> None:
        self.required = idempotency.required
        self.header = idempotency.header
        self.needs_body = not idempotency.header
        self._pointers = idempotency.pointers
        self._fields = idempotency.form
        in_body = ", ".join(idempotency.pointers or idempotency.form)
        self._name = in_body or idempotency.header.decode("ascii")

    def head_key(self, value: bytes | None) -> bytes | None:
        """The key in a header's value, unquoted; None when there is none. Raises ``Refusal``."""
        if value is None:
            return None
        if (
            0 < len(value) <= KEY_BYTES_MAX
            and value[0] != QUOTE
            and not value.translate(None, _VISIBLE)  # four times quicker than a pattern
        ):
            return value
        match = _plainly_quoted(value)
        if match is not None:
            plain: bytes = match[1]
            return plain
        match = _quoted(value)
        if match is None:
            raise self._invalid("key_syntax")
        key: bytes = match[1]
        return key.replace(b'\\"', b'"').replace(b"\\\\", b"\\")

    def body_key(self, body: bytes, content_type: bytes) -> bytes | None:
        """The key in a whole body; None when it holds nothing of it. Raises ``Refusal``."""
        if not body:
            return None
        values = self._from_json(body) if self._pointers else self._from_form(body, content_type)
        present = [value for value in values if value is not None]
        if not present:
            return None
        if len(present) < len(values):
            raise self._invalid("key_value_missing")
        return join(present)

    def missing(self) -> Refusal:
        """What a call without a key gets where one is required."""
        return Refusal("idempotency_key_missing", reason="key_missing", parameter=self._name)

    def _invalid(self, reason: str) -> Refusal:
        return Refusal(
            "idempotency_key_invalid", reason=reason, parameter=self._name, detail=_DETAILS.get(reason, "")
        )

    def _from_json(self, body: bytes) -> list[bytes | None]:
        try:
            document = decode_object(body)
        except DoubledError:
            raise self._invalid("key_body_doubled") from None
        except ValueError:
            raise self._invalid("key_body_unreadable") from None
        return [self._text(find(document, pointer)) for pointer in self._pointers]

    def _from_form(self, body: bytes, content_type: bytes) -> list[bytes | None]:
        if media_type(content_type) != _FORM:
            raise self._invalid("key_body_unreadable")
        try:
            found = _form(body)
        except DoubledError:
            raise self._invalid("key_body_doubled") from None
        except ValueError:
            raise self._invalid("key_body_unreadable") from None
        return [self._text(found.get(field, ABSENT)) for field in self._fields]

    def _text(self, value: object) -> bytes | None:
        if value is ABSENT:
            return None
        if type(value) is int and -_INTEGER_MAX < value < _INTEGER_MAX:
            return b"%d" % value
        if not isinstance(value, str) or _value(value) is None:
            raise self._invalid("key_value")
        return value.encode()


def join(values: list[bytes]) -> bytes:
    """One value stands for itself; several are written with their lengths, ``3:abc,1:d,``."""
    if len(values) == 1:
        return values[0]
    return b"".join([b"%d:%b," % (len(value), value) for value in values])


def fingerprint(  # noqa: PLR0913, PLR0917 - the lines of what is hashed
    method: bytes,
    path: str,
    target: bytes,
    content_type: bytes,
    version: str,
    body: bytes,
    covers: tuple[str, ...] = (),
) -> bytes:
    """32 bytes, equal for two requests that ask for the same; no credential, signature or other header is
    part of it. ``path``: normalised; ``target``: as received; ``covers``: JSON pointers whose values count in
    place of the whole body, for clients that sign each try anew.
    """
    question = target.find(b"?")
    query = b"" if question < 0 else target[question + 1 :]
    if query.find(b"&") >= 0:
        query = _sorted(query)
    counted = _chosen(body, covers) if covers else body
    lines = b"%b\n%b\n%b\n%b\n%b\n%b\n%b" % (
        _FINGERPRINT,
        method,
        path.encode(),
        query,
        _media_types.get(content_type) or _learned(content_type),
        version.encode(),
        sha256(counted).hexdigest().encode(),
    )
    return sha256(lines).digest()


def _learned(content_type: bytes) -> bytes:
    if len(_media_types) >= _MEDIA_TYPES_MAX:
        _media_types.clear()
    known = media_type(content_type)
    if len(content_type) <= _MEDIA_TYPE_BYTES_MAX:
        _media_types[content_type] = known
    return known


def media_type(content_type: bytes) -> bytes:
    """In lower case, without parameters."""
    end = content_type.find(b";")
    if end >= 0:
        content_type = content_type[:end]
    return content_type.strip(b" \t").lower()


def _sorted(query: bytes) -> bytes:
    """Its pairs as received, by name, then by value."""
    pairs = []
    for part in query.split(b"&"):
        name, _, value = part.partition(b"=")
        pairs.append((name, value, part))
    pairs.sort()
    return b"&".join([pair[2] for pair in pairs])


def _chosen(body: bytes, covers: tuple[str, ...]) -> bytes:
    """One line per pointer. A body that cannot be read one way only, or is too deep, counts whole, behind a
    word that no line begins with: two bodies are never taken for one.
    """
    try:
        document = decode_object(body)
        lines = [_line(pointer, find(document, pointer)) for pointer in covers]
    except (ValueError, RecursionError):
        return b"whole\n" + body
    return "\n".join(lines).encode()


def _line(pointer: str, value: object) -> str:
    return canonical_json.encode([pointer] if value is ABSENT else [pointer, value])


def verdict(idempotency: Idempotency, status: int, body: bytes, content_type: bytes) -> int:
    """What a complete answer settles: COMPLETED, RELEASED or UNKNOWN. ``body``: without content coding; read
    only where the route says that a body may mean "in progress".
    """
    if status in idempotency.no_verdict:
        return UNKNOWN
    rule = idempotency.in_progress
    if rule is not None and applies(rule, status, body, content_type):
        return UNKNOWN
    if status in idempotency.not_run:
        return RELEASED
    if idempotency.stores_all or status < 400:
        return COMPLETED
    return RELEASED if status < 500 else UNKNOWN


def applies(rule: AnswerRule, status: int, body: bytes, content_type: bytes) -> bool:
    """Whether an answer is as ``rule`` says. A form is read as an object of texts, all else as JSON; a body
    that is neither, or has a member twice, matches no rule that looks into it.
    """
    if rule.statuses and status not in rule.statuses:
        return False
    if rule.pointer is None:
        return True
    try:
        value = find(_document(body, content_type), rule.pointer)
    except ValueError:
        return False
    if not rule.values:
        told = value is not ABSENT and value is not None and value not in ("", [], {})
        return told and (bool(rule.pointer) or not _lists_nothing(value))
    for wanted in rule.values:  # noqa: SIM110 - compiled, a generator costs more
        if type(value) is type(wanted) and value == wanted:
            return True
    return False


def _lists_nothing(value: object) -> bool:
    """Whether a whole document is the page of a search that found nothing: ``{"data":[]}``."""
    if not isinstance(value, dict):
        return False
    lists = [member for member in value.values() if isinstance(member, list)]
    return bool(lists) and not any(lists)


def _document(body: bytes, content_type: bytes) -> JsonValue:
    if media_type(content_type) != _FORM:
        return decode_value(body)
    return {**_form(body)}


def _form(body: bytes) -> dict[str, str]:
    """A form's fields; bytes that are not UTF-8 stand as they can. Raises ``ValueError`` for a field that
    stands twice, or a ``%`` without two digits.
    """
    if b"%" in body and _bad_percent(body) is not None:
        raise ValueError("not a form")
    found: dict[str, str] = {}
    for part in body.split(b"&"):
        if not part:
            continue
        name, _, value = part.partition(b"=")
        field = _decoded(name)
        if field in found:
            raise DoubledError("a field stands twice")
        found[field] = _decoded(value)
    return found


def _decoded(part: bytes) -> str:
    return unquote_to_bytes(part.replace(b"+", b" ")).decode("utf-8", "surrogateescape")
