"""``faregate rollback REVISION``: makes the configuration what it was, by a new revision.

Credentials stay as they are: what was revoked remains so. ``--plan`` only shows what would change. Exit
status 0: it runs on every gateway, or nothing was to be changed; 1: refused, or made and not running
everywhere; 2: wrong usage, or ``--plan`` and something would change; 3: it waits for a second person's
approval.
"""

import json as json_text
import time
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
    Token,
    Window,
    Yes,
)


def command(  # noqa: PLR0913, PLR0917 - one value per option
    revision: Annotated[str, typer.Argument(help="The revision to go back to.")],
    plan: Annotated[bool, typer.Option("--plan", help="Only show what would change.")] = False,
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
    """Make the configuration what it was at a revision, by a new one."""
    from faregate.cli import planning
    from faregate.cli.differences import changes_any
    from faregate.cli.errors import CommandError
    from faregate.cli.history import number_of
    from faregate.cli.managing import Where, Wishes, connected, told
    from faregate.cli.option_names import REASON

    number = number_of(revision)
    with connected(
        Where(manager, token, config, data, wishes=Wishes(propose, at, window), options=REASON)
    ) as client:
        base = client.status()["revision"]  # before the plan, which is then of this revision or a later one
        planned = client.revisions.plan(number)
        if any(one["level"] == "error" for one in planned["diagnostics"]):
            raise CommandError(
                f"revision {number} does not fit what the file says now; nothing was changed",
                before="".join(f"{line}\n" for line in told(planned["diagnostics"])),
                facts={"diagnostics": planned["diagnostics"]},
            )
        if plan:
            print(json_text.dumps(planned)) if json else planning.show(planned)
            raise typer.Exit(2 if changes_any(planned) else 0)
        if not changes_any(planned):
            print(json_text.dumps({"revision": None, "published": True}) if json else "no changes")
            return
        planning.agree(planned, yes=yes, json=json)
        began = time.monotonic()
        done, behind = planning.applied(
            client, client.revisions.rollback(number, reason=reason, force=force, base=base)
        )
    if json:
        print(json_text.dumps(done))
        if behind:
            raise typer.Exit(1)
        return
    planning.say_applied(done, behind, planned, began)
