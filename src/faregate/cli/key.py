"""``faregate key create|list|roll|revoke``: API keys of consumers.

A key is shown once, by itself on standard output; words go to standard error, so that it can be piped to
where it is kept. Exit status 0: done; 1: refused; 2: wrong usage; 3: it waits for a second person's approval.
"""

import json as json_text
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from faregate.cli.managing import Config, Data, Json, Manager, Reason, Token, Yes

if TYPE_CHECKING:
    from faregate.client import Client

commands = typer.Typer(
    help="Make, list, replace and revoke API keys.", no_args_is_help=True, rich_markup_mode=None
)

MODES: Final[dict[str, Literal["live", "test"]]] = {"live": "live", "test": "test"}

Expires = Annotated[str, typer.Option(help="When it ends, from now: 90d, 24h; left out, never.")]
Anew = Annotated[str, typer.Option(help="When it ends: 90d, or never; left out, as long as the old one.")]
NEVER: Final = "never"
Id = Annotated[str, typer.Argument(help="The key's id, as `faregate key list` shows it.")]


@commands.command("create")
def create(  # noqa: PLR0913, PLR0917 - one value per option
    consumer: Annotated[str, typer.Argument(help="Whose key it is.")],
    mode: Annotated[str, typer.Option(help="live or test.")] = "live",
    expires: Expires = "",
    note: Annotated[str, typer.Option(help="What it is for.")] = "",
    reason: Reason = "",
    manager: Manager = "",
    token: Token = "",
    config: Config = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Make an API key, shown once."""
    from faregate.cli.errors import CommandError
    from faregate.cli.managing import Where, connected
    from faregate.cli.option_names import KEY

    if mode not in MODES:
        raise CommandError(f"--mode: {mode!r} is neither live nor test", 2)
    life_s = None if expires == NEVER else _seconds(expires, "--expires")
    with connected(Where(manager, token, config, data, json=json, options=KEY)) as client:
        made = client.keys.create(consumer, mode=MODES[mode], life_s=life_s, note=note, reason=reason)
    _show(made, json=json)


@commands.command("list")
def list_keys(  # noqa: PLR0913, PLR0917 - one value per option
    consumer: Annotated[str, typer.Argument(help="Whose; left out, everybody's.")] = "",
    manager: Manager = "",
    token: Token = "",
    config: Config = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """List credentials with their last use, without secrets."""
    from faregate.cli.managing import Where, connected, note
    from faregate.cli.option_names import KEY

    with connected(Where(manager, token, config, data, options=KEY)) as client:
        found = list(client.credentials.list(consumer=consumer or None, size=1000))
        if consumer and not found:
            _demand_consumer(client, consumer)
        used = list(client.usage(consumer=consumer or None, hours=24 * 90))
    told = [_told(one, used) for one in found]
    if json:
        print(json_text.dumps(told))
        return
    for one in told:
        print(_line(one))
    note(f"{len(told)} credential{'' if len(told) == 1 else 's'}; those that a file gives are not listed")


@commands.command("roll")
def roll(  # noqa: PLR0913, PLR0917 - one value per option
    id: Id,  # noqa: A002 - the word on the command line
    overlap: Annotated[str, typer.Option(help="How long the old one works on: 24h, 7d.")] = "",
    expires: Anew = "",
    reason: Reason = "",
    manager: Manager = "",
    token: Token = "",
    config: Config = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Replace a key by a new one, shown once."""
    from faregate.cli.managing import Where, connected, note
    from faregate.cli.option_names import KEY

    life_s = 0 if expires == NEVER else _seconds(expires, "--expires")
    overlap_s = _seconds(overlap, "--overlap") or 0
    with connected(Where(manager, token, config, data, json=json, options=KEY)) as client:
        made = client.keys.roll(id, overlap_s=overlap_s, life_s=life_s, reason=reason)
    _show(made, json=json)
    if not json:
        note(f"{id} works on for {overlap}" if overlap_s else f"{id} is revoked")


@commands.command("revoke")
def revoke(  # noqa: PLR0913, PLR0917 - one value per option
    id: Id,  # noqa: A002 - the word on the command line
    reason: Reason = "",
    yes: Yes = False,
    manager: Manager = "",
    token: Token = "",
    config: Config = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Revoke a key for good."""
    from faregate.cli.errors import CommandError
    from faregate.cli.managing import Where, connected, may_ask
    from faregate.cli.option_names import KEY
    from faregate.cli.planning import wait_everywhere

    with connected(Where(manager, token, config, data, options=KEY)) as client:
        shown = client.credentials.get(id)
        owner = shown["spec"].get("consumer", "")
        if may_ask(yes=yes, json=json) and not typer.confirm(f"revoke {id} of {owner} for good?"):
            raise CommandError("nothing was changed")
        client.credentials.revoke(id, reason=reason)
        revision = client.told.revision
        behind = wait_everywhere(client, revision) if revision else ""
    if json:
        print(json_text.dumps({"id": id, "consumer": owner, "revision": revision, "published": not behind}))
        if behind:
            raise typer.Exit(1)
        return
    if behind:
        raise CommandError(f"{id} is revoked, but still taken where that is not known yet: {behind}")
    print(f"{id} of {owner} is revoked")


def _demand_consumer(client: "Client", name: str) -> None:
    """Raises CommandError where there is no such consumer, with the nearest that may be seen."""
    from faregate.cli.errors import CommandError
    from faregate.model.diagnostics import nearest_name

    names = [one["name"] for one in client.consumers.list(size=1000)]
    if name not in names:
        nearest = nearest_name(name, names)
        hint = f"; did you mean `{nearest}`?" if nearest else "; `faregate config list consumers` lists them"
        raise CommandError(f"no consumer is named {name!r}{hint}")


def _seconds(text: str, option: str) -> int | None:
    """Whole seconds of a duration, None for an empty one. Raises CommandError."""
    from faregate.cli.errors import CommandError
    from faregate.kernel.units import parse_duration_ms

    if not text:
        return None
    try:
        return parse_duration_ms(text) // 1000
    except ValueError as error:
        raise CommandError(f"{option}: {error}", 2) from None


def _show(made: Mapping[str, Any], *, json: bool) -> None:
    from faregate.cli.managing import note

    if json:
        print(json_text.dumps(made))
        return
    credential = made["credential"]
    spec = credential["spec"]
    expires = spec.get("api_key", {}).get("expires")
    ends = f", ends {expires}" if expires else ""
    note(f"{credential['name']} of {spec.get('consumer')}{ends}; this is the only time that the key is shown")
    if not made["published"]:
        note("the workers do not know it yet")
    print(made["secret"])


def _told(entry: Mapping[str, Any], used: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A credential and its calls of late."""
    spec = entry["spec"]
    kind = next((one for one in ("api_key", "mtls", "jwt") if one in spec), "")
    form = spec.get(kind)
    proof = form if isinstance(form, dict) else {}
    calls = [one for one in used if one["credential"] == entry["name"]]
    return {
        "id": entry["name"],
        "consumer": spec.get("consumer", ""),
        "kind": kind,
        "mode": proof.get("mode"),
        "shown": spec.get("shown") or proof.get("shown"),
        "expires": proof.get("expires"),
        "replaced_by": spec.get("replaced_by"),
        "note": spec.get("note") or "",
        "calls": sum(one["calls"] for one in calls),
        "last_seen": max((one["last_seen"] for one in calls), default=None),
    }


def _line(one: Mapping[str, Any]) -> str:
    columns = f"{one['id']:<18} {one['consumer']:<16} {one['kind']:<8} {one['mode'] or '-':<5}"
    words = [f"{one['calls']} calls, last {one['last_seen']}" if one["last_seen"] else "not used"]
    words += [f"ends {one['expires']}"] if one["expires"] else []
    words += [f"replaced by {one['replaced_by']}"] if one["replaced_by"] else []
    words += [one["note"]] if one["note"] else []
    return f"{columns} {', '.join(words)}"
