"""What metrics show of the ledger: its figures, asked for now and then, never by a call.

Every worker asks and sees the same store, so the manager shows the largest of what they say, not the sum
(``families.Across``); the share of workers that can claim keys in it is a mean. While it cannot be asked only
that is shown: figures of a store that is away would be taken for what is.
"""

import asyncio
from random import Random
from typing import Final

from faregate.records.frames import Reading
from faregate.stores.ledger.protocol import Figures, Ledger, LedgerError

EVERY_S: Final = 5.0
PATIENCE_S: Final = 3.0
_JITTER: Final = 0.1


class LedgerReadings:
    """One worker's view. For one event loop; ``now``: monotonic seconds."""

    def __init__(self, random: Random | None = None) -> None:
        self._random = random or Random()  # noqa: S311 - spreads load, guards nothing
        self._ledger: Ledger | None = None
        self._figures: Figures | None = None
        self._reached = False
        self._due_at = 0.0
        self._asking: asyncio.Task[None] | None = None

    def follow(self, ledger: Ledger | None) -> None:
        """Another store from now on; None where the revision has none."""
        if ledger is not self._ledger:
            self._ledger = ledger
            self._figures, self._reached, self._due_at = None, False, 0.0
            self._stop()

    def look(self, now: float) -> None:
        """Asks when it is time; called at every tick, returns at once."""
        if now < self._due_at or self._asking is not None:
            return
        ledger = self._ledger
        if ledger is None:
            return
        self._due_at = now + EVERY_S * self._random.uniform(1.0 - _JITTER, 1.0 + _JITTER)
        task = self._asking = asyncio.get_running_loop().create_task(self._ask(ledger), name="ledger figures")
        task.add_done_callback(self._asked)

    def readings(self) -> list[Reading]:
        """What was learned last; nothing where there is no ledger, or none was asked yet."""
        if self._ledger is None or self._due_at == 0.0:
            return []
        readings = [Reading("faregate_ledger_up", (), float(self._reached))]
        figures = self._figures
        if figures is not None:
            readings += [
                Reading("faregate_ledger_records", (), figures.records),
                Reading("faregate_ledger_in_flight", (), figures.in_flight),
                Reading("faregate_ledger_unknown", (), figures.unknown),
                Reading("faregate_ledger_oldest_unknown_seconds", (), figures.oldest_unknown_s),
                Reading("faregate_ledger_bytes", (), figures.bytes_used),
                Reading("faregate_ledger_bytes_max", (), figures.bytes_max),
            ]
        return readings

    async def close(self) -> None:
        """Gives up what is under way."""
        task = self._asking
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _ask(self, ledger: Ledger) -> None:
        figures = None
        try:
            async with asyncio.timeout(PATIENCE_S):
                figures = await ledger.figures()
        except (LedgerError, TimeoutError):
            pass
        if ledger is self._ledger:
            self._figures = figures
            self._reached = figures is not None and not ledger.away

    def _asked(self, task: "asyncio.Task[None]") -> None:
        if self._asking is task:
            self._asking = None
        if not task.cancelled():
            task.result()

    def _stop(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
            self._asking = None
