"""Expired records leave PostgreSQL in bounded batches, each of which costs what it holds, however many went before."""

import asyncio
import re
from collections.abc import Sequence

import psycopg
import pytest

from faregate.stores.ledger.postgres_sql import SWEEP_MOST, Statements
from faregate.stores.ledger.postgres_store import PostgresLedger
from faregate.stores.ledger.postgres_sweep import WHOLE_S, Sweep
from faregate.stores.ledger.protocol import CLAIMED, COMPLETED, RELEASED
from tests.support.servers.postgres_server import PostgresServer

FILL = """INSERT INTO {table}
  (key, attempt, fingerprint, state, keep_s, resolves, about, changed_at, ends_at, answer)
SELECT uuid_send(gen_random_uuid()), uuid_send(gen_random_uuid()), '', 3, 60, true, '', now(),
  now() - interval '1 hour' + number * interval '1 ms', '' FROM generate_series(1, %s) AS number"""


class Played:
    """A table as the sweep sees it: when the records of each state ended."""

    def __init__(self, **ended: Sequence[float]) -> None:
        states = {"claimed": CLAIMED, "completed": COMPLETED, "released": RELEASED}
        self.ended = {states[name]: sorted(times) for name, times in ended.items()}
        self.begun: list[tuple[int, float]] = []
        self.fails = False

    async def ask(self, values: Sequence[int | float]) -> list[tuple[object, ...]]:
        lock, state, begin = values
        assert lock == 8
        self.begun.append((int(state), begin))
        if self.fails:
            raise OSError("the store is slow")
        here = self.ended.get(int(state), [])
        found = [each for each in here if each >= begin][:SWEEP_MOST]
        self.ended[int(state)] = [each for each in here if each not in set(found)]
        return [(len(found), found[-1] if found else 0.0)]


def test_a_batch_begins_where_the_last_one_of_its_state_ended() -> None:
    played = Played(completed=[float(number) for number in range(2_500)], claimed=[50.0])
    sweep = Sweep(lambda: 0.0)
    more = []
    for _ in range(4):
        more.append(asyncio.run(sweep.drop(played.ask, 7)))
    assert more == [True, True, False, False]
    assert played.ended == {CLAIMED: [], COMPLETED: [], RELEASED: []}
    completed = [round(begin) for state, begin in played.begun if state == COMPLETED]
    assert completed == [0, 999, 1_999, 2_499]
    assert [round(begin) for state, begin in played.begun if state == CLAIMED] == [0, 50, 50, 50]


def test_what_was_left_behind_is_found_within_ten_minutes() -> None:
    now = 0.0
    played = Played(completed=[100.0, 200.0])
    sweep = Sweep(lambda: now)
    asyncio.run(sweep.drop(played.ask, 7))
    played.ended[COMPLETED] = [150.0]
    now = WHOLE_S - 1
    asyncio.run(sweep.drop(played.ask, 7))
    assert played.ended[COMPLETED] == [150.0]
    now = WHOLE_S
    asyncio.run(sweep.drop(played.ask, 7))
    assert played.ended[COMPLETED] == []


def test_a_whole_look_that_fails_is_not_tried_again_at_once() -> None:
    now = 0.0
    played = Played(claimed=[100.0])
    sweep = Sweep(lambda: now)
    asyncio.run(sweep.drop(played.ask, 7))
    now = WHOLE_S
    played.fails = True
    with pytest.raises(OSError, match="slow"):
        asyncio.run(sweep.drop(played.ask, 7))
    played.fails, played.begun = False, []
    asyncio.run(sweep.drop(played.ask, 7))
    assert round(played.begun[0][1]) == 100


def test_a_batch_costs_the_same_while_a_long_transaction_keeps_all_that_was_deleted(
    postgres_server: PostgresServer, prefix: str
) -> None:
    """Counted in pages, so that neighbours do not count."""
    count = 12_000
    table = f"{prefix}_ledger"

    async def swept() -> None:
        ledger = PostgresLedger(postgres_server.url, prefix)
        session = await ledger._open(fit=True)
        await asyncio.to_thread(lambda: say.execute(FILL.format(table=table), (count,)))
        dump.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        dump.execute(f"SELECT count(*) FROM {table}")
        batches = 0
        while await session.sweep():
            batches += 1
        assert batches >= count // SWEEP_MOST
        begins.append(ledger._sweep._begin(COMPLETED))
        await session.close()

    begins: list[float] = []
    with (
        psycopg.connect(postgres_server.url, autocommit=True) as say,
        psycopg.connect(postgres_server.url, autocommit=True) as dump,
    ):
        asyncio.run(swept())
        rows = say.execute(f"SELECT count(*) FROM {table}").fetchone()
        assert rows is not None
        assert rows[0] == 0
        sweep = Statements(table).sweep_gone.decode().replace("%b", "%s")

        def pages(begin: float) -> int:
            told = say.execute(f"EXPLAIN (ANALYZE, BUFFERS) {sweep}", (1, COMPLETED, begin)).fetchall()
            text = "\n".join(str(line[0]) for line in told)
            found = re.search(r"Buffers: shared (?:hit=(\d+))?(?: read=(\d+))?", text)
            return 0 if found is None else sum(int(each or 0) for each in found.groups())

        assert pages(0.0) > 200, "as it would be from the oldest on"
        assert pages(begins[0]) < 40
