"""``faregate config``: entries of the configuration and their parts, looked at and written one by one.

A PATH is that of the admin API: ``plans/gold``, ``apis/payments/versions/v2``,
``apis/payments/routes/POST.refunds``, ``upstreams/web/targets/10.0.0.1:9001``. What a file owns is shown and
never written. A write says which state it is about, the present one unless ``--etag`` says otherwise. Exit
status 0: done; 1: refused; 2: wrong usage; 3: it waits for a second person's approval.
"""

import json as json_text
from typing import TYPE_CHECKING, Annotated, Any

import typer

from faregate.cli.managing import Config, Data, Json, Manager, Reason, Team, Token, Yes
from faregate.cli.option_names import ENTRY

if TYPE_CHECKING:
    from faregate.client import Client

commands = typer.Typer(
    help="Look at entries of the configuration, and write them one by one.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Path_ = Annotated[str, typer.Argument(metavar="PATH", help="Such as plans/gold or apis/payments/routes.")]
Spec = Annotated[str, typer.Argument(help="YAML or JSON, @FILE, or - for standard input.")]
Etag = Annotated[str, typer.Option(help="The state that is meant; left out, the present one.")]


@commands.command("show")
def show(
    manager: Manager = "",
    token: Token = "",
    config: Config = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Show everything as a file would have it; secrets read ***."""
    from faregate.cli.managing import Where, connected
    from faregate.compile.openapi.writing import as_yaml

    with connected(Where(manager, token, config, data, options=ENTRY)) as client:
        told = client.config.get()
    if json:
        print(json_text.dumps(told))
    else:
        print(as_yaml(told["sections"], [f"Revision {told['revision']}."]), end="")  # type: ignore[arg-type]  # JSON


@commands.command("list")
def list_entries(  # noqa: PLR0913, PLR0917 - one value per option
    path: Path_,
    team: Team = "",
    manager: Manager = "",
    token: Token = "",
    config: Config = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """List entries of a section, or parts of an entry."""
    from faregate.cli.managing import Where, connected, note
    from faregate.cli.operation_paths import operation_at

    operation, values = operation_at("GET", path, listing=True)
    more = {**values, "team": team or None, "size": 1000}
    with connected(Where(manager, token, config, data, options=ENTRY)) as client:
        found = list(client.each(operation, more))
    if json:
        print(json_text.dumps(found))
        return
    for one in found:
        team_told = f", team {one['team']}" if one.get("team") else ""
        print(f"{one['name']:<32} {one['owner']}{team_told}")
    note(f"{len(found)} at {path}")


@commands.command("get")
def get(  # noqa: PLR0913, PLR0917 - one value per option
    path: Path_,
    manager: Manager = "",
    token: Token = "",
    config: Config = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Show one entry or part."""
    from faregate.cli.managing import Where, connected, note
    from faregate.cli.operation_paths import operation_at

    operation, values = operation_at("GET", path)
    with connected(Where(manager, token, config, data, options=ENTRY)) as client:
        told = client.ask(operation, values)
    if json:
        print(json_text.dumps(told))
        return
    print(json_text.dumps(told["spec"], indent=2, ensure_ascii=False))
    note(f"{path}: owner {told['owner']}, etag {told['etag']}")


@commands.command("put")
def put(  # noqa: PLR0913, PLR0917 - one value per option
    path: Path_,
    spec: Spec = "-",
    team: Annotated[str | None, typer.Option(help="The team that it shall belong to.")] = None,
    etag: Etag = "",
    create: Annotated[bool, typer.Option("--create", help="Only where there is none yet.")] = False,
    reason: Reason = "",
    manager: Manager = "",
    token: Token = "",
    config: Config = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Make or replace an entry or part."""
    from faregate.cli.managing import Where
    from faregate.cli.operation_paths import content_of, write

    write(
        Where(manager, token, config, data, options=ENTRY), "PUT", path, content_of(spec),
        team=team, etag=etag, create=create, reason=reason, json=json,
    )  # fmt: skip


@commands.command("patch")
def patch(  # noqa: PLR0913, PLR0917 - one value per option
    path: Path_,
    spec: Spec = "-",
    team: Annotated[str | None, typer.Option(help="The team that it shall belong to.")] = None,
    etag: Etag = "",
    reason: Reason = "",
    manager: Manager = "",
    token: Token = "",
    config: Config = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Change members of an entry; those that are null are removed."""
    from faregate.cli.managing import Where
    from faregate.cli.operation_paths import content_of, write

    write(
        Where(manager, token, config, data, options=ENTRY), "PATCH", path, content_of(spec),
        team=team, etag=etag, create=False, reason=reason, json=json,
    )  # fmt: skip


@commands.command("delete")
def delete(  # noqa: PLR0913, PLR0917 - one value per option
    path: Path_,
    etag: Etag = "",
    reason: Reason = "",
    yes: Yes = False,
    force: Annotated[bool, typer.Option("--force", help="Also when callers use it.")] = False,
    manager: Manager = "",
    token: Token = "",
    config: Config = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Remove an entry or part."""
    from faregate.cli.errors import CommandError
    from faregate.cli.managing import Where, connected, may_ask
    from faregate.cli.operation_paths import condition, operation_at
    from faregate.client import OPERATIONS

    operation, values = operation_at("DELETE", path)
    known = OPERATIONS[operation]
    with connected(Where(manager, token, config, data, options=ENTRY)) as client:
        if may_ask(yes=yes, json=json) and not typer.confirm(f"remove {path}?"):
            raise CommandError("nothing was changed")
        named = {**values, "x-faregate-reason": reason, "force": force}
        if "if-match" in known.headers:
            named |= condition(client, path, etag=etag, create=False)
        client.ask(operation, {name: value for name, value in named.items() if value})
        done = _done(client)
    print(json_text.dumps(done) if json else f"{path} is removed by revision {done['revision']}")


@commands.command("schema")
def schema(  # noqa: PLR0913, PLR0917 - one value per option
    section: Annotated[str, typer.Argument(help="Such as plans.")],
    manager: Manager = "",
    token: Token = "",
    config: Config = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Print the JSON Schema of a section's entries."""
    from faregate.cli.managing import Where, connected

    with connected(Where(manager, token, config, data, options=ENTRY)) as client:
        told = client.ask("schema_get", {"section": section})
    print(json_text.dumps(told, indent=None if json else 2))


def _done(client: "Client") -> dict[str, Any]:
    return {"revision": client.told.revision, "published": client.told.published}
