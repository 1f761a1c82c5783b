"""A record of the ledger in words and as JSON: what ``faregate ledger`` prints. No IO here.

Of the call only names of the configuration, ids and times are shown, and the path masked; a stored answer
only when asked for, masked. The caller's own key never is.
"""

import json
from datetime import UTC, datetime
from typing import Final, NamedTuple

from faregate.gateway.stored_answer import StoredAnswer, field_of
from faregate.records.bodies import CapturedBody, render_body
from faregate.records.masking import mask_text
from faregate.stores.ledger.about import About, decode_about
from faregate.stores.ledger.protocol import COMPLETED, STATE_NAMES, UNKNOWN, Entry

_NOBODY: Final = About("", "", "", "", "", "", "", 0.0)
_COLUMNS: Final = ("id", "state", "since", "consumer", "api", "route", "request_id", "tries")
STATES: Final = {
    name: number for number, name in enumerate(STATE_NAMES) if name not in {"absent", "released"}
}
"""Of records that stand, by name."""


class Kept(NamedTuple):
    """A stored answer, opened; ``why``: why there is none to show, in a word."""

    answer: StoredAnswer | None
    why: str = ""


def about_of(entry: Entry) -> About:
    """The call of a record; empty where that cannot be read."""
    try:
        return decode_about(entry.about)
    except ValueError:
        return _NOBODY


def as_object(entry: Entry, now: float) -> dict[str, object]:
    """A record for programs. Times are seconds since the epoch; what does not apply is null."""
    about = about_of(entry)
    return {
        "id": entry.key.hex(),
        "state": STATE_NAMES[entry.state],
        "since": round(entry.changed_at, 3),
        "age_s": round(max(0.0, now - entry.changed_at), 3),
        "expires": round(entry.expires_at, 3) if entry.expires_at else None,
        "consumer": about.consumer,
        "api": about.api,
        "version": about.version,
        "route": about.route,
        "method": about.method,
        "path": mask_text(about.path),
        "request_id": mask_text(about.request_id),
        "called": round(about.at, 3) if about.at else None,
        "resolves": entry.resolves,
        "tries": entry.tries,
        "by": entry.by or None,
        "note": entry.note or None,
    }


def answer_object(kept: Kept, *, shown: bool) -> dict[str, object]:
    """A stored answer for programs; ``shown``: its fields and body too, masked."""
    answer = kept.answer
    if answer is None:
        return {"kept": False, "why": kept.why}
    told: dict[str, object] = {"kept": True, "status": answer.status, "body_bytes": len(answer.body)}
    if shown:
        told["headers"] = _lines(answer)
        told["body"] = json.loads(_body(answer))
    return told


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
        lines += ["", *_lines(kept.answer), "", _text_of(json.loads(_body(kept.answer)))]
    return lines


def _stays(state: int) -> str:
    return "not before it is settled" if state == UNKNOWN else "when the call ends"


def _in_short(kept: Kept) -> str:
    answer = kept.answer
    if answer is None:
        return f"not kept: {kept.why}"
    return f"status {answer.status}, {len(answer.body)} bytes"


def _lines(answer: StoredAnswer) -> list[str]:
    return [mask_text(line.decode("latin-1")) for line in answer.head.split(b"\r\n") if line]


def _body(answer: StoredAnswer) -> str:
    """The body masked as the access log would show it: JSON, a text or an object that says why not."""
    content_type = field_of(answer.head, b"content-type")
    return render_body(CapturedBody(answer.body, len(answer.body), content_type))


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
