"""Walking the declared tree by pattern, forgiving about its shape.

Checks of what entries mean together run even when some entries have errors of their own, so that a user sees
everything at once. They therefore read the tree as written, and step over whatever is not of the expected
kind.
"""

from collections.abc import Iterator
from typing import Final

from faregate.model.diagnostics import TreePath, Value

ANY: Final = "*"

Pattern = tuple[str, ...]


def matches(value: Value, pattern: Pattern, path: TreePath = ()) -> Iterator[tuple[TreePath, Value]]:
    """Every place that ``pattern`` leads to, with its value; ``ANY`` stands for each key or index."""
    if not pattern:
        yield path, value
        return
    step, rest = pattern[0], pattern[1:]
    if step != ANY:
        if isinstance(value, dict) and step in value:
            yield from matches(value[step], rest, (*path, step))
    elif isinstance(value, dict):
        for key, member in value.items():
            yield from matches(member, rest, (*path, key))
    elif isinstance(value, list):
        for index, member in enumerate(value):
            yield from matches(member, rest, (*path, index))


def value_at(value: Value, path: TreePath) -> Value:
    """What stands at ``path`` below ``value``; None where the path leads nowhere."""
    for step in path:
        if isinstance(value, dict):
            value = value.get(str(step))
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            return None
    return value


def mapping(value: Value) -> dict[str, Value]:
    """The value if it is a mapping, else an empty one."""
    return value if isinstance(value, dict) else {}


def sequence(value: Value) -> list[Value]:
    """The value if it is a list, else an empty one."""
    return value if isinstance(value, list) else []
