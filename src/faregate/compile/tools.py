"""``python -m faregate.compile.tools``: judges one thing that somebody sent, and ends.

One request as JSON on standard input, one answer as JSON on standard output: ``{"op": "check", "text"}``,
``{"op": "import", "text", "name", "upstream", "file"}``, ``{"op": "diff", "text", "newer"}``, ``{"op":
"break", "pairs": [[older, newer]]}``, which tells the first newer document that breaks callers of its older.
A process for each: what was sent may be made to take long or much memory, and nothing else shall suffer for
it.
"""

import resource
import sys
from pathlib import Path
from typing import Final

import msgspec

from faregate.compile.given import judged
from faregate.compile.openapi.diff import compare
from faregate.compile.openapi.document import Document, DocumentError, parse_document, read_document
from faregate.compile.openapi.importing import imported, name_of
from faregate.compile.openapi.writing import as_yaml
from faregate.model.diagnostics import Level
from faregate.model.managed import escapes

CPU_S: Final = 30
MEMORY_BYTES: Final = 2 << 30
FOUND_MAX: Final = 1000
"""Diagnostics and changes that are told; of the others the number."""


class Ask(msgspec.Struct):
    """``folder``: below which files are looked for that a configuration or a pair names."""

    op: str
    text: str = ""
    newer: str = ""
    name: str = ""
    upstream: str = ""
    file: str = "openapi.yaml"
    folder: str = "/nonexistent"
    pairs: list[tuple[dict[str, object] | str, dict[str, object] | str]] = []


def answer(asked: Ask) -> dict[str, object]:
    """What comes of it; ``problem``: the document cannot be used, and why."""
    try:
        if asked.op == "check":
            return _check(asked)
        if asked.op == "import":
            return _import(asked)
        if asked.op == "diff":
            return _diff(asked)
        if asked.op == "break":
            return _break(asked)
    except DocumentError as error:
        return {"problem": error.message, "pointer": error.pointer, "expected": error.expected}
    raise ValueError(f"no operation {asked.op}")


def _check(asked: Ask) -> dict[str, object]:
    found = judged(asked.text, Path(asked.folder))
    return {
        "ok": not any(one.level is Level.ERROR for one in found),
        "diagnostics": [one.as_json() for one in found[:FOUND_MAX]],
        "more": max(0, len(found) - FOUND_MAX),
    }


def _import(asked: Ask) -> dict[str, object]:
    document = parse_document(asked.text)
    name = asked.name or name_of(document)
    made = imported(document, name=name, file=asked.file, upstream=asked.upstream)
    return {"configuration": made.tree, "yaml": as_yaml(made.tree, made.notes), "notes": made.notes}


def _diff(asked: Ask) -> dict[str, object]:
    changes = compare(parse_document(asked.text), parse_document(asked.newer))
    return {
        "breaking": sum(change.breaking for change in changes),
        "changes": [change.as_json() for change in changes[:FOUND_MAX]],
        "more": max(0, len(changes) - FOUND_MAX),
    }


def _break(asked: Ask) -> dict[str, object]:
    """``at``: the pair that this is about; -1: none breaks anybody."""
    for at, (old, new) in enumerate(asked.pairs):
        try:
            older, newer = _document(old, asked.folder), _document(new, asked.folder)
            found = [one for one in compare(older, newer) if one.breaking]
        except DocumentError as error:
            return {"at": at, "wrong": str(error), "changes": []}
        if found:
            return {"at": at, "wrong": "", "changes": [one.as_json() for one in found[:FOUND_MAX]]}
    return {"at": -1, "wrong": "", "changes": []}


def _document(given: dict[str, object] | str, folder: str) -> Document:
    """The document itself, or that of the file below ``folder`` that is named. Raises DocumentError."""
    if not isinstance(given, str):
        return Document(given)
    if escapes(given):
        raise DocumentError(f"{given}: an entry of the database may not name this file")
    try:
        return read_document(Path(folder) / given)
    except DocumentError as error:
        raise DocumentError(f"{given}: {error.message}", error.pointer, error.expected) from None


def main() -> int:
    """Exit status 0: answered; anything else: not, for want of time or memory, or by a defect."""
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    asked = msgspec.json.decode(sys.stdin.buffer.read(), type=Ask)
    sys.stdout.buffer.write(msgspec.json.encode(answer(asked), enc_hook=str))
    return 0


if __name__ == "__main__":
    sys.exit(main())
