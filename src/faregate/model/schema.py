"""The JSON Schema of the configuration: published for editors, and asked by diagnostics for the names that
fit a place.

Made from the declared forms, so that editors, ``check`` and the documentation cannot disagree. Defaults
appear in the notation people write.
"""

from collections.abc import Iterator
from functools import cache
from typing import Final, TypeAlias

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from faregate.model.config import Config
from faregate.model.diagnostics import TreePath
from faregate.model.values import KIND

SchemaNode: TypeAlias = "dict[str, object]"

SCHEMA_ID: Final = "urn:faregate:schema:configuration"

_UNITS_MS: Final = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1))
_UNITS_BYTES: Final = (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1))


class _Writer(GenerateJsonSchema):
    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        inner = self.generate_inner(schema["schema"])
        default = schema.get("default")
        if isinstance(default, (str, int, float)):
            return {**inner, "default": _written(default, str(inner.get(KIND, "")))}
        return inner


def _written(value: str | float, kind: str) -> str | float:
    if kind == "percent":
        return f"{value}%"
    if kind not in ("duration", "size") or isinstance(value, str):
        return value
    units = _UNITS_MS if kind == "duration" else _UNITS_BYTES
    number = round(value * 1000) if kind == "duration" else round(value)
    unit, factor = next(row for row in units if number % row[1] == 0)
    return f"{number // factor}{unit}"


def _finish(node: object) -> None:
    """Takes out what is ours or only noise in an editor."""
    if isinstance(node, dict):
        node.pop(KIND, None)
        if isinstance(node.get("title"), str):
            del node["title"]
        if "patternProperties" in node:  # names that break the rule are errors
            node["additionalProperties"] = False
        if isinstance(node.get("anyOf"), list):  # an empty value is never written (Declared)
            node["anyOf"] = [choice for choice in node["anyOf"] if choice != {"type": "null"}]
        for member in node.values():
            _finish(member)
    elif isinstance(node, list):
        for member in node:
            _finish(member)


@cache
def configuration_schema() -> SchemaNode:
    """The JSON Schema (2020-12) of one configuration file; shared, not to be changed."""
    schema: SchemaNode = Config.model_json_schema(schema_generator=_Writer)
    _finish(schema)
    properties = schema["properties"]
    assert isinstance(properties, dict)
    include = {
        "type": "array",
        "items": {"type": "string"},
        "description": "Files to merge, relative to this one: `consumers/*.yaml`.",
    }
    schema["properties"] = {"$schema": {"type": "string"}, "include": include, **properties}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        "title": "Faregate configuration",
        **schema,
    }


def keys_at(path: TreePath) -> list[str]:
    """The keys that a mapping at ``path`` may have; empty where names are free."""
    nodes = list(_resolved(configuration_schema()))
    for step in path:
        nodes = [inner for node in nodes for child in _children(node, step) for inner in _resolved(child)]
    names: dict[str, None] = {}
    for node in nodes:
        properties = node.get("properties")
        if isinstance(properties, dict):
            names.update(dict.fromkeys(str(name) for name in properties))
    return list(names)


def _resolved(node: object) -> Iterator[SchemaNode]:
    """The node itself, or what it refers to or chooses from."""
    if not isinstance(node, dict):
        return
    reference = node.get("$ref")
    if isinstance(reference, str):
        definitions = configuration_schema()["$defs"]
        assert isinstance(definitions, dict)
        yield from _resolved(definitions[reference.rpartition("/")[2]])
        return
    yield node
    for choice in ("anyOf", "oneOf"):
        alternatives = node.get(choice)
        for alternative in alternatives if isinstance(alternatives, list) else ():
            yield from _resolved(alternative)


def _children(node: SchemaNode, step: str | int) -> Iterator[object]:
    if isinstance(step, int):
        if "items" in node:
            yield node["items"]
        return
    properties = node.get("properties")
    if isinstance(properties, dict) and step in properties:
        yield properties[step]
        return
    yield node.get("additionalProperties")
    patterns = node.get("patternProperties")
    yield from patterns.values() if isinstance(patterns, dict) else ()
