"""What a record may show: card numbers, keys, tokens and values of telling names are masked on the way in."""

import re
from collections.abc import Mapping
from typing import Final

from faregate.records.masking import mask_by_name, mask_text
from faregate.records.recognise import mask_cards

_DEPTH_MAX: Final = 32
_HASHED: Final = re.compile(r"hmac:[0-9a-f]{64}")


def masked_text(text: str) -> str:
    """An actor or an object, which names somebody or something of ours: only card numbers are masked."""
    return mask_cards(text)


def masked_detail(detail: Mapping[str, object]) -> dict[str, object]:
    return {name: _masked(name, value, 0) for name, value in detail.items()}


def _masked(name: str, value: object, depth: int) -> object:
    if isinstance(value, str):
        return _masked_text(name, value)
    if depth >= _DEPTH_MAX:
        return value  # the record refuses it
    if isinstance(value, Mapping):
        return {inner: _masked(inner, member, depth + 1) for inner, member in value.items()}
    if isinstance(value, list | tuple):
        return [_masked(name, member, depth + 1) for member in value]
    if isinstance(value, int) and not isinstance(value, bool):
        text = str(value)  # a card number is one as a number too
        masked = _masked_text(name, text)
        return value if masked == text else masked
    return value


def _masked_text(name: str, text: str) -> str:
    if _HASHED.fullmatch(text):
        return text
    by_name = mask_by_name(name, text)
    return mask_text(text) if by_name is None else by_name
