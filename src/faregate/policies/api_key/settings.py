"""The declared form of API keys: an id for people and logs, and the digest of the key, never the key."""

import re
from datetime import UTC, date, datetime
from typing import Annotated, TypeAlias

from faregate.model.values import Declared, Name, reads, text_schema


def _digest(text: str) -> bytes:
    if not re.fullmatch(r"[0-9A-Fa-f]{64}", text):
        raise ValueError("not a SHA-256 digest")
    return bytes.fromhex(text)


def parse_date(text: str) -> int:
    """Seconds since the epoch of ``2027-01-31``, midnight UTC. Raises ValueError."""
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        raise ValueError("not a date")
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise ValueError("no such day") from None
    seconds = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
    if seconds <= 0:
        raise ValueError("dates begin after 1970-01-01")
    return seconds


Digest: TypeAlias = Annotated[
    bytes,
    reads(_digest, "64 hexadecimal digits in quotes: the SHA-256 of the whole key as text"),
    text_schema("[0-9A-Fa-f]{64}", "SHA-256 of the whole key, in hexadecimal."),
]

Date: TypeAlias = Annotated[
    int,
    reads(parse_date, "a date such as 2027-01-31"),
    text_schema("[0-9]{4}-[0-9]{2}-[0-9]{2}", "A day, from its beginning in UTC.", "2027-01-31"),
]
"""Seconds since the epoch."""


class ApiKeyCredential(Declared):
    """A key that the consumer sends in `X-API-Key` or as a bearer token."""

    id: Name
    sha256: Digest
    expires: Date | None = None
