"""The declared form of a plan's concurrency limit: calls of one consumer in progress at once."""

from typing import Annotated, Final, TypeAlias

from faregate.model.values import integer

CONCURRENCY_MAX: Final = 100_000
"""More than one machine holds open."""

Concurrency: TypeAlias = Annotated[
    int, *integer(1, CONCURRENCY_MAX, "Calls of one consumer in progress at once.")
]
