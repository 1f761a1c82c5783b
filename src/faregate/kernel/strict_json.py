"""JSON from strangers: one reading or none (RFC 8725 section 3.7).

msgspec already refuses bad UTF-8, byte order marks, lone surrogates, NaN, numbers out of range and trailing
bytes, but keeps the last of two equal members. Re-encoding proves that there were none: what a compact
encoder would write again, byte for byte, had no member twice. Text spelt otherwise (spaces, escapes) takes
the slow road through a pairs hook.
"""

import json
from typing import Final, TypeAlias

import msgspec

JsonValue: TypeAlias = "str | int | float | bool | list[JsonValue] | dict[str, JsonValue] | None"
JsonObject: TypeAlias = "dict[str, JsonValue]"

_decode: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder().encode


class DoubledError(ValueError):
    """A name that stands twice where each may stand once."""


def _once(pairs: list[tuple[str, JsonValue]]) -> JsonObject:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise DoubledError("a member stands twice")
    return members


_SLOW: Final = json.JSONDecoder(object_pairs_hook=_once)


def decode_value(text: bytes) -> JsonValue:
    """The value that ``text`` is, its objects with unique members. Raises ``ValueError`` on anything else.

    The error's text may quote the input: do not log it.
    """
    try:
        value: JsonValue = _decode(text)
        if _encode(value) != text:
            _SLOW.decode(text.decode())
    except RecursionError:
        raise ValueError("nested too deep") from None
    return value


def decode_object(text: bytes) -> JsonObject:
    """The object that ``text`` is. Raises ``ValueError`` on anything that is not one object with unique
    members.

    The error's text may quote the input: do not log it.
    """
    value = decode_value(text)
    if type(value) is not dict:
        raise ValueError("not an object")
    return value
