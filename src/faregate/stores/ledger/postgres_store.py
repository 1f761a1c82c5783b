"""The ledger in PostgreSQL (13 or later): one statement a batch, on connections of psycopg 3.

The statements stand in ``postgres_sql``; batches, repeats, leases and lost connections in ``remote``, which
also bounds the connections, so there is no pool. A connection that reaches its server directly prepares
statements and bounds their time; behind a pooler, which shows by a process id that is not the server's, it
sets nothing.
"""

import asyncio
import re
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Final, cast

import psycopg
from psycopg import AsyncConnection, errors
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from faregate.stores.ledger.postgres_sql import SWEEP_MOST, VERSION, Statements
from faregate.stores.ledger.postgres_sweep import Sweep
from faregate.stores.ledger.protocol import (
    CLAIMED,
    COMPLETED,
    DONE,
    GRANTED,
    IN_FLIGHT,
    LOST,
    MISMATCH,
    OPEN,
    RELEASED,
    REPLAY,
    SENT,
    UNAVAILABLE,
    UNKNOWN,
    Claim,
    Entry,
    Figures,
    LedgerError,
    Standing,
)
from faregate.stores.ledger.remote import RemoteLedger
from faregate.stores.ledger.remote_moves import CLAIM, MARK, SETTLE, Move
from faregate.stores.ledger.remote_session import OTHER_KEY, OTHER_KEY_WORDS, Session, StoreAway

COMMAND_S: Final = 1.5
SERVER_COMMAND_MS: Final = 1_400
LANES: Final = 3
VERSION_LEAST: Final = 13_00_00
_OPTIONS: Final = (("connect_timeout", "3"), ("fallback_application_name", "faregate"))
_WORDS_MOST: Final = 300
_LIBPQ: Final = re.compile(
    r"connection (?:failed|is bad): |"
    r"connection to server (?:at|on socket) \"[^\"]*\"(?:, port \d+)? failed: |"
    r"Is the server running[^?]*\?"
)
"""Of what libpq says of a connection: what the address says already, and its advice."""
_PREFIX: Final = re.compile(r"[a-z_][a-z0-9_]{0,39}\Z")

Row = tuple[object, ...]
Value = bytes | str | int | float | bool | list[bytes] | list[int] | list[bool]


class PostgresLedger(RemoteLedger):
    """``url``: of libpq, with all its options (``sslmode``, several hosts). ``prefix``: what the table's name
    begins with: lower-case letters, digits, underscores. ``accept_loss``: a server with fsync off is used all
    the same. ``lanes``: connections for moves; one more serves everything else. ``mark``: of the lookup key,
    see ``remote_session.mark_of``; empty: none is looked for.
    """

    def __init__(
        self,
        url: str,
        prefix: str = "faregate",
        *,
        accept_loss: bool = False,
        lanes: int = LANES,
        mark: bytes = b"",
    ) -> None:
        try:
            options = conninfo_to_dict(url)
        except psycopg.Error:
            raise LedgerError(
                "the ledger's URL is not one of PostgreSQL: postgresql://host:port/database"
            ) from None
        super().__init__(lanes, _address(options))
        if not _PREFIX.match(prefix):
            raise LedgerError(
                "the ledger's prefix must be lower-case letters, digits and underscores, at most 40"
            )
        self._where = make_conninfo(url, **{name: value for name, value in _OPTIONS if name not in options})
        self._password = str(options.get("password") or "")
        self._statements = Statements(f"{prefix}_ledger")
        self._sweep = Sweep()
        self._accept_loss = accept_loss
        self._mark = mark

    async def _open(self, *, fit: bool) -> Session:
        try:
            connection = await AsyncConnection.connect(self._where, autocommit=True, prepare_threshold=None)
        except (psycopg.Error, OSError) as error:
            raise _away(error, self._password) from None
        session = PostgresSession(
            connection, self._statements, self._sweep, accept_loss=self._accept_loss, mark=self._mark
        )
        ready = False
        try:
            await session.prepare()
            if fit:
                await session.check()
            ready = True
        finally:
            if not ready:
                session.abort()
                await session.close()
        return session


class PostgresSession(Session):
    """One connection."""

    def __init__(
        self,
        connection: AsyncConnection[Row],
        statements: Statements,
        sweep: Sweep,
        *,
        accept_loss: bool,
        mark: bytes = b"",
    ) -> None:
        self._connection = connection
        self._statements = statements
        self._sweep = sweep
        self._accept_loss = accept_loss
        self._mark = mark
        self._late = False

    async def close(self) -> None:
        with suppress(psycopg.Error, OSError):
            await self._connection.close()

    def abort(self) -> None:
        """Cuts the socket below libpq: what waits for it fails at once, and no cancel is sent."""
        with suppress(psycopg.Error, OSError), socket.fromfd(self._connection.fileno(), 0, 0) as below:
            below.shutdown(socket.SHUT_RDWR)

    def _on_late(self) -> None:
        self._late = True
        self.abort()

    async def _ask(
        self, statement: bytes, values: Sequence[Value] = (), *, planned: bool = False
    ) -> list[Row]:
        """The rows that it returns."""
        return (await self._execute(statement, values, planned=planned))[0]

    async def _execute(
        self, statement: bytes, values: Sequence[Value] = (), *, planned: bool = False
    ) -> tuple[list[Row], int]:
        """The rows that it returns, and how many it touched. ``planned``: its plan does not depend on how
        large the table is, so that one plan may serve for as long as the connection lasts.
        """
        timer = asyncio.get_running_loop().call_later(COMMAND_S, self._on_late)
        try:
            cursor = await self._connection.execute(statement, values, prepare=planned, binary=True)
            return (await cursor.fetchall() if cursor.description else []), cursor.rowcount
        except (psycopg.Error, OSError) as error:
            if self._late:
                raise StoreAway("store_slow", "the store did not answer in time") from None
            raise _away(error) from None
        finally:
            timer.cancel()

    # what it is

    async def prepare(self) -> None:
        """Checks the server, makes the table where there is none, and bounds statements where it may."""
        made, backend, _, marked = (await self._facts())[3:]
        if not (made and marked):
            await self._make()
        version = cast("int | None", (await self._ask(self._statements.version))[0][0])
        if version != VERSION:
            raise StoreAway(
                "store_schema", f"the table is of version {version}, this gateway needs {VERSION}"
            )
        if backend == self._connection.info.backend_pid:
            await self._ask(b"SET statement_timeout = %d" % SERVER_COMMAND_MS)
            self._connection.prepare_threshold = 1_000_000_000  # what is ``planned``, and nothing else

    async def check(self) -> str:
        fsync, _, _, _, _, logged, _ = await self._facts()
        if not self._accept_loss and (fsync != "on" or logged is False):
            what = "fsync is off" if fsync != "on" else "the table is unlogged"
            raise StoreAway("store_not_durable", f"the store may lose what it was told: {what}")
        await self._check_mark()
        return ""

    async def _check_mark(self) -> None:
        """The first to come leaves the mark of its lookup key; who has another one is refused."""
        if not self._mark:
            return
        found = (await self._ask(self._statements.lookup_mark))[0][0]
        if found is None:
            await self._ask(self._statements.leave_mark, (self._mark,))
            found = (await self._ask(self._statements.lookup_mark))[0][0]
        if found != self._mark:
            raise StoreAway(OTHER_KEY, OTHER_KEY_WORDS)

    async def _facts(self) -> Row:
        """fsync, read-only, version, is there a table, the server's process, is it logged, has it a mark."""
        row = (await self._ask(self._statements.facts))[0]
        if cast("int", row[2]) < VERSION_LEAST:
            raise StoreAway("store_too_old", "the store is older than PostgreSQL 13")
        if row[1]:
            raise StoreAway("store_read_only", "the store is a replica, or read-only")
        return row

    async def _make(self) -> None:
        """One of all workers makes it, in one transaction, the others wait."""
        try:
            async with self._connection.transaction():
                await self._ask(b"SELECT pg_advisory_xact_lock(%b)", (self._statements.lock,))
                made, _, _, marked = (await self._facts())[3:]
                statements = self._statements.schema
                if made:
                    statements = () if marked else (self._statements.mark_column,)
                for statement in statements:
                    await self._ask(statement)
        except psycopg.Error as error:
            raise _away(error) from None

    # moves

    async def run(self, kind: int, moves: Sequence[Move]) -> list[Standing | None]:
        keys, attempts = [move.key for move in moves], [move.attempt for move in moves]
        try:
            if kind == CLAIM:
                return await self._claim(keys, attempts, [cast("Claim", move.claim) for move in moves])
            if kind == MARK:
                rows = await self._ask(self._statements.mark, (keys, attempts), planned=True)
                found = {row[0]: _marked(row) for row in rows}
            elif kind == SETTLE:
                states, answers = [move.state for move in moves], [move.answer for move in moves]
                rows = await self._ask(
                    self._statements.settle, (keys, attempts, states, answers), planned=True
                )
                found = {row[0]: _settled(row) for row in rows}
            else:
                await self._ask(self._statements.withdraw, (keys, attempts), planned=True)
                return [Standing(DONE) for _ in moves]
        except _AskAgain:
            return [None] * len(moves)
        return [found[key] for key in keys]

    async def _claim(
        self, keys: list[bytes], attempts: list[bytes], claims: list[Claim]
    ) -> list[Standing | None]:
        rows = await self._ask(
            self._statements.claim,
            (
                keys, attempts, [claim.fingerprint for claim in claims], [claim.keep_s for claim in claims],
                [claim.resolves for claim in claims], [claim.about for claim in claims],
                [SENT if claim.sends else CLAIMED for claim in claims],
            ),
            planned=True,
        )  # fmt: skip
        found = {row[0]: _claimed(row) for row in rows}
        return [found[key] for key in keys]

    async def renew(self, held: Sequence[tuple[bytes, bytes]]) -> None:
        await self._ask(self._statements.renew, ([key for key, _ in held], [attempt for _, attempt in held]))

    async def sweep(self) -> bool:
        _, sent = await self._execute(self._statements.sweep_sent)
        more = await self._sweep.drop(partial(self._ask, self._statements.sweep_gone), self._statements.lock)
        return more or sent == SWEEP_MOST

    # questions

    async def due(self, most: int) -> list[Entry]:
        await self._execute(self._statements.sweep_sent)
        return [_entry(row) for row in await self._ask(self._statements.due, (most,))]

    async def defer(self, key: bytes, attempt: bytes, after_s: float) -> None:
        await self._ask(self._statements.defer, (float(after_s), key, attempt))

    async def decide(  # noqa: PLR0913, PLR0917 - one value per property
        self, key: bytes, attempt: bytes, state: int, answer: bytes, by: str, note: str, *, again: bool
    ) -> bool:
        values = (state, answer, by, note, state, key, attempt)
        _, touched = await self._execute(self._statements.decide, values)
        if touched == 0 and again:
            return bool(await self._ask(self._statements.decided, (key, attempt, state, by, note)))
        return touched == 1

    async def entries(self, states: Sequence[int], after: bytes, most: int) -> list[Entry]:
        await self._execute(self._statements.sweep_sent)
        return [_entry(row) for row in await self._ask(self._statements.entries, (list(states), after, most))]

    async def entry(self, key: bytes) -> Entry | None:
        await self._execute(self._statements.sweep_sent)
        rows = await self._ask(self._statements.one, (key,))
        return _entry(rows[0]) if rows else None

    async def figures(self) -> Figures:
        await self._execute(self._statements.sweep_sent)
        kept, flying, unknown, age, guess, size = cast(
            "tuple[int, int, int, float, int, int]", (await self._ask(self._statements.figures))[0]
        )
        return Figures(
            max(kept + flying + unknown, guess if kept >= 10_000 else 0), flying, unknown, max(age, 0.0), size
        )


class _AskAgain(StoreAway):
    """The server gave up one of two that waited for each other: nothing was done."""


def _claimed(row: Row) -> Standing | None:
    _, won, state, attempt, same, answer, age, lapsed = cast(
        "tuple[bytes, bool, int | None, bytes, bool, bytes, float, bool]", row
    )
    if won:
        return Standing(GRANTED)
    if state is None:
        return None
    if state == RELEASED:
        return Standing(UNAVAILABLE, reason="store_withdrawn")
    if not same:
        return Standing(MISMATCH, attempt, b"", max(age, 0.0))
    if state == COMPLETED:
        return Standing(REPLAY, attempt, answer, max(age, 0.0))
    return Standing(OPEN if state == UNKNOWN or lapsed else IN_FLIGHT, attempt, b"", max(age, 0.0))


def _marked(row: Row) -> Standing | None:
    _, made, state, over = cast("tuple[bytes, int | None, int | None, bool]", row)
    if made is not None:  # or there was no record, and a trace of one stands there
        return Standing(DONE if made == SENT else LOST)
    if state == SENT and not over:
        return Standing(DONE)
    return None if state == CLAIMED and not over else Standing(LOST)


def _settled(row: Row) -> Standing | None:
    _, made, state, ours, over, wanted = cast(
        "tuple[bytes, bool | None, int | None, bool, bool | None, int]", row
    )
    if made is False or (ours and state == wanted and not (state == COMPLETED and over)):
        return Standing(DONE)
    if made or state is None or state == RELEASED or (state in {CLAIMED, COMPLETED} and over):
        return Standing(DONE if wanted == RELEASED else LOST)
    return None if ours and state != COMPLETED else Standing(LOST)


def _entry(row: Row) -> Entry:
    return Entry(*row)  # type: ignore[arg-type]


def _away(error: Exception, password: str = "") -> StoreAway:
    """What went wrong. Servers' words are not passed on, but for those of a connection that was not made."""
    code = (error.sqlstate or "") if isinstance(error, psycopg.Error) else ""
    if isinstance(error, errors.DeadlockDetected | errors.SerializationFailure):
        return _AskAgain("store_busy")
    for start, reason, words in _CODES:
        if code.startswith(start):
            return StoreAway(reason, words)
    if code:
        return StoreAway("store_error", f"the store refused a statement: {code}")
    words = str(error).partition("Multiple connection attempts failed")[0]
    words = " ".join(_LIBPQ.sub("", words).split())[:_WORDS_MOST] or "no connection to the store"
    return StoreAway("store_away", words.replace(password, "***") if password else words)


def _address(options: Mapping[str, object]) -> str:
    """Where a connection goes to, in words: host:port of each host."""
    hosts = str(options.get("host") or options.get("hostaddr") or "localhost").split(",")
    ports = str(options.get("port") or 5432).split(",")
    if len(ports) == 1:
        ports *= len(hosts)
    pairs = zip(hosts, ports, strict=False)
    return ", ".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in pairs)


_CODES: Final = (
    ("25006", "store_read_only", "the store is a replica, or read-only"),
    ("53300", "store_busy", "the store has no connection left (max_connections)"),
    ("53", "store_full", "the store has no disk or memory left"),
    ("57014", "store_slow", "the store did not answer in time"),
    ("57P03", "store_loading", "the store is starting or stopping"),
    ("57P", "store_away", "the store is stopping"),
    ("08", "store_away", "no connection to the store"),
    ("28", "store_refused", "the store refuses the name or the password"),
    ("3D", "store_refused", "there is no such database"),
    ("42501", "store_refused", "the store's user may not use or make the table (docs/concepts/ledger.md)"),
    ("42P01", "store_schema", "the table is not there"),
    ("42703", "store_schema", "the table is not as it must be"),
)  # fmt: skip
