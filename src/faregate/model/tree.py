"""The files of a configuration merged into one tree, each entry remembering its file.

A configuration is a file and what it includes; every file has the same sections, and entries of one section
may come from several files. An entry defined twice is an error that shows both places, never an overwrite.
Included files come in the written order, the matches of one pattern by name. References are filled in per
file, before merging.
"""

import glob
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from faregate.model.diagnostics import Diagnostic, Findings, TreePath, Value, nearest_name
from faregate.model.interpolate import Interpolation
from faregate.model.source import Source, place_findings

SECTIONS: Final = ("gateway", "issuers", "upstreams", "plans", "groups", "consumers", "apis")

FILES_MAX: Final = 10_000
"""Files of one configuration."""

CONFIGURATION_BYTES_MAX: Final = 256 << 20
"""All files of one configuration together, in characters."""


class Tree:
    """The merged value. ``data`` holds the sections; ``owner`` says which file a path stands in."""

    def __init__(self, path: Path, shown: str) -> None:
        self.data: dict[str, Value] = {}
        self.sources: list[Source] = []
        self.root = Source(path, shown)
        self.complete = True
        """Whether every file was found and could be parsed: only then can a name be called undefined."""
        self._owners: dict[TreePath, Source] = {}
        self._seen: set[Path] = set()
        self._characters = 0

    def owner(self, path: TreePath) -> Source:
        below = self._owners.get(path[:4]) if path[2:3] == ("credentials",) else None
        return below or self._owners.get(path[:2]) or self._owners.get(path[:1]) or self.root

    def own(self, path: TreePath, source: Source) -> None:
        """Makes ``source`` the owner of ``path`` (of two steps, or four to a consumer's credential)."""
        self._owners[path] = source

    def add(self, path: TreePath, value: Value, source: Source) -> None:
        """Puts the entry ``path`` (section and name) behind the others of its section."""
        section = self.data.setdefault(str(path[0]), {})
        assert isinstance(section, dict)
        section[str(path[1])] = value
        self._owners[path] = source

    def names(self, section: str) -> dict[str, Value]:
        """The entries of a section as they were written."""
        entries = self.data.get(section)
        return entries if isinstance(entries, dict) else {}

    def read(self, environ: Mapping[str, str], findings: Findings) -> None:
        """Reads the file and all it includes; reports to ``findings``."""
        self._file(self.root, environ, findings, ())

    def _file(
        self, source: Source, environ: Mapping[str, str], findings: Findings, above: tuple[Path, ...]
    ) -> None:
        real = source.path.resolve()
        self._seen.add(real)
        self.sources.append(source)
        if not source.read(findings):
            self.complete = False
            return
        self._characters += len(source.text)
        if self._characters > CONFIGURATION_BYTES_MAX:
            findings.placed.append(
                _at(source, (), "too_large", f"all files together exceed {CONFIGURATION_BYTES_MAX >> 20} MiB")
            )
            self.complete = False
            return
        own = Findings()
        source.has_references = "${" in source.text
        if source.has_references:
            source.value = Interpolation(source.path.parent, environ, own).apply(source.value)
        if isinstance(source.value, dict):
            self._merge(source, source.value, own)
        else:
            own.add(
                "wrong_type", (), "the file is not a mapping", expected=f"the sections {', '.join(SECTIONS)}"
            )
        _place(source, own, findings)
        if isinstance(source.value, dict):
            self._includes(source, environ, findings, (*above, real))

    def _merge(self, source: Source, value: dict[str, Value], own: Findings) -> None:
        twice: list[TreePath] = []
        for section, entries in value.items():
            if section in ("include", "$schema"):
                continue
            if section not in SECTIONS:
                nearest = nearest_name(section, (*SECTIONS, "include"))
                message, expected = f"`{section}` has no meaning here", f"{', '.join(SECTIONS)}, include"
                own.add("unknown_key", (section,), message, expected=expected, nearest=nearest, at_key=True)
                continue
            if not isinstance(entries, dict):
                hint = "; leave the section out when it is empty" if entries is None else ""
                own.add(
                    "wrong_type",
                    (section,),
                    f"`{section}` is not a mapping",
                    expected=f"names and what they mean{hint}",
                )
                continue
            known = self.data.setdefault(section, {})
            assert isinstance(known, dict)
            self._owners.setdefault((section,), source)
            for name, entry in entries.items():
                if name in known:
                    twice.append((section, name))
                else:
                    known[name] = entry
                    if source is not self.root or len(self.sources) > 1:
                        self._owners[(section, name)] = source

        self._report_twice(twice, own)

    def _report_twice(self, twice: list[TreePath], own: Findings) -> None:
        """Shows where each was defined first; one pass over each of those files."""
        for first in {id(self.owner(path)): self.owner(path) for path in twice}.values():
            first.prepare([path for path in twice if self.owner(path) is first])
        for path in twice:
            first = self.owner(path)
            line, column = first.position(path, at_key=True)
            message = f"`{path[-1]}` is already defined at {first.shown}:{line}:{column}"
            own.add("duplicate_name", path, message, at_key=True)

    def _includes(
        self, source: Source, environ: Mapping[str, str], findings: Findings, above: tuple[Path, ...]
    ) -> None:
        assert isinstance(source.value, dict)
        patterns = source.value.get("include", [])
        own = Findings()
        found: list[tuple[TreePath, Path, str]] = []
        if not isinstance(patterns, list) or not all(isinstance(pattern, str) for pattern in patterns):
            own.add(
                "wrong_type",
                ("include",),
                "`include` is not a list of texts",
                expected="include: [consumers/*.yaml]",
            )
            patterns = []
        for index, pattern in enumerate(patterns):
            path: TreePath = ("include", index)
            matches = sorted(glob.glob(str(pattern), root_dir=source.path.parent, recursive=True))  # noqa: PTH207 - names as written
            if not matches:
                own.add(
                    "include_missing",
                    path,
                    "no file matches this pattern",
                    expected="a file or pattern, relative to this file",
                )
            found += [(path, source.path.parent / match, _shown(source, match)) for match in matches]
        following = [
            Source(file, shown) for path, file, shown in found if self._accept(path, file, shown, above, own)
        ]
        self.complete = self.complete and not own.pending
        _place(source, own, findings)
        for included in following:
            self._file(included, environ, findings, above)

    def _accept(self, path: TreePath, file: Path, shown: str, above: tuple[Path, ...], own: Findings) -> bool:
        real = file.resolve()
        if real in above:
            own.add("include_cycle", path, f"{shown} includes itself through this")
        elif real in self._seen:
            own.add("include_cycle", path, f"{shown} is already included")
        elif len(self._seen) >= FILES_MAX:
            own.add("too_large", path, f"more than {FILES_MAX} files")
        else:
            self._seen.add(real)
            return True
        return False


def _shown(source: Source, match: str) -> str:
    return os.path.normpath(os.path.join(os.path.dirname(source.shown), match))  # noqa: PTH118, PTH120 - text as the user writes it


def _place(source: Source, own: Findings, findings: Findings) -> None:
    if own.pending:
        findings.placed += place_findings(own, lambda _path: source)


def _at(source: Source, path: TreePath, code: str, message: str) -> Diagnostic:
    line, column = source.position(path, at_key=False)
    return Diagnostic(code, source.shown, line, column, "", message)
