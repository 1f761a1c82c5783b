"""``faregate explain REQUEST_ID``: why a call ended as it did, from its line in the access log.

Rotated files beside it are searched too, compressed ones are not. Exit status 0: found and explained; 1: no
such line; 2: wrong usage.
"""

import json as json_text
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from faregate.cli.managing import DEFAULT

if TYPE_CHECKING:
    from faregate.snapshot.data import Snapshot

CALLS_MAX = 20
"""Of one id: callers may send their own twice."""
BYTES_MAX = 16 << 30


def command(
    request_id: Annotated[str, typer.Argument(help="As in X-Request-Id, and in the problem document.")],
    config: Annotated[Path, typer.Option(help="The gateway's configuration file.")] = DEFAULT,
    data: Annotated[
        Path | None, typer.Option(help="The gateway's data folder, in place of its file.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False,
) -> None:
    """Say why a call ended as it did."""
    from faregate.cli.data_folders import folder_of, last_good
    from faregate.cli.errors import CommandError
    from faregate.records.searching import LOG, Wanted, search

    folder = folder_of(config, data)
    if not list(folder.glob(f"{LOG}*")):
        raise CommandError(f"there is no {LOG} in {folder}")
    found = search(folder, Wanted({"request_id": request_id}), size=CALLS_MAX, bytes_max=BYTES_MAX)
    if not found.calls:
        raise CommandError(
            f"no call with the id {request_id!r} in {folder / LOG} and the files beside it; a line is "
            "written up to a second after its call, and rotated files that are compressed are not searched"
        )
    snapshot = last_good(folder)
    told = [_told(line, snapshot) for line in found.calls]
    if json:
        print(json_text.dumps(told, indent=2))
        return
    if len(told) > 1:
        print(f"{len(told)} calls have this id, the newest first.\n")
    print("\n\n".join(_text(one) for one in told))


def _told(line: Mapping[str, Any], snapshot: "Snapshot | None") -> dict[str, Any]:
    from faregate.records.explaining import explain

    return {"request_id": line.get("request_id"), **explain(line, snapshot).as_json(), "line": line}


def _text(one: Mapping[str, Any]) -> str:
    lines = [one["headline"], *(f"  {sentence}" for sentence in one["because"]), ""]
    lines += [f"  {name:<12} {value}" for name, value in one["facts"].items()]
    if one["advice"]:
        lines += ["", *(f"  {sentence}" for sentence in one["advice"])]
    return "\n".join(lines)
