"""Writes docs/reference/configuration.md from the published JSON Schema, so that the page cannot disagree with the
program.

Types, bounds, defaults and required keys come from the schema, which comes from the declared forms; what this
release refuses comes from ``compile.available``. Only what a key means is written by hand, where the schema does
not say it (``configuration_meanings``). ``python -m tests.docs.configuration_page`` writes the page; a test holds it.
"""

from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

from faregate.compile.available import NOT_AVAILABLE
from faregate.model.schema import configuration_schema
from tests.docs.configuration_meanings import MEANINGS

Node: TypeAlias = dict[str, Any]
"""A part of the JSON Schema."""

PAGE: Final = Path(__file__).parents[2] / "docs" / "reference" / "configuration.md"

DEFAULTS: Final = {
    "gateway.listen": "`[{address: 127.0.0.1:8080}]`",
    "gateway.manager": "`{address: 127.0.0.1:9090}`",
    "gateway.workers": "`auto`",
    "upstreams.<name>.retry.on": "`[connect_failure]`",
    "apis.<name>.routes[].idempotency.no_verdict": "`[408, 425, 502, 503, 504]`",
    "apis.<name>.routes[].idempotency.not_run": "`[401, 429]`",
}
"""Defaults that the schema cannot carry; a test compares them with the program."""

ABOUT: Final = {"gateway.manager": "Where admin API, metrics, health and readiness are served."}
"""Said of a mapping in place of the schema's words, which speak of later releases too."""

OMITTED: Final = ("$schema",)
INTRODUCTION: Final = """\
# Configuration

Every key, with its type and default. This page is written by `python -m tests.docs.configuration_page` from the schema
that `faregate schema` prints; do not edit it.

- Durations are `250ms 5s 2m 1h 30d`, sizes `512B 64KiB 2MiB 1GiB`, rates `100/second`, `10/second burst 20`, `2000/minute`,
  `1000000/month`.
- Any value may hold `${ENV_NAME}` or `${file:path}`; `$${` stands for `${`. Paths are relative to the file they stand in.
- Text is text: `NO`, `010`, `12:30:45` and `2026-10-01` are not turned into anything else.
- Names are 1 to 128 letters, digits and `_ . @ + -`, beginning with a letter, a digit or `_`.
- An unknown key is an error, and so is a key without a value. `faregate check FILE` reports all errors at once.
- What a key marked *not in this release* asks for is refused with the diagnostic `not_available`.
"""


class Row(NamedTuple):
    """One key of one table."""

    path: str
    key: str
    type: str
    default: str
    meaning: str


class Table(NamedTuple):
    """One mapping of the configuration."""

    path: str
    about: str
    rows: list[Row]


def tables() -> list[Table]:
    """All mappings in the order of the configuration, each once."""
    found: list[Table] = []
    _collect("", configuration_schema(), found)
    return found


def page() -> str:
    """The page's whole text."""
    parts = [INTRODUCTION]
    for table in tables():
        title = f"`{table.path}`" if table.path else "The file"
        about = f"\n{table.about}\n" if table.about else ""
        lines = [f"| `{row.key}` | {row.type} | {row.default} | {row.meaning} |" for row in table.rows]
        parts.append(
            f"## {title}\n{about}\n| key | type | default | meaning |\n| --- | --- | --- | --- |\n"
            + "\n".join(lines)
            + "\n"
        )
    return "\n".join(parts)


def _collect(path: str, node: Node, found: list[Table]) -> None:
    properties = node["properties"]
    required = node.get("required", [])
    rows: list[Row] = []
    below: list[tuple[str, Node]] = []
    for key, member in properties.items():
        if key in OMITTED:
            continue
        place = f"{path}.{key}" if path else key
        alternatives = _alternatives(member)
        kind = " or ".join(dict.fromkeys(_type(one) for one in alternatives))
        meaning = MEANINGS.get(place) or _described(member, alternatives)
        rows.append(
            Row(place, key, kind, _default(place, member, key in required), meaning + _missing(place))
        )
        if not _is_refused(place):
            for one in alternatives:
                if one.get("items") not in alternatives:  # a list of what may stand alone is told once
                    below += _inner(place, one)
    about = ABOUT.get(path) or (str(node.get("description", "")) if path else "")
    found.append(Table(path, about, rows))
    for place, inner in below:
        _collect(place, inner, found)


def _alternatives(node: Node) -> list[Node]:
    """The forms a value may have, ``${...}`` left out, which is allowed everywhere."""
    forms = node.get("anyOf", node.get("oneOf"))
    if not forms:
        return [] if _is_reference(node) else [node]
    found = [form for one in forms for form in _alternatives(one)]
    return [form for form in found if not any(form is not one and form == one for one in found)]


def _is_reference(node: Node) -> bool:
    return set(node) == {"type", "pattern"} and node["pattern"] == r"\$\{[^}]+\}"


def _definition(node: Node) -> Node | None:
    if "$ref" not in node:
        return None
    return configuration_schema()["$defs"][str(node["$ref"]).rpartition("/")[2]]


def _named(node: Node) -> Node | None:
    """The value of a mapping whose keys are free names."""
    patterns = node.get("patternProperties")
    return next(iter(patterns.values())) if patterns else None


def _inner(place: str, node: Node) -> list[tuple[str, Node]]:
    """The mappings inside one form of a value, with their places."""
    defined = _definition(node)
    if defined is not None:
        return [] if _is_refused(f"{place}.by") and "by" in defined["properties"] else [(place, defined)]
    named = _named(node)
    if named is not None:
        return _inner(f"{place}.<name>", named)
    if node.get("type") == "array" and isinstance(node.get("items"), dict):
        # the routes of a version are those of an API, told once
        # and answers are changed by what changes requests
        if place in ("apis.<name>.versions.<name>.routes", "apis.<name>.versions.<name>.changes[].response"):
            return []
        return [pair for form in _alternatives(node["items"]) for pair in _inner(f"{place}[]", form)]
    return []


def _type(node: Node) -> str:
    if _definition(node) is not None:
        return "mapping"
    if _named(node) is not None:
        return "mapping by name"
    if "const" in node:
        return f"`{node['const']}`"
    if "enum" in node:
        return " ".join(f"`{word}`" for word in node["enum"])
    if node.get("type") == "array":
        items = " or ".join(dict.fromkeys(_type(form) for form in _alternatives(node.get("items", {}))))
        return f"list of {items}"
    if node.get("type") == "integer":
        return f"{node['minimum']:,} to {node['maximum']:,}"
    if node.get("type") == "boolean":
        return "`true` `false`"
    if set(node) == {"description"}:
        return "any value"
    return _text_type(node)


def _text_type(node: Node) -> str:
    about = str(node.get("description", ""))
    if about.startswith(("A duration from", "A size from")):
        return about[2:-1]
    examples = node.get("examples")
    return "text, as " + ", ".join(f"`{one}`" for one in examples) if examples else "text"


def _described(member: Node, alternatives: list[Node]) -> str:
    defined = [found for one in alternatives if (found := _definition(one)) is not None]
    return str(
        member.get("description") or next((one["description"] for one in defined if "description" in one), "")
    )


def _default(place: str, member: Node, required: bool) -> str:
    if required:
        return "required"
    if place in DEFAULTS:
        return DEFAULTS[place]
    value = member.get("default")
    if value is None:
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _pattern(place: str) -> tuple[str, ...]:
    """The place as ``compile.available`` writes it."""
    return tuple("*" if step == "<name>" else step for step in place.replace("[]", ".*").split("."))


def _is_refused(place: str) -> bool:
    """Whether this release refuses every mapping at this key, so that its own keys need no table."""
    pattern = _pattern(place)
    return any(row.pattern == pattern and (row.applies({}) or row.applies("header")) for row in NOT_AVAILABLE)


def _missing(place: str) -> str:
    """What this release refuses at this key."""
    pattern = _pattern(place)
    found = [row.what for row in NOT_AVAILABLE if row.pattern in (pattern, (*pattern, "*"), (*pattern, "by"))]
    return f" *Not in this release: {', '.join(found)}.*" if found else ""


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
