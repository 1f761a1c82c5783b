"""An OpenAPI 3.0 or 3.1 document as plain values, and the references within it.

YAML is read as configuration is (``model.yaml_text``): no tags, no dates, bounded. References lead to places
of the same document; those to other files or hosts are refused: what they hold can change behind our back.
"""

import re
from pathlib import Path
from typing import Final

from faregate.kernel import json_pointer
from faregate.model.diagnostics import Value
from faregate.model.json_text import read_json
from faregate.model.yaml_text import TextError, YamlText

DOCUMENT_BYTES_MAX: Final = 8 << 20
_HOPS_MAX: Final = 32
_VERSION: Final = re.compile(r"3\.(0|1)(?:\.[0-9]+)?")

Node = dict[str, Value]


class DocumentError(ValueError):
    """What is wrong with a document. ``pointer``: where in it; ``expected``: what to write."""

    def __init__(self, message: str, pointer: str = "", expected: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.pointer = pointer
        self.expected = expected


class Document:
    """``value``: the whole; ``is_3_0``: whether its schemas are of OpenAPI's own older dialect."""

    def __init__(self, value: object) -> None:
        """Raises ``DocumentError`` for what is no OpenAPI document of a known version."""
        if not isinstance(value, dict):
            raise DocumentError("not a mapping", expected="an OpenAPI 3.0 or 3.1 document")
        version = value.get("openapi")
        match = _VERSION.fullmatch(str(version)) if version is not None else None
        if match is None:
            told = "Swagger 2.0" if "swagger" in value else "no OpenAPI 3.0 or 3.1"
            raise DocumentError(
                f"the document is {told}", "/openapi", "openapi: 3.0.3 or 3.1.0; convert older documents"
            )
        if not isinstance(value.get("paths"), dict):
            raise DocumentError("`paths` is no mapping", "/paths", "the API's paths")
        self.value: Node = value
        self.is_3_0 = match[1] == "0"

    def at(self, reference: str, pointer: str) -> Value:
        """What ``reference`` (``#/components/...``), which stands at ``pointer``, leads to. Raises
        ``DocumentError``.
        """
        if not reference.startswith("#"):
            raise DocumentError(
                "a $ref to another document", pointer, "one document with everything in it (`#/...`)"
            )
        try:
            found = json_pointer.find(self.value, _unescaped(reference[1:]))
        except ValueError:
            found = json_pointer.ABSENT
        if found is json_pointer.ABSENT:
            raise DocumentError(f"{shown(reference)} leads nowhere", pointer)
        return found  # type: ignore[return-value]  # what lies in a Value is one

    def node(self, value: Value, pointer: str) -> tuple[Node, str]:
        """The mapping that ``value``, at ``pointer``, is or refers to, and where it stands. Raises
        ``DocumentError``.
        """
        for _ in range(_HOPS_MAX):
            if not isinstance(value, dict):
                raise DocumentError("not a mapping", pointer)
            reference = value.get("$ref")
            if not isinstance(reference, str):
                return value, pointer
            value, pointer = self.at(reference, pointer), _unescaped(reference[1:])
        raise DocumentError("references that lead to each other", pointer)


def read_document(path: str | Path) -> Document:
    """The document in a YAML or JSON file. Raises ``DocumentError``."""
    try:
        with Path(path).open("rb") as file:
            data = file.read(DOCUMENT_BYTES_MAX + 1)
    except (OSError, ValueError) as error:
        told = getattr(error, "strerror", None) or "bad name"
        raise DocumentError(f"the file cannot be read: {told}") from None
    if len(data) > DOCUMENT_BYTES_MAX:
        raise DocumentError(f"the file is larger than {DOCUMENT_BYTES_MAX >> 20} MiB")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DocumentError("the file is not UTF-8") from None
    return parse_document(text)


def parse_document(text: str) -> Document:
    """The document in a YAML or JSON text. Raises ``DocumentError``."""
    return Document(_parsed(text))


def _parsed(text: str) -> Value:
    try:
        if text.lstrip()[:1] == "{":
            return read_json(text)
    except TextError as error:
        raise DocumentError(f"line {error.line}, column {error.column}: {error.message}") from None
    yaml = YamlText(text)
    if yaml.errors:
        first = yaml.errors[0]
        raise DocumentError(f"line {first.line}, column {first.column}: {first.message}")
    return yaml.value


def shown(text: str) -> str:
    """A name of the document in a message: cut, and printable."""
    return printable(text if len(text) <= 120 else text[:117] + "...")


def printable(text: str) -> str:
    """Without line ends, and what a terminal would take for a command."""
    return text if text.isprintable() else "".join(one if one.isprintable() else "?" for one in text)


def step(name: object) -> str:
    """``name`` as one step of a JSON pointer."""
    return "/" + str(name).replace("~", "~0").replace("/", "~1")


def _unescaped(fragment: str) -> str:
    from urllib.parse import unquote  # noqa: PLC0415 - only for documents with references

    return unquote(fragment) if "%" in fragment else fragment
