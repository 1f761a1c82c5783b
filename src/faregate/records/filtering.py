"""A small language that picks calls from the access log: ``consumer=acme status>=500 route~payments``.

Words joined by blanks must all hold. ``name=value`` and ``name!=value`` compare whole texts, several values
by ``|`` (``status=429|503``); ``~`` and ``!~`` look for a text inside, in any case; ``< <= > >=`` compare
numbers; ``name`` alone asks that the member is there, ``!name`` that it is not. Values with blanks stand in
quotes.
"""

import re
import shlex
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from faregate.records.lines import FIELDS

Line: TypeAlias = Mapping[str, object]
Filter: TypeAlias = Callable[[Line], bool]

WORDS_MAX: Final = 32
_WORD: Final = re.compile(r"(!?)([a-z_]+)(?:(!=|!~|<=|>=|=|~|<|>)(.*))?", re.DOTALL)
NUMBERS: Final = frozenset(
    {
        "status", "attempts", "duration_us", "upstream_us", "gateway_us", "request_bytes", "response_bytes",
        "revision",
    }
)  # fmt: skip


class FilterError(ValueError):
    """The text is no filter; the message says what is wrong with it."""


def parse(text: str) -> Filter:
    """The filter that ``text`` says. Raises FilterError."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise FilterError(f"{error}".lower()) from None
    if len(words) > WORDS_MAX:
        raise FilterError(f"more than {WORDS_MAX} conditions")
    conditions = [_condition(word) for word in words]
    return lambda line: all(condition(line) for condition in conditions)


def _condition(word: str) -> Filter:
    found = _WORD.fullmatch(word)
    if found is None:
        raise FilterError(f"{word!r} is no condition, such as consumer=acme or status>=500")
    negated, name, operator, value = found[1], found[2], found[3] or "", found[4] or ""
    if name not in FIELDS:
        from difflib import get_close_matches  # noqa: PLC0415 - only for an error

        near = get_close_matches(name, FIELDS, n=1)
        hint = f"did you mean `{near[0]}`?" if near else f"there are {', '.join(FIELDS)}"
        raise FilterError(f"lines have no member `{name}`; {hint}")
    if not operator:
        return (lambda line: name not in line) if negated else (lambda line: name in line)
    if negated:
        raise FilterError(f"{word!r}: `!` stands before `=` or `~`, or before a name alone")
    if operator in {"<", "<=", ">", ">="}:
        return _number(name, operator, value)
    if operator in {"=", "!="}:
        wanted = frozenset(value.split("|"))
        return _unless(operator == "!=", lambda line: _text(line, name) in wanted)
    inside = value.casefold()
    return _unless(operator == "!~", lambda line: inside in _text(line, name).casefold())


def _unless(negated: bool, holds: Filter) -> Filter:  # noqa: FBT001 - of the line above
    return (lambda line: not holds(line)) if negated else holds


def _text(line: Line, name: str) -> str:
    value = line.get(name)
    return "" if value is None else str(value)


def _number(name: str, operator: str, value: str) -> Filter:
    if name not in NUMBERS:
        raise FilterError(f"`{name}` is no number; compare it with = or ~")
    try:
        limit = float(value)
    except ValueError:
        raise FilterError(f"{value!r} is no number") from None

    def holds(line: Line) -> bool:
        number = line.get(name)
        if not isinstance(number, int | float):
            return False
        if operator == "<":
            return number < limit
        if operator == "<=":
            return number <= limit
        return number > limit if operator == ">" else number >= limit

    return holds
