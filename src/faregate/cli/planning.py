"""Plans made by the manager, shown and agreed to: what ``plan``, ``apply`` and ``rollback`` share."""

import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer

from faregate.cli.differences import changes_any, counts, lines
from faregate.cli.errors import CommandError
from faregate.cli.managing import may_ask, note, told
from faregate.cli.wanted import Wanted, gateway_note, placed

if TYPE_CHECKING:
    from faregate.client import Client

EVERYWHERE_S: Final = 30.0
"""How long a command waits for all gateways."""
SEEN_S: Final = 120.0
"""A gateway not seen for so long beside the others is not waited for."""
_LOOK_S: Final = 0.25
_NAMED_MAX: Final = 10
_PART: Final = re.compile(
    r"consumers\..+\.credentials\[[^\]]*\]|apis\.[^\[]+\.(?:routes\[[^\]]*\]|versions\.[^.\[]+)"
)
_PARTS: Final = re.compile(r"consumers\.[^\[]+\.credentials|apis\.[^\[]+\.(?:routes|versions)")


def demand_right(wanted: Wanted, planned: Mapping[str, Any], data: Path | None) -> None:
    """Raises CommandError when the manager finds errors in what is wanted; says what else is to be said."""
    wrong = [one for one in planned["diagnostics"] if one["level"] == "error"]
    if wrong:
        shown = f"{len(wrong)} error{'' if len(wrong) == 1 else 's'}; nothing was changed"
        raise CommandError(
            shown,
            before=placed(wanted, planned["diagnostics"]),
            facts={"diagnostics": planned["diagnostics"]},
        )
    for line in told(planned["diagnostics"]):
        note(line)
    said = gateway_note(wanted, data)
    if said:
        note(said)


def show(planned: Mapping[str, Any]) -> None:
    for line in lines(planned["differences"]):
        print(line)
    print(counts(planned) if changes_any(planned) else "no changes")


def agree(planned: Mapping[str, Any], *, yes: bool, json: bool) -> None:
    """Shows the plan on a terminal, and asks where anything would be removed. Raises CommandError."""
    asks = may_ask(yes=yes, json=json)
    if asks:
        show(planned)
    count, named = removed(planned)
    if not count or yes:
        return
    if not asks:
        raise CommandError(
            f"{count} would be removed ({', '.join(named)}): look at the plan, then say --yes", 2
        )
    if not typer.confirm(f"remove {', '.join(named)}?"):
        raise CommandError("nothing was changed")


def removed(planned: Mapping[str, Any]) -> tuple[int, list[str]]:
    """How much a plan takes away, and the first of it by path: entries, and of those that stay versions,
    routes and credentials.
    """
    gone = [one["path"] for one in planned["differences"] if one.get("after") is None]
    whole = [path for path in gone if path.count(".") == 1]
    parts = [part for one in planned["differences"] for part in _parts_gone(one)]
    entries = planned["deletes"]
    named = [*(whole if whole or not entries else gone), *parts]
    return entries + len(parts), list(dict.fromkeys(named))[:_NAMED_MAX]


def _parts_gone(one: Mapping[str, Any]) -> list[str]:
    """What ends by one difference: a part by itself, or all or some of a list or mapping of such."""
    path, before, after = one["path"], one.get("before"), one.get("after")
    if _PART.fullmatch(path):
        return [path] if after is None else []
    if not _PARTS.fullmatch(path) or not before:
        return []
    if isinstance(before, Mapping):
        return [f"{path}.{name}" for name, value in before.items() if isinstance(value, Mapping)]
    ends = [value for value in before if not isinstance(after, list) or value not in after]
    return [path] * len(ends)


def wait_everywhere(client: "Client", revision: int, timeout_s: float = EVERYWHERE_S) -> str:
    """Waits until every gateway that is alive runs ``revision``; who does not, in words, empty for none."""
    deadline = time.monotonic() + timeout_s
    while True:
        behind = [one for one in _alive(client.status()["gateways"]) if one["revision"] < revision]
        if not behind:
            return ""
        if time.monotonic() >= deadline:
            return "; ".join(
                f"{one['host']} runs revision {one['revision']}"
                + (f": {one['failure']}" if one["failure"] else "")
                for one in behind
            )
        time.sleep(_LOOK_S)


def _alive(gateways: Any) -> list[Any]:
    """Those seen lately, by the clock of who was seen last."""
    from datetime import datetime

    seen = [datetime.fromisoformat(one["seen"]).timestamp() for one in gateways]
    return [one for one, at in zip(gateways, seen, strict=True) if at > max(seen) - SEEN_S]


def applied(client: "Client", answer: Mapping[str, Any], *, wait: bool = True) -> tuple[dict[str, Any], str]:
    """What a write came to, and which gateways do not run it yet; waits for them."""
    result = dict(answer)
    revision = result["revision"]
    if revision is None or not wait:
        return result, ""
    behind = wait_everywhere(client, revision)
    result["published"] = not behind
    return result, behind


def say_applied(answer: Mapping[str, Any], behind: str, planned: Mapping[str, Any], began: float) -> None:
    """The one line at the end. Raises CommandError when it does not run everywhere."""
    if answer["revision"] is None:
        print("no changes")
        return
    if behind:
        raise CommandError(
            f"revision {answer['revision']} is made, but does not run everywhere yet: {behind}"
        )
    print(f"{counts(planned)} revision {answer['revision']} runs ({time.monotonic() - began:.2f} s)")
