"""``${ENV_NAME}`` and ``${file:path}`` inside scalar values (SPEC section 2).

Runs over the values of one file before files are merged, because paths are relative to the file they stand
in. What was filled in keeps the type ``Interpolated``, so that later diagnostics never repeat it: whether a
variable holds a secret is not ours to guess. A text filled in is not searched again. ``$${`` stands for
``${``.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from faregate.model.diagnostics import Findings, TreePath, Value

FILE_BYTES_MAX: Final = 1 << 20
"""A file whose content becomes a value."""

_REFERENCE: Final = re.compile(r"\$(\$\{)|\$\{([^}]*)(\}?)")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Interpolated(str):
    """A text of which some part came from the environment or a file: never shown."""

    __slots__ = ()


class Unfilled(Interpolated):
    """A text with a reference that could not be filled; that is reported, what follows from it is not."""

    __slots__ = ()


def shown(value: str) -> str:
    """The value for a message, unless it came from outside."""
    return "what ${...} stands for" if isinstance(value, Interpolated) else f"`{value}`"


class _MissingError(Exception):
    def __init__(self, message: str, expected: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.expected = expected


class Interpolation:
    """Fills the references of one file; ``folder`` is the file's own."""

    def __init__(self, folder: Path, environ: Mapping[str, str], findings: "Findings") -> None:
        self._folder = folder
        self._environ = environ
        self._findings = findings

    def apply(self, value: "Value", path: "TreePath" = ()) -> "Value":
        """The value with every reference filled; containers are changed in place."""
        if isinstance(value, str):
            return self._text(value, path) if "${" in value else value
        if isinstance(value, dict):
            for key, member in value.items():
                if isinstance(member, (str, dict, list)):
                    value[key] = self.apply(member, (*path, key))
        elif isinstance(value, list):
            for index, member in enumerate(value):
                if isinstance(member, (str, dict, list)):
                    value[index] = self.apply(member, (*path, index))
        return value

    def _text(self, text: str, path: "TreePath") -> str:
        filled = missing = False
        parts: list[str] = []
        end = 0
        for match in _REFERENCE.finditer(text):
            parts.append(text[end : match.start()])
            end = match.end()
            if match[1]:
                parts.append("${")
                continue
            filled = True
            try:
                parts.append(self._reference(match[2], closed=bool(match[3])))
            except _MissingError as error:
                missing = True
                self._findings.add("secret_missing", path, error.message, expected=error.expected)
        parts.append(text[end:])
        whole = "".join(parts)
        if missing:
            return Unfilled(whole)
        return Interpolated(whole) if filled else whole

    def _reference(self, name: str, *, closed: bool) -> str:
        if not closed:
            raise _MissingError("`${` without `}`", "${NAME} or ${file:path}; write $${ for a literal ${")
        if name.startswith("file:"):
            return self._file(name.removeprefix("file:").strip())
        if not _VARIABLE.fullmatch(name):
            raise _MissingError(
                "not the name of a variable", "${NAME} or ${file:path}; write $${ for a literal ${"
            )
        value = self._environ.get(name)
        if value is None:
            raise _MissingError(f"the environment variable {name} is not set")
        return value

    def _file(self, name: str) -> str:
        try:
            with (self._folder / name).open("rb") as file:
                data = file.read(FILE_BYTES_MAX + 1)
        except (OSError, ValueError) as error:
            raise _MissingError(
                f"file {name} cannot be read: {getattr(error, 'strerror', None) or 'bad name'}"
            ) from None
        if len(data) > FILE_BYTES_MAX:
            raise _MissingError(f"file {name} is larger than {FILE_BYTES_MAX >> 20} MiB")
        try:
            text = data.decode()
        except UnicodeDecodeError:
            raise _MissingError(f"file {name} is not UTF-8") from None
        return text.removesuffix("\n").removesuffix("\r")
