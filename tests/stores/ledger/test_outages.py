"""Real servers that are killed, stopped, paused, cut off in the middle of an answer: nothing that was told is lost,
nothing is held for those who were told that it could not be had.
"""

import asyncio
import os
import random
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
import pytest
import uvloop

from faregate.stores.ledger import postgres_store, redis_store, remote
from faregate.stores.ledger.moves import (
    COMPLETED,
    DONE,
    GRANTED,
    IN_FLIGHT,
    LOST,
    OPEN,
    REPLAY,
    UNAVAILABLE,
    UNKNOWN,
)
from faregate.stores.ledger.postgres_store import PostgresLedger
from faregate.stores.ledger.redis_store import RedisLedger
from faregate.stores.ledger.remote import RemoteLedger
from faregate.stores.ledger.remote_moves import CLAIM, Move
from tests.stores.ledger.conformance import asks, new
from tests.stores.ledger.conftest import needs
from tests.support.chaos import ChaosProxy, Faults
from tests.support.ledger_bench import Told, claim, mark, settle
from tests.support.ports import free_ports
from tests.support.servers.postgres_server import PostgresServer, open_folder, postgres_program
from tests.support.servers.programs import Server
from tests.support.servers.redis_server import RedisServer, redis_program

Own = tuple[Server, Callable[[int], RemoteLedger]]


@pytest.fixture(scope="module")
def own_redis() -> Iterator[Own]:
    needs(redis_program)
    with tempfile.TemporaryDirectory() as folder, RedisServer(Path(folder), free_ports(1)[0]) as server:
        yield server, lambda port: RedisLedger(f"redis://127.0.0.1:{port}/0", f"o{os.getpid()}")


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[Own]:
    needs(postgres_program)
    with open_folder() as folder:
        server = PostgresServer(folder / "data", free_ports(1)[0])
        server.make()
        with server:
            yield server, lambda port: PostgresLedger(f"postgresql://faregate@127.0.0.1:{port}/postgres", "o")


@pytest.fixture(params=["redis", "postgresql"])
def own(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Own:
    """A server that a test may kill, and what makes a ledger that reaches it at a port. Patience is short."""
    monkeypatch.setattr(remote, "TELL_S", 1.0)
    monkeypatch.setattr(remote, "TICK_S", 0.02)
    monkeypatch.setattr(redis_store, "COMMAND_S", 0.5)
    monkeypatch.setattr(postgres_store, "COMMAND_S", 0.5)
    server, make = request.getfixturevalue("own_redis" if request.param == "redis" else "own_postgres")
    if server.process is None:
        server.start()
    return server, make


@asynccontextmanager
async def started(ledger: RemoteLedger) -> AsyncIterator[RemoteLedger]:
    await ledger.start()
    await until(lambda: not ledger.away)
    try:
        yield ledger
    finally:
        await ledger.close()


async def until(what: Callable[[], bool], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not what():  # noqa: ASYNC110 - a test's wait
            await asyncio.sleep(0.005)


async def granted(ledger: RemoteLedger, key: bytes) -> bytes:
    """Claims it as soon as it is to be had."""
    async with asyncio.timeout(8):
        while True:
            attempt = new()
            if (await claim(ledger, asks(key, attempt))).kind == GRANTED:
                return attempt
            await asyncio.sleep(0.02)


def test_what_was_told_survives_a_kill_and_a_late_settlement_is_stored(own: Own) -> None:
    server, make = own

    async def run() -> None:
        async with started(make(server.port)) as ledger:
            kept, kept_by, open_, open_by = new(), new(), new(), new()
            assert (await claim(ledger, asks(kept, kept_by))).kind == GRANTED
            assert (await settle(ledger, kept, kept_by, COMPLETED, b"kept")).kind == DONE
            assert (await claim(ledger, asks(open_, open_by, sends=False))).kind == GRANTED
            assert (await mark(ledger, open_, open_by)).kind == DONE
            await asyncio.to_thread(server.kill)
            began = time.monotonic()
            told = await asyncio.gather(
                claim(ledger, asks(new(), new())), settle(ledger, open_, open_by, COMPLETED, b"late")
            )
            assert {standing.kind for standing in told} == {UNAVAILABLE}
            assert time.monotonic() - began < 3.0
            await until(lambda: ledger.away == "store_away")
            await asyncio.to_thread(server.start)
            await until(lambda: not ledger.away and not ledger._backlog.kept)
            for key, answer in ((kept, b"kept"), (open_, b"late")):
                standing = await claim(ledger, asks(key, new()))
                assert (standing.kind, standing.answer) == (REPLAY, answer)

    uvloop.run(run())


def test_a_claim_that_a_paused_server_takes_late_is_not_left_claimed(own: Own) -> None:
    server, make = own

    async def run() -> None:
        async with started(make(server.port)) as ledger:
            key = new()
            server.pause()
            try:
                standing = await claim(ledger, asks(key, new()))
                assert standing.kind == UNAVAILABLE
            finally:
                server.resume()
            attempt = await granted(ledger, key)
            await asyncio.sleep(0.1)
            assert (await settle(ledger, key, attempt, COMPLETED, b"")).kind == DONE

    # a paused PostgreSQL: its backends are processes of their own, and go on
    if isinstance(server, RedisServer):
        uvloop.run(run())


def test_a_claim_that_waits_for_a_lock_of_another_is_given_up_and_withdrawn(own: Own) -> None:
    server, make = own
    if not isinstance(server, PostgresServer):
        return

    async def run() -> None:
        async with started(make(server.port)) as ledger:
            key = new()
            async with await psycopg.AsyncConnection.connect(server.url) as holder:
                await holder.execute("LOCK TABLE o_ledger IN SHARE MODE")
                standing = await claim(ledger, asks(key, new()))
                assert (standing.kind, standing.reason) == (UNAVAILABLE, "store_slow")
                await holder.rollback()
            await granted(ledger, key)

    uvloop.run(run())


def test_a_claim_that_comes_after_its_withdrawal_is_void(own: Own) -> None:
    """As when it lay in a connection that was given up, and the server read it last."""
    server, make = own

    async def run() -> None:
        async with started(make(server.port)) as ledger:
            key, attempt = new(), new()
            ledger._withdraw(Move(CLAIM, key, attempt, 0, b"", None, None, 0.0))
            await until(lambda: not ledger._backlog.kept)
            standing = await claim(ledger, asks(key, attempt))
            assert (standing.kind, standing.reason) == (UNAVAILABLE, "store_withdrawn")
            assert await ledger.entry(key) is None
            assert (await claim(ledger, asks(key, new()))).kind == GRANTED
            assert (await claim(ledger, asks(key, attempt))).kind == IN_FLIGHT

    uvloop.run(run())


@pytest.mark.parametrize(("state", "kind"), [(1, IN_FLIGHT), (2, IN_FLIGHT), (3, REPLAY), (5, OPEN)])
def test_a_claim_that_waited_for_another_s_insert_meets_what_it_inserted(
    own_postgres: Own, state: int, kind: int
) -> None:
    """The look before saw nothing there; the row is decided on as it is when the wait is over."""
    server, make = own_postgres
    assert isinstance(server, PostgresServer)
    insert = (
        "INSERT INTO o_ledger (key, attempt, fingerprint, state, keep_s, resolves, about, changed_at, ends_at) "
        "VALUES (%b, %b, %b, %s, 60, false, '', now(), CASE WHEN %s = 5 THEN NULL ELSE now() + interval '1 hour' END)"
    )

    async def run() -> None:
        async with (
            started(make(server.port)) as ledger,
            await psycopg.AsyncConnection.connect(server.url) as other,
        ):
            key, theirs = new(), new()
            await other.execute(insert, (key, theirs, b"f" * 32, state, state))
            asked = asyncio.ensure_future(claim(ledger, asks(key, new())))
            await asyncio.sleep(0.1)
            assert not asked.done()
            await other.commit()
            standing = await asked
            assert (standing.kind, standing.attempt) == (kind, theirs)

    if server.process is None:
        server.start()
    uvloop.run(run())


def test_an_answer_that_was_lost_on_the_way_is_asked_for_again(
    own: Own, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "TELL_S", 3.0)
    server, make = own

    async def run(proxy: ChaosProxy) -> None:
        through = make(proxy.address[1])
        through._lane_count = 1  # which is connected when the answers begin to be dropped
        async with started(through) as ledger, started(make(server.port)) as other:
            key, attempt = new(), new()

            async def lose(told: Told, done: Callable[[int], bool]) -> int:
                """Drops the answer to what was just asked; what is told in the end."""
                async with asyncio.timeout(3):
                    while not ((entry := await other.entry(key)) and done(entry.state)):  # noqa: ASYNC110
                        await asyncio.sleep(0.002)
                proxy.heal()
                proxy.reset_all()
                return (await told.standing).kind

            for ask, kind, done in (
                (lambda told: ledger.claim(asks(key, attempt, sends=False), told), GRANTED, lambda state: state >= 1),
                (lambda told: ledger.mark_sent(key, attempt, told), DONE, lambda state: state >= 2),
                (lambda told: ledger.settle(key, attempt, UNKNOWN, b"", told), DONE, lambda state: state == UNKNOWN),
                (lambda told: ledger.settle(key, attempt, COMPLETED, b"a", told), DONE, lambda state: state == COMPLETED),
            ):  # fmt: skip
                warm, warm_by = new(), new()  # the script is there, or the statement prepared
                await claim(ledger, asks(warm, warm_by, sends=False))
                await mark(ledger, warm, warm_by)
                await settle(ledger, warm, warm_by, COMPLETED)
                told = Told()
                proxy.down = Faults(silent=True)
                ask(told)
                assert await lose(told, done) == kind
            standing = await claim(other, asks(key, new()))
            assert (standing.kind, standing.attempt, standing.answer) == (REPLAY, attempt, b"a")

    with ChaosProxy(("127.0.0.1", server.port)) as proxy:
        uvloop.run(run(proxy))


def test_connections_cut_at_any_byte_break_no_promise(own: Own) -> None:
    server, make = own

    async def run(proxy: ChaosProxy) -> None:
        async with started(make(proxy.address[1])) as ledger, started(make(server.port)) as other:
            for turn in range(24):
                key, attempt = new(), new()
                cut = Faults(cut_after=random.Random(turn).choice((0, 1, 7, 20, 60, 150, 300, 700, 1_500)))
                if turn % 2:
                    proxy.up = cut
                else:
                    proxy.down = cut
                asked = asyncio.ensure_future(claim(ledger, asks(key, attempt)))
                await asyncio.sleep(0.01)
                proxy.heal()
                assert (await asked).kind == GRANTED
                if turn % 3 == 0:
                    proxy.down = cut
                settled = asyncio.ensure_future(settle(ledger, key, attempt, COMPLETED, b"answer"))
                await asyncio.sleep(0.01)
                proxy.heal()
                assert (await settled).kind == DONE
                standing = await claim(other, asks(key, new()))
                assert (standing.kind, standing.attempt, standing.answer) == (REPLAY, attempt, b"answer")

    with ChaosProxy(("127.0.0.1", server.port)) as proxy:
        uvloop.run(run(proxy))


def test_two_workers_and_cut_connections_never_hold_a_key_at_once(own: Own) -> None:
    """Each who is granted a key counts it up and down: nobody is there at the same time. Who settles as COMPLETED
    is the only one ever."""
    server, make = own

    async def run(proxy: ChaosProxy) -> None:
        picks = random.Random(5)
        keys = [new() for _ in range(4)]
        inside = dict.fromkeys(keys, 0)
        completed = dict.fromkeys(keys, 0)
        runs = dict.fromkeys(keys, 0)

        async def caller(ledger: RemoteLedger) -> None:
            for _ in range(40):
                key, attempt = picks.choice(keys), new()
                if (await claim(ledger, asks(key, attempt))).kind != GRANTED:
                    await asyncio.sleep(0.002)
                    continue
                inside[key] += 1
                assert inside[key] == 1
                assert completed[key] == 0
                runs[key] += 1
                await asyncio.sleep(picks.random() / 100)
                inside[key] -= 1
                over = picks.random() < 0.1
                completed[key] += over
                await settle(ledger, key, attempt, COMPLETED if over else 4, b"")

        async def trouble() -> None:
            while True:
                await asyncio.sleep(0.08)
                proxy.reset_all()

        async with started(make(proxy.address[1])) as one, started(make(proxy.address[1])) as two:
            cuts = asyncio.ensure_future(trouble())
            await asyncio.gather(*(caller(ledger) for ledger in (one, two) for _ in range(6)))
            cuts.cancel()
        assert sum(runs.values()) > 5
        assert max(completed.values()) <= 1

    with ChaosProxy(("127.0.0.1", server.port)) as proxy:
        uvloop.run(run(proxy))


def test_a_store_that_lost_everything_tells_that_it_is_lost(own: Own) -> None:
    server, make = own

    async def run() -> None:
        async with started(make(server.port)) as ledger:
            key, attempt = new(), new()
            assert (await claim(ledger, asks(key, attempt))).kind == GRANTED
            assert (await claim(ledger, asks(key, new()))).kind == IN_FLIGHT
            if isinstance(server, RedisServer):
                server.say("FLUSHALL")
                server.say("SCRIPT", "FLUSH")  # and the scripts with it
            else:
                async with await psycopg.AsyncConnection.connect(f"{server.url}") as connection:  # type: ignore[attr-defined]
                    await connection.execute("DELETE FROM o_ledger")
            assert (await settle(ledger, key, attempt, COMPLETED, b"")).kind == LOST
            assert (await claim(ledger, asks(key, new()))).kind == GRANTED

    uvloop.run(run())
