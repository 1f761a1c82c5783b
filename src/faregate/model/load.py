"""Text to declared configuration: read, merge, fill in, check the shape, and report everything that is wrong.

What the entries mean together (references, conflicts, files they name) is compile's question. ``Loaded``
keeps the tree even when the shape is wrong, so that compile can report its findings in the same run.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from faregate.model import shape_errors
from faregate.model.config import Config
from faregate.model.diagnostics import Diagnostic, Findings, Value
from faregate.model.managed import merge_replica
from faregate.model.source import place_findings
from faregate.model.tree import Tree


@dataclass(frozen=True, slots=True)
class Loaded:
    """``config`` is None when there is any diagnostic; ``tree`` is what could be read. ``partial``: where
    only the shape is wrong, what is left without the entries that are, to be looked at and never run.
    """

    config: Config | None
    diagnostics: list[Diagnostic]
    tree: Tree
    partial: Config | None = None


def load(path: str | Path, environ: Mapping[str, str]) -> Loaded:
    """Reads the configuration file ``path`` and all it includes, and the replica of the manager's entries.

    ``environ`` answers ``${NAME}``. Raises nothing: an unreadable file is a diagnostic like any other.
    """
    findings = Findings()
    tree = Tree(Path(path).absolute(), str(path))
    tree.read(environ, findings)
    if tree.complete:
        merge_replica(tree, findings)
    return shaped(tree, findings)


def shaped(tree: Tree, findings: Findings) -> Loaded:
    """``tree`` with its shape checked; ``findings``: what was wrong with reading it."""
    config: Config | None = None
    partial: Config | None = None
    read = not findings.placed and not findings.pending
    if tree.complete or tree.data:
        try:
            config = Config.model_validate(tree.data)
        except ValidationError as error:
            shape_errors.report(error, tree.data, findings)
            if read:
                partial = _partial(tree.data, error)
    diagnostics = place_findings(findings, tree.owner)
    return Loaded(None if diagnostics else config, diagnostics, tree, partial)


def _partial(data: dict[str, Value], error: ValidationError) -> Config | None:
    """``data`` without the entries that ``error`` is about: a consumer, an API, a setting of the gateway."""
    left: dict[str, Value] = dict(data)
    for detail in error.errors(include_url=False, include_context=False, include_input=False):
        path = shape_errors.written_path(detail["loc"], data)
        section = left.get(str(path[0])) if path else None
        if len(path) > 1 and isinstance(section, dict):
            left[str(path[0])] = {name: entry for name, entry in section.items() if name != path[1]}
        elif path:
            left.pop(str(path[0]), None)
    try:
        return Config.model_validate(left)
    except ValidationError:
        return None
