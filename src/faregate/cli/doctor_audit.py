"""The check of ``faregate doctor`` on the audit tree: is its key there, does its newest part verify, do its
checkpoints go on, here and where they are published.

It is looked at from outside and as it is, whether a gateway runs or not. The whole of it is for ``faregate
audit verify``, by an auditor who holds the public key.
"""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

from faregate.cli.doctor_findings import Finding, ok, problem, warning
from faregate.cli.gateways import status_on
from faregate.records.audit.head import Head, read_head
from faregate.records.audit.note import NoteError, Signer, Verifier
from faregate.records.audit.places import (
    CHECKPOINT,
    CHECKPOINTS,
    KEY,
    PUBLIC_KEY,
    folder_in,
    read_verifier,
    segments_in,
)
from faregate.records.audit.reading import ReadError, read_note
from faregate.snapshot.data import Snapshot

LATE_S: Final = 60.0
"""A record that waits longer than this, and than several turns, is not going to be signed by itself."""
_TURNS: Final = 6
_CHECK: Final = "audit"
_DAMAGED: Final = (
    "`faregate audit verify` names the first record that is wrong; "
    "docs/concepts/audit.md, `When the tree is damaged`"
)
_NOTHING: Final = (
    "until it is there, nothing can be recorded: changes and calls with `audit: required` get 503"
)


def check_audit(snapshot: Snapshot, now: float) -> Iterator[Finding]:
    """``now``: seconds since the epoch."""
    folder = folder_in(Path(snapshot.gateway.data))
    try:
        if not segments_in(folder) and not (folder / CHECKPOINTS).exists():
            if snapshot.needs_audit or snapshot.gateway.manager is not None:
                yield ok(_CHECK, f"{folder}: none yet; the first start, or the first change, makes it")
            return
        verifier, found = _key(folder)
        yield from found
        if verifier is not None:
            yield from _head(snapshot, folder, verifier, now)
    except OSError as error:
        yield warning(_CHECK, f"{error.filename}: {error.strerror}", "run doctor as the user of the gateway")


def _key(folder: Path) -> tuple[Verifier | None, list[Finding]]:
    """By which the tree is judged, and what is wrong with its keys. Raises OSError."""
    path = folder / KEY
    try:
        mode = path.stat().st_mode
        signer = Signer.read(path.read_text("utf-8"))
    except FileNotFoundError:
        return None, [
            problem(
                "audit_key", f"{path} is gone, and the records were signed by it", f"restore it; {_NOTHING}"
            )
        ]
    except (NoteError, ValueError):
        return None, [problem("audit_key", f"{path} is broken", f"restore it; {_NOTHING}")]
    if mode & 0o077:
        return signer.verifier, [problem("audit_key", f"{path} can be read by others", "chmod 600")]
    try:
        public = read_verifier(folder / PUBLIC_KEY).line
    except (NoteError, FileNotFoundError):
        public = ""
    if public != signer.verifier.line:
        message = f"{folder / PUBLIC_KEY} is not the public half of the key"
        return signer.verifier, [
            warning("audit_key", message, "the next start writes it anew; auditors compare theirs")
        ]
    return signer.verifier, [ok("audit_key", f"{signer.verifier.name}, key {signer.verifier.id.hex()}")]


def _head(snapshot: Snapshot, folder: Path, verifier: Verifier, now: float) -> Iterator[Finding]:
    head = read_head(folder, verifier)
    if head.fault:
        yield problem(_CHECK, f"the tree in {folder} is damaged: {head.fault}", _DAMAGED)
        return
    records = f"{head.size} record{'' if head.size == 1 else 's'}"
    told = f"{records}, {head.signed} of them signed" + (f" at {head.signed_at}" if head.signed else "")
    late = max(LATE_S, _TURNS * snapshot.gateway.audit.every)
    waits_s = now - _seconds(head.waits_since) if head.waits_since else 0.0
    if waits_s <= late:
        yield ok(_CHECK, told)
    elif status_on(Path(snapshot.gateway.data)) is None:
        yield ok(_CHECK, f"{told}; the others are when the gateway runs again")
    else:
        message = f"{told}; the next one has waited since {head.waits_since} for a checkpoint"
        yield warning(_CHECK, message, "see the log of the gateway for `audit`: disk, key or its process")
    if snapshot.gateway.audit.publish:
        yield _published(Path(snapshot.gateway.audit.publish), verifier, head, late, now)


def _published(folder: Path, verifier: Verifier, head: Head, late: float, now: float) -> Finding:
    """Whether the copies keep up with the tree."""
    path = folder / f"{CHECKPOINT}-{verifier.id.hex()}"
    advice = "mend the folder of `gateway.audit.publish`; the newest checkpoint waits for it"
    if not head.signed:
        return ok("audit_publish", f"{folder}: no checkpoint yet")
    try:
        copied = read_note(path, verifier).checkpoint.size if path.exists() else 0
    except (NoteError, ReadError) as error:
        return problem("audit_publish", str(error), "somebody wrote there: ask who, and compare both trees")
    if copied > head.signed:
        message = f"{path} is of {copied} records, and the tree has signed {head.signed}"
        return problem("audit_publish", message, f"the tree was cut or replaced; {_DAMAGED}")
    if copied < head.signed and now - _seconds(head.signed_at) > late:
        return warning("audit_publish", f"{path}: {copied} of {head.signed} signed records", advice)
    return ok("audit_publish", f"{path}: {copied} records")


def _seconds(text: str) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return 0.0
