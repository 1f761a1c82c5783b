"""The kinds of value that declared forms are made of: durations, sizes, addresses, names.

Each kind is one annotated type: it reads the written text into what the program uses, says in one phrase what
it expects, and carries its pattern and description into the published JSON Schema. Kinds are strict: a number
is never taken for text, nor text for a number, except for text that ``${...}`` filled in, which has no other
way to be a number. Messages never repeat a value: the source line beside them shows it, or may not.
"""

import re
from collections.abc import Callable
from typing import Annotated, Final, TypeAlias, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainValidator,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, PydanticCustomError

from faregate.kernel.secrets import Secret
from faregate.kernel.units import parse_duration_ms, parse_percent, parse_size
from faregate.model.interpolate import Interpolated, Unfilled

T = TypeVar("T")

REFERENCE_PATTERN: Final = r"\$\{[^}]+\}"
"""What editors must accept anywhere a value may come from outside."""

KIND: Final = "x-kind"
"""Marks schemas of durations, sizes and shares, so that defaults are published as people write them; not
published.
"""


def _refuse_null(schema: object) -> None:
    while isinstance(schema, dict) and schema.get("type") != "model-fields":
        schema = schema.get("schema")
    for entry in schema["fields"].values() if isinstance(schema, dict) else ():
        default = entry["schema"]
        if default["type"] == "default" and default["schema"]["type"] == "nullable":
            default["schema"] = default["schema"]["schema"]


class Declared(BaseModel):
    """Base of all declared forms: unknown keys are errors, nothing is coerced, nothing changes afterwards."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, arbitrary_types_allowed=True)

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type[BaseModel], handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """``None`` as a default means "left out"; written, an empty value is an error, never a silent
        default.
        """
        schema = handler(source)
        _refuse_null(schema)
        return schema


def fault(code: str, message: str, expected: str = "") -> PydanticCustomError:
    """An error with a code of the diagnostics table, to be raised in a validator."""
    return PydanticCustomError(code, "{message}", {"message": message, "expected": expected})


def kind_of(value: object) -> str:
    """What a reader would call the value: never the value itself."""
    kinds: dict[type, str] = {
        str: "text", Interpolated: "text", Unfilled: "text", bool: "true or false",
        int: "a number", float: "a number", list: "a list", dict: "a mapping", type(None): "empty",
    }  # fmt: skip
    return kinds.get(type(value), "something else")


def wrong_type(value: object, expected: str) -> PydanticCustomError:
    hint = "; write it in quotes" if type(value) in (int, float, bool) and "text" in expected else ""
    return fault("wrong_type", f"the value is {kind_of(value)}", expected + hint)


def reads(parse: Callable[[str], T], expected: str) -> PlainValidator:
    """A validator that takes text and returns what ``parse`` makes of it; its ValueError becomes
    ``bad_value``.
    """

    def read(value: object) -> T:
        if not isinstance(value, str):
            raise wrong_type(value, expected)
        try:
            return parse(value)
        except ValueError as error:
            raise fault("bad_value", str(error), expected) from None

    return PlainValidator(read)


def text_schema(pattern: str, description: str, *examples: str, kind: str = "") -> WithJsonSchema:
    """Schema of a text whose whole is ``pattern``, or which has a reference in it."""
    schema: dict[str, object] = {
        "type": "string",
        "pattern": f"^(?:{pattern})$|{REFERENCE_PATTERN}",
        "description": description,
    }
    if examples:
        schema["examples"] = list(examples)
    if kind:
        schema[KIND] = kind
    return WithJsonSchema(schema)


def parse_word(pattern: re.Pattern[str], message: str) -> Callable[[str], str]:
    """A parser that returns the text itself when all of it matches."""

    def parse(text: str) -> str:
        if not pattern.fullmatch(text):
            raise ValueError(message)
        return text

    return parse


# -- numbers --


def _to_integer(value: object) -> object:
    if isinstance(value, Interpolated) and re.fullmatch(r"0|[1-9][0-9]{0,17}", value):
        return int(value)
    return value


def _to_boolean(value: object) -> object:
    return value == "true" if isinstance(value, Interpolated) and value in ("true", "false") else value


def integer_reader(low: int, high: int, expected: str) -> Callable[[object], int]:
    """A validator of whole numbers from ``low`` to ``high``."""

    def read(value: object) -> int:
        number = _to_integer(value)
        if type(number) is not int:
            raise wrong_type(value, expected)
        if not low <= number <= high:
            raise fault("bad_value", "out of range", expected)
        return number

    return read


def integer(low: int, high: int, description: str) -> tuple[PlainValidator, WithJsonSchema]:
    """Annotations of a whole number from ``low`` to ``high``."""
    read = integer_reader(low, high, f"a whole number from {low} to {high}")
    number_schema = {"type": "integer", "minimum": low, "maximum": high}
    schema = {
        "anyOf": [number_schema, {"type": "string", "pattern": REFERENCE_PATTERN}],
        "description": description,
    }
    return PlainValidator(read), WithJsonSchema(schema)


Flag: TypeAlias = Annotated[bool, BeforeValidator(_to_boolean)]


# -- durations and sizes --

_DURATION_PATTERN: Final = r"[0-9]{1,9}(ms|s|m|h|d)"


def duration(low: str, high: str) -> tuple[PlainValidator, WithJsonSchema]:
    """Annotations of a duration between two others, read as seconds."""
    low_ms, high_ms = parse_duration_ms(low), parse_duration_ms(high)
    expected = f"a duration from {low} to {high}, such as 250ms, 5s, 2m or 1h"

    def parse(text: str) -> float:
        try:
            milliseconds = parse_duration_ms(text)
        except ValueError:
            raise ValueError("not a duration") from None
        if not low_ms <= milliseconds <= high_ms:
            raise ValueError("out of range")
        return milliseconds / 1000

    return reads(parse, expected), text_schema(
        _DURATION_PATTERN, f"A duration from {low} to {high}.", "250ms", "5s", "2m", kind="duration"
    )


Duration: TypeAlias = Annotated[float, *duration("1ms", "1h")]
"""Seconds; the usual bounds of a timeout or an interval."""


def size(low: str, high: str) -> tuple[PlainValidator, WithJsonSchema]:
    """Annotations of a size between two others, read as bytes."""
    low_bytes, high_bytes = parse_size(low), parse_size(high)
    expected = f"a size from {low} to {high}, such as 64KiB or 2MiB"

    def parse(text: str) -> int:
        try:
            count = parse_size(text)
        except ValueError:
            raise ValueError("not a size") from None
        if not low_bytes <= count <= high_bytes:
            raise ValueError("out of range")
        return count

    schema = text_schema(
        r"[0-9]{1,12}(B|KiB|MiB|GiB)", f"A size from {low} to {high}.", "64KiB", "2MiB", kind="size"
    )
    return reads(parse, expected), schema


BodySize: TypeAlias = Annotated[int, *size("0B", "1GiB")]


def _percent(text: str) -> int:
    try:
        return parse_percent(text)
    except ValueError:
        raise ValueError("not a share") from None


Percent: TypeAlias = Annotated[
    int,
    reads(_percent, "a share from 0% to 100%"),
    text_schema(r"(100|[0-9]{1,2})%", "A share.", "50%", kind="percent"),
]


# -- names and texts --

_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,127}")
NAME_RULE: Final = "1 to 128 letters, digits and _ . @ + -, beginning with a letter, a digit or _"


def _read_name(value: object) -> str:
    if not isinstance(value, str):
        raise wrong_type(value, "text")
    if not _NAME.fullmatch(value):
        raise fault("bad_name", "not a name", NAME_RULE)
    return value


Name: TypeAlias = Annotated[
    str, PlainValidator(_read_name), WithJsonSchema({"type": "string", "pattern": f"^{_NAME.pattern}$"})
]
"""The name of a thing: safe in headers, log lines, metrics and counter keys."""

Reference: TypeAlias = Annotated[
    str,
    reads(str, "text, the name of something defined elsewhere"),
    WithJsonSchema({"type": "string", "minLength": 1}),
]
"""A name that is looked up elsewhere; whether it exists is compile's question."""

Subject: TypeAlias = Annotated[
    str,
    reads(
        parse_word(re.compile(r"[!-~](?:[ -~]{0,253}[!-~])?"), "not usable as a subject"),
        "text: 1 to 255 visible ASCII characters",
    ),
    text_schema(r"[!-~](?:[ -~]{0,253}[!-~])?", "1 to 255 visible ASCII characters."),
]

FilePath: TypeAlias = Annotated[
    str,
    reads(
        parse_word(re.compile(r"[^\x00-\x1f\x7f]{1,4096}"), "not a path"),
        "text: a path, relative to this file",
    ),
    WithJsonSchema(
        {"type": "string", "minLength": 1, "description": "A path, relative to the file it stands in."}
    ),
]

HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")
HeaderName: TypeAlias = Annotated[
    str,
    reads(parse_word(HEADER_NAME, "not a header name"), "text: a header name"),
    text_schema(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}", "A header name."),
]

SecretText: TypeAlias = Annotated[
    Secret,
    reads(lambda text: Secret(text.encode()), "text, best as ${ENV_NAME} or ${file:path}"),
    WithJsonSchema(
        {"type": "string", "description": "A secret, best written as ${ENV_NAME} or ${file:path}."}
    ),
]


# -- shapes --


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


ONE_OR_MORE: Final = BeforeValidator(_listed)
"""A single text stands for a list of one."""


def _off_is_none(value: object) -> object:
    if value is None:
        raise wrong_type(value, "off, or a mapping")
    return None if isinstance(value, str) and value == "off" else value


OFF_IS_NONE: Final = BeforeValidator(_off_is_none)
"""``off`` written for a block that can be left out."""


class AlsoText:
    """In the published schema: the value may also be written as this text."""

    def __init__(self, schema: dict[str, object]) -> None:
        self._schema = schema

    def __get_pydantic_json_schema__(
        self, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, object]:
        return {"anyOf": [self._schema, handler(core)]}


ALSO_OFF: Final = AlsoText({"const": "off"})


def one_or_more_schema(item: dict[str, object], description: str) -> WithJsonSchema:
    """Schema of a text or a list of such texts."""
    return WithJsonSchema({"anyOf": [item, {"type": "array", "items": item}], "description": description})
