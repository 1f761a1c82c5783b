"""A configuration that came as text from somebody who may not look around on this machine.

It is judged as a file would be, but nothing is filled in for ``${...}`` (what hangs on such a value is not
judged), nothing is included, and the files it names are looked for below one folder alone.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from faregate.compile.compiler import compile_config
from faregate.model.diagnostics import Diagnostic, Findings, Value
from faregate.model.interpolate import Unfilled
from faregate.model.load import shaped
from faregate.model.source import Source
from faregate.model.tree import Tree

SHOWN: Final = "configuration"
_STANDS_FOR: Final = Unfilled("unfilled" * 8)
"""Long enough for a secret."""


class _Given(Source):
    below = True

    def __init__(self, folder: Path, text: str) -> None:
        super().__init__(folder / SHOWN, SHOWN)
        self._given = text

    def read(self, findings: Findings) -> bool:
        there = super().read(findings)
        self.value = _unfilled(self.value)
        return there

    def _read_text(self, findings: Findings) -> str | None:  # noqa: ARG002 - a source's signature
        return self._given


class _GivenTree(Tree):
    def __init__(self, folder: Path, text: str) -> None:
        super().__init__(folder / SHOWN, SHOWN)
        self.root = _Given(folder, text)

    def _includes(
        self,
        source: Source,
        environ: Mapping[str, str],  # noqa: ARG002 - a tree's signature
        findings: Findings,
        above: tuple[Path, ...],  # noqa: ARG002 - likewise
    ) -> None:
        if isinstance(source.value, dict) and source.value.get("include"):
            message = "nothing is included here"
            expected = "one whole configuration"
            findings.add("include_missing", ("include",), message, expected=expected, at_key=True)
            self.complete = False


def judged(text: str, folder: Path) -> list[Diagnostic]:
    """Everything that is wrong with the configuration ``text``, or unwise. Files are looked for below
    ``folder``.
    """
    findings = Findings()
    tree = _GivenTree(folder, text)
    tree.read({}, findings)
    return compile_config(shaped(tree, findings), 0)[1]


def _unfilled(value: Value) -> Value:
    if isinstance(value, str):
        return _STANDS_FOR if "${" in value.replace("$${", "") else value
    if isinstance(value, list):
        return [_unfilled(one) for one in value]
    if isinstance(value, dict):
        return {name: _unfilled(one) for name, one in value.items()}
    return value
