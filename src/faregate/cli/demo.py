"""``faregate demo``: a gateway, two example payment servers and live callers, with no setup.

The command reads its options and chooses a view; everything else lies in ``faregate.demo``. Exit status: 0
when it ran to its end or was stopped, 1 when it could not start or broke off, 2 for a wrong option.
"""

import asyncio
import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from faregate.cli.errors import CommandError, given_as
from faregate.kernel.units import parse_duration_ms

if TYPE_CHECKING:
    from faregate.demo.views import View

DURATION_S_MAX: Final = 12 * 3600
"""Half a day: well within the lifetime of the demo's tokens."""


def command(  # noqa: PLR0913, PLR0917 - one argument an option, given by name
    context: typer.Context,
    duration: Annotated[str, typer.Option(help="How long it runs, up to 12h: 30s, 5m, 2h.")] = "30m",
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="The gateway's port; 8080, or a free one when that is taken."),
    ] = None,
    directory: Annotated[
        Path | None, typer.Option("--dir", help="Keep configuration and log in this folder.")
    ] = None,
    no_traffic: Annotated[
        bool, typer.Option("--no-traffic", help="No callers: only those you make.")
    ] = False,
    plain: Annotated[bool, typer.Option("--plain", help="A line a second, also on a terminal.")] = False,
    json: Annotated[bool, typer.Option("--json", help="A JSON object a second.")] = False,
) -> None:
    """Run a gateway, two example payment servers and live callers: no setup."""
    duration_s = _duration_s(duration, given_as(context, "duration"))
    missing = [name for name in ("flask", "gunicorn") if importlib.util.find_spec(name) is None]
    if missing:
        raise _failure(f"the demo needs {' and '.join(missing)}: pip install 'faregate[demo]'")

    from faregate.demo.folder import FolderError
    from faregate.demo.run import DemoError, Options, run_demo

    options = Options(duration_s, port, directory, traffic=not no_traffic)
    try:
        asyncio.run(run_demo(options, _view(plain=plain, json=json)))
    except (DemoError, FolderError) as error:
        raise _failure(str(error)) from None
    except BrokenPipeError:
        # The reader went away (`faregate demo | head`); everything is stopped. Keep Python from a last flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _duration_s(text: str, option: str) -> float:
    try:
        seconds = parse_duration_ms(text) / 1000
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None
    if not 1 <= seconds <= DURATION_S_MAX:
        raise typer.BadParameter("expected between 1s and 12h", param_hint=option)
    return seconds


def _view(*, plain: bool, json: bool) -> "View":
    from rich.console import Console

    from faregate.demo.views import JsonView, LiveView, PlainView

    if json:
        return JsonView()
    console = Console()
    if plain or not console.is_terminal or console.is_dumb_terminal:
        return PlainView()
    return LiveView(console)


def _failure(message: str) -> CommandError:
    return CommandError(message, said_by="faregate demo")
