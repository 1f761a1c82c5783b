"""``faregate secrets show|rotate``: the keys that seal what lies in the manager's database, and the peppers
of API keys, by name. No key is ever shown.

Exit status 0: done; 1: refused; 2: wrong usage.
"""

import json as json_text
from pathlib import Path
from typing import Annotated, Final, Literal

import typer

from faregate.cli.managing import Config, Data, Json, Manager, Token

commands = typer.Typer(
    help="Look at the keys of the house, and rotate them.", no_args_is_help=True, rich_markup_mode=None
)
WHAT: Final[dict[str, Literal["data_key", "master_key", "pepper"]]] = {
    "data-key": "data_key",
    "master-key": "master_key",
    "pepper": "pepper",
}


@commands.command("show")
def show(
    manager: Manager = "", token: Token = "", config: Config = None, data: Data = None, json: Json = False
) -> None:
    """Show which keys there are, by name."""
    from faregate.cli.managing import Where, connected

    with connected(Where(manager, token, config, data, json=json)) as client:
        found = client.secrets.get()
    if json:
        print(json_text.dumps(found))
        return
    print(f"master key  {found['master_key']}")
    for key in found["data_keys"]:
        ended = f", retired {key['retired']}" if key["retired"] else ", seals"
        print(f"data key    {key['id']}, made {key['created']}{ended}")
    for name in found["peppers"]:
        print(f"pepper      {name}")
    if found["resealing"]:
        print(f"{found['resealing']} values are being sealed anew")


@commands.command("rotate")
def rotate(  # noqa: PLR0913, PLR0917 - one value per option
    what: Annotated[str, typer.Argument(help="data-key, master-key or pepper.")],
    new_key: Annotated[
        Path | None,
        typer.Option(help="A file with the next master key, where gateway.manager.master_key names one."),
    ] = None,
    manager: Manager = "",
    token: Token = "",
    config: Config = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Put another key in the place of one."""
    from faregate.cli.errors import CommandError
    from faregate.cli.managing import Where, connected

    if what not in WHAT:
        raise CommandError(f"{what!r} is none of {', '.join(WHAT)}", 2)
    key = ""
    if new_key is not None:
        try:
            key = new_key.read_text("ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(f"--new-key: {new_key} cannot be read: {error}") from None
    with connected(Where(manager, token, config, data, json=json)) as client:
        made = client.secrets.rotate(WHAT[what], master_key=key)
    print(json_text.dumps(made) if json else f"{what} is {made['id']} now")
