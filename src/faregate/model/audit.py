"""The declared form of ``gateway.audit``: whose tree it is, and where its checkpoints go."""

import re
from typing import Annotated, Final, Literal, TypeAlias

from faregate.model.values import Declared, FilePath, duration, integer, parse_word, reads, text_schema

_ORIGIN: Final = r"[a-z0-9][a-z0-9.-]{0,252}(/[A-Za-z0-9._~-]{1,64}){0,8}"

AuditWord: TypeAlias = Literal["on", "off", "required"]
"""What a route has recorded in the audit tree."""


class Audit(Declared):
    """The audit tree of this gateway."""

    origin: Annotated[
        str | None,
        reads(
            parse_word(re.compile(_ORIGIN), "not an origin"),
            "text: a host and a path without a scheme, such as gateway.bank.example/payments",
        ),
        text_schema(_ORIGIN, "The name under which checkpoints are signed.", "gateway.bank.example/payments"),
    ] = None
    publish: FilePath | None = None
    every: Annotated[float, *duration("1s", "1h")] = 10.0
    records: Annotated[int, *integer(1, 1_000_000, "So many records at most between two checkpoints.")] = (
        1_000
    )
