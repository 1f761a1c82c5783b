"""Diagnostics as people and programs read them.

The text form: one line that editors and terminals recognise, the source line with a caret, what was expected,
the nearest valid name. The JSON form: an array of objects without source lines, which could hold what must
not be seen.
"""

import json
from collections.abc import Iterable
from typing import Final

from faregate.model.diagnostics import Diagnostic, Level
from faregate.model.source import Source

SHOWN_MAX: Final = 500
"""Diagnostics printed as text; beyond these their number is said."""

EXPECTED_CHARACTERS_MAX: Final = 400


def as_text(diagnostics: list[Diagnostic], sources: Iterable[Source]) -> str:
    """All diagnostics with their source lines, each ended by a newline."""
    by_name = {source.shown: source for source in sources}
    parts = [_one(diagnostic, by_name.get(diagnostic.file)) for diagnostic in diagnostics[:SHOWN_MAX]]
    if len(diagnostics) > SHOWN_MAX:
        parts.append(f"... and {len(diagnostics) - SHOWN_MAX} more\n")
    return "".join(parts)


def as_json(diagnostics: list[Diagnostic]) -> str:
    """An array of objects."""
    return json.dumps([diagnostic.as_json() for diagnostic in diagnostics], indent=2)


def _one(diagnostic: Diagnostic, source: Source | None) -> str:
    level = "warning: " if diagnostic.level is Level.WARNING else ""
    place = f"{diagnostic.file}:{diagnostic.line}:{diagnostic.column}"
    if not diagnostic.line:  # of the database, where a path is all there is
        place = f"{diagnostic.file} {diagnostic.path}"
    lines = [f"{place}: {level}{diagnostic.code}: {diagnostic.message}"]
    excerpt = "" if source is None else source.excerpt(diagnostic)
    if excerpt:
        lines.append(f"    {excerpt}")
        if diagnostic.column <= len(excerpt):
            lines.append("    " + " " * (diagnostic.column - 1) + "^")
    if diagnostic.expected:
        expected = diagnostic.expected
        if len(expected) > EXPECTED_CHARACTERS_MAX:
            expected = expected[:EXPECTED_CHARACTERS_MAX].rpartition(" ")[0] + " ..."
        lines.append(f"    {'meanwhile' if diagnostic.code == 'not_available' else 'expected'} {expected}")
    if diagnostic.nearest:
        lines.append(f"    did you mean `{diagnostic.nearest}`?")
    return "\n".join(lines) + "\n"


def summary(diagnostics: list[Diagnostic]) -> str:
    """``2 errors, 1 warning``; empty when there are none."""
    parts = []
    for level in Level:
        count = sum(diagnostic.level is level for diagnostic in diagnostics)
        if count:
            parts.append(f"{count} {level.value}{'' if count == 1 else 's'}")
    return ", ".join(parts)
