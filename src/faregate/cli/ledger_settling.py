"""An operator's verdict as the command line takes it: who decides, and why.

What becomes of it is ``manager.ledger.verdicts``' matter.
"""

import contextlib
import getpass
import os
from pathlib import Path

from faregate.cli.errors import CommandError
from faregate.manager.ledger import verdicts
from faregate.manager.ledger.verdicts import (
    NAME_CHARACTERS_MAX,
    REASON_CHARACTERS_MAX,
    VERDICTS,
    Verdict,
    VerdictError,
    is_name,
    reason_of,
)
from faregate.stores.ledger.about import RESOLVER
from faregate.stores.ledger.protocol import Entry, Ledger


def verdict_of(word: str, by: str, reason: str) -> Verdict:
    """What the command line said. Raises CommandError."""
    if word not in VERDICTS:
        not_as = f", not as {word!r}" if word else "; say which"
        raise CommandError(f"a record is settled as {' or '.join(VERDICTS)}{not_as}", 2)
    try:
        told = reason_of(reason)
    except ValueError:
        message = f"--reason says why, in 1 to {REASON_CHARACTERS_MAX} characters"
        raise CommandError(message, 2) from None
    return Verdict(VERDICTS[word], _name(by), told)


def _name(by: str) -> str:
    """Who decides: as given, or the user who calls, also behind sudo."""
    name = by or os.environ.get("SUDO_USER", "")
    if not name:
        with contextlib.suppress(KeyError, OSError):  # a user without an entry
            name = getpass.getuser()
    if not name:
        raise CommandError("--by says who decides: this user has no name", 2)
    if not is_name(name):
        raise CommandError(f"--by: 1 to {NAME_CHARACTERS_MAX} characters, and not {RESOLVER!r}", 2)
    return name


async def unknown_one(ledger: Ledger, key: bytes) -> Entry:
    """The record to settle. Raises CommandError, LedgerError."""
    try:
        return await verdicts.unknown_one(ledger, key)
    except VerdictError as error:
        raise CommandError(str(error)) from None


async def settle(data: Path, ledger: Ledger, entry: Entry, verdict: Verdict) -> None:
    """Puts ``verdict`` into the record if it is still so. Raises CommandError, LedgerError."""
    try:
        await verdicts.settle(data, ledger, entry, verdict)
    except VerdictError as error:
        raise CommandError(str(error)) from None
