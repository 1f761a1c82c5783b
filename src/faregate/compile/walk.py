"""Walking the declared tree by pattern, forgiving about its shape.

Checks of what entries mean together run even when some entries have errors of their own, so that a user sees
everything at once. They therefore read the tree as written, and step over whatever is not of the expected
kind.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from faregate.model.diagnostics import TreePath, Value

ANY: Final = "*"

Pattern = tuple[str, ...]


def matches(value: Value, pattern: Pattern, path: TreePath = ()) -> Iterator[tuple[TreePath, Value]]:
    """Every place that ``pattern`` leads to, with its value, in the tree's order; ``ANY`` stands for each key
    or index.
    """
    if not values(value, pattern):
        return  # most patterns of a hundred thousand consumers lead nowhere: no path is built for them
    found = [(path, value)]
    for step in pattern:
        if step == ANY:
            found = [((*above, key), member) for above, one in found for key, member in _members(one)]
        else:
            found = [
                ((*above, step), one[step]) for above, one in found if isinstance(one, dict) and step in one
            ]
    yield from found


def values(value: Value, pattern: Pattern) -> list[Value]:
    """The values of ``matches``, for those who need their paths only when one of them is wrong: a third of
    the time.
    """
    found = [value]
    for step in pattern:
        if step == ANY:
            found = [
                member
                for one in found
                if isinstance(one, (dict, list))
                for member in (one.values() if isinstance(one, dict) else one)
            ]
        else:
            found = [one[step] for one in found if isinstance(one, dict) and step in one]
    return found


def texts(value: Value, pattern: Pattern) -> set[str]:
    """The different texts among ``values``."""
    return {one for one in values(value, pattern) if isinstance(one, str)}


def _members(value: Value) -> Iterable[tuple[str | int, Value]]:
    if isinstance(value, dict):
        return value.items()
    return enumerate(value) if isinstance(value, list) else ()


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
