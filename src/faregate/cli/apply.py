"""``faregate apply FILE``: makes the sections that a file names what it says, in one step or not at all.

The plan is shown on a terminal, and asked about where something would be removed; a change by somebody else
in between refuses the apply. Exit status 0: it runs on every gateway, or nothing was to be changed; 1:
refused, or made and not running everywhere; 2: wrong usage; 3: it waits for a second person's approval.
"""

import json as json_text
import time
from pathlib import Path
from typing import Annotated

import typer

from faregate.cli.managing import Config, Data, Force, Json, Manager, Reason, Team, Token, Yes


def command(  # noqa: PLR0913, PLR0917 - one value per option
    file: Annotated[Path, typer.Argument(help="What shall be: a configuration file.")],
    canary: Annotated[str, typer.Option(help="The share of calls that meet it first, as 5%.")] = "",
    consumers: Annotated[str, typer.Option(help="Consumers that meet it first, as a,b.")] = "",
    lasts: Annotated[str, typer.Option("--for", help="How long a canary lasts at most, as 10m.")] = "10m",
    promote: Annotated[bool, typer.Option("--promote", help="Then give it all calls, unless worse.")] = False,
    team: Team = "",
    reason: Reason = "",
    yes: Yes = False,
    force: Force = False,
    manager: Manager = "",
    token: Token = "",
    config: Config = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Make the configuration what a file says: its sections, all or nothing."""
    from faregate.cli import canary as trial
    from faregate.cli import planning, wanted
    from faregate.cli.differences import changes_any
    from faregate.cli.managing import Where, connected, place_of

    first = trial.wish(canary, consumers, lasts, promote=promote) if canary or consumers else None
    shall = wanted.read(file)
    where = Where(manager, token, config, data, file)
    folder = None if manager else place_of(where).data
    with connected(where) as client:
        base = client.status_get()["revision"]
        planned = client.config_plan({"sections": shall.sections, "team": team})
        planning.demand_right(shall, planned, folder)
        if not changes_any(planned):
            print(json_text.dumps({"revision": None, "published": True}) if json else "no changes")
            return
        planning.agree(planned, yes=yes, json=json)
        if first is not None:
            body = {"sections": shall.sections, "team": team, "reason": reason, **first}
            trial.begin(client, body, base, force=force, json=json)
            return
        began = time.monotonic()
        answer = client.config_apply(
            {"sections": shall.sections, "team": team, "reason": reason},
            base=base,
            force=force,
        )
        done, behind = planning.applied(client, answer)
    if json:
        print(json_text.dumps(done))
        if behind:
            raise typer.Exit(1)
        return
    planning.say_applied(done, behind, planned, began)
