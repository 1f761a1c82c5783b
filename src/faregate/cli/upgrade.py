"""``faregate upgrade``: the program that this command belongs to takes over from the one that runs.

Install the new version beside the old one, or in its place, and call the new one's command. Exit status 0:
it has taken over; 1: it could not, and the running one goes on.
"""

import json as json_text
import sys
from pathlib import Path
from typing import Annotated

import typer

TIMEOUT_S = 240.0


def command(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="The configuration file.")] = Path("faregate.yaml"),
    data: Annotated[Path | None, typer.Option(help="The gateway's data folder, in place of FILE.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the result as a JSON object.")] = False,
) -> None:
    """Let this version take over from the running one, without a refused connection or a cut call."""
    from faregate.cli import gateways
    from faregate.cli.errors import CommandError
    from faregate.gateway.commands import Request

    folder, status = gateways.find(file, data)
    gateways.insist(context, file, status)
    result = gateways.command(folder, Request("upgrade", program=sys.executable), TIMEOUT_S)
    text = str(result.pop("text", ""))
    if not result.get("ok"):
        facts = {name: fact for name, fact in result.items() if name == "diagnostics"}
        raise CommandError(str(result.get("message")), before="" if json else text, facts=facts)
    if json:
        former = {"pid": status["pid"], "version": status["version"]}
        print(json_text.dumps(result | {"former": former, "config": status["config"]}))
        return
    print(
        f"{result['message']} from process {status['pid']} "
        f"({status['version']} -> {result['version']}) after {result['seconds']:.2f} s; "
        f"it runs {status['config']}"
    )
