"""A configuration's tree as YAML for people: what holds mappings in blocks, what is short in one line."""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Final

from faregate.model.diagnostics import Value

_WIDTH: Final = 110
_PLAIN: Final = re.compile(r"[A-Za-z_/][A-Za-z0-9_./:{}-]*")
_WORDS: Final = frozenset({"true", "false", "null", "yes", "no", "on", "off", "~"})


def as_yaml(tree: dict[str, Value], comments: Sequence[str] = ()) -> str:
    """``comments``: lines above it."""
    lines = [f"# {line}" for line in comments]
    for section, content in tree.items():
        lines += ["", f"{section}:", *_block(content, "  ")]
    return "\n".join(lines).lstrip("\n") + "\n"


def _block(value: Value, indent: str) -> Iterator[str]:
    if isinstance(value, list):
        yield from (f"{indent}- {_flow(member)}" for member in value)
    elif isinstance(value, dict):
        for key, member in value.items():
            line = f"{indent}{_scalar(key)}: {_flow(member)}"
            if isinstance(member, dict | list) and (len(line) > _WIDTH or _is_deep(member)):
                yield f"{indent}{_scalar(key)}:"
                yield from _block(member, indent + "  ")
            else:
                yield line


def _is_deep(value: "dict[str, Value] | list[Value]") -> bool:
    members = value.values() if isinstance(value, dict) else value
    return any(isinstance(member, dict) for member in members)


def _flow(value: Value) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_scalar(key)}: {_flow(member)}" for key, member in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_flow(member) for member in value) + "]"
    if isinstance(value, str):
        return value if value == "off" else _scalar(value)
    return json.dumps(value)


def _scalar(text: str) -> str:
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS and "{" not in text and not text.endswith(":"):
        return text
    return json.dumps(text, ensure_ascii=False)
