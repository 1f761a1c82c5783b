"""What does not fit a request's shape, in our own words: pydantic's errors become diagnostics as files get
them.

One table says what each kind means; a kind that is in none keeps pydantic's sentence. Values are never
repeated: of a wrong one its kind is told, of an unknown member its name, with the nearest that is known.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import UnionType
from typing import Any, Final, TypeAlias, Union, get_args, get_origin

from pydantic import BaseModel

from faregate.manager.admin.schemas import NAME_PATTERN, TEAM_PATTERN
from faregate.model.diagnostics import TreePath, nearest_name, path_text

Found: TypeAlias = dict[str, object]

SAID_MAX: Final = 3
"""How many the one sentence of the problem names; ``diagnostics`` has more."""
FOUND_MAX: Final = 100
_NAMES_MAX: Final = 12

_KINDS: Final = {
    "string": "text", "int": "a whole number", "float": "a number", "bool": "true or false", "list": "a list",
    "dict": "a mapping", "model": "a mapping", "model_attributes": "a mapping",
}  # fmt: skip
_WRONG_TYPES: Final = {
    f"{kind}_{end}": expected
    for kind, expected in _KINDS.items()
    for end in ("type", "parsing", "from_float", "parsing_size")
}
"""``int_type``, ``bool_parsing``: what is expected there."""
_BOUNDS: Final = {
    "less_than_equal": ("too large", "at most {le}"),
    "less_than": ("too large", "less than {lt}"),
    "greater_than_equal": ("too small", "at least {ge}"),
    "greater_than": ("too small", "more than {gt}"),
    "string_too_long": ("too long", "at most {max_length} characters"),
    "string_too_short": ("too short", "at least {min_length} characters"),
    "too_long": ("too many", "at most {max_length}"),
    "too_short": ("too few", "at least {min_length}"),
    "literal_error": ("not one of the choices", "{expected}"),
    "enum": ("not one of the choices", "{expected}"),
}
_FORMS: Final = {
    NAME_PATTERN: "letters, digits, `.`, `_` and `-`, 128 at most, a letter or digit first",
    TEAM_PATTERN: "small letters, digits and `-`, 63 at most, a small letter or digit first",
    r"[a-z0-9][a-z0-9._@-]{0,62}": "small letters, digits, `.`, `_`, `@` and `-`, 63 at most",
    r"[0-9]{6}": "six digits",
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}": "a day such as 2026-11-23",
}


def diagnostics(errors: Iterable[Mapping[str, Any]], body: object, model: object) -> list[Found]:
    """``errors`` of a request with ``body``, which is held against ``model``, one for each place."""
    found: dict[str, Found] = {}
    for one in errors:
        path = _written(tuple(one["loc"]), body, missing=one["type"] == "missing")
        told = {"level": "error", **_worded(one, path, model), "path": path_text(path)}
        former = found.setdefault(path_text(path), told)
        if former is not told and former["code"] == told["code"] == "wrong_type":  # another alternative
            expected = [str(former["expected"]), str(told["expected"])]
            former["expected"] = " or ".join(dict.fromkeys(expected))
        if len(found) == FOUND_MAX:
            break
    return list(found.values())


def sentence(found: Sequence[Found]) -> str:
    """What is wrong, in one sentence, for who reads no diagnostics."""
    said = [_line(one) for one in found[:SAID_MAX]] or ["not valid"]
    more = len(found) - SAID_MAX
    return "; ".join([*said, *([f"and {more} more"] if more > 0 else [])])


def _line(one: Found) -> str:
    nearest, expected = one.get("nearest"), one.get("expected")
    hint = f", did you mean `{nearest}`?" if nearest else f", expected {expected}" if expected else ""
    return f"{one['path']}: {one['message']}{hint}"


def _worded(one: Mapping[str, Any], path: TreePath, model: object) -> Found:
    kind, context = str(one["type"]), one.get("ctx") or {}
    if kind == "missing":
        return {"code": "missing_key", "message": f"`{path[-1]}` is missing"}
    if kind == "extra_forbidden":
        name, names = str(path[-1])[:100], sorted(_members(model, path[1:-1]))
        nearest = nearest_name(name, names)
        return {
            "code": "unknown_key",
            "message": f"`{name}` has no meaning here",
            "expected": ", ".join(names[:_NAMES_MAX]),
            "nearest": nearest,
        }
    if kind in _WRONG_TYPES:
        return {
            "code": "wrong_type",
            "message": f"the value is {_kind_of(one.get('input'))}",
            "expected": _WRONG_TYPES[kind],
        }
    if kind == "string_pattern_mismatch":
        return {"code": "bad_value", "message": "not of the right form", "expected": _form(context)}
    if kind in _BOUNDS:
        message, expected = _BOUNDS[kind]
        return {
            "code": "bad_value",
            "message": message,
            "expected": expected.format_map(context).replace("'", ""),
        }
    return {"code": "bad_value", "message": str(one["msg"])}


def _form(context: Mapping[str, Any]) -> str:
    pattern = str(context.get("pattern", ""))
    plain = pattern.removeprefix("^$|")
    return (
        _FORMS.get(plain) or _FORMS.get(plain.removeprefix("^").removesuffix("$")) or f"text like {pattern}"
    )


def _written(location: TreePath, body: object, *, missing: bool) -> TreePath:
    """The part of a location that was written: pydantic adds labels of alternatives to it."""
    if location[:1] != ("body",):
        return location
    path, value = location[:1], body
    for step in location[1:]:
        listed = isinstance(value, list) and isinstance(step, int) and step < len(value)
        if listed or (isinstance(value, dict) and step in value):
            value = value[step]  # type: ignore[index]  # as just asked
        elif not missing or step is not location[-1]:
            continue
        path = (*path, step)
    return path


def _kind_of(value: object) -> str:
    kinds = {str: "text", bool: "true or false", int: "a number", float: "a number", list: "a list"}
    return "empty" if value is None else kinds.get(type(value), "a mapping")


def _members(model: object, path: TreePath) -> set[str]:
    """The names that members have at ``path`` of ``model``."""
    kinds = [model]
    for step in path:
        kinds = [
            within
            for kind in kinds
            for one in _alternatives(kind)
            for within in _within(one, step)
        ]  # fmt: skip
    return {name for kind in kinds for one in _alternatives(kind) for name in _fields(one)}


def _alternatives(kind: object) -> Iterator[object]:
    if get_origin(kind) in {Union, UnionType}:
        yield from get_args(kind)
    else:
        yield kind


def _within(kind: object, step: str | int) -> Iterator[object]:
    """What ``kind`` has at ``step``."""
    if isinstance(step, str) and isinstance(kind, type) and issubclass(kind, BaseModel):
        if step in kind.model_fields:
            yield kind.model_fields[step].annotation
    elif get_origin(kind) in {list, dict}:
        yield get_args(kind)[-1]


def _fields(kind: object) -> Iterable[str]:
    is_model = isinstance(kind, type) and issubclass(kind, BaseModel)
    return kind.model_fields if is_model else ()  # type: ignore[attr-defined]  # as just asked
