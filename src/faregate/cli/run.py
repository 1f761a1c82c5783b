"""``faregate run``: everything on this machine, until a signal says otherwise."""

from pathlib import Path
from typing import Annotated

import typer

from faregate.kernel.units import parse_duration_ms

WAIT_S_MAX = 300.0


def command(  # noqa: PLR0913, PLR0917 - one argument an option, given by name
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="The configuration file.")] = Path("faregate.yaml"),
    watch: Annotated[bool, typer.Option("--watch", help="Reload when the files change.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Do not start on the last good snapshot when FILE is broken.")
    ] = False,
    grace: Annotated[str, typer.Option(help="How long a stop lets calls finish.")] = "30s",
    drain_wait: Annotated[
        str, typer.Option(help="How long a stop only fails readiness before it drains: 5s.")
    ] = "0s",
    json: Annotated[bool, typer.Option("--json", help="Say what happens as JSON, an object a line.")] = False,
) -> None:
    """Run the gateway on this machine: supervisor, workers, manager.

    SIGTERM finishes the calls in progress and stops, SIGINT (Ctrl-C) stops at once, SIGHUP reads the file
    again.
    """
    from faregate.cli.errors import given_as
    from faregate.gateway.running import Options
    from faregate.gateway.supervisor import run

    options = Options(
        grace=_seconds(grace, given_as(context, "grace")),
        drain_wait=_seconds(drain_wait, given_as(context, "drain_wait")),
        watch=watch,
        strict=strict,
    )
    raise typer.Exit(run(file, options, events=json))


def _seconds(text: str, option: str) -> float:
    if text == "0s":
        return 0.0
    try:
        seconds = parse_duration_ms(text) / 1000
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None
    if seconds > WAIT_S_MAX:
        raise typer.BadParameter("expected at most 5m", param_hint=option)
    return seconds
