"""The table of commands, and the way from arguments to one of them.

A command's module is imported only when that command is called, so that ``--help`` and quick commands never
pay for slow ones. typer reads a command's options from its function; for the overview of all commands the
table's one-line help is enough. A command whose module does not exist is not offered. That options may stand
in the environment, and how a failure is shown, is settled here for all commands.
"""

import os
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from importlib import import_module
from importlib.util import find_spec
from typing import Annotated, Final

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption
from typer.main import get_command

from faregate import VERSION
from faregate.cli.errors import CommandError, show_json, show_text, wants_json
from faregate.cli.plain_values import read_plainly

COMMANDS: Final[dict[str, str]] = {
    "run": "Run the gateway on this machine.",
    "reload": "Have the running gateway read its configuration again.",
    "upgrade": "Let this version take over from the running one.",
    "status": "Show what the running gateway runs.",
    "check": "Check a configuration file: all errors at once, exit status 1 if there is any.",
    "demo": "Run a gateway, two example payment servers and live callers: no setup.",
    "token": "Make a JWT for development.",
    "schema": "Print the JSON Schema of the configuration, for editors.",
    "ledger": "Look at the records of idempotent calls, and settle those of unknown outcome.",
    "secrets": "Look at the keys of the house, and rotate them.",
    "audit": "Verify the audit tree, prove what stands in it, and look at its records.",
    "import": "Make a configuration from another description of an API.",
    "api": "Compare two descriptions of an API.",
    "plan": "Show what applying a file would change; exit status 2 if anything.",
    "apply": "Make the configuration what a file says: its sections, all or nothing.",
    "history": "List revisions of the configuration, or show what one changed.",
    "canary": "Show what comes of a change that some calls meet first; promote or abandon it.",
    "rollback": "Make the configuration what it was at a revision, by a new one.",
    "key": "Make, list, replace and revoke API keys.",
    "config": "Look at entries of the configuration, and write them one by one.",
    "login": "Sign in as a person and print the session's token, for FAREGATE_TOKEN.",
    "admin": "Ask for any operation of the admin API by its id.",
    "explain": "Say why a call ended as it did.",
    "tail": "Follow the calls as they end.",
    "try": "Decide a call without sending it.",
    "doctor": "Look whether this machine is fit to run the gateway.",
}
"""Name and one line of help; the module is ``faregate.cli.<name>``, with a function ``command``, or with
``commands`` where it has several.
"""


def available_commands() -> list[str]:
    """The commands of the table whose module exists."""
    return [name for name in COMMANDS if find_spec(f"faregate.cli.{name}") is not None]


def main(arguments: Sequence[str]) -> int:
    """Runs one command and returns its exit status; 2 for wrong usage."""
    chosen = arguments[0] if arguments else ""
    as_json = wants_json(arguments)
    try:
        # without --json typer words wrong usage itself and ends with SystemExit
        status = _command(chosen).main(
            list(arguments) or ["--help"], prog_name="faregate", standalone_mode=not as_json
        )
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except typer.TyperException as error:
        if as_json:
            show_json(error, chosen)
        else:
            show_text(error)
        return error.exit_code
    return status if isinstance(status, int) else 0


def _command(chosen: str) -> TyperGroup:
    """The command line with ``chosen`` in it. Raises CommandError when there is no such command."""
    names = available_commands()
    if chosen and not chosen.startswith("-") and chosen not in names:
        near = get_close_matches(chosen, names, n=1)
        hint = f"did you mean `{near[0]}`?" if near else f"there are {', '.join(names)}"
        raise CommandError(f"no command is named `{chosen}`; {hint}", 2)
    completing = "_FAREGATE_COMPLETE" in os.environ
    wanted = [name for name in names if completing or name == chosen]
    group = get_command(_app(wanted, names))
    assert isinstance(group, TyperGroup)
    read_plainly(group)
    for name in wanted:
        command = group.commands[name]
        for one in (command, *(command.commands.values() if isinstance(command, TyperGroup) else ())):
            assert isinstance(one, TyperCommand | TyperGroup)
            read_plainly(one)
            for parameter in one.params:
                if isinstance(parameter, TyperOption | TyperArgument):
                    _read_environment(parameter)
    return group


def _read_environment(parameter: TyperOption | TyperArgument) -> None:
    """Lets an option, or the file, be given as ``FAREGATE_<NAME>``; what the command line says wins."""
    parameter.envvar = environment_name(max(parameter.opts, key=len).lstrip("-"))
    parameter.show_envvar = True


def environment_name(option: str) -> str:
    """``FAREGATE_NEW_KEY`` for ``new-key``, the long name of an option."""
    return f"FAREGATE_{option.upper().replace('-', '_')}"


def _app(wanted: list[str], names: list[str]) -> typer.Typer:
    app = typer.Typer(
        help="The API gateway and API manager for payment systems.",
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    app.callback()(_overview)
    for name in names:
        command: Callable[..., None] = _placeholder
        if name in wanted:
            module = import_module(f"faregate.cli.{name}")
            if hasattr(module, "commands"):
                app.add_typer(module.commands, name=name)
                continue
            command = module.command
        app.command(name, help=None if name in wanted else COMMANDS[name], short_help=COMMANDS[name])(command)
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"faregate {VERSION}")
        raise typer.Exit


def _overview(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    _ = version


def _placeholder() -> None:
    raise AssertionError("a command that was not asked for")
