"""``faregate api diff OLD NEW``: what changed between two OpenAPI documents, and which of it breaks callers.

Exit status 0: nothing breaks (compatible changes are listed); 1: a document cannot be used; 2: callers would
break. ``--json`` prints an object with every change.
"""

import json as json_text
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from faregate.compile.openapi.diff import Change

commands = typer.Typer(
    help="Compare two descriptions of an API.", no_args_is_help=True, rich_markup_mode=None
)


@commands.callback()
def _overview() -> None:
    """Compare two descriptions of an API."""


@commands.command("diff")
def diff_documents(
    old: Annotated[Path, typer.Argument(help="The OpenAPI document as callers know it.")],
    new: Annotated[Path, typer.Argument(help="The one that is to follow.")],
    json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> None:
    """Show what changed between two OpenAPI documents, and which of it breaks callers."""
    from faregate.cli.errors import CommandError
    from faregate.compile.openapi.diff import compare
    from faregate.compile.openapi.document import DocumentError, printable, read_document

    documents = []
    for file in (old, new):
        try:
            documents.append(read_document(file))
        except DocumentError as error:
            raise CommandError(printable(f"{file}: {error.message}")) from None
    try:
        changes = compare(*documents)
    except DocumentError as error:
        place = f" (at {error.pointer})" if error.pointer else ""
        raise CommandError(printable(f"one of the documents: {error.message}{place}")) from None
    breaking = sum(change.breaking for change in changes)
    if json:
        print(
            json_text.dumps(
                {"breaking": breaking, "changes": [change.as_json() for change in changes]}, indent=2
            )
        )
    else:
        for change in changes:
            print(_line(change))
        print(f"{breaking} breaking, {len(changes) - breaking} compatible")
    if breaking:
        raise typer.Exit(2)


def _line(change: "Change") -> str:
    from faregate.compile.openapi.document import printable

    mark = "!" if change.breaking else " "
    whose = f"{change.operation}: " if change.operation else ""
    lines = [f"{mark} {change.kind}  {whose}{change.message}", f"      at {change.pointer}"]
    if change.lost and change.breaking:
        lines.append(f"      lost: {change.lost}")
    return "\n".join(printable(line) for line in lines)
