"""``faregate ledger list|show|settle``: the records that keep payments from running twice, and the operator's
verdict where nobody else can say what became of a call.

Exit status 0: done; 1: the store cannot be asked, there is no such record, or it is not one to settle; 2:
wrong usage. A verdict is kept with its name and reason, in the record and, since a released record is gone,
in ``<data>/verdicts.jsonl``.
"""

import asyncio
import json as json_text
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeVar

import typer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from faregate.cli.ledger_opening import Place
    from faregate.manager.ledger.shown import Kept
    from faregate.stores.ledger.protocol import Entry, Ledger

_T = TypeVar("_T")
SHOWN_MAX: Final = 1000

commands = typer.Typer(
    help="Look at the records of idempotent calls, and settle those of unknown outcome.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Config = Annotated[Path, typer.Option(help="The configuration file.")]
Data = Annotated[Path | None, typer.Option(help="A gateway's data folder, in place of the file.")]
Json = Annotated[bool, typer.Option("--json", help="Print a JSON object.")]
Id = Annotated[str, typer.Argument(help="The record's id, as `faregate ledger list` shows it.")]
DEFAULT: Final = Path("faregate.yaml")


@commands.command("list")
def list_records(  # noqa: PLR0913, PLR0917 - one value per option
    state: Annotated[str, typer.Option(help="claimed, sent, unknown, completed or all.")] = "unknown",
    consumer: Annotated[str, typer.Option(help="Only this consumer's.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=SHOWN_MAX, help="So many at most.")] = 100,
    config: Config = DEFAULT,
    data: Data = None,
    json: Json = False,
) -> None:
    """List records, those of unknown outcome unless told otherwise."""
    from faregate.cli.errors import CommandError
    from faregate.cli.ledger_naming import check_names
    from faregate.cli.ledger_records import table
    from faregate.manager.ledger.asking import listed
    from faregate.manager.ledger.shown import STATES, as_object

    if state != "all" and state not in STATES:
        raise CommandError(f"--state: {state!r} is none of {', '.join(STATES)}, all", 2)
    states = list(STATES.values()) if state == "all" else [STATES[state]]
    place = _place(config, data)
    found = _asked(place, lambda ledger: listed(ledger, states, consumer, limit + 1))
    if consumer and not found:  # one that is gone from the configuration may have left records
        check_names(place.snapshot, consumer=consumer)
    records, more = found[:limit], len(found) > limit
    now = time.time()
    if json:
        print(json_text.dumps({"records": [as_object(entry, now) for entry in records], "more": more}))
        return
    if records:
        print("\n".join(table(records, now)))
    kind = "" if state == "all" else f"{state} "
    whose = f" of {consumer}" if consumer else ""
    told = f"{len(records)} {kind}record{'' if len(records) == 1 else 's'}{whose}"
    print(f"{told}; there are more, see --limit" if more else told, file=sys.stderr)


@commands.command("show")
def show_record(  # noqa: PLR0913, PLR0917 - one value per option
    id: Id = "",  # noqa: A002 - the word on the command line
    key: Annotated[
        list[str] | None, typer.Option(help="The caller's key; each value where several make it.")
    ] = None,
    consumer: Annotated[str, typer.Option(help="Whose key it is.")] = "",
    api: Annotated[str, typer.Option(help="The API called.")] = "",
    route: Annotated[str, typer.Option(help='The route called, such as "POST /payments".')] = "",
    answer: Annotated[bool, typer.Option("--answer", help="Show the stored answer too, masked.")] = False,
    config: Config = DEFAULT,
    data: Data = None,
    json: Json = False,
) -> None:
    """Show one record, by its id or by the caller's key."""
    from faregate.cli.errors import CommandError
    from faregate.cli.ledger_records import in_words
    from faregate.manager.ledger.shown import answer_object, as_object
    from faregate.manager.ledger.verdicts import no_record

    named = (bool(key), bool(consumer), bool(api), bool(route))
    if bool(id) == any(named) or (any(named) and not all(named)):
        raise CommandError("name a record by its ID, or by --key, --consumer, --api and --route together", 2)
    wanted = _key_of(id) if id else b""
    place = _place(config, data)
    wanted = wanted or _located(place, key or [], consumer, api, route)
    entry = _asked(place, lambda ledger: ledger.entry(wanted))
    if entry is None:
        raise CommandError(no_record(wanted))
    kept = _kept_of(place, entry)
    now = time.time()
    if json:
        told = as_object(entry, now)
        told["answer"] = None if kept is None else answer_object(kept, shown=answer)
        print(json_text.dumps(told))
    else:
        print("\n".join(in_words(entry, kept, now, shown=answer)))


@commands.command("settle")
def settle_record(  # noqa: PLR0913, PLR0917 - one value per option
    id: Id = "",  # noqa: A002 - the word on the command line
    verdict: Annotated[str, typer.Argument(help="completed or released.")] = "",
    reason: Annotated[str, typer.Option(help="Why; kept with the verdict.")] = "",
    by: Annotated[str, typer.Option(help="Who decides; the user who calls, unless given.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    config: Config = DEFAULT,
    data: Data = None,
    json: Json = False,
) -> None:
    """Settle a record of unknown outcome: completed, or released to run again."""
    from faregate.cli.errors import CommandError
    from faregate.cli.ledger_records import question
    from faregate.cli.ledger_settling import settle, unknown_one, verdict_of
    from faregate.manager.ledger.shown import as_object

    key, decided = _key_of(id), verdict_of(verdict, by, reason)
    asks = not yes
    if asks and (json or not sys.stdin.isatty()):
        raise CommandError("--yes is needed where nobody can be asked at a terminal", 2)
    place = _place(config, data)
    entry = _asked(place, lambda ledger: unknown_one(ledger, key))
    # not while the ledger is open: one that is read without a gateway would keep a gateway from starting
    if asks and not typer.confirm(question(entry, decided.state, time.time())):
        raise CommandError("nothing was changed")
    _asked(place, lambda ledger: settle(place.data, ledger, entry, decided))
    if json:
        told = as_object(entry, time.time())
        told |= {"state": verdict, "was": "unknown", "by": decided.by, "note": decided.reason}
        print(json_text.dumps(told))
    else:
        print(f"{id} is {verdict} now, by {decided.by}: {decided.reason}")


# -- what they have in common


def _place(config: Path, data: Path | None) -> "Place":
    from faregate.cli.ledger_opening import place_of

    return place_of(config, data)


def _asked(place: "Place", use: "Callable[[Ledger], Awaitable[_T]]") -> "_T":
    """What ``use`` gives, with the ledger open. Raises CommandError."""
    from faregate.cli.errors import CommandError
    from faregate.cli.ledger_opening import opened
    from faregate.stores.ledger.protocol import LedgerError

    async def run() -> "_T":
        async with opened(place) as ledger:
            return await use(ledger)

    try:
        return asyncio.run(run())
    except LedgerError as error:
        raise CommandError(f"{place.told}: {error}") from None


def _kept_of(place: "Place", entry: "Entry") -> "Kept | None":
    """The stored answer of a completed record, opened. Raises CommandError."""
    from faregate.cli.errors import CommandError
    from faregate.manager.ledger.asking import kept_of
    from faregate.stores.ledger.protocol import LedgerError

    try:
        return kept_of(place.asked, entry)
    except LedgerError as error:
        raise CommandError(str(error)) from None


def _located(place: "Place", keys: list[str], consumer: str, api: str, route: str) -> bytes:
    """The key of the record that a caller's key stands for."""
    from faregate.cli.ledger_naming import caller_key, check_names
    from faregate.cli.ledger_opening import secrets_of
    from faregate.stores.ledger.protocol import Scope

    secrets = secrets_of(place)
    check_names(place.snapshot, consumer=consumer, api=api, route=route)
    return secrets.locate(Scope(consumer, api, route, caller_key(place.snapshot, api, route, keys)))


def _key_of(text: str) -> bytes:
    """The record's key. Raises CommandError."""
    from faregate.cli.errors import CommandError
    from faregate.stores.ledger.protocol import KEY_BYTES

    if re.fullmatch(f"[0-9a-fA-F]{{{2 * KEY_BYTES}}}", text):
        return bytes.fromhex(text)
    if not text:
        raise CommandError("name a record by its id, as `faregate ledger list` shows it", 2)
    raise CommandError(f"an id is {2 * KEY_BYTES} hexadecimal digits, as `faregate ledger list` shows it", 2)
