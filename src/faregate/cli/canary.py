"""``faregate canary``: what comes of the calls that meet a change first, and what becomes of it.

Begun by ``faregate apply FILE --canary 5%``. Without a word it shows the numbers of both revisions;
``promote`` makes it the revision of all calls, ``abandon`` takes it back. Exit status of ``--wait``: 1 when
it was stopped because it was worse, else 0.
"""

import json as json_text
import time
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

import typer

from faregate.cli.managing import Config, Data, Json, Manager, Reason, Token

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_LOOK_S: Final = 0.5
DURATION: Final = "10m"


def command(  # noqa: PLR0913, PLR0917 - one value per option
    act: Annotated[str, typer.Argument(help="show, promote or abandon.")] = "show",
    wait: Annotated[bool, typer.Option("--wait", help="Show it when it has ended.")] = False,
    reason: Reason = "",
    manager: Manager = "",
    token: Token = "",
    config: Config = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Show the canary, promote or abandon it."""
    from faregate.cli import planning
    from faregate.cli.errors import CommandError
    from faregate.cli.managing import Where, connected

    if act not in {"show", "promote", "abandon"}:
        raise CommandError(f"`{act}` is not one of show, promote, abandon", 2)
    behind = ""
    with connected(Where(manager, token, config, data)) as client:
        if act == "promote":
            _, behind = planning.applied(client, client.canary.promote(reason=reason))
        elif act == "abandon":
            client.canary.abandon()
        told = client.canary.get()
        while wait and told["state"] == "running":
            time.sleep(_LOOK_S)
            told = client.canary.get()
    print(json_text.dumps(told) if json else "\n".join(lines(told)))
    if behind:
        raise CommandError(f"revision {told['revision']} does not run everywhere yet: {behind}")
    if wait and told["state"] == "stopped":
        raise typer.Exit(1)


class Wish(NamedTuple):
    """Whose calls meet it first, and for how long at most."""

    percent: int
    consumers: "list[str]"
    for_s: float


def wish(share: str, consumers: str, lasts: str) -> Wish:
    """What ``apply`` asks for beside the sections. Raises CommandError."""
    from faregate.cli.errors import CommandError
    from faregate.kernel.units import parse_duration_ms, parse_percent

    try:
        percent = parse_percent(share) if share else 0
    except ValueError:
        raise CommandError(f"--canary: {share!r} is no share such as 5%", 2) from None
    try:
        seconds = parse_duration_ms(lasts) / 1000
    except ValueError:
        raise CommandError(f"--for: {lasts!r} is no duration such as 10m", 2) from None
    names = [name.strip() for name in consumers.split(",") if name.strip()]
    return Wish(percent, names, seconds)


def say_begun(told: "Mapping[str, Any]", *, json: bool) -> None:
    """Says that it has begun."""
    if json:
        print(json_text.dumps(told))
        return
    end = "is promoted" if told["promote"] else "ends"
    print(f"canary {told['revision']} has {_whose(told)}; after {told['for_s']:g} s it {end}")
    print("`faregate canary` shows what comes of it")


def lines(told: "Mapping[str, Any]") -> "Iterator[str]":
    """The canary for people."""
    reason = f": {told['reason']}" if told["reason"] else ""
    yield f"canary {told['revision']} of revision {told['base']}, {_whose(told)}: {told['state']}{reason}"
    yield f"{'':18}{'calls':>9}{'failed':>9}{'share':>10}{'p50 ms':>10}{'p99 ms':>10}"
    for name, arm in (("running", told["old"]), ("canary", told["new"])):
        times = "".join(
            f"{'-' if arm[key] is None else format(arm[key], '.2f'):>10}" for key in ("p50_ms", "p99_ms")
        )
        yield f"{name:18}{arm['calls']:>9}{arm['failures']:>9}{arm['failure_rate']:>10.2%}{times}"
    yield f"{'test':18}{'evidence':>9}{'of':>9}{'p':>10}"
    for name, test in (("failures", told["failures"]), ("slow calls", told["slow_calls"])):
        if test is None:
            yield f"{name:18}not yet: the first 1,000 calls tell what is slow"
        else:
            yield f"{name:18}{test['largest']:>9.3g}{test['bound']:>9.0f}{test['p_value']:>10.2g}"


def _whose(told: "Mapping[str, Any]") -> str:
    whose = [f"{told['percent']} % of calls"] if told["percent"] else []
    whose += [f"the calls of {', '.join(told['consumers'])}"] if told["consumers"] else []
    return " and ".join(whose)
