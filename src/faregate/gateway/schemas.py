"""The compiled schemas of one revision: equal texts once, and those of the former revision taken over.

What compiles them is loaded when the first route is held against an OpenAPI document: the library behind it
takes some megabytes.
"""

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

from faregate.policies.validate.step import Checks

if TYPE_CHECKING:
    from faregate.kernel.json_schema import Schema
    from faregate.snapshot.validation import Validation


class Schemas:
    """``known``: by their texts; ``before``: those of the former revision."""

    __slots__ = ("_before", "known")

    def __init__(self, before: "dict[str, Schema] | None" = None) -> None:
        self._before = before or {}
        self.known: dict[str, Schema] = {}

    def checks(self, validation: "Validation") -> Generator[None, None, Checks]:
        """What a route is held against; yields behind each schema that was compiled. Raises ``ValueError``
        for one that cannot be used.
        """
        for text in _texts(validation):
            if text not in self.known:
                self.known[text] = self._before.get(text) or _compiled(text)
                yield
        return Checks(validation, self.known.__getitem__)


def _texts(validation: "Validation") -> Iterator[str]:
    for parameter in validation.parameters:
        yield parameter.schema
    for bodies in (validation.bodies or (), *(answer.bodies for answer in validation.answers)):
        for body in bodies:
            if body.schema:
                yield body.schema


def _compiled(text: str) -> "Schema":
    from faregate.kernel.json_schema import Schema  # noqa: PLC0415 - see above

    return Schema(text)
