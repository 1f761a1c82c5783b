"""``faregate run``: everything on this machine, until a signal says otherwise."""

from pathlib import Path
from typing import Annotated

import typer


def command(
    file: Annotated[Path, typer.Argument(help="The configuration file.")] = Path("faregate.yaml"),
    json: Annotated[bool, typer.Option("--json", help="Say what happens as JSON, an object a line.")] = False,
) -> None:
    """Run the gateway on this machine: supervisor, workers, manager.

    SIGTERM finishes the calls in progress and stops, SIGINT (Ctrl-C) stops at once, SIGHUP reads the file
    again.
    """
    from faregate.gateway.supervisor import run

    raise typer.Exit(run(file, events=json))
