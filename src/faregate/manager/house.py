"""Behind the door: a control plane on the parts of a real gateway, and what goes on in it by itself.

By itself: revisions of other machines are looked for, usage is laid into the database, gateways are noted as
seen. Each is a loop that a failure does not end.
"""

import asyncio
import contextlib
import secrets
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from starlette.types import ASGIApp

from faregate.kernel.changes import Change
from faregate.manager.admin.app import create_admin
from faregate.manager.cases.domain import SECTIONS, compiled_change
from faregate.manager.cases.errors import CaseError, Unavailable
from faregate.manager.database import revisions as revision_rows
from faregate.manager.database.engine import DatabaseError
from faregate.manager.database.envelopes import MasterKeyError
from faregate.manager.database.gateways import GatewayState, gateway_seen, usage_add, usage_expire
from faregate.manager.facts import Facts
from faregate.manager.management import Management, now_ms, open_management
from faregate.manager.publishing.auditing import Auditing
from faregate.manager.publishing.compiling import Compiling
from faregate.manager.publishing.publisher import Publisher
from faregate.manager.publishing.service import Compiler
from faregate.manager.publishing.spreading import Spreading
from faregate.manager.publishing.supervisor import Command, tell
from faregate.manager.publishing.trying import Trying
from faregate.manager.totals import Totals
from faregate.records.audit.client import Audit

LOOK_S: Final = 0.5
"""Between looks for revisions of other machines."""
USAGE_S: Final = 10.0
USAGE_ROWS: Final = 500
"""Rows of one transaction: writers of the configuration wait for no more."""
SEEN_S: Final = 30.0
CHANGES_S: Final = 2.0
"""Between looks for change requests whose hour has come."""
AUDIT_S: Final = 5.0
USAGE_HOURS: Final = 24 * 400
"""How long it is kept who called what: a year and a month."""
GATEWAY_FILE: Final = "gateway.id"


class House:
    """``app``: the admin API."""

    def __init__(  # noqa: PLR0913, PLR0917 - it ties together as many
        self,
        management: Management,
        compiler: Compiler,
        spreading: Spreading,
        audit: Audit,
        totals: Totals,
        facts: Facts,
    ) -> None:
        self.app: ASGIApp = create_admin(management)
        self._management = management
        self._compiler = compiler
        self._spreading = spreading
        self._audit = audit
        self._totals = totals
        self._facts = facts
        self._id = ""
        self._work: list[asyncio.Task[None]] = []

    async def begin(self) -> None:
        """Makes everything agree with the database, and begins what goes on by itself."""
        house = self._management
        self._id = _gateway_id(house.data)
        with contextlib.suppress(OSError):  # one that cannot be reached has it written down in its own time
            await tell(house.data, Command("audit"), AUDIT_S)
        house.committing.seen = await self._spreading.align()
        house.committing.least_number = lambda: max(self._facts.revision, house.canary.taken)
        house.canary.trial = trying = Trying(self._compiler, house.data, self._totals.arms)
        with contextlib.suppress(OSError):  # whose manager is gone: nobody judges it
            await trying.end("its manager has ended")
        self._facts.reloaded = self._reloaded
        house.approving = lambda: self._facts.managing.approval
        house.trusted = lambda: self._facts.managing.trusted_proxies
        house.oidc.settings = lambda: self._facts.managing.sign_in
        if house.committing.seen:  # also where the numbers agree: a reload may have read an older replica
            self._spreading.want(house.committing.seen)
        loops: list[tuple[float, Callable[[], Awaitable[None]]]] = [
            (USAGE_S, self._lay_usage),
            (SEEN_S, lambda: self.acknowledge(0, "")),
            (CHANGES_S, house.changes.run_due),
        ]
        if not house.database.embedded:
            loops.append((LOOK_S, house.secrets.follow))
            loops.append((LOOK_S, house.committing.look))
        self._work = [asyncio.create_task(_every(seconds, act)) for seconds, act in loops]

    def _reloaded(self) -> None:
        """The file was put to work, with the replica as it was when it was read."""
        self._compiler.restart()
        self._spreading.again()

    async def whole(self) -> tuple[int, list[Change]]:
        """All of the database's entries as the compiler takes them, and their revision."""
        house = self._management
        found: list[Change] = []
        try:
            async with house.database.reading() as connection:
                head = await revision_rows.head(connection)
                for section in SECTIONS:
                    for entry in await house.entries.page(connection, section):
                        told = compiled_change(section, entry.name, entry.content)
                        found.append(Change(section, entry.name, told["content"]))
        except DatabaseError as error:
            raise Unavailable(str(error)) from error
        return head, found

    async def acknowledge(self, revision: int, failure: str) -> None:
        """Notes what this machine's workers run."""
        now = now_ms()
        state = GatewayState(
            self._id,
            socket.gethostname(),
            revision,
            now if revision else 0,
            now,
            self._totals.expected,
            failure,
        )
        with contextlib.suppress(DatabaseError):
            async with self._management.database.writing() as connection:
                await gateway_seen(connection, state)

    async def close(self) -> None:
        for task in self._work:
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)
        await self._management.committing.settle()
        await self._spreading.close()
        with contextlib.suppress(CaseError, DatabaseError):
            await self._lay_usage()
        await self._compiler.close()
        await self._management.close()
        await asyncio.to_thread(self._audit.close)

    async def _lay_usage(self) -> None:
        while rows := self._totals.usage.drain(USAGE_ROWS):
            try:
                async with self._management.database.writing() as connection:
                    await usage_add(connection, rows)
                    await usage_expire(connection, rows[0].hour - USAGE_HOURS)
            except DatabaseError:
                self._totals.usage.put_back(rows)
                raise


async def open_house(data: Path, totals: Totals, facts: Facts) -> House:
    """Opens the control plane of the gateway on ``data``. Raises Unavailable."""
    compiler = Compiler(data)
    audit = Audit(data)
    made: list[House] = []

    async def whole() -> tuple[int, list[Change]]:
        return await made[0].whole()

    async def acknowledge(revision: int, failure: str) -> None:
        await made[0].acknowledge(revision, failure)

    turn = asyncio.Lock()
    compiling = Compiling(compiler)
    publisher = Publisher(compiler, data, turn)
    spreading = Spreading(data, publisher, whole, acknowledge, compiling, turn)
    management = await open_management(data, facts.managing, compiling, spreading, Auditing(audit), turn=turn)
    try:
        house = House(management, compiler, spreading, audit, totals, facts)
        made.append(house)
        await house.begin()
    except BaseException as error:
        await spreading.close()
        await compiler.close()
        await management.close()
        if isinstance(error, DatabaseError):
            raise Unavailable(str(error)) from error
        raise
    return house


async def _every(seconds: float, act: Callable[[], Awaitable[None]]) -> None:
    said = ""
    while True:
        await asyncio.sleep(seconds)
        try:
            await act()
            said = ""
        except (CaseError, DatabaseError, MasterKeyError, OSError) as error:
            if str(error) != said:  # once, not twice a second
                said = str(error)
                print(f"faregate: manager: {said}", file=sys.stderr)  # noqa: T201


def _gateway_id(data: Path) -> str:
    """What names the gateway on this data folder in the database; made once."""
    path = data / GATEWAY_FILE
    try:
        return path.read_text("ascii").strip()
    except OSError:
        made = secrets.token_hex(8)
        path.write_text(made + "\n", "ascii")
        return made
