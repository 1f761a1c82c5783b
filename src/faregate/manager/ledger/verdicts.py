"""An operator's verdict on a call of unknown outcome: kept with name and reason, and put into the record.

A released record is as good as gone, so each verdict also leaves lines in ``<data>/verdicts.jsonl``: one
before the ledger is told, which is on the disk first, and one that says what came of it.
"""

import json
import os
import time
from pathlib import Path
from typing import Final, NamedTuple

from faregate.manager.ledger.shown import as_object
from faregate.records.masking import mask_text
from faregate.stores.ledger.about import RESOLVER
from faregate.stores.ledger.protocol import COMPLETED, RELEASED, STATE_NAMES, UNKNOWN, Entry, Ledger

FILE: Final = "verdicts.jsonl"
NAME_CHARACTERS_MAX: Final = 64
REASON_CHARACTERS_MAX: Final = 300
VERDICTS: Final = {STATE_NAMES[state]: state for state in (COMPLETED, RELEASED)}


class VerdictError(Exception):
    """Nothing was settled. ``kind``: absent, settled, late (by another meanwhile) or unnoted."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Verdict(NamedTuple):
    """``state``: COMPLETED or RELEASED; ``by``: who decided; ``reason``: why, without card data."""

    state: int
    by: str
    reason: str


def reason_of(text: str) -> str:
    """Why, as it is kept. Raises ``ValueError``."""
    reason = " ".join(text.split())
    if not reason or len(reason) > REASON_CHARACTERS_MAX or not reason.isprintable():
        raise ValueError(f"1 to {REASON_CHARACTERS_MAX} characters are expected")
    return mask_text(reason)


def is_name(name: str) -> bool:
    """Whether a verdict may be told as that of ``name``."""
    return 0 < len(name) <= NAME_CHARACTERS_MAX and name != RESOLVER and name.isprintable()


async def unknown_one(ledger: Ledger, key: bytes) -> Entry:
    """The record to settle. Raises VerdictError, LedgerError."""
    entry = await ledger.entry(key)
    if entry is None:
        raise VerdictError("absent", no_record(key))
    if entry.state != UNKNOWN:
        whose = f" by {entry.by}" if entry.by else ""
        told = f"{key.hex()} is {STATE_NAMES[entry.state]}{whose}: only unknown ones are settled"
        raise VerdictError("settled", told)
    return entry


async def settle(data: Path, ledger: Ledger, entry: Entry, verdict: Verdict) -> None:
    """Puts ``verdict`` into the record if it is still so. Raises VerdictError, LedgerError."""
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
        told = f"{entry.key.hex()} was settled by another meanwhile; `faregate ledger show` says how"
        raise VerdictError("late", told)


def no_record(key: bytes) -> str:
    return f"there is no record {key.hex()}: it was released, has expired, or never was"


def _note(data: Path, entry: Entry, verdict: Verdict, step: str) -> None:
    """A line of the verdict, on the disk when this returns. Raises VerdictError."""
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
        raise VerdictError("unnoted", f"the verdict cannot be noted in {path}: {error.strerror}") from None
