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
from faregate.model.diagnostics import Diagnostic, Findings
from faregate.model.source import place_findings
from faregate.model.tree import Tree


@dataclass(frozen=True, slots=True)
class Loaded:
    """``config`` is None when there is any diagnostic; ``tree`` is what could be read."""

    config: Config | None
    diagnostics: list[Diagnostic]
    tree: Tree


def load(path: str | Path, environ: Mapping[str, str]) -> Loaded:
    """Reads the configuration file ``path`` and all it includes.

    ``environ`` answers ``${NAME}``. Raises nothing: an unreadable file is a diagnostic like any other.
    """
    findings = Findings()
    tree = Tree(Path(path).absolute(), str(path))
    tree.read(environ, findings)
    config: Config | None = None
    if tree.complete or tree.data:
        try:
            config = Config.model_validate(tree.data)
        except ValidationError as error:
            shape_errors.report(error, tree.data, findings)
    diagnostics = place_findings(findings, tree.owner)
    return Loaded(None if diagnostics else config, diagnostics, tree)
