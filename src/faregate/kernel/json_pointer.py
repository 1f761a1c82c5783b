"""JSON pointers (RFC 6901): a place in a JSON value.

Pointers come from the configuration, so what they are split into is kept.
"""

import re
from functools import lru_cache
from typing import Final

from faregate.kernel.strict_json import JsonValue

ABSENT: Final = object()
"""What ``find`` returns where there is nothing; null is a value."""

_POINTER: Final = re.compile(r"(?:/(?:[^~/]|~[01])*)*")
_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,8}")


@lru_cache(maxsize=4096)
def parse(pointer: str) -> tuple[str, ...]:
    """The steps of ``pointer``, outermost first; none for the whole value. Raises ``ValueError``."""
    if not _POINTER.fullmatch(pointer):
        raise ValueError("not a JSON pointer")
    return tuple(step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:])


def find(value: JsonValue, pointer: str) -> object:
    """The JSON value at ``pointer`` in ``value``, or ``ABSENT``. Raises ``ValueError`` for no pointer."""
    for step in parse(pointer):
        if isinstance(value, dict):
            if step not in value:
                return ABSENT
            value = value[step]
        elif isinstance(value, list):
            if not _INDEX.fullmatch(step) or int(step) >= len(value):
                return ABSENT
            value = value[int(step)]
        else:
            return ABSENT
    return value
