"""Schemas made comparable: references followed, ``allOf`` of objects joined, equal ones known to be equal.

Of what stands alone (``schemas``) only; what two of them let pass is told in ``diff_schemas``.
"""

import json
import re
from typing import Final

from faregate.compile.openapi.document import Node
from faregate.model.diagnostics import Value

_LEVELS_MAX: Final = 32
REFERRED: Final = re.compile(r'"#/\$defs/([^"/]+)"')
"""The names that a schema's text refers to."""


def flat(schema: Value, root: Value, level: int = 0) -> Node | None:
    """The schema with its reference followed and its ``allOf`` of objects joined; None where that cannot be
    done.
    """
    if schema is True:
        return {}
    if not isinstance(schema, dict) or level > _LEVELS_MAX:
        return None
    parts: list[Value] = []
    reference = schema.get("$ref")
    if isinstance(reference, str):
        parts.append(definitions(root).get(reference.rpartition("/")[2]))
    listed = schema.get("allOf")
    parts += listed if isinstance(listed, list) else []
    made = {word: member for word, member in schema.items() if word not in ("$ref", "allOf", "$defs")}
    for part in parts:
        other = flat(part, root, level + 1)
        if other is None:
            return None
        both = _joined(made, other)
        if both is None:
            return None
        made = both
    return made


def _joined(left: Node, right: Node) -> Node | None:
    """Both as one schema; None where a keyword of both would have to be worked out."""
    made = {**left, **right}
    for word in left.keys() & right.keys():
        if left[word] == right[word]:
            continue
        if word == "required":
            made[word] = [*sorted({str(name) for some in (left, right) for name in sequence(some[word])})]
        elif word == "properties":
            mine, theirs = mapping(left[word]), mapping(right[word])
            both: Node = {**mine, **theirs}
            for name in mine.keys() & theirs.keys():
                if mine[name] != theirs[name]:
                    both[name] = {"allOf": [mine[name], theirs[name]]}
            made[word] = both
        else:
            return None
    return made


def bare(schema: Value) -> Value:
    """Without its definitions, so that it is the same as where it refers to itself."""
    if not isinstance(schema, dict):
        return schema
    return {word: member for word, member in schema.items() if word != "$defs"}


def definitions(schema: Value) -> Node:
    return mapping(mapping(schema).get("$defs"))


def changed(old: Node, new: Node) -> set[str]:
    """The definitions that are not the same in both, themselves or in what they refer to."""
    texts = {name: as_text(one) for name, one in new.items()}
    changed = {name for name in old.keys() | new.keys() if as_text(old.get(name)) != texts.get(name)}
    refers = {name: set(REFERRED.findall(text)) for name, text in texts.items()}
    while True:
        more = {name for name, others in refers.items() if name not in changed and others & changed}
        if not more:
            return changed
        changed |= more


def whole(schema: Value, root: Value) -> Node | bool:
    """The schema with all definitions of its document."""
    if not isinstance(schema, dict):
        return schema is not False
    return {**schema, "$defs": definitions(root)} if "$ref" in as_text(schema) else schema


def mapping(value: Value) -> Node:
    return value if isinstance(value, dict) else {}


def sequence(value: Value) -> list[Value]:
    return value if isinstance(value, list) else []


def as_text(value: Value) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
