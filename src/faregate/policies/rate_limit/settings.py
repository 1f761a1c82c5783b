"""The declared form of rates: a list, or a text joined by ``;``, on a plan, an API or a route (SPEC sections
2 and 5).

Which counter a rate has is compile's business; here a rate is only read. Two rates of one list that would
share a counter (same period, same kind) are refused where they stand together.
"""

from collections import Counter
from typing import Annotated, Final, TypeAlias

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema

from faregate.kernel.units import Rate, parse_rate
from faregate.model.values import REFERENCE_PATTERN, fault, reads

RATE_EXPECTED: Final = "a rate such as 100/second, 10/second burst 20 or 2000/minute"
RATES_MAX: Final = 16
"""Rates of one list; each costs one counter per consumer and one update per call."""

_RATE_PATTERN: Final = r"\s*[0-9]{1,12}\s*/\s*(second|minute|hour|day|month)(\s+burst\s+[0-9]{1,12})?\s*"
_LIST_ITEM: "Final[dict[str, object]]" = {
    "type": "string",
    "pattern": f"^{_RATE_PATTERN}$|{REFERENCE_PATTERN}",
}
_JOINED: "Final[dict[str, object]]" = {
    "type": "string",
    "pattern": f"^{_RATE_PATTERN}(;{_RATE_PATTERN})*$|{REFERENCE_PATTERN}",
}


def _split(value: object) -> object:
    return value.split(";") if isinstance(value, str) else value


def _parse(text: str) -> Rate:
    try:
        return parse_rate(text)
    except ValueError as error:
        # parse_rate explains the notation; the other texts say which count is out of range
        raise ValueError("not a rate" if str(error).startswith("expected") else str(error)) from None


def _distinct(rates: list[Rate]) -> list[Rate]:
    if len(rates) > RATES_MAX:
        raise fault("bad_value", f"more than {RATES_MAX} rates")
    counts = Counter((rate.period_ms, bool(rate.burst)) for rate in rates)
    if counts and max(counts.values()) > 1:
        raise fault(
            "duplicate_limit",
            "two rates of the same period and kind",
            "one rate per period, and one more with a burst",
        )
    return rates


RateText: TypeAlias = Annotated[Rate, reads(_parse, RATE_EXPECTED)]

Limits: TypeAlias = Annotated[
    list[RateText],
    BeforeValidator(_split),
    AfterValidator(_distinct),
    WithJsonSchema(
        {
            "anyOf": [_JOINED, {"type": "array", "items": _LIST_ITEM, "maxItems": RATES_MAX}],
            "description": "Rates, all of which hold: a list, or one text joined by `;`.",
            "examples": [["100/second burst 200", "5000/minute"], "10/second;10/minute"],
        }
    ),
]
"""Rates that all hold at once."""
