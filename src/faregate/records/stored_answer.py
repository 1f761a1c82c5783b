"""What of an answer is kept to be told again, and its form before it is sealed.

A repeat gets the status, an allow-list of fields and the exact bytes (payments.md section 3.7). What belongs
to one connection or one call (``Date``, ``X-Request-Id``, framing, cookies) is never kept: the repeat has its
own. An answer that shows card data, or cannot be looked into, is not kept at all: masked it would no longer
be the same answer, and a card's security code may not be stored even encrypted (PCI DSS 4.0.1 requirement
3.3.1). Sealing is left to ``stores.ledger.sealing``, whether to keep to the exchange.
"""

import re
import struct
import zlib
from collections.abc import Collection, Iterable
from typing import Final, NamedTuple

from faregate.kernel.strict_json import DoubledError, decode_value
from faregate.records.masking import SENSITIVE_NAMES, fold
from faregate.records.recognise import CARD_DIGITS_MAX, mask_cards

BODY_BYTES_MAX: Final = 64 << 10
"""Of the body of an answer that is kept."""
HEAD_BYTES_MAX: Final = 12 << 10
"""Of its fields; both and the seal lie within ``ANSWER_BYTES_MAX`` of the ledger."""

_KEPT: Final = frozenset(
    (
        b"content-type", b"content-encoding", b"content-language", b"content-location",
        b"content-disposition", b"content-digest", b"repr-digest", b"location", b"etag", b"last-modified",
        b"grpc-status", b"grpc-message", b"grpc-status-details-bin",
    )
)  # fmt: skip
_REQUEST_ID: Final = b"request-id"
NEVER_KEPT: Final = frozenset(
    (
        b"connection", b"content-length", b"date", b"idempotent-replayed", b"keep-alive",
        b"proxy-authenticate", b"proxy-connection", b"retry-after", b"server", b"set-cookie", b"te",
        b"traceparent", b"tracestate", b"trailer", b"transfer-encoding", b"upgrade", b"via",
        b"www-authenticate", b"x-request-id",
    )
)  # fmt: skip
"""Fields of one call or one connection, whatever the configuration lists."""

_FORM: Final = 1
_PREFIX: Final = struct.Struct("!BHI")
_UNPACKED_BYTES_MAX: Final = 1 << 20
_DEPTH_MAX: Final = 64
# A cheap look first, as in ``records.suspicion``: where thirteen digits, spaces or dashes stand in a row, and
# what every name of sensitive data holds (``_tells``), or a name or number that is spelt otherwise. One view
# serves both: letters in lower case, what a number is written with as 0.
_VIEW: Final = bytes(
    0x30
    if chr(byte) in "0123456789 -"
    else byte | 0x20
    if chr(byte).isascii() and chr(byte).isupper()
    else byte
    for byte in range(256)
)
_RUN: Final = "0" * 13
_beside_run: Final = re.compile("[^0]").search
_LINES_KNOWN_MAX: Final = 512
_LINE_BYTES_KNOWN_MAX: Final = 256
_kept_lines: Final[dict[bytes, bool]] = {}
"""Field lines met before, and whether they are among the usual ones that are kept."""
_NAMED: Final = re.compile(r"([A-Za-z][A-Za-z0-9 _-]{1,40})\]?[\"']?\s{0,4}[=:>]\s{0,4}[\"']?[^\s\"'&,;<>{}]")


class StoredAnswer(NamedTuple):
    """``head``: field lines, each ended by CRLF; ``body``: the exact bytes."""

    status: int
    head: bytes
    body: bytes


def pack_answer(status: int, lines: Iterable[bytes], body: bytes, more: Collection[bytes] = ()) -> bytes:
    """An answer as it is kept; empty when it is too large for that.

    ``lines``: the answer's fields, each ended by CRLF. ``more``: names, lower case, kept besides the usual
    ones.
    """
    if more:
        head = b"".join([line for line in lines if _is_kept(line, more)])
    else:
        head = b""
        for line in lines:
            kept = _kept_lines.get(line)
            if kept is None:
                kept = _learned(line)
            if kept:
                head += line
    if len(head) > HEAD_BYTES_MAX or len(body) > BODY_BYTES_MAX:
        return b""
    return _PREFIX.pack(_FORM, status, len(head)) + head + body


def unpack_answer(kept: bytes) -> StoredAnswer:
    """What ``pack_answer`` made. Raises ValueError on anything else."""
    status, head, body = answer_parts(kept)
    return StoredAnswer(status, head, body)


def answer_parts(kept: bytes) -> tuple[int, bytes, bytes]:
    """Status, head and body of the same, for each repeat: a named tuple costs what all the rest does."""
    if len(kept) < _PREFIX.size:
        raise ValueError("a stored answer that is cut short")
    form, status, head_bytes = _PREFIX.unpack_from(kept)
    end = _PREFIX.size + head_bytes
    if form != _FORM or end > len(kept):
        raise ValueError("a stored answer of another form")
    return status, kept[_PREFIX.size : end], kept[end:]


def field_of(head: bytes, name: bytes) -> bytes:
    """The value of the first field ``name`` (lower case) of a stored head; empty when there is none."""
    for line in head.split(b"\r\n"):
        found, colon, value = line.partition(b":")
        if colon and found.lower() == name:
            return value.strip(b" \t")
    return b""


def shows_card_data(body: bytes, encoding: bytes = b"") -> bool:
    """Whether a body shows a card number or names sensitive authentication data, or may for all that can be
    read of it. ``encoding``: its ``Content-Encoding``.

    A body that holds nothing is passed over in a microsecond or two.
    """
    if encoding:
        plain = plain_body(body, encoding)
        if plain is None:
            return True
        body = plain
    view = body.translate(_VIEW).decode("latin-1")
    digits = _RUN in view and _may_hold_card(body, view)
    telling = _tells(view)
    if not digits and not telling:
        return False
    text = body.decode("utf-8", "replace")
    if digits and mask_cards(text) != text:
        return True
    return telling and _names_card_data(body, text)


def _names_card_data(body: bytes, text: str) -> bool:
    try:
        value = decode_value(body)
    except DoubledError:
        return True  # which of the two a reader takes is not known
    except (ValueError, RecursionError):
        return any(_is_sensitive(match[1]) for match in _NAMED.finditer(text))
    return _shows(value, 0)


def _learned(line: bytes) -> bool:
    kept = _is_kept(line, ())
    if len(_kept_lines) >= _LINES_KNOWN_MAX:
        _kept_lines.clear()
    if len(line) <= _LINE_BYTES_KNOWN_MAX:
        _kept_lines[line] = kept
    return kept


def _is_kept(line: bytes, more: Collection[bytes]) -> bool:
    name = line[: max(0, line.find(b":"))].lower()
    if name in NEVER_KEPT:
        return False
    return name in _KEPT or name.endswith(_REQUEST_ID) or name in more


def plain_body(body: bytes, encoding: bytes) -> bytes | None:
    """The body without gzip or deflate; None for another coding, a broken one, or more than a mebibyte.
    ``encoding``: its ``Content-Encoding``, empty for none.
    """
    encoding = encoding.lower()
    if encoding in {b"", b"identity"}:
        return body
    if encoding not in {b"gzip", b"x-gzip", b"deflate"}:
        return None
    reader = zlib.decompressobj(zlib.MAX_WBITS | 32)
    try:
        unpacked = reader.decompress(body, _UNPACKED_BYTES_MAX)
    except zlib.error:
        return None
    return unpacked if reader.eof and not reader.unused_data else None


def _may_hold_card(body: bytes, view: str) -> bool:
    """Whether enough digits stand in a row, besides unbroken numbers that are longer than any card's."""
    begin = view.find(_RUN)
    while begin >= 0:
        other = _beside_run(view, begin)
        end = len(view) if other is None else other.start()
        run = body[begin:end].strip(b" -")
        if len(run) <= CARD_DIGITS_MAX or not run.isdigit():
            return True
        begin = view.find(_RUN, end)
    return False


def _tells(view: str) -> bool:
    """Words with a letter that is rare are looked for where that is, which is found ten times quicker. As
    text, for in bytes ``in`` asks first whether it is a number, and ``find`` makes a tuple.
    """
    if "%" in view or "pin" in view or "csc" in view or "secur" in view or ("k" in view and "track" in view):
        return True
    if "v" in view and ("cav" in view or "verif" in view or "cvv" in view or "cvc" in view or "cvn" in view):
        return True
    return "\\" in view and ("\\u" in view or "\\/" in view)


def _is_sensitive(name: str) -> bool:
    return fold(name) in SENSITIVE_NAMES


def _shows(value: object, depth: int) -> bool:
    """Whether a JSON value shows card data once its escapes are undone; too deep counts as yes."""
    if depth > _DEPTH_MAX:
        return True
    if isinstance(value, str):
        return mask_cards(value) != value
    if isinstance(value, list):
        return any(_shows(item, depth + 1) for item in value)
    if isinstance(value, dict):
        return any(
            (_is_sensitive(name) and item not in (None, "", [], {})) or _shows(item, depth + 1)
            for name, item in value.items()
        )
    return False
