# ruff: noqa: N999 - the name of the command
"""``faregate import openapi FILE``: the configuration of an API, made from its OpenAPI document.

Exit status 0: made, whatever notes there are; 1: the document cannot be used, or the file exists; 2: wrong
usage. The configuration goes to standard output or ``--out``, notes of what could not be mapped to standard
error and as comments above it. What is made passes ``faregate check``.
"""

import json as json_text
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

commands = typer.Typer(
    help="Make a configuration from another description of an API.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@commands.callback()
def _overview() -> None:
    """Make a configuration from another description of an API."""


@commands.command("openapi")
def import_openapi(
    file: Annotated[Path, typer.Argument(help="An OpenAPI 3.0 or 3.1 document, YAML or JSON.")],
    upstream: Annotated[str, typer.Option(help="URL of the service; else the document's server.")] = "",
    name: Annotated[str, typer.Option(help="Name of the API; else the document's title.")] = "",
    out: Annotated[Path | None, typer.Option(help="Write to this file, which must not exist.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> None:
    """Make the configuration of an API from its OpenAPI document."""
    from faregate.cli.errors import CommandError
    from faregate.compile.openapi.document import DocumentError, printable, read_document
    from faregate.compile.openapi.importing import imported, name_of
    from faregate.compile.openapi.writing import as_yaml

    if upstream:
        upstream = _target(upstream)
    if name:
        _demand_name(name)
    folder = Path.cwd() if out is None else out.absolute().parent
    try:
        document = read_document(file)
        written = os.path.relpath(file.absolute(), folder)
        made = imported(document, name=name or name_of(document), file=written, upstream=upstream)
    except DocumentError as error:
        place = f" (at {error.pointer})" if error.pointer else ""
        hint = f"; expected {error.expected}" if error.expected else ""
        raise CommandError(printable(f"{file}: {error.message}{place}{hint}")) from None
    comments = [f"Made from {file.name} by `faregate import openapi`.", *made.notes]
    text = as_yaml(made.tree, comments)
    if out is not None:
        try:
            with out.open("x", encoding="utf-8") as target:
                target.write(text)
        except FileExistsError:
            raise CommandError(f"{out} exists; name another file, or remove it") from None
        except OSError as error:
            raise CommandError(f"{out} cannot be written: {error.strerror}") from None
    if json:
        print(json_text.dumps({"configuration": made.tree, "notes": made.notes}, indent=2))
        return
    if out is None:
        print(text, end="")
    for note in made.notes:
        print(f"note: {note}", file=sys.stderr)


def _demand_name(name: str) -> None:
    """Raises CommandError for what cannot name an API, or its public part."""
    from pydantic import TypeAdapter, ValidationError

    from faregate.cli.errors import CommandError
    from faregate.model.values import NAME_RULE, Name

    try:
        for one in (name, f"{name}-public"):
            TypeAdapter(Name).validate_python(one)
    except ValidationError:
        raise CommandError(f"--name: {name!r} is not a name; expected {NAME_RULE}", 2) from None


def _target(upstream: str) -> str:
    """The service's URL as a target has it. Raises CommandError."""
    from faregate.cli.errors import CommandError
    from faregate.compile.openapi.operations import split_url

    url = split_url(upstream)
    if url.scheme not in {"http", "https"} or not url.hostname or url.path.strip("/") or url.query:
        raise CommandError(f"--upstream: {upstream!r} is not a URL such as http://127.0.0.1:9000", 2)
    return f"{url.scheme}://{url.netloc}"
