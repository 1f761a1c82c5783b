"""Bodies as the log may show them: masked text, or no more than their length and digest.

JSON and forms are masked by field name and by content, plain text by content. Whatever cannot be read for
certain (cut at the capture cap, compressed, not text, unparsable, another media type) is not shown: an unread
body cannot be masked. So is a body on which the masker itself fails. JSON is written again token by token
from its parsed form, numbers as they were spelt and double members kept, without spaces.
"""

import hashlib
import json
from collections.abc import Iterable
from json.encoder import encode_basestring_ascii as quoted
from typing import Final, NoReturn, TypeAlias
from urllib.parse import quote_plus, unquote_plus

from faregate.kernel.secrets import MASK
from faregate.records.masking import fold, keyed_digest, mask_by_name, mask_card_value, mask_text

BODY_BYTES_MAX: Final = 64 << 10
"""The capture cap: a longer body is logged by length and digest only."""

_COMPRESSED: Final = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd")
"""How gzip and zstd begin; what else is compressed is no text either."""
_DEPTH_MAX: Final = 64
_CARD_SIBLINGS: Final = frozenset(
    {"cvv", "cvc", "cvv2", "cvn2", "csc", "expmonth", "expyear", "expiry", "expired"}
)


class _JsonNumber(str):
    """A number as it was spelt: parsing it would change what the log shows."""

    __slots__ = ()


class _Members:
    """A JSON object with its members in order, double ones included."""

    __slots__ = ("pairs",)

    def __init__(self, pairs: "list[tuple[str, _Json]]") -> None:
        self.pairs = pairs


_Json: TypeAlias = "str | bool | list[_Json] | _Members | None"


class Unreadable(Exception):  # noqa: N818 - says why a body is withheld, nothing failed
    """A body that is not shown; the argument is the reason, in lower_snake_case."""


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


_parse: Final = json.JSONDecoder(
    object_pairs_hook=_Members,
    parse_float=_JsonNumber,
    parse_int=_JsonNumber,
    parse_constant=_refuse_constant,
).decode


def _write(value: "_Json", name: str, out: list[str], depth: int) -> None:
    """Appends the masked JSON of ``value``, a member called ``name`` (empty when its name says nothing)."""
    if depth > _DEPTH_MAX:
        raise Unreadable("nested_too_deep")
    if isinstance(value, _Members):
        _write_object(value, name, out, depth)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            out.append("," if index else "[")
            _write(item, name, out, depth + 1)
        out.append("]" if value else "[]")
    elif isinstance(value, str):
        masked = _mask_value(name, value, depth)
        out.append(masked if masked == value and isinstance(value, _JsonNumber) else quoted(masked))
    elif value is None:
        out.append("null")
    elif name and mask_by_name(name, "") is not None:
        out.append(quoted(MASK))
    else:
        out.append("true" if value else "false")


def _write_object(members: _Members, name: str, out: list[str], depth: int) -> None:
    cards = _has_card_context(name, (member for member, _ in members.pairs))
    separator = "{"
    for member, item in members.pairs:
        # A name that masks reaches into whatever stands below it: {"cvv": {"value": "123"}}.
        inherited = name if name and mask_by_name(name, "") is not None else member
        if cards and fold(member) == "number":
            inherited = "pan"
        out.append(f"{separator}{quoted(mask_text(member))}:")
        _write(item, inherited, out, depth + 1)
        separator = ","
    out.append("}" if members.pairs else "{}")


def _has_card_context(name: str, members: Iterable[str]) -> bool:
    return "card" in name.lower() or not _CARD_SIBLINGS.isdisjoint(map(fold, members))


def _mask_value(name: str, value: str, depth: int) -> str:
    by_name = mask_by_name(name, value) if name and value else None
    if by_name is not None:
        return by_name
    if value[:1] in ("{", "["):  # JSON within JSON, as webhooks and notifications carry it
        try:
            return _mask_json(value, depth + 1)
        except Unreadable:
            return MASK
    return mask_text(value)


def _mask_json(text: str, depth: int = 0) -> str:
    try:
        value = _parse(text)
    except (ValueError, RecursionError):
        raise Unreadable("unparsable") from None
    out: list[str] = []
    _write(value, "", out, depth)
    return "".join(out)


def _mask_form(text: str) -> str:
    pairs = [pair.partition("=") for pair in text.split("&")]
    names = [unquote_plus(name) for name, _, _ in pairs]
    leaves = [name.replace("]", "").replace("[", ".").rpartition(".")[2] for name in names]
    cards = _has_card_context("", leaves)
    written = []
    for (name, equals, value), plain_name, leaf in zip(pairs, names, leaves, strict=True):
        plain = unquote_plus(value)
        is_card = fold(leaf) == "number" and (cards or "card" in plain_name.lower())
        masked = mask_card_value(plain) if is_card else _mask_value(leaf, plain, 0)
        shown_value = value if masked == plain else quote_plus(masked, safe="*")
        masked_name = mask_text(plain_name)
        written.append(
            f"{name if masked_name == plain_name else quote_plus(masked_name, safe='*')}{equals}{shown_value}"
        )
    return "&".join(written)


def _mask_known(body: bytes, media_type: str) -> str:
    """The masked text of a whole body. Raises Unreadable."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise Unreadable("not_text") from None
    if any(character < " " and character not in "\t\r\n" for character in text):
        raise Unreadable("not_text")
    is_json = media_type == "application/json" or media_type.endswith("+json")
    if is_json or (media_type in ("", "text/plain") and text.lstrip()[:1] in ("{", "[")):
        return _mask_json(text)
    if media_type == "application/x-www-form-urlencoded":
        return _mask_form(text)
    if media_type == "text/plain":
        return mask_text(text)
    raise Unreadable("media_type")


class CapturedBody:
    """A body as a call kept it: the first bytes, the whole length, and its declared type."""

    __slots__ = ("body", "bytes_total", "content_type")

    def __init__(self, body: bytes, bytes_total: int, content_type: bytes) -> None:
        self.body = body
        self.bytes_total = max(bytes_total, len(body))
        self.content_type = content_type


def render_body(captured: CapturedBody, digest_key: bytes | None = None) -> str:
    """JSON for the log: a string, the masked body; or an object, why it is withheld with its length and
    digest.

    ``digest_key`` makes the digest a keyed one, which nobody can invert by guessing short bodies. Never
    raises.
    """
    try:
        return quoted(_shown(captured))
    except Unreadable as reason:
        return _withheld(captured, str(reason), digest_key)
    except Exception:  # noqa: BLE001 - fail closed: nothing of the body, not even its digest (payments.md section 7.2)
        return f'{{"withheld":"masker_failed","length":{captured.bytes_total}}}'


def _shown(captured: CapturedBody) -> str:
    if captured.bytes_total > len(captured.body) or len(captured.body) > BODY_BYTES_MAX:
        raise Unreadable("over_cap")
    if captured.body.startswith(_COMPRESSED):
        raise Unreadable("compressed")
    media_type = captured.content_type.partition(b";")[0].strip().lower().decode("latin-1")
    return _mask_known(captured.body, media_type)


def _withheld(captured: CapturedBody, reason: str, digest_key: bytes | None) -> str:
    body = captured.body[:BODY_BYTES_MAX]
    name = "sha256" if digest_key is None else "hmac_sha256"
    digest = hashlib.sha256(body).hexdigest() if digest_key is None else keyed_digest(digest_key, body)
    captured_bytes = f',"captured":{len(body)}' if len(body) < captured.bytes_total else ""
    return f'{{"withheld":"{reason}","length":{captured.bytes_total}{captured_bytes},"{name}":"{digest}"}}'
