"""JSON Schema (2020-12) behind one door: the only module that knows ``jsonschema_rs``, which rests on one
author.

A schema is compiled once and asked often. Nothing is fetched, ever; patterns run in linear time and are
bounded in size, so one with lookaround or back references is refused. What is said of a value that does not
fit is made of the schema alone: neither the text nor the place of a fault repeats what a caller sent, for the
name of a member may be a secret as well as its value. Which schemas come here is bounded by ``compile``.
"""

import json
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import jsonschema_rs
from jsonschema_rs import Draft202012Validator, EmailOptions, RegexOptions, ValidationError

if TYPE_CHECKING:
    from collections.abc import Mapping

PATTERN_BYTES_MAX: Final = 1 << 20
"""Of one compiled pattern: ``^.{1,255}$`` takes a quarter of it, and ``(a{1000}){1000}`` does not fit."""
_PATTERN_STEPS: Final = (16 << 10, 64 << 10, 256 << 10, PATTERN_BYTES_MAX)

_PATTERNS: Final = RegexOptions(size_limit=PATTERN_BYTES_MAX, dfa_size_limit=256 << 10)
_MAILS: Final = EmailOptions(allow_display_text=False)
_LISTED_MAX: Final = 80
POINTER_CHARACTERS_MAX: Final = 256
"""Of a place that is told; a deeper one is cut."""

_DETAILS: Final = {
    "type": "Expected here: {}.",
    "required": "This member is missing.",
    "additionalProperties": "There is a member here that the API does not describe.",
    "unevaluatedProperties": "There is a member here that the API does not describe.",
    "enum": "The value is none of those that the API lists.",
    "const": "The value is not the one that the API names.",
    "minimum": "The number is less than {}.",
    "maximum": "The number is more than {}.",
    "exclusiveMinimum": "The number is not more than {}.",
    "exclusiveMaximum": "The number is not less than {}.",
    "multipleOf": "The number is not a multiple of {}.",
    "minLength": "The text is shorter than {} characters.",
    "maxLength": "The text is longer than {} characters.",
    "minItems": "The list has fewer than {} items.",
    "maxItems": "The list has more than {} items.",
    "minProperties": "The object has fewer than {} members.",
    "maxProperties": "The object has more than {} members.",
    "uniqueItems": "The list holds the same item twice.",
    "pattern": "The text does not have the form that the API describes.",
    "format": "The text is not of the format {}.",
    "anyOf": "The value fits none of the alternatives that the API describes.",
    "oneOf": "The value does not fit exactly one of the alternatives that the API describes.",
    "not": "The value is one that the API excludes.",
    "falseSchema": "There is something here that the API does not describe.",
}
_OTHER: Final = "The value is not as the API describes it."


PlainSchema: TypeAlias = "Mapping[str, object] | bool"


class SchemaError(ValueError):
    """A schema that cannot be used. ``pointer``: where in it, as far as is known."""

    def __init__(self, message: str, pointer: str = "") -> None:
        super().__init__(message)
        self.pointer = pointer


class Fault(NamedTuple):
    """How a value does not fit. ``pointer``: its place, with ``*`` for what the schema does not name;
    ``keyword``: of the schema, in its own spelling; ``detail``: one public sentence.
    """

    pointer: str
    keyword: str
    detail: str


class Schema:
    """A compiled schema; safe to share."""

    __slots__ = ("_names", "_validate")

    def __init__(self, text: str) -> None:
        """``text``: the schema as JSON, whole in itself. Raises ``SchemaError``."""
        try:
            validator = Draft202012Validator(
                text,
                validate_formats=True,
                offline=True,
                pattern_options=_PATTERNS,
                email_options=_MAILS,
            )
        except ValidationError as error:
            raise SchemaError(*_told(error)) from None
        except ValueError as error:
            raise SchemaError(str(error)[:200]) from None
        self._validate = validator.validate
        self._names: frozenset[str] | str = text

    def fault(self, value: object) -> Fault | None:
        """How ``value`` (as ``exact_json`` reads it) does not fit; None when it does."""
        try:
            self._validate(value)
        except ValidationError as error:
            return self._fault(error, value)
        return None

    def _fault(self, error: ValidationError, value: object) -> Fault:
        names = self._names
        if isinstance(names, str):
            names = self._names = frozenset(_named(json.loads(names)))
        steps = []
        for step in error.instance_path:
            if isinstance(value, list):
                steps.append(str(step))
                value = value[int(step)]
                continue
            name = str(step)  # a name of digits comes as a number
            steps.append(name if name in names else "*")
            value = value.get(name) if isinstance(value, dict) else None
        keyword = error.kind.name
        told = error.kind.value
        if keyword == "required" and isinstance(told, str):
            steps.append(told)
        elif keyword == "type" and isinstance(told, list):
            told = " or ".join(told)
        pointer = "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in steps)
        shown = str(told)
        if not isinstance(told, str | int | float | Decimal) or len(shown) > _LISTED_MAX:
            shown = "what the API describes"
        return Fault(pointer[:POINTER_CHARACTERS_MAX], keyword, _DETAILS.get(keyword, _OTHER).format(shown))


@lru_cache(maxsize=4096)
def pattern_bytes(pattern: str) -> int:
    """About what ``pattern`` takes compiled, each time that a schema holds it. Raises ``SchemaError``."""
    text = json.dumps({"pattern": pattern})
    for limit in _PATTERN_STEPS:
        try:
            Draft202012Validator(text, offline=True, pattern_options=RegexOptions(size_limit=limit))
        except ValueError:
            continue
        return limit
    raise SchemaError("a pattern that cannot be run in linear time, or is too large, or is none")


def patterns_of(text: str) -> list[str]:
    """Every pattern in a schema, as often as it stands there."""
    found: list[str] = []
    left = [json.loads(text)]
    while left:
        node = left.pop()
        if isinstance(node, dict):
            pattern, named = node.get("pattern"), node.get("patternProperties")
            found += [pattern] if isinstance(pattern, str) else []
            found += named if isinstance(named, dict) else ()
            left += node.values()
        elif isinstance(node, list):
            left += node
    return found


def _canonical(schema: PlainSchema) -> jsonschema_rs.CanonicalSchema:
    return jsonschema_rs.canonicalize(schema if isinstance(schema, bool) else dict(schema))


def covers(wide: PlainSchema, narrow: PlainSchema) -> bool | None:
    """Whether every value of ``narrow`` is one of ``wide``; None: it cannot be told. Formats are not looked
    at. Schemas are plain values.
    """
    try:
        found = _canonical(wide).covers(_canonical(narrow))
    except ValueError:
        return None
    return {"yes": True, "no": False}.get(found.value)


def difference(left: PlainSchema, right: PlainSchema) -> str:
    """The values of ``left`` that ``right`` does not have, as a schema in JSON; empty where it cannot be
    said.
    """
    try:
        made = _canonical(left).subtract(_canonical(right)).to_json_schema()
    except ValueError:
        return ""
    if not isinstance(made, dict):
        return ""
    made.pop("$schema", None)
    return json.dumps(made, default=str)


def _told(error: ValidationError) -> tuple[str, str]:
    pointer = "".join(f"/{step}" for step in error.instance_path)
    keyword = error.instance_path[-1] if error.instance_path else ""
    if keyword == "pattern" or error.kind.name == "format":
        return "a pattern that cannot be run in linear time, or is too large, or is none", pointer
    if keyword == "$ref" or "Resource" in error.message[:10] or error.kind.name == "$ref":
        return "a $ref that leads nowhere in the document", pointer
    return f"`{keyword}` is not as JSON Schema has it" if keyword else "not a JSON Schema", pointer


def _named(schema: object) -> set[str]:
    """Every member's name that a schema gives."""
    names: set[str] = set()
    left = [schema]
    while left:
        node = left.pop()
        if isinstance(node, dict):
            properties = node.get("properties")
            if isinstance(properties, dict):
                names.update(properties)
            left += node.values()
        elif isinstance(node, list):
            left += node
    return names
