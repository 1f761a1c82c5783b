"""The control plane put together: database, audit tree, compiler, publisher, and the use cases over them.

Opened by the manager when the admin API is first asked, or at start where the data folder shows that it was
used before: a gateway that nobody manages pays neither the memory nor the second of a core. What fails while
opening fails the request with the cause, and is tried again by the next.
"""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from faregate.kernel.secrets import Secret
from faregate.manager.cases.access_tokens import AccessTokens
from faregate.manager.cases.applying import Applying
from faregate.manager.cases.audit import AuditReading
from faregate.manager.cases.break_glass import BreakGlass
from faregate.manager.cases.calls import Calls
from faregate.manager.cases.canary import Canary
from faregate.manager.cases.changes import Changes
from faregate.manager.cases.committing import Committing, Intent
from faregate.manager.cases.configuration import Configuration
from faregate.manager.cases.credentials import Credentials
from faregate.manager.cases.errors import Unavailable
from faregate.manager.cases.history import History
from faregate.manager.cases.holding import Holding
from faregate.manager.cases.ledger import LedgerRecords
from faregate.manager.cases.lifecycle import Lifecycle
from faregate.manager.cases.oidc import Oidc
from faregate.manager.cases.parts import Parts
from faregate.manager.cases.people import People
from faregate.manager.cases.repeats import Repeats
from faregate.manager.cases.secrets import Secrets
from faregate.manager.cases.sign_in import SignIn
from faregate.manager.cases.tools import Tools
from faregate.manager.database.engine import Database, DatabaseError, open_database
from faregate.manager.database.entries import Entries
from faregate.manager.database.envelopes import (
    Envelopes,
    MasterKeyError,
    load_or_make_master,
    master_of,
    open_envelopes,
    settled_master,
)
from faregate.manager.people.authenticator import Authenticator
from faregate.manager.people.machine import machine_token
from faregate.manager.people.passwords import Passwords
from faregate.manager.people.provider import Provider
from faregate.manager.people.tokens import Peppered
from faregate.snapshot.managing import Managing

if TYPE_CHECKING:
    from faregate.manager.cases.ports import Audit, Clock, Compiler, Publisher

INTENT_FILE: Final = "manager.intent"


def now_ms() -> int:
    """The clock of the manager."""
    return int(time.time() * 1000)


class Management:
    """One open control plane. Its parts are what the admin API speaks to."""

    def __init__(  # noqa: PLR0913, PLR0917 - it ties together as many
        self,
        data: Path,
        database: Database,
        envelope: Envelopes,
        compiler: "Compiler",
        publisher: "Publisher",
        audit: "Audit",
        machine: Secret,
        peppered: Peppered,
        master: Secret,
        clock: "Clock" = now_ms,
        turn: asyncio.Lock | None = None,
        *,
        configured: bool = False,
    ) -> None:
        self.data = data
        self.database = database
        self.envelope = envelope
        self.publisher = publisher
        self.audit = audit
        self.clock = clock
        self.entries = Entries(envelope)
        self.committing = Committing(
            database,
            self.entries,
            compiler,
            publisher,
            audit,
            envelope,
            clock,
            Intent(data / INTENT_FILE),
            turn or asyncio.Lock(),
        )
        self.configuration = Configuration(self.committing)
        self.applying = Applying(self.configuration, self.committing)
        self.parts = Parts(self.configuration, self.committing)
        self.history = History(self.committing)
        self.lifecycle = Lifecycle(self.configuration, self.committing, data)
        self.committing.guards.append(self.lifecycle.guard)
        self.credentials = Credentials(self.committing, data)
        self.secrets = Secrets(
            self.committing, envelope, self.credentials, data, master, configured=configured
        )
        self.repeats = Repeats(database, envelope, clock)
        self.audit_reading = AuditReading(data, audit)
        self.calls = Calls(data, database)
        self.ledger = LedgerRecords(data, database, audit)
        self.tools = Tools(data)
        self.approving: Callable[[], str] = lambda: "off"
        """Which changes wait for a second person at this moment: off, guarded or all."""
        self.trusted: Callable[[], tuple[str, ...]] = tuple
        """The networks of proxies that are believed about who asks, at this moment."""
        self.peppered = peppered
        holding = Holding(self.committing, self.approval)
        self.canary = Canary(self.committing, self.applying)
        self.canary.holds = holding.would_hold
        self.committing.least_number = lambda: self.canary.taken
        self.people = People(database, audit, clock, peppered, holding)
        self.changes = Changes(self.committing, holding, self.people.bring_about)
        self.sign_in = SignIn(database, audit, envelope, clock, peppered, Passwords())
        self._provider = Provider(clock)
        self.oidc = Oidc(database, clock, peppered, self.sign_in, self.people, self._provider)
        self.access_tokens = AccessTokens(database, audit, clock, peppered)
        self.break_glass = BreakGlass(database, audit, clock, self.sign_in)
        self.authenticator = Authenticator(machine, database, peppered, clock)

    def approval(self) -> str:
        return self.approving()

    async def close(self) -> None:
        await self.canary.close()
        await self.committing.settle()
        await self.secrets.close()
        await self.authenticator.close()
        await self._provider.close()
        await self.database.close()


async def open_management(  # noqa: PLR0913, PLR0917 - likewise
    data: Path,
    managing: Managing,
    compiler: "Compiler",
    publisher: "Publisher",
    audit: "Audit",
    clock: "Clock" = now_ms,
    turn: asyncio.Lock | None = None,
) -> Management:
    """Opens the control plane of the gateway whose data is in ``data``. Raises Unavailable."""
    try:
        master = master_of(managing.master_key) if managing.master_key else load_or_make_master(data)
        machine = machine_token(data)
        database = await open_database(managing.store, data)
    except (OSError, ValueError, MasterKeyError, DatabaseError) as error:
        raise Unavailable(str(error)) from error
    try:
        async with database.writing() as connection:
            if not managing.master_key:
                master = await settled_master(connection, data, master)
            envelope = await open_envelopes(connection, master, clock())
            peppered = Peppered()
            await peppered.open_pepper(connection, envelope)
        house = Management(
            data,
            database,
            envelope,
            compiler,
            publisher,
            audit,
            machine,
            peppered,
            master,
            clock,
            turn,
            configured=bool(managing.master_key),
        )
        house.approving = lambda: managing.approval
        house.trusted = lambda: managing.trusted_proxies
        house.oidc.settings = lambda: managing.sign_in
        await house.credentials.lay_peppers()
        await house.committing.recover()
        house.secrets.reseal_soon()  # an end may have come upon it
    except (MasterKeyError, DatabaseError, OSError) as error:
        await database.close()
        raise Unavailable(str(error)) from error
    except BaseException:
        await database.close()
        raise
    return house
