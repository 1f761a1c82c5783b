"""Names that must be defined somewhere: plans, issuers, upstreams, successors, preview consumers.

One closed table says which places refer to which section; only a version's successor is looked up beside
itself.
"""

from typing import Final

from faregate.compile.walk import ANY, Pattern, mapping, matches, texts
from faregate.model.diagnostics import Findings, TreePath, Value, nearest_name
from faregate.model.interpolate import Unfilled, shown

_RESOLVE_UPSTREAM: Final = ("idempotency", "resolve", "upstream")
REFERENCES: Final[tuple[tuple[Pattern, str, str], ...]] = (
    (("consumers", ANY, "plan"), "plans", "plan"),
    (("consumers", ANY, "groups", ANY), "groups", "group"),
    (("groups", ANY, "plan"), "plans", "plan"),
    (("consumers", ANY, "credentials", ANY, "jwt", "issuer"), "issuers", "issuer"),
    (("apis", ANY, "upstream"), "upstreams", "upstream"),
    (("apis", ANY, "versions", ANY, "upstream"), "upstreams", "upstream"),
    (("apis", ANY, "routes", ANY, *_RESOLVE_UPSTREAM), "upstreams", "upstream"),
    (("apis", ANY, "versions", ANY, "routes", ANY, *_RESOLVE_UPSTREAM), "upstreams", "upstream"),
    (("apis", ANY, "versions", ANY, "preview", ANY), "consumers", "consumer"),
)
"""Where a name is written, the section it must be in, and what the thing is called."""

EXPECTED_NAMES_MAX: Final = 12
"""More names than this are not listed in a message."""


def check_references(data: dict[str, Value], findings: Findings) -> None:
    for pattern, section, noun in REFERENCES:
        names = mapping(data.get(section))
        if texts(data, pattern) <= names.keys():
            continue
        for path, value in matches(data, pattern):
            if isinstance(value, str) and value not in names:
                report_unknown(path, value, noun, names, findings)
    for path, value in matches(data, ("apis", ANY, "versions", ANY, "successor")):
        beside = _versions_beside(data, path)
        by_header = isinstance(beside.get("by"), str)
        siblings = {
            name: None
            for name, one in beside.items()
            if name != path[3] and (isinstance(one, dict) or not by_header)
        }
        if isinstance(value, str) and value not in siblings:
            report_unknown(path, value, "other version", siblings, findings)


def _versions_beside(data: dict[str, Value], path: TreePath) -> dict[str, Value]:
    return mapping(mapping(mapping(data["apis"])[str(path[1])])["versions"])


def report_unknown(
    path: TreePath, value: str, noun: str, names: "dict[str, Value] | dict[str, None]", findings: Findings
) -> None:
    if isinstance(value, Unfilled):
        return
    expected = f"one of {', '.join(names)}" if 0 < len(names) <= EXPECTED_NAMES_MAX else ""
    # the nearest name is looked for only where that is quick
    nearest = nearest_name(value, names) if len(names) <= 1000 else ""
    findings.add(
        "unresolved_reference", path, f"no {noun} is named {shown(value)}", expected=expected, nearest=nearest
    )
