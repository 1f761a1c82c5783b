"""How commands fail: one exception, and the one place where any failure becomes text or JSON.

With ``--json`` a failure is one object on standard error, ``{"error": {...}}``, also when the command line
itself is wrong; standard output stays empty, or holds what had been said before.
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Final

from typer import Context, TyperException

_TRUE: Final = frozenset({"1", "true", "t", "yes", "y", "on"})
"""What a switch may hold in the environment (typer's own words)."""


class CommandError(TyperException):
    """A command cannot do what was asked.

    ``status``: the exit status, 1 failed, 2 wrong usage. ``said_by`` begins the line, ``before`` stands above
    it; ``facts`` are further members of the JSON object.
    """

    def __init__(
        self,
        message: str,
        status: int = 1,
        *,
        said_by: str = "faregate",
        before: str = "",
        facts: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.exit_code = status
        self.said_by = said_by
        self.before = before
        self.facts = dict(facts or {})


def wants_json(arguments: Sequence[str], environ: Mapping[str, str] = os.environ) -> bool:
    """Whether failures shall be JSON; must be known even when the rest of the command line makes no sense."""
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "--json" in options or environ.get("FAREGATE_JSON", "").strip().lower() in _TRUE


def given_as(context: Context, name: str) -> str:
    """How the option ``name`` was given: as the command line or the environment calls it."""
    source = context.get_parameter_source(name)
    if source is not None and source.name == "ENVIRONMENT":
        return f"FAREGATE_{name.upper()}"
    return f"--{name.replace('_', '-')}"


def show_text(error: TyperException) -> None:
    before, said_by = (error.before, error.said_by) if isinstance(error, CommandError) else ("", "faregate")
    print(f"{before}{said_by}: {error.format_message()}", file=sys.stderr)


def show_json(error: TyperException, command: str) -> None:
    facts = error.facts if isinstance(error, CommandError) else {}
    told = {"command": command, "status": error.exit_code, "message": error.format_message(), **facts}
    print(json.dumps({"error": told}), file=sys.stderr)
