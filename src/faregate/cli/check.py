"""``faregate check FILE``: everything that is wrong with a configuration, at once.

Exit status 0: usable (warnings may be shown); 1: errors, an unreadable file among them; 2: wrong usage.
Diagnostics go to standard output, being what was asked for. ``--json`` prints an array of objects, empty when
all is well.
"""

import gc
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from faregate.snapshot.data import Snapshot


def command(
    file: Annotated[Path, typer.Argument(help="The configuration file.")] = Path("faregate.yaml"),
    json: Annotated[bool, typer.Option("--json", help="Print the diagnostics as a JSON array.")] = False,
) -> None:
    """Check a configuration file: all errors at once, exit status 1 if there is any."""
    began = time.perf_counter()
    gc.disable()  # a short process that only builds; collecting cycles would cost a third of its time
    from faregate.compile.compiler import compile_config
    from faregate.model.load import load
    from faregate.model.report import as_json, as_text, summary

    loaded = load(file, os.environ)
    snapshot, diagnostics = compile_config(loaded, 0)
    if json:
        print(as_json(diagnostics))
    else:
        print(as_text(diagnostics, loaded.tree.sources), end="")
        seconds = time.perf_counter() - began
        found = summary(diagnostics)
        told = found if snapshot is None else f"ok, {_counts(snapshot)}" + (f"; {found}" if found else "")
        print(f"{file}: {told} ({seconds:.2f} s)")
    if snapshot is None:
        raise typer.Exit(1)


def _counts(snapshot: "Snapshot") -> str:
    counts = (
        (len({route.api for route in snapshot.routes}), "API"),
        (len(snapshot.versions), "version"),
        (len(snapshot.routes), "route"),
        (len(snapshot.upstreams), "upstream"),
        (len(snapshot.consumers), "consumer"),
    )
    return ", ".join(f"{count} {noun}{'' if count == 1 else 's'}" for count, noun in counts)
