"""Differences of a configuration as lines for people: ``+`` made, ``~`` changed, ``-`` removed."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

VALUE_CHARACTERS_MAX: Final = 160
_COLOURS: Final = {"+": "32", "~": "33", "-": "31"}


def lines(differences: Sequence[Mapping[str, Any]], *, colour: bool | None = None) -> list[str]:
    """One line a field. ``colour`` None: on a terminal that wants it."""
    colour = wants_colour() if colour is None else colour
    return [_line(one, colour=colour) for one in differences]


def wants_colour() -> bool:
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def _line(one: Mapping[str, Any], *, colour: bool) -> str:
    before, after = one.get("before"), one.get("after")
    if before is None:
        sign, value = "+", _value(after)
    elif after is None:
        sign, value = "-", _value(before)
    else:
        sign, value = "~", f"{_value(before)} -> {_value(after)}"
    text = f"{sign} {one.get('path', '')}: {value}"
    return f"\x1b[{_COLOURS[sign]}m{text}\x1b[0m" if colour else text


def _value(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    return text if len(text) <= VALUE_CHARACTERS_MAX else f"{text[: VALUE_CHARACTERS_MAX - 4]} ..."


def counts(planned: Mapping[str, Any]) -> str:
    """``+2 ~1 -0``: entries made, changed, removed."""
    return f"+{planned['creates']} ~{planned['updates']} -{planned['deletes']}"


def changes_any(planned: Mapping[str, Any]) -> bool:
    return bool(planned["creates"] or planned["updates"] or planned["deletes"])
