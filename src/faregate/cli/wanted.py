"""A file that shall be applied: read here, so that its errors come with file, line and column, and before the
manager is asked; and its findings by the manager, told at the lines that they are about.

``${...}`` is filled in here: the database keeps what it stood for. ``gateway:`` is never applied; whether it
differs from what runs is said where the gateway is on this machine.
"""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from faregate.cli.errors import CommandError

if TYPE_CHECKING:
    from faregate.model.diagnostics import TreePath
    from faregate.model.tree import Tree


class Wanted(NamedTuple):
    """``sections``: what shall be; ``tree``: where it stands in the file."""

    sections: dict[str, dict[str, Any]]
    tree: "Tree"

    @property
    def gateway(self) -> object:
        return self.tree.data.get("gateway")


def read(file: Path) -> Wanted:
    """What ``file`` says. Raises CommandError with all that is wrong with it."""
    from faregate.model.diagnostics import Findings, has_errors
    from faregate.model.load import shaped
    from faregate.model.report import as_text
    from faregate.model.tree import Tree

    findings = Findings()
    tree = Tree(file.absolute(), str(file))
    tree.read(os.environ, findings)
    loaded = shaped(tree, findings)
    if has_errors(loaded.diagnostics):
        raise CommandError(
            f"{file} has errors; nothing was sent",
            before=as_text(loaded.diagnostics, tree.sources),
            facts={"diagnostics": [one.as_json() for one in loaded.diagnostics]},
        )
    sections: dict[str, dict[str, Any]] = {
        name: dict(entries)
        for name, entries in tree.data.items()
        if name != "gateway" and isinstance(entries, dict)
    }
    return Wanted(sections, tree)


def placed(wanted: Wanted, diagnostics: Sequence[Mapping[str, Any]]) -> str:
    """The manager's diagnostics as text, those about the file's entries at their lines."""
    from faregate.cli.managing import told
    from faregate.model.diagnostics import Findings
    from faregate.model.report import as_text
    from faregate.model.source import place_findings

    findings, others = Findings(), []
    for one in diagnostics:
        path = _path(str(one.get("path", "")), wanted.sections)
        if path is None or one.get("level") == "warning":
            others.append(one)
            continue
        findings.add(
            str(one["code"]),
            path,
            str(one["message"]),
            expected=str(one.get("expected", "")),
            nearest=str(one.get("nearest", "")),
        )
    text = as_text(place_findings(findings, wanted.tree.owner), wanted.tree.sources)
    return text + "".join(f"{line}\n" for line in told(others))


def _path(text: str, sections: Mapping[str, Mapping[str, Any]]) -> "TreePath | None":
    """The path that a text names, whose entry may have dots in its name; None for what is not the file's."""
    section, _, rest = text.partition(".")
    names = [
        name
        for name in sections.get(section, {})
        if rest == name or rest.startswith((f"{name}.", f"{name}["))
    ]
    if not names:
        return None
    name = max(names, key=len)
    value: Any = sections[section][name]
    path: list[str | int] = [section, name]
    left = rest[len(name) :].lstrip(".")
    while left:
        if left.startswith("["):
            number, _, left = left[1:].partition("]")
            step: str | int = int(number) if number.isdigit() else number
        elif isinstance(value, dict):
            fitting = [key for key in value if left == key or left.startswith((f"{key}.", f"{key}["))]
            step = max(fitting, key=len) if fitting else re.split(r"[.\[]", left, maxsplit=1)[0]
            left = left[len(step) :]
        else:
            break
        path.append(step)
        left = left.lstrip(".")
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            break
    return tuple(path)


def gateway_note(wanted: Wanted, data: Path | None) -> str:
    """What is to be said of ``gateway:`` in the file; empty when there is none, or it is what runs."""
    from faregate.model.managed import BASE_NAME, BaseError, read_base

    if wanted.gateway is None:
        return ""
    why = "`gateway:` is never applied: it is the file's that the gateway runs with"
    if data is None:
        return why
    try:
        running = read_base(data / BASE_NAME)[0].data.get("gateway")
    except BaseError:
        return why
    if running == wanted.gateway:
        return ""
    return f"{why}, and differs from it: change it there, and reload"
