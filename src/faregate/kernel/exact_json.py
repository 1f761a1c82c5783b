"""JSON from strangers, read exactly: fractions are decimals, no member stands twice, nothing is deep or huge.

``strict_json`` serves tokens and keys, where a fraction is a nuisance; here amounts pass. A number keeps all
its digits and is bounded in length and size, so that no arithmetic on it can be made to take long.
"""

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Final, TypeAlias

import msgspec

from faregate.kernel.strict_json import DoubledError

ExactValue: TypeAlias = "str | int | Decimal | bool | list[ExactValue] | dict[str, ExactValue] | None"

DEPTH_MAX: Final = 64
NUMBER_CHARACTERS_MAX: Final = 64
_EXPONENT_MAX: Final = 64
_INTEGER_MAX: Final = 10**NUMBER_CHARACTERS_MAX
_long: Final = re.compile(rb"[0-9]{65}").search


class DeepError(ValueError):
    """Nested deeper than allowed."""


class NumberError(ValueError):
    """A number of more digits, or a greater exponent, than any amount has."""


def number(text: str) -> Decimal:
    """The decimal that ``text``, a JSON number, is. Raises ``NumberError``."""
    if len(text) > NUMBER_CHARACTERS_MAX:
        raise NumberError
    made = Decimal(text)
    if not -_EXPONENT_MAX <= made.adjusted() <= _EXPONENT_MAX:
        raise NumberError
    return made


_decode: Final = msgspec.json.Decoder(float_hook=number).decode
_encode: Final = msgspec.json.Encoder(decimal_format="number").encode


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise DoubledError("a member stands twice")
    return members


_SLOW: Final = json.JSONDecoder(object_pairs_hook=_once, parse_float=str, parse_int=str)


def decode(text: bytes, depth_max: int = DEPTH_MAX) -> ExactValue:
    """The value that ``text`` is, nested in at most ``depth_max`` levels. Raises ``DoubledError``,
    ``DeepError``, ``NumberError``, or ``ValueError`` where it is no JSON.

    The error's text may quote the input: do not log it.
    """
    try:
        value: ExactValue = _decode(text)
    except RecursionError:
        raise DeepError from None
    except msgspec.ValidationError:
        raise NumberError from None  # a whole number, or what ``number`` refused
    if text.count(b"{") + text.count(b"[") > depth_max and depth(value) > depth_max:
        raise DeepError
    if _encode(value) != text:
        _SLOW.decode(text.decode())
    if _long(text) is not None:
        for one in _numbers(value):
            if not -_INTEGER_MAX < one < _INTEGER_MAX:
                raise NumberError
    return value


def depth(value: ExactValue) -> int:
    """Levels of lists and objects in ``value``, 0 for a text or a number."""
    levels = 0
    level = [value] if isinstance(value, dict | list) else []
    while level:
        levels += 1
        level = [
            member
            for container in level
            for member in (container.values() if isinstance(container, dict) else container)
            if isinstance(member, dict | list)
        ]
    return levels


def _numbers(value: ExactValue) -> Iterator[int]:
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            left += one.values()
        elif isinstance(one, list):
            left += one
        elif type(one) is int:
            yield one
