"""JSON values in one spelling (RFC 8785), for what is hashed.

Members are sorted by their UTF-16 units, numbers written as ECMAScript writes a double. Stricter in one
thing: a whole number is never rounded to a double, so that two order numbers of 18 digits stay two.
"""

import json
from decimal import Decimal
from typing import Final

_text: Final = json.JSONEncoder(ensure_ascii=False).encode


def encode(value: object) -> str:  # noqa: PLR0911 - one per type
    """``value``, of JSON's types, in its one spelling. Raises ``ValueError`` for whole numbers of more than
    4,300 digits.
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return number(value)
    if isinstance(value, list):
        return f"[{','.join([encode(member) for member in value])}]"
    if isinstance(value, dict):
        names = sorted(value, key=_utf16)
        return f"{{{','.join([f'{_text(name)}:{encode(value[name])}' for name in names])}}}"
    raise TypeError("not a JSON value")


def number(value: float) -> str:
    """A finite double as ECMAScript's Number::toString writes it."""
    if value == 0:
        return "0"
    sign, digits, exponent = Decimal(repr(value)).as_tuple()
    if not isinstance(exponent, int):
        raise ValueError("not finite")  # noqa: TRY004 - the value, not its type
    point = len(digits) + exponent  # where the decimal point stands, counted from the first digit
    text = "".join(map(str, digits)).rstrip("0")
    if len(text) <= point <= 21:
        body = text + "0" * (point - len(text))
    elif 0 < point <= 21:
        body = f"{text[:point]}.{text[point:]}"
    elif -6 < point <= 0:
        body = "0." + "0" * -point + text
    else:
        rest = f".{text[1:]}" if len(text) > 1 else ""
        body = f"{text[0]}{rest}e{point - 1:+d}"
    return "-" * sign + body


def _utf16(name: str) -> bytes:
    return name.encode("utf-16-be")
