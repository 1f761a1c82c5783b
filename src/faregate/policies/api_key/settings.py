"""The declared form of API keys: an id for people and logs, and the digest of the key, never the key.

Also when a credential begins and ends, which all kinds of credentials have.
"""

import re
from datetime import UTC, date, datetime
from typing import Annotated, Final, Literal, TypeAlias

from pydantic import Field, model_validator

from faregate.model.values import Declared, Name, fault, parse_word, reads, text_schema

_DATE = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_TIME = r"[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})"
_DIGEST: Final = re.compile(r"[0-9A-Fa-f]{64}")  # 100,000 of them are read


def _digest(text: str) -> bytes:
    if not _DIGEST.fullmatch(text):
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


def parse_moment(text: str) -> int:
    """Seconds since the epoch of a date, or of a time with its offset (RFC 3339); parts of a second are
    dropped. Raises ValueError.
    """
    if "T" not in text:
        return parse_date(text)
    match = re.fullmatch(f"({_DATE}T[0-9]{{2}}:[0-9]{{2}}:[0-9]{{2}})(?:\\.[0-9]+)?(Z|.+)", text)
    if match is None or not re.fullmatch(f"{_DATE}T{_TIME}", text):
        raise ValueError("not a date, nor a time with its offset")
    try:
        moment = datetime.fromisoformat(match[1] + match[2])
    except ValueError:
        raise ValueError("no such time") from None
    seconds = int(moment.timestamp())
    if seconds <= 0:
        raise ValueError("times begin after 1970-01-01")
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


Moment: TypeAlias = Annotated[
    int,
    reads(parse_moment, "a date such as 2027-01-31, or a time such as 2027-01-31T12:00:00Z"),
    text_schema(
        f"{_DATE}(T{_TIME})?",
        "A day, from its beginning in UTC, or a time (RFC 3339).",
        "2027-01-31",
        "2027-01-31T12:00:00Z",
    ),
]
"""Seconds since the epoch."""

Hmac: TypeAlias = Annotated[
    bytes,
    reads(_digest, "64 hexadecimal digits in quotes: the HMAC-SHA256 of the whole key as text"),
    text_schema("[0-9A-Fa-f]{64}", "HMAC-SHA256 of the whole key under the pepper, in hexadecimal."),
]

Note: TypeAlias = Annotated[
    str,
    reads(
        parse_word(re.compile(r"[^\x00-\x1f\x7f]{1,256}"), "not a note"),
        "text: one line of 1 to 256 characters",
    ),
    text_schema(r"[^\x00-\x1f\x7f]{1,256}", "One line, for people."),
]


class Term(Declared):
    """From when to when a credential proves its consumer."""

    not_before: Moment | None = None
    expires: Moment | None = None

    @model_validator(mode="after")
    def _begins_first(self) -> "Term":
        if self.not_before and self.expires and self.expires <= self.not_before:
            raise fault(
                "bad_value", "the credential ends before it begins", "`expires` later than `not_before`"
            )
        return self


class PepperedDigest(Declared):
    """What is kept of a key that the gateway made: nothing without the pepper."""

    pepper: Name = Field(description="Which pepper of the data folder; the manager writes it.")
    digest: Hmac


class ApiKeyCredential(Term):
    """A key that the consumer sends in `X-API-Key` or as a bearer token."""

    id: Name
    sha256: Digest | None = None
    hmac: PepperedDigest | None = None
    mode: Literal["live", "test"] | None = None
    note: Note | None = None

    @model_validator(mode="after")
    def _one_digest(self) -> "ApiKeyCredential":
        if (self.sha256 is None) == (self.hmac is None):
            said = "neither `sha256` nor `hmac`" if self.hmac is None else "both `sha256` and `hmac`"
            code = "missing_key" if self.hmac is None else "bad_value"
            raise fault(code, f"the key has {said}", "exactly one of sha256 and hmac")
        return self
