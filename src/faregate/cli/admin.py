"""``faregate admin OPERATION``: any operation of the admin API by its id, for what has no command of its own.

Without OPERATION it lists them all. Exit status 0: done; 1: refused; 2: wrong usage; 3: it waits for a second
person's approval.
"""

import json as json_text
from typing import Annotated, Final

import typer

from faregate.cli.managing import At, Config, Data, Json, Manager, Propose, Reason, Token, Window

_NOBODYS: Final = frozenset({"session_create", "enrol"})
"""What is asked for before one is anybody."""


def command(  # noqa: PLR0913, PLR0917 - one value per option
    operation: Annotated[str, typer.Argument(help="Its id; left out, all are listed.")] = "",
    param: Annotated[
        list[str] | None, typer.Option(help="A parameter, NAME=VALUE; may come several times.")
    ] = None,
    body: Annotated[str, typer.Option(help="What it takes: YAML or JSON, @FILE, or - for input.")] = "",
    reason: Reason = "",
    propose: Propose = False,
    at: At = "",
    window: Window = "",
    manager: Manager = "",
    token: Token = "",
    config: Config = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Ask for any operation of the admin API by its id."""
    from faregate.cli.errors import CommandError
    from faregate.cli.managing import Where, Wishes, connected
    from faregate.cli.operation_paths import content_of
    from faregate.client import OPERATIONS

    if not operation:
        _list(json=json)
        return
    known = OPERATIONS.get(operation)
    if known is None:
        from difflib import get_close_matches

        near = get_close_matches(operation, OPERATIONS, n=1)
        hint = f"did you mean `{near[0]}`?" if near else "`faregate admin` lists them"
        raise CommandError(f"no operation is named `{operation}`; {hint}", 2)
    values: dict[str, object] = {}
    takes = (*known.in_path, *known.query, *known.headers)
    for one in param or []:
        name, equals, value = one.partition("=")
        if not equals and name in takes:
            raise CommandError(f"--param {one}: write {one}=VALUE", 2)
        if name not in takes:
            raise CommandError(f"--param {name}: {operation} takes {', '.join(takes) or 'none'}", 2)
        values[name] = value
    if reason and "x-faregate-reason" in known.headers:
        values["x-faregate-reason"] = reason
    missing = [name for name in known.in_path if name not in values]
    if missing:
        raise CommandError(f"{operation} needs --param {missing[0]}=...", 2)
    content = content_of(body) if body else None
    wishes = Wishes(propose, at, window)
    where = Where(manager, token, config, data, anybody=operation in _NOBODYS, wishes=wishes)
    with connected(where) as client:
        told = client.ask(operation, values, content)
        if client.told.session and isinstance(told, dict):  # shown now or never
            told |= {"token": client.told.session}
    if told is not None or json:
        print(json_text.dumps(told, indent=None if json else 2, ensure_ascii=False))


def _list(*, json: bool) -> None:
    from faregate.client import OPERATIONS

    if json:
        print(json_text.dumps({name: one._asdict() for name, one in OPERATIONS.items()}))
        return
    for name, one in OPERATIONS.items():
        said = (each for each in one.headers if not each.startswith("x-"))
        takes = "".join(f" {each}=" for each in (*one.in_path, *one.query, *said))
        print(f"{name:<24} {one.summary}{':' + takes if takes else ''}")
