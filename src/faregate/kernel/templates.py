"""Texts with ``{name}`` in them: which names there are, and the text with them filled in.

A brace that begins no name stands for itself, so that JSON can be a template.
"""

import re
from collections.abc import Callable
from typing import Final

_NAME: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]{0,63})\}")


def names_in(template: str) -> set[str]:
    """What ``template`` wants to be filled in."""
    return set(_NAME.findall(template))


def filled(template: str, value: Callable[[str], str]) -> str:
    """``template`` with ``value(name)`` in place of each name; what is filled in is not searched again."""
    return _NAME.sub(lambda match: value(match[1]), template)
