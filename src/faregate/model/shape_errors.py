"""pydantic's errors in the words of the diagnostics table.

pydantic says what is wrong and where in its own structure; this module maps that to a place in the written
tree, a code and one phrase. Values are never repeated, and where a value came through ``${...}`` not even the
reason is, because it could describe a secret.
"""

import re
from typing import TYPE_CHECKING, Final

from pydantic import ValidationError

from faregate.model.diagnostics import CODES, nearest_name
from faregate.model.interpolate import Interpolated, Unfilled
from faregate.model.values import kind_of

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from faregate.model.diagnostics import Findings, TreePath, Value

_TYPES: Final = {
    "string_type": "text", "bool_type": "true or false", "list_type": "a list", "dict_type": "a mapping",
    "model_type": "a mapping",
}  # fmt: skip


_SENDS_TWICE: Final = frozenset({"hedge", "hedging", "mirror"})

_LABEL: Final = re.compile(r"<.*>|\[key\]")
"""What pydantic adds to a location that nobody wrote."""


def report(error: ValidationError, tree: "Value", findings: "Findings") -> None:
    """Adds every error of ``error`` to ``findings``."""
    for detail in error.errors(include_url=False, include_context=True):
        path = written_path(detail["loc"], tree)
        _report_one(detail, path, tree, findings)


def written_path(location: tuple[int | str, ...], tree: "Value") -> "TreePath":
    """The part of pydantic's location that was written; labels of alternatives and of keys are left out."""
    steps = [step for step in location if not (isinstance(step, str) and _LABEL.fullmatch(step))]
    path: TreePath = ()
    for position, step in enumerate(steps):
        member = _member(tree, step)
        if member is None:
            # what is missing has no place, but its name belongs to the path; parts of one text do not
            return (*path, step) if position == len(steps) - 1 and isinstance(tree, dict) else path
        (tree,) = member
        path = (*path, step)
    return path


def value_at(path: "TreePath", tree: "Value") -> "Value":
    """The value at ``path``, or the deepest one above it."""
    for step in path:
        member = _member(tree, step)
        if member is None:
            break
        (tree,) = member
    return tree


def _member(tree: "Value", step: str | int) -> "tuple[Value] | None":
    if isinstance(tree, dict) and isinstance(step, str) and step in tree:
        return (tree[step],)
    if isinstance(tree, list) and isinstance(step, int) and step < len(tree):
        return (tree[step],)
    return None


def _report_one(detail: "ErrorDetails", path: "TreePath", tree: "Value", findings: "Findings") -> None:
    kind = detail["type"]
    context = detail.get("ctx", {})
    value = value_at(path, tree)
    at_key = detail["loc"][-1:] == ("[key]",)
    if isinstance(value, Unfilled):
        return
    if kind == "extra_forbidden":
        _unknown_key(path, findings)
    elif kind == "missing":
        _missing_key(path, findings)
    elif kind in _TYPES:
        hint = "; write it in quotes" if _TYPES[kind] == "text" and type(value) in (int, float, bool) else ""
        findings.add("wrong_type", path, f"the value is {kind_of(value)}", expected=_TYPES[kind] + hint)
    elif isinstance(value, Interpolated):
        findings.add(
            "bad_value", path, "what ${...} stands for does not fit here", expected=_expected(detail)
        )
    elif kind in CODES:
        findings.add(kind, path, str(context["message"]), expected=str(context["expected"]), at_key=at_key)
    elif kind == "literal_error":
        choices = str(context["expected"])
        nearest = (
            nearest_name(value, choices.replace("'", "").replace(" or ", ", ").split(", "))
            if isinstance(value, str)
            else ""
        )
        code = "bad_value" if isinstance(value, str) else "wrong_type"
        message = "not one of the choices" if isinstance(value, str) else f"the value is {kind_of(value)}"
        findings.add(code, path, message, expected=choices.replace("'", ""), nearest=nearest)
    else:
        findings.add("bad_value", path, _plain_reason(detail), expected=_expected(detail))


def _expected(detail: "ErrorDetails") -> str:
    context = detail.get("ctx", {})
    if detail["type"] == "too_short":
        return f"at least {context['min_length']}"
    if detail["type"] == "too_long":
        return f"at most {context['max_length']}"
    return str(context.get("expected", "")).replace("'", "")


def _plain_reason(detail: "ErrorDetails") -> str:
    return {"too_short": "too few entries", "too_long": "too many entries"}.get(
        detail["type"], "not valid here"
    )


def _unknown_key(path: "TreePath", findings: "Findings") -> None:
    from faregate.model.schema import keys_at  # noqa: PLC0415 - made only when there is an error

    names = keys_at(path[:-1])
    key = str(path[-1])
    expected = ", ".join(names)
    if key in _SENDS_TWICE:
        message = f"`{key}` would send a call twice, which this gateway never does: money would move twice"
        findings.add("unknown_key", path, message, expected=expected, at_key=True)
        return
    findings.add(
        "unknown_key",
        path,
        f"`{key}` has no meaning here",
        expected=expected,
        nearest=nearest_name(key, names),
        at_key=True,
    )


def _missing_key(path: "TreePath", findings: "Findings") -> None:
    message = f"`{path[-1]}` is missing"
    hint = "write `authenticate: []` for a public API" if path[-1] == "authenticate" else ""
    findings.add("missing_key", path, message, expected=hint)
