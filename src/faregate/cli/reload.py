"""``faregate reload``: the running gateway reads its configuration again.

Exit status 0: it runs it; 1: it was refused, and what ran goes on.
"""

import json as json_text
import sys
from pathlib import Path
from typing import Annotated

import typer

TIMEOUT_S = 180.0


def command(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="The configuration file.")] = Path("faregate.yaml"),
    data: Annotated[Path | None, typer.Option(help="The gateway's data folder, in place of FILE.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the result as a JSON object.")] = False,
) -> None:
    """Have the running gateway read its configuration again."""
    from faregate.cli import gateways
    from faregate.cli.errors import CommandError
    from faregate.gateway.commands import Request

    folder, status = gateways.find(file, data)
    gateways.insist(context, file, status)
    result = gateways.command(folder, Request("reload"), TIMEOUT_S)
    text = str(result.pop("text", ""))
    if not result.get("ok"):
        facts = {name: fact for name, fact in result.items() if name in {"revision", "diagnostics"}}
        raise CommandError(str(result.get("message")), before="" if json else text, facts=facts)
    if json:
        print(json_text.dumps(result | {"config": status["config"]}))
        return
    sys.stderr.write(text)  # warnings
    print(f"reloaded {status['config']}: {result['message']} after {result['seconds']:.2f} s")
