"""A record of the ledger as an object: what ``faregate ledger --json`` prints and the admin API answers.

Of the call only names of the configuration, ids and times are shown, and the path masked; a stored answer
only when asked for, masked. The caller's own key never is. No IO here.
"""

import json
from typing import Final, NamedTuple

from faregate.records.bodies import CapturedBody, render_body
from faregate.records.masking import mask_text
from faregate.records.stored_answer import StoredAnswer, field_of
from faregate.stores.ledger.about import About, decode_about
from faregate.stores.ledger.protocol import STATE_NAMES, Entry

_NOBODY: Final = About("", "", "", "", "", "", "", 0.0)
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
        told["headers"] = lines_of(answer)
        told["body"] = json.loads(body_of(answer))
    return told


def lines_of(answer: StoredAnswer) -> list[str]:
    """The header section, masked."""
    return [mask_text(line.decode("latin-1")) for line in answer.head.split(b"\r\n") if line]


def body_of(answer: StoredAnswer) -> str:
    """The body masked as the access log would show it: JSON, a text or an object that says why not."""
    content_type = field_of(answer.head, b"content-type")
    return render_body(CapturedBody(answer.body, len(answer.body), content_type))
