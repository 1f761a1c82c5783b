"""One configuration file: its text, its value, and where things stand in it.

Bounds are checked before anything is parsed. Positions of a YAML file are kept from reading; those of a JSON
file are found when a diagnostic needs them. ``excerpt`` is the only way in which a line of a file reaches the
user, so the masking of secrets lives there: a literal secret stays unseen even when its own line is the one
that is wrong.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from faregate.model.diagnostics import Diagnostic, path_text
from faregate.model.yaml_text import Place, TextError, YamlText

if TYPE_CHECKING:
    from collections.abc import Iterable

    from faregate.model.diagnostics import Findings, TreePath, Value

FILE_BYTES_MAX: Final = 64 << 20
"""One configuration file; 100,000 consumers written as JSON take about 30 MiB."""

EXCERPT_CHARACTERS_MAX: Final = 300
"""Longer lines are not shown: they are written by programs, and masking them whole would cost more than it
helps.
"""

_SECRET_VALUE: Final = re.compile(
    r"""(?ix) ( [\w-]*(?:secret|passw|token|private)[\w-]* ["']?\s*:\s*
              | [\w-]*(?:key|sha256)[\w-]* ["']?\s*:\s* (?![\[{]) )        # `api_key: {...}` may be shown
        (?! ["']?\$\{[^}]*\}["']?\s*(?:[,}\]\#]|$) ) \S.*                 # and so may a reference"""
)
_SECRET_BELOW: Final = re.compile(r"(?i)(?:secret|passw|token|private|key|sha256)[\w-]*[\"']?\s*:\s*$")
_YAML_BREAKS: Final = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
_JSON_BREAKS: Final = re.compile("\n")
"""Where lines end for those who count them: ruamel, and json_text."""

_USER_INFORMATION: Final = re.compile(r"//[^/\s\"']*@")


class Source:
    """A file that was read. ``shown`` is its name as the user would write it. ``below``: whether files that
    its entries name must lie below its folder.
    """

    below = False

    def __init__(self, path: Path, shown: str) -> None:
        self.path = path
        self.shown = shown
        self.text = ""
        self.value: Value = None
        self.hidden_lines: set[int] = set()
        self.has_references = True
        """Whether ``${...}`` may have filled in some of ``value``."""
        self.broken = False
        """Whether the text could not be read as a whole."""
        self._root: Place | None = None
        self._is_json = False
        self._lines: list[str] | None = None

    def read(self, findings: "Findings") -> bool:
        """Reads and parses the file; reports what is wrong and returns whether there is a value."""
        text = self._read_text(findings)
        if text is None:
            return False
        self.text = text
        if self.path.suffix == ".json" or text.lstrip()[:1] == "{":
            from faregate.model.json_text import read_json  # noqa: PLC0415 - most configurations are YAML

            try:
                self.value = read_json(text)
            except TextError as error:
                if self.path.suffix == ".json" or error.code != "bad_yaml":
                    return self._report([error], findings)
            else:
                self._is_json = True
                return True
        yaml = YamlText(text)
        self.value, self._root, self.hidden_lines = yaml.value, yaml.place, yaml.hidden_lines
        return self._report(yaml.errors, findings)

    def _read_text(self, findings: "Findings") -> str | None:
        try:
            with self.path.open("rb") as file:
                data = file.read(FILE_BYTES_MAX + 1)
        except OSError as error:
            findings.placed.append(
                self._at(1, 1, "file_unreadable", f"cannot be read: {error.strerror or 'error'}")
            )
            return None
        if len(data) > FILE_BYTES_MAX:
            findings.placed.append(self._at(1, 1, "too_large", f"larger than {FILE_BYTES_MAX >> 20} MiB"))
            return None
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            findings.placed.append(self._at(line, 1, "file_unreadable", "not UTF-8"))
            return None

    def _report(self, errors: "list[TextError]", findings: "Findings") -> bool:
        for error in errors:
            findings.placed.append(
                self._at(error.line, error.column, error.code, error.message, error.expected)
            )
            self.broken = self.broken or error.code != "duplicate_key"
        return not self.broken

    def _at(self, line: int, column: int, code: str, message: str, expected: str = "") -> Diagnostic:
        return Diagnostic(code, self.shown, line, column, "", message, expected)

    def prepare(self, paths: "Iterable[TreePath]") -> None:
        """Makes ``position`` ready for these paths and no others; needed for JSON only, one pass over the
        file.
        """
        if self._is_json:
            from faregate.model.json_text import locate  # noqa: PLC0415

            self._root = locate(self.text, paths)

    def position(self, path: "TreePath", *, at_key: bool) -> tuple[int, int]:
        """Line and column of the value at ``path``, or of the deepest thing above it that exists.

        A value that begins in a line below its key (a block mapping), and the owner of a missing key, are
        shown at their key.
        """
        place = self._root or Place(1, 1)
        whole = True
        for step in path:
            child = (place.children or {}).get(step)
            if child is None:
                whole = False
                break
            place = child
        if place.key_line and (at_key or not whole or place.line != place.key_line):
            return place.key_line, place.key_column
        return place.line, place.column

    def written(self, path: "TreePath") -> "TreePath":
        """Where the writer would look for what stands at ``path`` of the tree."""
        return path

    def excerpt(self, diagnostic: Diagnostic) -> str:
        """The line a diagnostic points to, with secrets masked; empty when it may not or cannot be shown."""
        if diagnostic.line in self.hidden_lines or (
            self.broken and self._may_continue_secret(diagnostic.line)
        ):
            return ""
        line = self._line(diagnostic.line).replace("\t", " ").rstrip("\r")
        if len(line) > EXCERPT_CHARACTERS_MAX or not line.isprintable() or not line.strip():
            return ""
        return _USER_INFORMATION.sub("//***@", _SECRET_VALUE.sub(r"\1***", line))

    def _may_continue_secret(self, number: int) -> bool:
        """Whether a line of a file that cannot be parsed could belong to a secret that began above it.

        Errs on the safe side: below a quote that is left open nothing is shown any more.
        """
        lines = self._split_lines()[:number]
        indent = _indent(lines[-1])
        for line in reversed(lines[:-1]):
            secret = _SECRET_VALUE.search(line) or _SECRET_BELOW.search(line)
            if secret and (_indent(line) < indent or line.count('"') % 2 or line.count("'") % 2):
                return True
            if line.strip():
                indent = min(indent, _indent(line))
        return False

    def _line(self, number: int) -> str:
        lines = self._split_lines()
        return lines[number - 1] if number <= len(lines) else ""

    def _split_lines(self) -> list[str]:
        if self._lines is None:
            breaks = _JSON_BREAKS if self._is_json else _YAML_BREAKS
            self._lines = breaks.split(self.text)
        return self._lines


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" -"))


def place_findings(findings: "Findings", owner: "OwnerOf") -> list[Diagnostic]:
    """All findings with their positions, sorted by file, line and column; each only once."""
    paths: dict[int, list[TreePath]] = {}
    sources: dict[int, Source] = {}
    for finding in findings.pending:
        for path in (finding.path, finding.other):
            if path is not None:
                source = owner(path)
                sources[id(source)] = source
                paths.setdefault(id(source), []).append(path)
    for key, source in sources.items():
        source.prepare(paths[key])
    placed = list(findings.placed)
    for finding in findings.pending:
        source = owner(finding.path)
        line, column = source.position(finding.path, at_key=finding.at_key)
        message = finding.message
        if finding.other is not None:
            other = owner(finding.other)
            other_line, other_column = other.position(finding.other, at_key=finding.at_key)
            place = f":{other_line}:{other_column}"
            if not other_line:  # of the database
                place = f" {path_text(other.written(finding.other))}"
            message += f"; the other is at {other.shown}{place}"
        placed.append(
            Diagnostic(
                finding.code,
                source.shown,
                line,
                column,
                path_text(source.written(finding.path)),
                message,
                finding.expected,
                finding.nearest,
            )
        )
    return sorted(dict.fromkeys(placed), key=lambda diagnostic: diagnostic.sort_key)


if TYPE_CHECKING:
    from collections.abc import Callable

    OwnerOf = Callable[[TreePath], Source]
