"""A worker's way to the ledger: opened when a revision first needs one, exchanged when one names another;
with what a worker does about it besides its calls: the resolver and the figures.

Secrets come from the configuration, or from the file that the machine made for itself. A ledger that was
replaced goes on for the calls that began with it, and is closed with the worker: there is one for each time
that an operator moved it.
"""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from faregate.gateway.keeping import Recordkeeping
from faregate.gateway.ledger_readings import LedgerReadings
from faregate.gateway.resolving import Count, Resolver
from faregate.records.frames import Reading
from faregate.snapshot import data as snapshots
from faregate.snapshot.idempotency import Ledger as LedgerSettings
from faregate.stores.ledger.make import make_ledger
from faregate.stores.ledger.protocol import Ledger, LedgerError
from faregate.stores.ledger.secrets import SecretsError, configured, load_or_make

if TYPE_CHECKING:
    from faregate.gateway.assembly import Runtime

_log = logging.getLogger("faregate.ledger")
REPLACED_MAX: Final = 64
OPENED_S: Final = 0.5
"""A worker that takes the place of another does not wait longer for a store that is away."""


class LedgerAccess:
    """``data``: the data folder. ``count`` adds one to a metric. ``make``: how a store is opened; tests give
    their own.
    """

    def __init__(
        self, data: Path, count: Count, make: Callable[[LedgerSettings, Path], Ledger] = make_ledger
    ) -> None:
        self._data = data
        self._figures = LedgerReadings()
        self._resolver = Resolver(count)
        self._make = make
        self._keeper: Recordkeeping | None = None
        self._settings: LedgerSettings | None = None
        self._replaced: list[Ledger] = []
        self._starting: set[asyncio.Task[None]] = set()
        self._runs = False

    @property
    def keeper(self) -> Recordkeeping | None:
        """Of the newest revision that needs one."""
        return self._keeper

    def keeper_for(self, snapshot: snapshots.Snapshot) -> Recordkeeping | None:
        """What the routes of ``snapshot`` keep their records with; None where no route does. Raises
        ``ValueError`` when it cannot be had: the revision cannot be put to work.
        """
        if not snapshot.needs_ledger:
            return None
        settings = snapshot.gateway.ledger
        same = self._settings is not None and _place(settings) == _place(self._settings)
        if self._keeper is not None and same and settings == self._settings:
            return self._keeper
        try:
            secrets = configured(settings) or load_or_make(self._data)
        except SecretsError as error:
            raise ValueError(str(error)) from None
        if self._keeper is not None and same:
            keeper = Recordkeeping(self._keeper.ledger, secrets)  # other keys seal from now on
        else:
            keeper = Recordkeeping(self._open(settings), secrets)
        self._keeper, self._settings = keeper, settings
        return keeper

    async def start(self, runtime: "Runtime", within_s: float = OPENED_S) -> None:
        """The event loop runs, and ``runtime``. Waits until it is known whether the store answers, at most
        ``within_s``: who is ready before that refuses the first calls with a key, though nothing is wrong.
        """
        self._runs = True
        if self._keeper is not None:
            self._start(self._keeper.ledger)
        self.follow(runtime)
        self._resolver.start()
        if self._starting:
            await asyncio.wait(self._starting, timeout=within_s)

    def follow(self, runtime: "Runtime", beside: "Runtime | None" = None) -> None:
        """A new revision runs; ``beside``: for some calls another."""
        if beside is None:
            self._resolver.follow(runtime.keeping, runtime.upstreams)
        else:
            upstreams = {**beside.upstreams, **runtime.upstreams}
            self._resolver.follow([*beside.keeping, *runtime.keeping], upstreams)
        self._figures.follow(self._keeper.ledger if self._keeper is not None else None)

    def look(self, now: float) -> None:
        """At every tick."""
        self._figures.look(now)

    def readings(self) -> list[Reading]:
        """What metrics show."""
        return self._figures.readings()

    def leave(self) -> None:
        """The worker drains: questions about old calls are another's from now on."""
        self._resolver.leave()

    async def close(self) -> None:
        """Stores what is still to be stored, and lets go."""
        await self._resolver.close()
        await self._figures.close()
        for task in list(self._starting):
            task.cancel()
        await asyncio.gather(*self._starting, return_exceptions=True)
        current = [] if self._keeper is None else [self._keeper.ledger]
        for ledger in [*self._replaced, *current]:
            await ledger.close()
        self._keeper = None
        self._replaced = []

    def _open(self, settings: LedgerSettings) -> Ledger:
        try:
            ledger = self._make(settings, self._data)
        except LedgerError as error:
            raise ValueError(str(error)) from None
        if self._keeper is not None:
            if len(self._replaced) >= REPLACED_MAX:
                raise ValueError(f"the ledger was moved {REPLACED_MAX} times: restart the gateway")
            self._replaced.append(self._keeper.ledger)
            _log.warning("the ledger is another one now: what the former knows of keys is not known there")
        if self._runs:
            self._start(ledger)
        return ledger

    def _start(self, ledger: Ledger) -> None:
        task = asyncio.ensure_future(ledger.start())
        self._starting.add(task)
        task.add_done_callback(self._started)

    def _started(self, task: "asyncio.Task[None]") -> None:
        self._starting.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("the ledger cannot be opened", exc_info=task.exception())


def _place(settings: LedgerSettings) -> tuple[object, ...]:
    """What makes it another store: also the key by which records are found, which a shared store compares
    with its own when it is opened.
    """
    return settings.store, settings.url, settings.prefix, settings.accept_loss, settings.lookup_key
