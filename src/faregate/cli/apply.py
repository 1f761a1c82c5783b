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

from faregate.cli.managing import (
    At,
    Config,
    Data,
    Force,
    Json,
    Manager,
    Propose,
    Reason,
    Team,
    Token,
    Window,
    Yes,
)


def command(  # noqa: PLR0913, PLR0917 - one value per option
    file: Annotated[Path, typer.Argument(help="What shall be: a configuration file.")],
    canary: Annotated[str, typer.Option(help="The share of calls that meet it first, as 5%.")] = "",
    consumers: Annotated[str, typer.Option(help="Consumers that meet it first, as a,b.")] = "",
    lasts: Annotated[
        str, typer.Option("--for", help="How long a canary lasts at most; 10m if not given.")
    ] = "",
    promote: Annotated[bool, typer.Option("--promote", help="Then give it all calls, unless worse.")] = False,
    team: Team = "",
    reason: Reason = "",
    propose: Propose = False,
    at: At = "",
    window: Window = "",
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
    from faregate.cli.errors import CommandError
    from faregate.cli.managing import Where, Wishes, connected, place_of
    from faregate.cli.option_names import APPLY

    if (lasts or promote) and not (canary or consumers):
        raise CommandError(
            f"--{'for' if lasts else 'promote'} is of a canary: say --canary or --consumers too", 2
        )
    if (canary or consumers) and (propose or at):
        raise CommandError("a canary begins at once: leave out --at and --propose, or the canary", 2)
    first = trial.wish(canary, consumers, lasts or trial.DURATION) if canary or consumers else None
    shall = wanted.read(file)
    where = Where(manager, token, config, data, file, wishes=Wishes(propose, at, window), options=APPLY)
    folder = None if manager else place_of(where).data
    with connected(where) as client:
        base = client.status()["revision"]
        planned = client.config.plan(shall.sections, team=team)
        planning.demand_right(shall, planned, folder)
        if not changes_any(planned):
            print(json_text.dumps({"revision": None, "published": True}) if json else "no changes")
            return
        planning.agree(planned, yes=yes, json=json)
        if first is not None:
            begun = client.canary.start(
                shall.sections,
                team=team,
                reason=reason,
                percent=first.percent,
                consumers=first.consumers,
                for_s=first.for_s,
                promote=promote,
                base=base,
                force=force,
            )
            trial.say_begun(begun, json=json)
            return
        began = time.monotonic()
        answer = client.config.apply(shall.sections, team=team, reason=reason, base=base, force=force)
        done, behind = planning.applied(client, answer)
    if json:
        print(json_text.dumps(done))
        if behind:
            raise typer.Exit(1)
        return
    planning.say_applied(done, behind, planned, began)
