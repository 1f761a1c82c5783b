"""Entries as people may see them: no secret leaves the compiler, whoever asks.

What ``${...}`` filled in is masked whatever it is, for whether a variable holds a secret is not ours to
guess; beside that the values that are secrets by their place, digests of keys among them (a weak key is found
by trying), and passwords in addresses.
"""

import re
from typing import Final

from faregate.model.diagnostics import Value
from faregate.model.interpolate import Interpolated

MASK: Final = "***"
_SECRET: Final = re.compile(r"(?i)secret|passw|token$|private|^digest$|^lookup_key$")
_USER_INFORMATION: Final = re.compile(r"//[^/\s\"'@]*@")


def masked(value: Value, *, key: bool = False) -> Value:
    """``value`` without its secrets. ``key``: it is of an API key, whose digest is one."""
    if isinstance(value, Interpolated):
        return MASK
    if isinstance(value, str):
        return _USER_INFORMATION.sub(f"//{MASK}@", value) if "@" in value else value
    if isinstance(value, list):
        return [masked(member, key=key) for member in value]
    if isinstance(value, dict):
        return {name: _member(name, member, key=key) for name, member in value.items()}
    return value


def _member(name: str, value: Value, *, key: bool) -> Value:
    hidden = _SECRET.search(name) or (key and name == "sha256")
    if hidden and isinstance(value, (str, int, float)) and not isinstance(value, bool):
        return MASK
    return masked(value, key=key or name == "api_key")
