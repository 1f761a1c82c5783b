"""An operator's verdict: checked, asked for once more, kept with name and reason, and put into the record.

A released record is as good as gone, so each verdict also leaves lines in ``<data>/verdicts.jsonl``: one
before the ledger is told, which is on the disk first, and one that says what came of it.
"""

import contextlib
import getpass
import json
import os
import time
from pathlib import Path
from typing import Final, NamedTuple

from faregate.cli.errors import CommandError
from faregate.cli.ledger_records import as_object
from faregate.gateway.resolving import BY
from faregate.records.masking import mask_text
from faregate.stores.ledger.protocol import (
    COMPLETED,
    RELEASED,
    STATE_NAMES,
    UNKNOWN,
    Entry,
    Ledger,
)

FILE: Final = "verdicts.jsonl"
NAME_CHARACTERS_MAX: Final = 64
REASON_CHARACTERS_MAX: Final = 300


class Verdict(NamedTuple):
    """``state``: COMPLETED or RELEASED; ``by``: who decided; ``reason``: why, without card data."""

    state: int
    by: str
    reason: str


def verdict_of(word: str, by: str, reason: str) -> Verdict:
    """What the command line said. Raises CommandError."""
    states = {STATE_NAMES[state]: state for state in (COMPLETED, RELEASED)}
    if word not in states:
        not_as = f", not as {word!r}" if word else "; say which"
        raise CommandError(f"a record is settled as {' or '.join(states)}{not_as}", 2)
    reason = " ".join(reason.split())
    if not reason or len(reason) > REASON_CHARACTERS_MAX or not reason.isprintable():
        raise CommandError(f"--reason says why, in 1 to {REASON_CHARACTERS_MAX} characters", 2)
    return Verdict(states[word], _name(by), mask_text(reason))


def _name(by: str) -> str:
    """Who decides: as given, or the user who calls, also behind sudo."""
    name = by or os.environ.get("SUDO_USER", "")
    if not name:
        with contextlib.suppress(KeyError, OSError):  # a user without an entry
            name = getpass.getuser()
    if not name:
        raise CommandError("--by says who decides: this user has no name", 2)
    if name == BY or len(name) > NAME_CHARACTERS_MAX or not name.isprintable():
        raise CommandError(f"--by: 1 to {NAME_CHARACTERS_MAX} characters, and not {BY!r}", 2)
    return name


async def unknown_one(ledger: Ledger, key: bytes) -> Entry:
    """The record to settle. Raises CommandError, LedgerError."""
    entry = await ledger.entry(key)
    if entry is None:
        raise CommandError(no_record(key))
    if entry.state != UNKNOWN:
        whose = f" by {entry.by}" if entry.by else ""
        raise CommandError(f"{key.hex()} is {STATE_NAMES[entry.state]}{whose}: only unknown ones are settled")
    return entry


async def settle(data: Path, ledger: Ledger, entry: Entry, verdict: Verdict) -> None:
    """Puts ``verdict`` into the record if it is still so. Raises CommandError, LedgerError."""
    _note(data, entry, verdict, "asked")
    done = "failed"
    try:
        decided = await ledger.decide(
            entry.key, entry.attempt, verdict.state, b"", verdict.by, verdict.reason
        )
        done = "settled" if decided else "too_late"
    finally:
        _note(data, entry, verdict, done)
    if not decided:
        raise CommandError(
            f"{entry.key.hex()} was settled by another meanwhile; `faregate ledger show` says how"
        )


def no_record(key: bytes) -> str:
    return f"there is no record {key.hex()}: it was released, has expired, or never was"


def _note(data: Path, entry: Entry, verdict: Verdict, step: str) -> None:
    """A line of the verdict, on the disk when this returns. Raises CommandError."""
    now = time.time()
    line = {
        "time": round(now, 3),
        "step": step,
        "id": entry.key.hex(),
        "verdict": STATE_NAMES[verdict.state],
        "by": verdict.by,
        "reason": verdict.reason,
    } | {name: as_object(entry, now)[name] for name in ("since", "consumer", "api", "route", "request_id")}
    path = data / FILE
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, json.dumps(line).encode() + b"\n")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise CommandError(f"the verdict cannot be noted in {path}: {error.strerror}") from None
