"""``faregate run``: everything on this machine, until a signal says otherwise."""

from pathlib import Path
from typing import Annotated

import typer


def command(
    file: Annotated[Path, typer.Argument(help="The configuration file.")] = Path("faregate.yaml"),
) -> None:
    """Run the gateway on this machine: supervisor, workers, manager.

    SIGTERM finishes the calls in progress and stops, SIGINT (Ctrl-C) stops at once, SIGHUP reads the file
    again.
    """
    from faregate.gateway.supervisor import run

    raise typer.Exit(run(file))
