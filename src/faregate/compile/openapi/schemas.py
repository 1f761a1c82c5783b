"""A schema of an OpenAPI document as one that stands alone: in the dialect 2020-12, with all it refers to.

What only describes (``title``, ``example``, ``discriminator``) is left out, so that equal demands are equal
texts. OpenAPI 3.0's ``nullable`` and boolean ``exclusiveMinimum`` are written as JSON Schema has them; of a
request's object nothing ``readOnly`` is required, of an answer's nothing ``writeOnly``. Size is bounded, and
so is what a worker may come to do with one value: schemas that lead back to themselves in several ways are
held to as many levels as that work allows.
"""

import json
from typing import Final, NamedTuple

from faregate.compile.openapi.document import Document, DocumentError, Node, shown, step
from faregate.model.diagnostics import Value

NODES_MAX: Final = 10_000
"""Subschemas, each reference followed once."""
WORK_MAX: Final = 20_000
"""Subschemas that one value may be held against, every reference followed."""
TEXT_BYTES_MAX: Final = 256 << 10
DEPTH_MAX: Final = 64
"""Levels of nesting of a body; of a schema as well."""
_RECURSIVE_WORK_MAX: Final = 50_000
_RECURSIVE_LEVELS_MIN: Final = 4
_STEPS_MAX: Final = 1_000_000

_KEPT: Final = frozenset(
    (
        "type", "enum", "const", "multipleOf", "maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum",
        "maxLength", "minLength", "pattern", "maxItems", "minItems", "uniqueItems", "maxProperties",
        "minProperties", "required", "dependentRequired", "minContains", "maxContains",
    )
)  # fmt: skip
_ONE: Final = (
    "items", "additionalProperties", "not", "contains", "propertyNames", "if", "then", "else",
    "unevaluatedProperties", "unevaluatedItems",
)  # fmt: skip
_LISTS: Final = ("allOf", "anyOf", "oneOf", "prefixItems")
_NAMED: Final = ("properties", "patternProperties", "dependentSchemas")
_REFUSED: Final = ("$id", "$anchor", "$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$vocabulary")
_IN_PLACE: Final = frozenset(
    ("allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas", "$ref")
)
_FORMATS: Final = frozenset(
    (
        "date", "date-time", "time", "duration", "email", "idn-email", "hostname", "idn-hostname", "ipv4",
        "ipv6", "uri", "uri-reference", "iri", "iri-reference", "uri-template", "uuid", "json-pointer",
        "relative-json-pointer", "regex",
    )
)  # fmt: skip
_WIDTHS: Final = {"int32": 31, "int64": 63}
_DEFINITIONS: Final = "#/$defs/"


class StandAlone(NamedTuple):
    """``schema``: the whole; ``depth``: levels of nesting that a value may have."""

    schema: Node | bool
    depth: int

    @property
    def text(self) -> str:
        """As JSON; empty where any value will do."""
        return "" if self.schema in (True, {}) else json.dumps(self.schema, separators=(",", ":"))


def stand_alone(document: Document, value: Value, pointer: str, *, request: bool) -> StandAlone:
    """The schema ``value``, which stands at ``pointer``. Raises ``DocumentError``."""
    bundler = _Bundler(document, request=request)
    made = bundler.translated(value, pointer, 0)
    whole: Node | bool = made
    if bundler.definitions and isinstance(made, dict):
        definitions: dict[str, Value] = dict(sorted(bundler.definitions.items()))
        whole = {**made, "$defs": definitions}
    depth = _depth({"allOf": [made]}, bundler.definitions, pointer)
    alone = StandAlone(whole, depth)
    if len(alone.text) > TEXT_BYTES_MAX:
        raise DocumentError(
            f"a schema of more than {TEXT_BYTES_MAX >> 10} KiB with all it refers to", pointer
        )
    return alone


class _Bundler:
    """Translates, and keeps what is referred to in ``definitions``."""

    def __init__(self, document: Document, *, request: bool) -> None:
        self.definitions: dict[str, Node | bool] = {}
        self._document = document
        self._hidden = "readOnly" if request else "writeOnly"
        self._names: dict[str, str] = {}
        self._nodes = 0

    def translated(self, value: Value, pointer: str, depth: int) -> Node | bool:
        if isinstance(value, bool) and not self._document.is_3_0:
            return value
        if not isinstance(value, dict):
            raise DocumentError("a schema that is no mapping", pointer)
        self._count(value, pointer, depth)
        made: Node = {}
        if "$ref" in value:
            made["$ref"] = self._referred(value["$ref"], pointer)
            if self._document.is_3_0:
                return made  # what stands beside it does not count there
        made |= {word: value[word] for word in _KEPT if word in value}
        self._nested(value, made, pointer, depth)
        self._formats(value, made)
        if "required" in made:
            self._required(value, made)
        if self._document.is_3_0:
            made = _of_3_0(value, made, pointer)
        return dict(sorted(made.items()))

    def _count(self, value: Node, pointer: str, depth: int) -> None:
        self._nodes += 1
        if self._nodes > NODES_MAX or depth > DEPTH_MAX:
            raise DocumentError("a schema too large, or nested too deep", pointer)
        for word in _REFUSED:
            if word in value:
                raise DocumentError(f"`{word}` in a schema is not understood", pointer, "a $ref to `#/...`")

    def _referred(self, reference: Value, pointer: str) -> str:
        if not isinstance(reference, str):
            raise DocumentError("a $ref that is no text", pointer)
        name = self._names.get(reference)
        if name is None:
            target = self._document.at(reference, pointer)
            last = reference.rpartition("/")[2]
            name = last if last.replace("_", "a").isalnum() and last.isascii() else f"{len(self._names)}-"
            if name in self.definitions or name in self._names.values():
                name = f"{name}-{len(self._names)}"
            self._names[reference] = name
            self.definitions[name] = self.translated(target, reference.removeprefix("#"), 0)
        return _DEFINITIONS + name

    def _nested(self, value: Node, made: Node, pointer: str, depth: int) -> None:
        for word in _ONE:
            if word in value:
                one = value[word]
                if isinstance(one, bool) and word in ("additionalProperties", "items"):
                    made[word] = one
                else:
                    made[word] = self.translated(one, pointer + step(word), depth + 1)
        for word in _LISTS:
            some = value.get(word)
            if isinstance(some, list):
                made[word] = [
                    self.translated(one, f"{pointer}/{word}/{index}", depth + 1)
                    for index, one in enumerate(some)
                ]
        for word in _NAMED:
            some = value.get(word)
            if isinstance(some, dict):
                made[word] = {
                    name: self.translated(one, f"{pointer}/{word}{step(name)}", depth + 1)
                    for name, one in some.items()
                }

    @staticmethod
    def _formats(value: Node, made: Node) -> None:
        """Formats are demands here; those of numbers are their bounds."""
        kind = value.get("format")
        if not isinstance(kind, str):
            return
        if kind in _FORMATS:
            made["format"] = kind
        elif kind in _WIDTHS and value.get("type") == "integer":
            most = 1 << _WIDTHS[kind]
            made.setdefault("minimum", -most)
            made.setdefault("maximum", most - 1)

    def _required(self, value: Node, made: Node) -> None:
        properties = value.get("properties")
        required = value.get("required")
        if not isinstance(properties, dict) or not isinstance(required, list):
            return
        kept = [name for name in required if not self._is_hidden(properties.get(str(name)))]
        made["required"] = kept
        if not kept:
            del made["required"]

    def _is_hidden(self, value: Value) -> bool:
        if isinstance(value, dict) and isinstance(value.get("$ref"), str) and self._hidden not in value:
            value = self._document.at(str(value["$ref"]), "")
        return isinstance(value, dict) and value.get(self._hidden) is True


def _of_3_0(value: Node, made: Node, pointer: str) -> Node:
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        flag = made.pop(exclusive, None)
        if flag is True and bound in made:
            made[exclusive] = made.pop(bound)
        elif flag not in (None, True, False):
            raise DocumentError(f"`{exclusive}` is a number, which OpenAPI 3.0 does not know", pointer)
    if value.get("nullable") is not True:
        return made
    kind, listed = made.get("type"), made.get("enum")
    if isinstance(listed, list) and None not in listed:
        made["enum"] = [*listed, None]
    if isinstance(kind, str):
        made["type"] = [kind, "null"]
    elif any(word in made for word in ("allOf", "anyOf", "oneOf", "$ref")):
        return {"anyOf": [made, {"type": "null"}]}
    return made


def _depth(schema: Node, definitions: dict[str, Node | bool], pointer: str) -> int:
    """Levels that a value may have. Raises ``DocumentError`` where even a flat one would be too much work."""
    work = _Work(definitions, pointer)
    total = work.of(schema, ())
    if not work.ways:
        return DEPTH_MAX
    most = 1
    for name in definitions:
        work.ways = 0
        work.of({"$ref": _DEFINITIONS + name}, ())
        most = max(most, work.ways)
    levels, doing = 1, total * most
    while doing * most <= _RECURSIVE_WORK_MAX and levels < DEPTH_MAX:
        doing *= most
        levels += 1
    return max(levels, _RECURSIVE_LEVELS_MIN)


class _Work:
    """Counts what one value may be held against: every reference followed, those back to themselves once.

    ``ways``: how many of the latter there are.
    """

    def __init__(self, definitions: dict[str, Node | bool], pointer: str) -> None:
        self.ways = 0
        self._definitions = definitions
        self._pointer = pointer
        self._steps = 0

    def of(self, value: Value, above: tuple[str, ...], fresh: int = 0) -> int:
        """``above``: the definitions that this is within; from ``fresh`` on, at the same place."""
        if not isinstance(value, dict):
            return 1
        self._steps += 1
        if self._steps > _STEPS_MAX or len(above) > DEPTH_MAX:
            raise DocumentError("a schema whose parts refer to each other too often", self._pointer)
        total = 1
        for word, member in value.items():
            if word == "$ref":
                total += self._reference(str(member), above, fresh)
            elif word in _ONE or word in _LISTS or word in _NAMED:
                below = fresh if word in _IN_PLACE else len(above)
                for one in _members(member, named=word in _NAMED):
                    total += self.of(one, above, below)
        if total > WORK_MAX:
            raise DocumentError("a schema whose parts refer to each other too often", self._pointer)
        return total

    def _reference(self, reference: str, above: tuple[str, ...], fresh: int) -> int:
        name = reference.removeprefix(_DEFINITIONS)
        if name in above:
            if name in above[fresh:]:
                raise DocumentError(f"{shown(name)} refers to itself without end", self._pointer)
            self.ways += 1
            return 1
        return self.of(self._definitions[name], (*above, name), fresh)


def _members(value: Value, *, named: bool) -> list[Value]:
    """The schemas that a keyword holds: by name, in a list, or one."""
    if named and isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else [value]
