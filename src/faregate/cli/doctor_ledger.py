"""The check of ``faregate doctor`` on the ledger: can it be asked, does it take keys, how full it is, what is
unknown.

An embedded one is asked while a gateway runs; else only its folder is looked at, for opening it would write.
"""

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Final

from faregate.cli.doctor_findings import Finding, Level, megabytes, ok, problem, warning
from faregate.cli.ledger_opening import Place, opened
from faregate.cli.ledger_records import age_text
from faregate.snapshot.data import Snapshot
from faregate.stores.ledger.embedded.client import EmbeddedLedger
from faregate.stores.ledger.protocol import Figures, LedgerError
from faregate.stores.ledger.remote import RemoteLedger
from faregate.stores.ledger.secrets import FOLDER, SecretsError, load_or_make

PATIENCE_S: Final = 8.0
"""More than the tries of a connection take, which know the reason."""
NEARLY_FULL: Final = 0.8
_CHECK: Final = "ledger"
_MEND: Final = "until it can be asked, calls with an idempotency key get 503 and nothing is sent"
_UNFIT: Final = "until that is mended, calls with an idempotency key get 503 (docs/concepts/ledger.md)"
_LOSES: Final = "a payment claimed then may run again: docs/concepts/ledger.md says what each setting means"


async def check_ledger(snapshot: Snapshot) -> list[Finding]:
    """Findings on the ledger; none where no route needs one."""
    if not snapshot.needs_ledger:
        return []
    place = Place(snapshot, Path(snapshot.gateway.data))
    embedded = snapshot.gateway.ledger.store == "embedded"
    if embedded and (finding := _secrets(place)) is not None:
        return [finding]
    try:
        async with asyncio.timeout(PATIENCE_S):
            return await (_of_running(place) if embedded else _of_store(place))
    except TimeoutError:
        return [problem(_CHECK, f"{place.told}: no answer within {PATIENCE_S:.0f} s", _MEND)]
    except LedgerError as error:
        return [problem(_CHECK, f"{place.told}: {error}", _MEND)]


def _secrets(place: Place) -> Finding | None:
    """What is wrong with the secrets of an embedded ledger, or that there is none yet."""
    if not any((place.data / FOLDER).glob("*.log")):
        return ok(_CHECK, f"{place.told}: none yet; the first start makes it")
    try:
        load_or_make(place.data, may_make=False)
    except SecretsError as error:
        return problem(_CHECK, str(error), "restore the file from a backup")
    return None


async def _of_running(place: Place) -> list[Finding]:
    """What an embedded ledger says of itself, where its process runs. Raises LedgerError."""
    ledger = EmbeddedLedger(place.data, holds=False)
    await ledger.start()
    try:
        if ledger.away:
            return [ok(_CHECK, f"{place.told}: no gateway runs that could be asked")]
        return judged(place.told, await ledger.figures())
    finally:
        await ledger.close()


async def _of_store(place: Place) -> list[Finding]:
    """What a shared store says of itself: a reason to take no keys comes first. Raises LedgerError."""
    async with opened(place) as ledger:
        if not isinstance(ledger, RemoteLedger):
            return judged(place.told, await ledger.figures())
        await ledger.check()
        if ledger.away:
            findings = [problem(_CHECK, f"{place.told}: {ledger.why_away} ({ledger.away})", _UNFIT)]
            with suppress(LedgerError):
                figures = await ledger.figures()
                findings += [one for one in judged(place.told, figures) if one.level != Level.OK]
            return findings
        findings = judged(place.told, await ledger.figures())
        if ledger.warning:
            findings.append(warning(_CHECK, f"{place.told}: {ledger.warning}", _LOSES))
        return findings


def judged(told: str, figures: Figures) -> list[Finding]:
    """What the figures say. ``told``: which ledger it is."""
    records = f"{figures.records} record{'' if figures.records == 1 else 's'}"
    size = ""
    if figures.bytes_max:
        size = f", {megabytes(figures.bytes_used)} of {megabytes(figures.bytes_max)}"
    findings = [ok(_CHECK, f"{told}: {records}, {figures.in_flight} in flight{size}")]
    if figures.bytes_max and figures.bytes_used >= NEARLY_FULL * figures.bytes_max:
        findings = [
            warning(
                _CHECK,
                f"{told}: {records}{size}: it is nearly full, and refuses new keys when it is",
                "raise `disk` of `gateway.ledger`, or keep answers for a shorter time",
            )
        ]
    if figures.unknown:
        calls = f"{figures.unknown} call{'' if figures.unknown == 1 else 's'}"
        findings.append(
            warning(
                "ledger_unknown",
                f"{calls} of unknown outcome, the oldest for {age_text(figures.oldest_unknown_s)}",
                "`faregate ledger list` shows them; what no query settles, `faregate ledger settle` does",
            )
        )
    return findings
