"""``faregate login NAME``: signs a person in and prints the session's token, alone, for a shell to keep:
``export FAREGATE_TOKEN=$(faregate login ann)``.

What people alone may do (propose, approve, break the glass) needs a session; tokens decide nothing. Password
and code are asked for on the terminal, or read as two lines from a pipe; never taken from options, which
other users of the machine see. ``faregate admin session_delete`` ends the session, so do 30 minutes without
use. Exit status 1: refused; 2: wrong usage.
"""

import json as json_text
import sys
from getpass import getpass
from typing import Annotated, Final

import typer

from faregate.cli.errors import CommandError
from faregate.cli.managing import Config, Data, Json, Manager

_LINE_CHARACTERS_MAX: Final = 1024


def command(
    name: Annotated[str, typer.Argument(help="The user's name.")],
    manager: Manager = "",
    config: Config = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Sign in as a person and print the session's token, for FAREGATE_TOKEN."""
    from faregate.cli.managing import Where, connected

    with connected(Where(manager, "", config, data, anybody=True)) as client:
        password, code = _proofs(name)
        opened = client.sessions.create(name, password, code=code)
        token = client.told.session
    if not token:
        raise CommandError("the manager opened a session and did not say which")
    if json:
        print(json_text.dumps({"token": token, "session": opened["id"], "expires": opened["expires"]}))
        return
    print(token)
    print(f"signed in as {name}, until {opened['expires']} at the latest", file=sys.stderr)


def _proofs(name: str) -> tuple[str, str]:
    """Password and code. Raises CommandError."""
    if sys.stdin.isatty():
        password = getpass(f"Password of {name}: ")
        code = getpass("Code of the second factor, empty for none: ")
    else:
        password, code = (sys.stdin.readline(_LINE_CHARACTERS_MAX).rstrip("\r\n") for _ in range(2))
    if not password:
        raise CommandError("no password was given", 2)
    return password, code.strip()
