"""``faregate history [REVISION]``: the revisions of the configuration, or what one of them changed.

Exit status 0: shown; 1: there is no such revision, or the manager cannot be asked; 2: wrong usage.
"""

import json as json_text
from collections.abc import Mapping
from itertools import islice
from typing import Annotated, Any

import typer

from faregate.cli.managing import Config, Data, Json, Manager, Token

LIMIT_MAX = 1000


def command(  # noqa: PLR0913, PLR0917 - one value per option
    revision: Annotated[str, typer.Argument(help="Show what this one changed.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=LIMIT_MAX, help="So many at most.")] = 20,
    manager: Manager = "",
    token: Token = "",
    config: Config = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """List revisions, the newest first, or show what one changed."""
    from faregate.cli.differences import lines
    from faregate.cli.managing import Where, connected, note

    wanted = number_of(revision) if revision else None
    with connected(Where(manager, token, config, data)) as client:
        if wanted is not None:
            shown = client.revisions.get(wanted)
            if json:
                print(json_text.dumps(shown))
                return
            print(_line(shown))
            print("\n".join(lines(shown["differences"])))
            return
        newest = client.revisions.list(size=min(limit + 1, LIMIT_MAX))
        found = list(islice(newest, limit + 1))
    if json:
        print(json_text.dumps(found[:limit]))
        return
    for one in found[:limit]:
        print(_line(one))
    if len(found) > limit:
        note("there are older ones, see --limit")


def number_of(text: str) -> int:
    """A revision's number. Raises CommandError."""
    from faregate.cli.errors import CommandError

    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise CommandError(
            f"{text!r} is no revision: name one by its number, as `faregate history` shows it", 2
        )
    return int(text)


def _line(one: Mapping[str, Any]) -> str:
    changes = f"{one['changes']} change{'' if one['changes'] == 1 else 's'}"
    text = f"{one['number']:>6}  {one['time']}  {one['kind']:<10} {one['author']:<12} {changes}"
    if one.get("rolled_back_to") is not None:
        text += f", back to {one['rolled_back_to']}"
    if one.get("change_request"):
        text += f", approved as {one['change_request']}"
    return f"{text}: {one['reason']}" if one["reason"] else text
