"""Compiles a configuration file to a snapshot file, as a child process of its own.

The supervisor runs it at start and at each reload, so that the long-lived processes never import pydantic or
YAML and never hold the declared form in memory. The snapshot appears whole or not at all.
"""

import gc
import os
import sys
import tempfile
from argparse import ArgumentParser
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from faregate.model.diagnostics import Diagnostic


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0: the snapshot was written; 1: diagnostics are on standard error; 2: wrong usage."""
    parser = ArgumentParser(
        prog="python -m faregate.compile", description="Compile a configuration file to a snapshot."
    )
    parser.add_argument("file")
    parser.add_argument("--out", required=True, help="snapshot file to write (mode 0600)")
    parser.add_argument("--revision", required=True, type=int, help="number of the snapshot")
    parser.add_argument("--json", action="store_true", help="diagnostics as a JSON array")
    parser.add_argument("--events", action="store_true", help="diagnostics as events on standard output")
    parser.add_argument("--report", help="file to write what was found and which files were read, as JSON")
    parser.add_argument("--base", help="file to write the file's own entries to, resolved (mode 0600)")
    parser.add_argument("--nice", type=int, default=0, help="how much others go before")
    options = parser.parse_args(arguments)
    if options.events:
        from faregate.kernel.events import speak_in_events  # noqa: PLC0415

        speak_in_events("compile")
    os.nice(options.nice)
    gc.disable()  # a short process that only builds: collecting cycles would cost a third of its time

    from faregate.compile.compiler import compile_config  # noqa: PLC0415 - usage errors come at once
    from faregate.compile.report import FilesRead, write_report  # noqa: PLC0415
    from faregate.model.load import load  # noqa: PLC0415
    from faregate.model.managed import base_of  # noqa: PLC0415
    from faregate.model.report import as_json, as_text  # noqa: PLC0415
    from faregate.snapshot.encoded import encode  # noqa: PLC0415

    files = FilesRead() if options.report else None
    loaded = load(options.file, os.environ)
    snapshot, diagnostics = compile_config(loaded, options.revision)
    if files is not None:
        write_report(Path(options.report), loaded, diagnostics, files.found())
    if options.events:
        sys.stdout.writelines(_event(diagnostic) for diagnostic in diagnostics)
    elif diagnostics:
        text = as_json(diagnostics) + "\n" if options.json else as_text(diagnostics, loaded.tree.sources)
        sys.stderr.write(text)
    if snapshot is None:
        return 1
    try:
        if options.base:
            write_private(Path(options.base), base_of(loaded.tree))
        write_private(Path(options.out), encode(snapshot))
    except OSError as error:
        sys.stderr.write(f"{options.out}: cannot be written: {error.strerror}\n")
        return 1
    return 0


def _event(diagnostic: "Diagnostic") -> str:
    from faregate.kernel.events import event_line  # noqa: PLC0415

    facts = diagnostic.as_json()
    message, level = str(facts.pop("message")), str(facts.pop("level"))
    return event_line("diagnostic", message, facts, level=level, process="compile") + "\n"


def write_private(path: Path, content: bytes) -> None:
    """Replaces ``path`` by ``content``, mode 0600, in one step. Whoever keeps it beyond its run writes it
    durably, as the supervisor does: 20 MiB on their way to a disk keep a start waiting. Raises OSError.
    """
    descriptor, temporary = tempfile.mkstemp(
        dir=path.parent, prefix=f".{path.name}."
    )  # mkstemp makes mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        os.replace(temporary, path)  # noqa: PTH105 - the same call
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)  # noqa: PTH108
        raise
