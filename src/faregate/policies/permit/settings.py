"""The declared form of permissions: words a route requires and a consumer is granted (SPEC section 1)."""

import re
from functools import lru_cache
from typing import Annotated, Final, TypeAlias

from faregate.model.values import ONE_OR_MORE, one_or_more_schema, parse_word, reads, text_schema

_PERMISSION: Final = r"[A-Za-z0-9_-]{1,64}(?:[.:][A-Za-z0-9_-]{1,64}){0,7}"

Permission: TypeAlias = Annotated[
    str,
    reads(
        parse_word(re.compile(_PERMISSION), "not a permission"),
        "a dotted or colon word such as payments:write: text of letters, digits, _ and -",
    ),
    text_schema(_PERMISSION, "A dotted or colon word.", "payments:write"),
]

Require: TypeAlias = Annotated[
    list[Permission],
    ONE_OR_MORE,
    one_or_more_schema(
        {"type": "string", "pattern": f"^{_PERMISSION}$"}, "Permissions, all of which the caller needs."
    ),
]

_NAME: Final = r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,127}"
_PLACE: Final = f"{_NAME}(?:/{_NAME})?"
PLACE: Final = re.compile(_PLACE)
"""An API, or one version of it."""

_GRANTS_KNOWN: Final = 4096
"""Grants that are not matched again: 100,000 consumers have the same few."""

_parse_grant: Final = lru_cache(_GRANTS_KNOWN, typed=True)(
    parse_word(re.compile(f"{_PERMISSION}(?:@{_PLACE})?"), "not a permission")
)

Grant: TypeAlias = Annotated[
    str,
    reads(
        _parse_grant,
        "a permission such as payments:write, or payments:write@payments/v2 where it holds only there",
    ),
    text_schema(
        f"{_PERMISSION}(@{_PLACE})?",
        "A permission; behind `@` the API, or API and version, in which alone it holds.",
        "payments:write",
        "payments:write@payments/v2",
    ),
]

ApiPlace: TypeAlias = Annotated[
    str,
    reads(parse_word(PLACE, "not an API"), "the name of an API, or API/version such as payments/v2"),
    text_schema(_PLACE, "An API, or one version of it.", "payments", "payouts/v2"),
]
