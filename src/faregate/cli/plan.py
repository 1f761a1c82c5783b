"""``faregate plan FILE``: what applying a file would change, field by field.

Exit status 0: nothing; 1: errors, or the manager cannot be asked; 2: something would change, or wrong usage.
"""

import json as json_text
from pathlib import Path
from typing import Annotated

import typer

from faregate.cli.managing import Config, Data, Json, Manager, Team, Token


def command(  # noqa: PLR0913, PLR0917 - one value per option
    file: Annotated[Path, typer.Argument(help="What shall be: a configuration file.")],
    team: Team = "",
    manager: Manager = "",
    token: Token = "",
    config: Config = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Show what applying a file would change; exit status 2 if anything."""
    from faregate.cli import planning, wanted
    from faregate.cli.differences import changes_any
    from faregate.cli.managing import Where, connected, place_of

    shall = wanted.read(file)
    where = Where(manager, token, config, data, file)
    with connected(where) as client:
        planned = client.config.plan(shall.sections, team=team)
    planning.demand_right(shall, planned, None if manager else place_of(where).data)
    if json:
        print(json_text.dumps(planned))
    else:
        planning.show(planned)
    if changes_any(planned):
        raise typer.Exit(2)
