"""JSON text to plain values at C speed, and positions only for those who ask.

Large configurations (a hundred thousand consumers) come as JSON written by programs. msgspec reads them in
a third of the standard library's time, but keeps the last of two equal keys: what it reads counts only where
the colons of the text prove that there are none, and the standard library judges all the rest. Neither keeps
positions, so ``locate`` walks the text again when there is something to report, descending only where a
wanted path leads and skipping all else. Duplicate keys, NaN and Infinity are refused.
"""

import json
import re
from json.decoder import JSONDecodeError, scanstring  # type: ignore[attr-defined]
from typing import TYPE_CHECKING, Final

import msgspec

from faregate.model.yaml_text import DEPTH_MAX, Place, TextError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from faregate.model.diagnostics import TreePath, Value

_BLANKS: Final = re.compile(r"[ \t\n\r]*")
_CONTAINERS: Final = frozenset({dict, list})
_SKIP: Final = json.JSONDecoder().raw_decode


class _DuplicateError(Exception):
    pass


def _mapping(pairs: "list[tuple[str, Value]]") -> "dict[str, Value]":
    value = dict(pairs)
    if len(value) != len(pairs):
        raise _DuplicateError
    return value


def _refuse_constant(name: str) -> float:
    raise ValueError(name)


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_mapping, parse_constant=_refuse_constant)


def read_json(text: str) -> "Value":
    """The value. Raises ``TextError`` with its position."""
    try:
        value: Value = msgspec.json.decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return _read_exactly(text)
    keys, deep = _measure(value)
    if deep or _keys_max(text) != keys:
        return _read_exactly(text)
    return value


def _keys_max(text: str) -> int:
    """At least as many as the keys written in ``text``: each ends with a quote, and blanks may follow before
    its colon. Also counts some colons in and before values.
    """
    return sum(text.count(before + ":") for before in '" \t\n\r')


def _read_exactly(text: str) -> "Value":
    try:
        value: Value = _DECODER.decode(text)
    except _DuplicateError:
        raise _first_duplicate(text) from None
    except JSONDecodeError as error:
        raise TextError("bad_yaml", error.lineno, error.colno, f"not JSON: {error.msg.lower()}") from None
    except RecursionError:
        raise TextError("too_large", 1, 1, "too many levels of nesting") from None
    except ValueError:
        raise TextError("bad_yaml", 1, 1, "not JSON: NaN, Infinity or a number of too many digits") from None
    if _measure(value)[1]:
        raise TextError("too_large", 1, 1, f"more than {DEPTH_MAX} levels of nesting")
    return value


def _measure(value: "Value") -> tuple[int, bool]:
    """How many keys all mappings of ``value`` have, and whether it is deeper than ``DEPTH_MAX`` levels."""
    keys = 0
    mappings = [value] if isinstance(value, dict) else []
    lists = [value] if isinstance(value, list) else []
    for _ in range(DEPTH_MAX + 1):
        keys += sum(map(len, mappings))
        members = [one for some in mappings for one in some.values() if type(one) in _CONTAINERS]
        members += [one for some in lists for one in some if type(one) in _CONTAINERS]
        mappings = [one for one in members if isinstance(one, dict)]
        lists = [one for one in members if isinstance(one, list)]
        if not members:
            return keys, False
    return keys, True


def locate(text: str, paths: "Iterable[TreePath]") -> Place:
    """The places of all ``paths`` and of what lies above them, in one pass over well-formed ``text``."""
    wanted: dict[str | int, object] = {}
    for path in paths:
        node = wanted
        for step in path:
            node = node.setdefault(step, {})  # type: ignore[assignment]
    return _Walker(text).walk(_blank(text, 0), wanted)[0]


def _blank(text: str, index: int) -> int:
    match = _BLANKS.match(text, index)
    assert match is not None
    return match.end()


class _Walker:
    """Walks well-formed JSON; lines are counted from where the last position was taken."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._line = 1
        self._counted = 0

    def position(self, index: int) -> tuple[int, int]:
        if index < self._counted:
            self._line, self._counted = 1, 0
        self._line += self._text.count("\n", self._counted, index)
        self._counted = index
        return self._line, index - self._text.rfind("\n", 0, index)

    def walk(self, index: int, wanted: "dict[str | int, object]") -> tuple[Place, int]:
        """The place of the value at ``index`` with its wanted children, and the index after it."""
        text = self._text
        place = Place(*self.position(index))
        if not wanted or text[index] not in "{[":
            return place, _SKIP(text, index)[1]
        place.children = {}
        is_mapping = text[index] == "{"
        count = 0
        index = _blank(text, index + 1)
        while text[index] not in "}]":
            step: str | int = count
            key_index = index
            if is_mapping:
                step, index = scanstring(text, index + 1, True)  # noqa: FBT003 - the scanner's own form
                index = _blank(text, _blank(text, index) + 1)
            if step in wanted:
                key_line, key_column = self.position(key_index) if is_mapping else (0, 0)
                child, index = self.walk(index, wanted[step])  # type: ignore[arg-type]
                child.key_line, child.key_column = key_line, key_column
                place.children[step] = child
            else:
                index = _SKIP(text, index)[1]
            count += 1
            index = _blank(text, index)
            if text[index] == ",":
                index = _blank(text, index + 1)
        return place, index + 1


def _first_duplicate(text: str) -> TextError:
    """Finds the key that is written twice; slow, used when there is one."""
    walker = _Walker(text)
    stack: list[dict[str, int] | None] = []
    index = _blank(text, 0)
    expects_key = False
    while index < len(text):
        sign = text[index]
        if sign in "{[":
            stack.append({} if sign == "{" else None)
            expects_key = sign == "{"
            index += 1
        elif sign in "}]":
            stack.pop()
            expects_key = False
            index += 1
        elif sign == ",":
            expects_key = stack[-1] is not None
            index += 1
        elif sign == '"':
            key, end = scanstring(text, index + 1, True)  # noqa: FBT003 - the scanner's own form
            keys = stack[-1] if stack else None
            if expects_key and keys is not None:
                if key in keys:
                    first = walker.position(keys[key])[0]
                    message = f"`{key}` is already written in line {first}"
                    return TextError("duplicate_key", *walker.position(index), message)
                keys[key] = index
                expects_key = False
            index = end
        else:
            index += 1
        index = _blank(text, index)
    return TextError("duplicate_key", 1, 1, "a key is written twice")
