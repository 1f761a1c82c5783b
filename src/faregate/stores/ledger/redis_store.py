"""The ledger in Redis (6.2 or later) or Valkey: one script a batch, on connections of redis-py.

What a record looks like stands in ``redis_scripts``; batches, repeats, leases and lost connections in
``remote``. The connection class of redis-py is used without its client: no retries behind our back, no pool,
no parsing of answers that scripts give. A store that evicts, or has no append-only file, is refused unless
that was accepted, one whose records were made with another lookup key always: docs/concepts/ledger.md says
what its settings mean for the promise.
"""

import asyncio
import heapq
from collections.abc import Sequence
from typing import Final, cast

from redis.asyncio.connection import AbstractConnection, Connection, parse_url
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from faregate.stores.ledger.protocol import (
    CLAIMED,
    COMPLETED,
    SENT,
    UNAVAILABLE,
    UNKNOWN,
    Claim,
    Entry,
    Figures,
    LedgerError,
    Standing,
)
from faregate.stores.ledger.redis_scripts import (
    CLAIM_SCRIPT,
    DECIDE_SCRIPT,
    DEFER_SCRIPT,
    DUE_SCRIPT,
    FIGURES_SCRIPT,
    MARK_SCRIPT,
    READ_SCRIPT,
    RENEW_SCRIPT,
    SCAN_SCRIPT,
    SETS,
    SETTLE_SCRIPT,
    SWEEP_SCRIPT,
    Script,
)
from faregate.stores.ledger.remote import RemoteLedger
from faregate.stores.ledger.remote_moves import CLAIM, MARK, WITHDRAW, Move
from faregate.stores.ledger.remote_session import OTHER_KEY, OTHER_KEY_WORDS, Session, StoreAway

COMMAND_S: Final = 1.0
LANES: Final = 2
VERSION_LEAST: Final = (6, 2)

_WHERE: Final = {CLAIMED: ("open",), SENT: ("open",), UNKNOWN: ("open", "since"), COMPLETED: ("done",)}
"""Sets that hold the records of a state; a SENT that lapsed is UNKNOWN before it changes sets."""

_BROKEN: Final = (RedisError, OSError, TimeoutError, RuntimeError)
"""RuntimeError is what uvloop says of a transport that was closed meanwhile."""

Reply = int | bytes | list["Reply"] | None
Word = bytes | str | int


class RedisLedger(RemoteLedger):
    """``url``: as redis-py reads it (redis://, rediss://, unix://). ``prefix``: what every name begins with.
    ``accept_loss``: a store that evicts or keeps nothing is used all the same. ``lanes``: connections for
    moves. ``mark``: of the lookup key, see ``remote_session.mark_of``; empty: none is looked for.
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
            options = dict(parse_url(url))
        except ValueError:
            raise LedgerError("the ledger's URL is not one of Redis: redis://host:port/database") from None
        port = f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"
        super().__init__(lanes, str(options.get("path", port)))
        self._maker = cast("type[AbstractConnection]", options.pop("connection_class", Connection))
        self._options = options | {"socket_timeout": None}  # ours is over each command as a whole
        self._prefix = prefix
        self._accept_loss = accept_loss
        self._mark = mark

    async def _open(self, *, fit: bool) -> Session:
        connection = self._maker(**{"protocol": 2, **self._options})  # type: ignore[arg-type]
        session = RedisSession(connection, self._prefix, accept_loss=self._accept_loss, mark=self._mark)
        ready = False
        try:
            await session.connect()
            if fit:
                await session.check()
            ready = True
        finally:
            if not ready:
                await session.close()
        return session


class RedisSession(Session):
    """One connection."""

    def __init__(
        self, connection: AbstractConnection, prefix: str, *, accept_loss: bool, mark: bytes = b""
    ) -> None:
        self._connection = connection
        self._accept_loss = accept_loss
        self._mark = mark.hex().encode()
        self._mark_name = f"{prefix}:mark"
        self._names = f"{prefix}:r:".encode()
        self._sets = [f"{prefix}:{name}".encode() for name in SETS]

    async def connect(self) -> None:
        try:
            async with asyncio.timeout(COMMAND_S):
                await self._connection.connect()  # type: ignore[no-untyped-call]
        except _BROKEN as error:
            raise _away(error) from None

    async def close(self) -> None:
        try:
            await self._connection.disconnect(nowait=True)
        except _BROKEN:
            return

    def abort(self) -> None:
        writer = self._connection._writer  # noqa: SLF001 - it has no other way to cut it
        if writer is not None:
            writer.transport.abort()

    async def _ask(self, *words: Word) -> Reply:
        try:
            async with asyncio.timeout(COMMAND_S):
                await self._connection.send_command(*words, check_health=False)
                return cast("Reply", await self._connection.read_response(disable_decoding=True))
        except NoScriptError:
            raise
        except _BROKEN as error:
            raise _away(error) from None

    async def _script(self, script: Script, records: Sequence[bytes], *words: Word) -> Reply:
        """Runs it over the records of these keys, in hex; ARGV[1] is what their names begin with."""
        names = [self._names + hexed for hexed in records]
        rest = (len(self._sets) + len(names), *self._sets, *names, self._names, *words)
        try:
            return await self._ask("EVALSHA", script.sha, *rest)
        except NoScriptError:
            return await self._ask("EVAL", script.text, *rest)

    # moves

    async def run(self, kind: int, moves: Sequence[Move]) -> list[Standing | None]:
        words: list[Word] = []
        hexes = [move.key.hex().encode() for move in moves]
        for hexed, move in zip(hexes, moves, strict=True):
            words += (hexed, move.attempt)
            if kind == CLAIM:
                claim = cast("Claim", move.claim)
                wanted = SENT if claim.sends else CLAIMED
                words += (claim.fingerprint, claim.keep_s, int(claim.resolves), claim.about, wanted)
            elif kind != MARK:
                words += (b"w" if kind == WITHDRAW else move.state, move.answer)
        script = CLAIM_SCRIPT if kind == CLAIM else MARK_SCRIPT if kind == MARK else SETTLE_SCRIPT
        replies = await self._script(script, hexes, *words)
        return [_standing(reply) for reply in cast("list[Reply]", replies)]

    async def renew(self, held: Sequence[tuple[bytes, bytes]]) -> None:
        hexes = [key.hex().encode() for key, _ in held]
        words = [word for hexed, (_, attempt) in zip(hexes, held, strict=True) for word in (hexed, attempt)]
        await self._script(RENEW_SCRIPT, hexes, *words)

    async def sweep(self) -> bool:
        return await self._script(SWEEP_SCRIPT, ()) == 1

    # questions

    async def due(self, most: int) -> list[Entry]:
        hexes = cast("list[bytes]", await self._script(DUE_SCRIPT, (), most))
        return await self._read(hexes)

    async def defer(self, key: bytes, attempt: bytes, after_s: float) -> None:
        hexed = key.hex().encode()
        await self._script(DEFER_SCRIPT, (hexed,), hexed, attempt, int(after_s * 1000))

    async def decide(  # noqa: PLR0913, PLR0917 - one value per property
        self, key: bytes, attempt: bytes, state: int, answer: bytes, by: str, note: str, *, again: bool
    ) -> bool:
        hexed = key.hex().encode()
        words = (hexed, attempt, state, answer, by.encode(), note.encode(), int(again))
        return await self._script(DECIDE_SCRIPT, (hexed,), *words) == 1

    async def entries(self, states: Sequence[int], after: bytes, most: int) -> list[Entry]:
        """The sets are walked whole, for the smallest keys behind ``after``: it costs as much as there are
        records in these states, in steps of two thousand.
        """
        wanted = {name for state in states for name in _WHERE.get(state, ())}
        first = after.hex().encode()
        found: list[Entry] = []
        while len(found) < most:
            some: set[bytes] = set()
            for number, name in enumerate(SETS, 1):
                if name in wanted:
                    some = await self._smallest(number, some, first, most)
            if not some:
                break
            hexes = sorted(some)
            found += [entry for entry in await self._read(hexes) if entry.state in states]
            first = hexes[-1]
            if len(hexes) < most:
                break
        return found[:most]

    async def _smallest(self, number: int, some: set[bytes], first: bytes, most: int) -> set[bytes]:
        """The ``most`` smallest of ``some`` and of the members of a set that come after ``first``."""
        cursor, behind = b"0", b"~"  # all digits come before it
        while True:
            cursor, *found = cast(
                "list[bytes]", await self._script(SCAN_SCRIPT, (), number, cursor, first, behind)
            )
            some.update(found)
            if len(some) > 2 * most or cursor == b"0":
                some = set(heapq.nsmallest(most, some))
                behind = max(some) if len(some) == most else behind
            if cursor == b"0":
                return some

    async def entry(self, key: bytes) -> Entry | None:
        entries = await self._read([key.hex().encode()], with_answer=True)
        return entries[0] if entries else None

    async def _read(self, hexes: Sequence[bytes], *, with_answer: bool = False) -> list[Entry]:
        entries: list[Entry] = []
        step = 100
        for start in range(0, len(hexes), step):
            some = hexes[start : start + step]
            replies = cast("list[list[bytes | None] | None]", await self._script(READ_SCRIPT, some, *some))
            entries += [
                _entry(hexed, reply, with_answer=with_answer)
                for hexed, reply in zip(some, replies, strict=True)
                if reply is not None
            ]
        return entries

    async def figures(self) -> Figures:
        reply = cast("list[Reply]", await self._script(FIGURES_SCRIPT, ()))
        kept, flying, unknown, age = (int(cast("bytes | int", each)) for each in reply)
        return Figures(kept + flying + unknown, flying, unknown, max(age, 0) / 1000)

    # whether it keeps what it is told

    async def check(self) -> str:
        told = _information(cast("bytes", await self._ask("INFO")))
        if told.get("loading", "0") != "0":
            raise StoreAway("store_loading", "the store is still reading its data")
        if told.get("cluster_enabled", "0") != "0":
            raise StoreAway("store_is_cluster", "the store is a cluster: the ledger needs one that is not")
        version = tuple(int(part) for part in told.get("redis_version", "0").split(".")[:2] if part.isdigit())
        if version < VERSION_LEAST:
            raise StoreAway("store_too_old", "the store is older than Redis 6.2")
        if told.get("role") != "master":
            raise StoreAway("store_read_only", "the store is a replica: it cannot be written to")
        await self._check_mark()
        if self._accept_loss:
            return ""
        policy = told.get("maxmemory_policy") or await self._setting("maxmemory-policy")
        if policy != "noeviction":
            raise StoreAway(
                "store_evicts",
                f"the store may drop records: maxmemory-policy is {policy or 'not told'}, not noeviction",
            )
        if told.get("aof_enabled") != "1":
            raise StoreAway(
                "store_not_durable", "the store has no append-only file, or does not tell: set appendonly yes"
            )
        syncs = await self._setting("appendfsync")
        if syncs == "always":
            return ""
        return (
            f"appendfsync is {syncs or 'not told'}, not always: the last records may be lost with the machine"
        )

    async def _check_mark(self) -> None:
        """The first to come leaves the mark of its lookup key; who has another one is refused."""
        if not self._mark:
            return
        found = await self._ask("GET", self._mark_name)
        if found is None:
            await self._ask("SET", self._mark_name, self._mark, "NX")
            found = await self._ask("GET", self._mark_name)
        if found != self._mark:
            raise StoreAway(OTHER_KEY, OTHER_KEY_WORDS)

    async def _setting(self, name: str) -> str:
        """A setting; empty where CONFIG is forbidden."""
        try:
            async with asyncio.timeout(COMMAND_S):
                await self._connection.send_command("CONFIG", "GET", name, check_health=False)
                reply = await self._connection.read_response(disable_decoding=True)
        except (BusyLoadingError, AuthenticationError) as error:
            raise _away(error) from None
        except ResponseError:
            return ""
        except _BROKEN as error:
            raise _away(error) from None
        return reply[1].decode("ascii", "replace") if isinstance(reply, list) and len(reply) == 2 else ""


def _standing(reply: Reply) -> Standing:
    if isinstance(reply, int):
        return Standing(reply, reason="store_withdrawn" if reply == UNAVAILABLE else "")
    kind, attempt, answer, age_ms = cast("tuple[int, bytes, bytes, bytes]", reply)
    return Standing(kind, attempt, answer, max(int(age_ms), 0) / 1000)


def _entry(hexed: bytes, reply: list[bytes | None], *, with_answer: bool) -> Entry:
    state, attempt, fingerprint, about, changed, ends, resolves, tries, by, note, answer = (
        each or b"" for each in reply
    )
    return Entry(
        bytes.fromhex(hexed.decode()), attempt, int(state), fingerprint, about, int(changed) / 1000,
        int(ends or 0) / 1000, resolves == b"1", int(tries or 0), by.decode(), note.decode(),
        answer if with_answer else b"",
    )  # fmt: skip


def _information(text: bytes) -> dict[str, str]:
    lines = (line.partition(":") for line in text.decode("ascii", "replace").splitlines())
    return {name: value.strip() for name, _, value in lines if value}


def _away(error: Exception) -> StoreAway:
    """What went wrong, without the server's words: they may repeat what they were sent."""
    for kinds, reason, words in _KINDS:
        if isinstance(error, kinds):
            return StoreAway(reason, words)
    if not isinstance(error, ResponseError):
        return StoreAway("store_away", "no connection to the store")
    said = str(error)[:200]
    for code, reason, words in _CODES:
        if code in said:
            return StoreAway(reason, words)
    code = said.partition(" ")[0].rstrip(":")
    return StoreAway("store_error", f"the store refused a command: {code if code.isupper() else 'ERR'}")


_READ_ONLY: Final = ("store_read_only", "the store is a replica: it cannot be written to")
_FULL: Final = ("store_full", "the store has no memory left (maxmemory)")
_KINDS: Final = (
    (BusyLoadingError, "store_loading", "the store is still reading its data"),
    (ReadOnlyError, *_READ_ONLY),
    (OutOfMemoryError, *_FULL),
    (
        (AuthenticationError, NoPermissionError),
        "store_refused",
        "the store refuses the name, the password or a command",
    ),
    (TimeoutError, "store_slow", "the store did not answer in time"),
)
_CODES: Final = (
    ("OOM", *_FULL),
    ("READONLY", *_READ_ONLY),
    ("MISCONF", "store_full", "the store cannot save to its disk (MISCONF)"),
    ("NOREPLICAS", "store_full", "the store has fewer replicas than it must have (min-replicas-to-write)"),
)
"""Of what a script ran into: it stands in the middle of what is told."""
