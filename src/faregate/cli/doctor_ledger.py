"""The check of ``faregate doctor`` on the ledger: whether it can be asked, how full it is, what is unknown.

An embedded one is asked while a gateway runs; else only its folder is looked at, for opening it would write.
"""

import asyncio
from pathlib import Path
from typing import Final

from faregate.cli.doctor_findings import Finding, megabytes, ok, problem, warning
from faregate.cli.ledger_opening import Place, opened
from faregate.cli.ledger_records import age_text
from faregate.snapshot.data import Snapshot
from faregate.stores.ledger.embedded.client import EmbeddedLedger
from faregate.stores.ledger.protocol import Figures, LedgerError
from faregate.stores.ledger.secrets import FOLDER, SecretsError, load_or_make

PATIENCE_S: Final = 5.0
NEARLY_FULL: Final = 0.8
_CHECK: Final = "ledger"
_MEND: Final = "until it can be asked, calls with an idempotency key get 503 and nothing is sent"


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
            figures = await (_of_running(place.data) if embedded else _of_store(place))
    except TimeoutError:
        return [problem(_CHECK, f"{place.told}: no answer within {PATIENCE_S:.0f} s", _MEND)]
    except LedgerError as error:
        return [problem(_CHECK, f"{place.told}: {error}", _MEND)]
    if figures is None:
        return [ok(_CHECK, f"{place.told}: no gateway runs that could be asked")]
    return judged(place.told, figures)


def _secrets(place: Place) -> Finding | None:
    """What is wrong with the secrets of an embedded ledger, or that there is none yet."""
    if not any((place.data / FOLDER).glob("*.log")):
        return ok(_CHECK, f"{place.told}: none yet; the first start makes it")
    try:
        load_or_make(place.data, may_make=False)
    except SecretsError as error:
        return problem(_CHECK, str(error), "restore the file from a backup")
    return None


async def _of_running(data: Path) -> Figures | None:
    """The figures of a ledger whose process runs; None where none does. Raises LedgerError."""
    ledger = EmbeddedLedger(data, holds=False)
    await ledger.start()
    try:
        return await ledger.figures() if ledger.link.connected else None
    finally:
        await ledger.close()


async def _of_store(place: Place) -> Figures:
    async with opened(place) as ledger:
        return await ledger.figures()


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
