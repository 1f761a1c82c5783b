"""The declared form of a plan's quota: so many calls in a calendar period of UTC (SPEC section 5)."""

from typing import Annotated, TypeAlias

from faregate.kernel.units import Rate, parse_rate
from faregate.model.values import reads, text_schema


def _parse(text: str) -> Rate:
    try:
        rate = parse_rate(text)
    except ValueError:
        raise ValueError("not a quota") from None
    if rate.burst:
        raise ValueError("a quota counts calendar periods and takes no burst")
    return rate


Quota: TypeAlias = Annotated[
    Rate,
    reads(_parse, "a quota such as 1000000/month or 50000/day"),
    text_schema(
        r"\s*[0-9]{1,12}\s*/\s*(second|minute|hour|day|month)\s*",
        "Calls of each consumer in a calendar period, UTC.",
        "1000000/month",
    ),
]
