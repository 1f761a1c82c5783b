"""The declared form of changes between two versions: small operations on the JSON body and on headers.

Whether the routes they name exist is ``compile.versions``' question.
"""

import re
from typing import Annotated, Final, TypeAlias

from pydantic import AfterValidator, Field, JsonValue, WithJsonSchema, model_validator

from faregate.kernel import json_pointer
from faregate.model.values import ONE_OR_MORE, Declared, HeaderName, fault, parse_word, reads, text_schema
from faregate.policies.idempotency.settings import TAKEN, TAKEN_STARTS

CHANGES_MAX: Final = 32
OPERATIONS_MAX: Final = 64
STEPS_MAX: Final = 16
EACH: Final = "*"

_POINTER: Final = r"(?:/(?:[^~/]|~[01])*)+"
_EXPECTED: Final = "text: a JSON pointer such as /amount, or /data/*/amount for each item of a list"


def _place(text: str) -> tuple[str, ...]:
    steps = json_pointer.parse(text)
    if not 0 < len(steps) <= STEPS_MAX:
        raise ValueError("not the place of a member")
    if steps[-1] == EACH:
        raise ValueError("the last step is a member's name")
    return steps


Place: TypeAlias = Annotated[
    tuple[str, ...],
    reads(_place, _EXPECTED),
    text_schema(_POINTER, "A JSON pointer; `*` is each item of a list.", "/amount", "/data/*/amount"),
]
Member: TypeAlias = Annotated[
    str,
    reads(parse_word(re.compile(r"[^\x00-\x1f\x7f]{1,128}"), "not a member's name"), "text: a member's name"),
    text_schema(r"[^\x00-\x1f\x7f]{1,128}", "A member's name.", "amount_minor"),
]
_HEADER_VALUE: Final = r"[!-~](?:[ -~]{0,1022}[!-~])?"
HeaderValue: TypeAlias = Annotated[
    str,
    reads(parse_word(re.compile(_HEADER_VALUE), "not a header's value"), "text: visible ASCII"),
    text_schema(_HEADER_VALUE, "A header's value."),
]


def _free(name: str) -> str:
    lower = name.lower()
    if lower in TAKEN or lower.startswith(TAKEN_STARTS) or lower in _OF_MESSAGES or "_" in name:
        raise fault("bad_value", "a header that the gateway reads or writes itself", "another header")
    return name


_OF_MESSAGES: Final = frozenset(
    ("accept-encoding", "idempotency-key", "retry-after", "set-cookie", "vary", "www-authenticate")
)
FreeHeader: TypeAlias = Annotated[HeaderName, AfterValidator(_free)]


class Rename(Declared):
    """A member gets another name and stays where it is."""

    at: Place
    to: Member


class Move(Declared):
    """A member goes elsewhere; objects on its way are made."""

    source: Place = Field(alias="from")
    to: Place

    @model_validator(mode="after")
    def _same_items(self) -> "Move":
        source, to = self.source, self.to
        shared = 0
        while shared < min(len(source), len(to)) and source[shared] == to[shared]:
            shared += 1
        if EACH in source[shared:] or EACH in to[shared:]:
            raise fault(
                "bad_value", "items of one list cannot go into those of another", "`*` before they part"
            )
        if shared in (len(source), len(to)):
            raise fault("bad_value", "a member cannot go into or above itself", "two places side by side")
        return self


class SetDefault(Declared):
    """A member that is set where it is absent and its parent is there."""

    at: Place
    value: Annotated[JsonValue, WithJsonSchema({"description": "Any value without fractions."})]

    @model_validator(mode="after")
    def _exact(self) -> "SetDefault":
        if _holds_fraction(self.value):
            raise fault("bad_value", "a fraction, which would not pass exactly", "whole numbers, or text")
        return self


def _holds_fraction(value: JsonValue) -> bool:
    if isinstance(value, dict):
        return any(_holds_fraction(member) for member in value.values())
    if isinstance(value, list):
        return any(_holds_fraction(member) for member in value)
    return isinstance(value, float)


class Wrap(Declared):
    """A value becomes the one member of an object: `5` becomes `{"value": 5}`."""

    at: Place
    key: Member


class Unwrap(Wrap):
    """The other way round: a member takes the place of the object that holds it."""


class RenameHeader(Declared):
    """A header gets another name."""

    source: FreeHeader = Field(alias="from")
    to: FreeHeader


class DefaultHeader(Declared):
    """A header that is added where it is absent."""

    name: FreeHeader
    value: HeaderValue


class Step(Declared):
    """One operation: a mapping with exactly one of these keys."""

    rename: Rename | None = None
    move: Move | None = None
    remove: Place | None = None
    set_default: SetDefault | None = None
    wrap: Wrap | None = None
    unwrap: Unwrap | None = None
    rename_header: RenameHeader | None = None
    remove_header: FreeHeader | None = None
    set_default_header: DefaultHeader | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> "Step":
        if len(self.model_fields_set) != 1:
            names = ", ".join(type(self).model_fields)
            raise fault("bad_value", "an operation is one thing", f"exactly one of {names}")
        return self


class Change(Declared):
    """What one version changed: how requests of the version before become its own, and its answers theirs."""

    description: Annotated[str, Field(max_length=1024)] = ""
    routes: Annotated[list[str], ONE_OR_MORE, Field(max_length=256)] = Field(default_factory=list)
    request: Annotated[list[Step], Field(max_length=OPERATIONS_MAX)] = Field(default_factory=list)
    response: Annotated[list[Step], Field(max_length=OPERATIONS_MAX)] = Field(default_factory=list)


Changes: TypeAlias = Annotated[list[Change], Field(max_length=CHANGES_MAX)]
