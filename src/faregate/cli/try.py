# ruff: noqa: N999 - the name of the command
"""``faregate try METHOD PATH``: what the gateway would do with a call, without sending it and counting
nothing.

Decided from the last good snapshot in the data folder by the gateway's own router and steps. Exit status 0:
it would be sent; 1: it would be refused, or cannot be tried; 2: wrong usage.
"""

import json as json_text
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from faregate.cli.managing import DEFAULT

if TYPE_CHECKING:
    from faregate.cli.trying import Trial


def command(  # noqa: PLR0913, PLR0917 - one value per option
    method: Annotated[str, typer.Argument(help="Such as POST.")],
    path: Annotated[str, typer.Argument(help="Such as /v2/payments.")],
    consumer: Annotated[str, typer.Option(help="Who calls; left out, whom the headers prove.")] = "",
    header: Annotated[
        list[str] | None, typer.Option(help="A header of the call, NAME: VALUE; may come several times.")
    ] = None,
    ip: Annotated[str, typer.Option(help="The caller's address.")] = "127.0.0.1",
    config: Annotated[Path, typer.Option(help="The gateway's configuration file.")] = DEFAULT,
    data: Annotated[
        Path | None, typer.Option(help="The gateway's data folder, in place of its file.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> None:
    """Decide a call without sending it: each step in its order, and its verdict."""
    from ipaddress import ip_address

    from faregate.cli.data_folders import folder_of, last_good
    from faregate.cli.errors import CommandError
    from faregate.cli.gateways import status_on
    from faregate.cli.trial_counters import counters_of
    from faregate.cli.trying import Request, UnknownConsumer, decide

    if not path.startswith("/"):
        raise CommandError(f"a path begins with /, and {path!r} does not", 2)
    try:
        ip_address(ip)
    except ValueError:
        raise CommandError(f"--ip: {ip!r} is no address", 2) from None
    headers = []
    for one in header or []:
        name, colon, value = one.partition(":")
        if not colon or not name.strip():
            told = one.split(maxsplit=1)[0] if " " in one.strip() else "it"  # the value may be a secret
            raise CommandError(f"--header: {told!r} lacks the colon of NAME: VALUE", 2)
        headers.append((name.strip().lower(), value.strip()))
    folder = folder_of(config, data)
    snapshot = last_good(folder)
    if snapshot is None:
        raise CommandError(f"no revision ran on {folder} yet, or it is of another version of faregate")
    pid = (status_on(folder) or {}).get("pid")
    try:
        with counters_of(pid if isinstance(pid, int) else 0) as memory:
            request = Request(method.upper(), path, consumer, tuple(headers), ip)
            trial = decide(snapshot, request, memory)
    except UnknownConsumer:
        from difflib import get_close_matches

        near = get_close_matches(consumer, [one.name for one in snapshot.consumers], n=1)
        hint = f"; did you mean `{near[0]}`?" if near else ""
        raise CommandError(f"no consumer is named `{consumer}`{hint}") from None
    except (ValueError, OSError) as error:
        raise CommandError(f"the call cannot be tried: {error}") from None
    if json:
        print(json_text.dumps(asdict(trial)))
    else:
        print(_text(trial))
    if trial.refusal:
        raise typer.Exit(1)


def _text(trial: "Trial") -> str:
    from faregate.records.reasons import words_of

    lines = []
    for at, one in enumerate(trial.steps, 1):
        lines.append(f"{at:>2}  {one.step:<13} {one.said:<15} {one.detail}".rstrip())
    where = " ".join(filter(None, (trial.api, trial.version, trial.route)))
    if trial.refusal:
        words = words_of(trial.reason)
        lines.append(f"refused: {trial.status} {trial.refusal}" + (f": {words}" if words else ""))
    else:
        lines.append(f"would be sent to {trial.upstream}")
    return "\n".join([f"revision {trial.revision}: {where or 'no route'}", *lines])
