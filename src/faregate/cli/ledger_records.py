"""A record of the ledger in words: what ``faregate ledger`` prints for people. No IO here.

What is shown of a record, and what never is, ``manager.ledger.shown`` says.
"""

import json
from datetime import UTC, datetime
from typing import Final

from faregate.manager.ledger.shown import Kept, about_of, body_of, lines_of
from faregate.records.masking import mask_text
from faregate.stores.ledger.protocol import COMPLETED, STATE_NAMES, UNKNOWN, Entry

_COLUMNS: Final = ("id", "state", "since", "consumer", "api", "route", "request_id", "tries")


def table(entries: list[Entry], now: float) -> list[str]:
    """A line a record below a line of headings."""
    rows = [_COLUMNS, *(_row(entry, now) for entry in entries)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    return [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _row(entry: Entry, now: float) -> tuple[str, ...]:
    about = about_of(entry)
    since = f"{time_text(entry.changed_at)} ({age_text(now - entry.changed_at)})"
    state, request_id = STATE_NAMES[entry.state], mask_text(about.request_id)
    return (
        entry.key.hex(), state, since, about.consumer, about.api, about.route, request_id, str(entry.tries)
    )  # fmt: skip


def in_words(entry: Entry, kept: Kept | None, now: float, *, shown: bool) -> list[str]:
    """A record for people, a fact a line. ``kept`` None: not completed."""
    about = about_of(entry)
    facts = [
        ("record", entry.key.hex()),
        ("state", f"{STATE_NAMES[entry.state]} for {age_text(now - entry.changed_at)}"),
        ("since", time_text(entry.changed_at)),
        ("expires", time_text(entry.expires_at) if entry.expires_at else _stays(entry.state)),
        ("consumer", about.consumer),
        ("call", f"{about.method} {mask_text(about.path)}, at {time_text(about.at)}"),
        ("route", f"{about.route} of {about.api} {about.version}"),
        ("request id", mask_text(about.request_id)),
    ]
    if entry.state == UNKNOWN or entry.tries:
        asked = f"{entry.tries} {'query' if entry.tries == 1 else 'queries'} without a verdict"
        facts.append(
            ("resolver", asked if entry.resolves else "the route has no query: an operator settles it")
        )
    if entry.by:
        facts.append(("settled by", f"{entry.by}: {entry.note}"))
    if kept is not None:
        facts.append(("answer", _in_short(kept)))
    lines = [f"{name:<12}{value}" for name, value in facts]
    if shown and kept is not None and kept.answer is not None:
        lines += ["", *lines_of(kept.answer), "", _text_of(json.loads(body_of(kept.answer)))]
    return lines


def _stays(state: int) -> str:
    return "not before it is settled" if state == UNKNOWN else "when the call ends"


def _in_short(kept: Kept) -> str:
    answer = kept.answer
    if answer is None:
        return f"not kept: {kept.why}"
    return f"status {answer.status}, {len(answer.body)} bytes"


def _text_of(shown: object) -> str:
    if isinstance(shown, dict):
        return f"(not shown: {shown.get('withheld')}, {shown.get('length')} bytes)"
    return str(shown)


def question(entry: Entry, state: int, now: float) -> str:
    """What settling by hand means, for who is asked whether to."""
    about = about_of(entry)
    meaning = (
        "COMPLETED means that the payment was made: repeats with this key are told so, and never sent."
        if state == COMPLETED
        else "RELEASED means that it was not made and cannot be any more: a repeat with this key is SENT."
    )
    return (
        f"{entry.key.hex()} has been unknown for {age_text(now - entry.changed_at)}:\n"
        f"{about.method} {mask_text(about.path)} of {about.consumer}, request {mask_text(about.request_id)}\n"
        f"{meaning}\nSettle it as {STATE_NAMES[state]}?"
    )


def time_text(seconds: float) -> str:
    """UTC to the second."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def age_text(seconds: float) -> str:
    """``42s``, ``3m12s``, ``5h07m``, ``12d03h``: its two largest units."""
    whole = max(0, int(seconds))
    minutes, hours, days = whole // 60, whole // 3600, whole // 86_400
    if not minutes:
        return f"{whole}s"
    if not hours:
        return f"{minutes}m{whole % 60:02d}s"
    if not days:
        return f"{hours}h{minutes % 60:02d}m"
    return f"{days}d{hours % 24:02d}h"
