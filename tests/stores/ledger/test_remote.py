"""Batches, lost answers, bounds, withdrawals and pauses of a remote ledger, over a store by script."""

import asyncio
import time

import pytest
import uvloop

from faregate.stores.ledger import remote, remote_aside
from faregate.stores.ledger.moves import (
    COMPLETED,
    DONE,
    GRANTED,
    IN_FLIGHT,
    LOST,
    RELEASED,
    SENT,
    UNAVAILABLE,
    UNKNOWN,
)
from faregate.stores.ledger.protocol import LedgerError
from faregate.stores.ledger.remote import back_off
from faregate.stores.ledger.remote_moves import BATCH_MOST, CLAIM, KEPT_MOST, SETTLE
from tests.stores.ledger.conformance import asks, new
from tests.stores.ledger.scripted import Store, StoreLedger, on, until
from tests.support.ledger_bench import Told, claim, mark, settle

TELL_S = 0.15


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same, in tenths of the time."""
    monkeypatch.setattr(remote, "TELL_S", TELL_S)
    monkeypatch.setattr(remote, "TICK_S", 0.01)
    monkeypatch.setattr(remote, "BACK_OFF_FIRST_S", 0.005)
    monkeypatch.setattr(remote, "BACK_OFF_MOST_S", 0.05)
    monkeypatch.setattr(remote_aside, "PAUSE_S", 0.05)


@pytest.mark.parametrize(
    "script", [["lose"], ["refuse"], ["lose", "refuse", "lose"], ["again"], ["lose", "again"]]
)
def test_a_move_whose_answer_was_lost_is_asked_again(script: list[str]) -> None:
    async def test(store: Store, ledger: StoreLedger) -> None:
        key, attempt = new(), new()
        store.script = list(script)
        assert (await claim(ledger, asks(key, attempt, sends=False))).kind == GRANTED
        store.script = list(script)
        assert (await mark(ledger, key, attempt)).kind == DONE
        store.script = list(script)
        assert (await settle(ledger, key, attempt, COMPLETED, b"answer")).kind == DONE
        record = store.book.find(key)
        assert record is not None
        assert (record.state, record.attempt, record.answer) == (COMPLETED, attempt, b"answer")
        assert not store.withdrawn

    on(test)


@pytest.mark.parametrize("sends", [True, False])
def test_who_waits_too_long_is_told_so_once_and_its_claim_is_withdrawn(sends: bool) -> None:
    async def test(store: Store, ledger: StoreLedger) -> None:
        key, attempt, told = new(), new(), Told()
        store.script = ["hang"]
        began = time.monotonic()
        ledger.claim(asks(key, attempt, sends=sends), told)
        standing = await told.standing
        assert (standing.kind, standing.reason) == (UNAVAILABLE, "store_slow")
        assert TELL_S - 0.002 <= time.monotonic() - began < TELL_S + 1.0  # a loop keeps whole milliseconds
        assert store.book.find(key) is not None
        store.go.set()
        await until(lambda: store.book.find(key) is None)
        assert told.times == 1
        assert (await claim(ledger, asks(key, new(), fingerprint=b"g" * 32))).kind == GRANTED

    on(test)


def test_a_claim_that_was_cut_off_is_withdrawn_before_it_can_come_late() -> None:
    async def test(store: Store, ledger: StoreLedger) -> None:
        key, attempt = new(), new()
        store.script = ["hang"]
        assert (await claim(ledger, asks(key, attempt))).kind == UNAVAILABLE
        for session in ledger._sessions:
            session.abort()
        await until(lambda: attempt in store.withdrawn)
        assert store.book.find(key) is None

    on(test)


def test_a_claim_that_never_left_is_not_asked_for_at_all() -> None:
    async def test(store: Store, ledger: StoreLedger) -> None:
        late = new()
        store.script = ["hang"]
        first = asyncio.ensure_future(claim(ledger, asks(new(), new())))
        await until(lambda: bool(store.batches))
        assert (await claim(ledger, asks(late, new()))).kind == UNAVAILABLE
        assert (await first).kind == UNAVAILABLE
        store.go.set()
        assert (await claim(ledger, asks(new(), new()))).kind == GRANTED
        assert late not in [key for _, keys in store.batches for key in keys]

    on(test)


def test_a_mark_that_cannot_be_stored_frees_the_record() -> None:
    async def test(store: Store, ledger: StoreLedger) -> None:
        for hold in ("hang", "down"):
            key, attempt = new(), new()
            store.go.clear()
            assert (await claim(ledger, asks(key, attempt, sends=False))).kind == GRANTED
            if hold == "hang":
                store.script = ["hang"]
            else:
                store.down = "store_test"
            assert (await mark(ledger, key, attempt)).kind == UNAVAILABLE
            store.go.set()
            store.down = ""
            await until(lambda key=key: store.book.find(key) is None)
            assert not ledger._held

    on(test)


def test_while_the_store_is_away_claims_are_refused_at_once_and_settlements_kept() -> None:
    async def test(store: Store, ledger: StoreLedger) -> None:
        key, attempt = new(), new()
        assert (await claim(ledger, asks(key, attempt))).kind == GRANTED
        store.down = "store_gone"
        first = await claim(ledger, asks(new(), new()))
        assert first.kind == UNAVAILABLE
        await until(lambda: bool(ledger.away))
        began = time.monotonic()
        standing = await claim(ledger, asks(new(), new()))
        assert (standing.kind, standing.reason) == (UNAVAILABLE, "store_gone")
        assert time.monotonic() - began < TELL_S / 2
        assert (await settle(ledger, key, attempt, COMPLETED, b"late")).kind == UNAVAILABLE
        store.down = ""
        await until(lambda: not ledger.away)
        await until(lambda: not ledger._backlog.kept)
        record = store.book.find(key)
        assert record is not None
        assert (record.state, record.answer) == (COMPLETED, b"late")
        assert (await claim(ledger, asks(new(), new()))).kind == GRANTED

    on(test)


def test_a_store_that_is_away_for_a_moment_is_not_noticed() -> None:
    async def test(store: Store, ledger: StoreLedger) -> None:
        store.down = "store_gone"
        asked = asyncio.ensure_future(claim(ledger, asks(new(), new())))
        await asyncio.sleep(TELL_S / 4)
        store.down = ""
        assert (await asked).kind == GRANTED

    on(test)


def test_what_is_kept_is_bounded_in_number_and_in_bytes() -> None:
    async def test(store: Store, ledger: StoreLedger) -> None:
        store.script = ["hang"]
        ledger.settle(new(), new(), RELEASED, b"", None)
        await until(lambda: bool(store.batches))
        for _ in range(KEPT_MOST - 1):
            ledger.settle(new(), new(), UNKNOWN, b"", None)
        assert ledger.dropped == 0
        standing = await settle(ledger, new(), new(), UNKNOWN)
        assert (standing.kind, standing.reason, ledger.dropped) == (UNAVAILABLE, "ledger_backlog_full", 1)
        store.go.set()
        await until(lambda: not ledger._backlog.kept)
        assert ledger._backlog.kept_bytes == 0
        store.go.clear()
        store.script = ["hang"]
        ledger.settle(new(), new(), RELEASED, b"", None)
        await asyncio.sleep(0.01)
        answer = bytes(80 << 10)
        for _ in range(900):
            ledger.settle(new(), new(), COMPLETED, answer, None)
        assert 1 < ledger.dropped < 200
        assert ledger._backlog.kept_bytes <= 64 << 20
        store.go.set()

    on(test)


def test_moves_of_one_turn_are_one_batch_that_names_no_record_twice() -> None:
    async def test(store: Store, ledger: StoreLedger) -> None:
        keys = [new() for _ in range(150)]
        told = await asyncio.gather(*(claim(ledger, asks(key, new())) for key in [*keys, *keys]))
        assert sorted({standing.kind for standing in told}) == [GRANTED, IN_FLIGHT]
        assert sum(standing.kind == GRANTED for standing in told) == 150
        assert all(len(batch) <= BATCH_MOST for _, batch in store.batches)
        assert all(len(set(batch)) == len(batch) for _, batch in store.batches)
        assert len(store.batches) <= 12

    on(test)


def test_closing_stores_what_there_is_and_tells_who_waits() -> None:
    async def test(store: Store, ledger: StoreLedger) -> None:
        key, attempt, told = new(), new(), Told()
        assert (await claim(ledger, asks(key, attempt))).kind == GRANTED
        ledger.settle(key, attempt, COMPLETED, b"last", told)
        await ledger.close()
        assert (await told.standing).kind == DONE
        record = store.book.find(key)
        assert record is not None
        assert record.answer == b"last"
        for move in (claim(ledger, asks(new(), new())), settle(ledger, key, attempt, COMPLETED)):
            assert (await move).reason == "ledger_closed"
        with pytest.raises(LedgerError):
            await ledger.entry(key)

    on(test)


def test_closing_takes_no_longer_than_said_when_the_store_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "CLOSE_S", 0.1)

    async def test(store: Store, ledger: StoreLedger) -> None:
        told = Told()
        store.script = ["hang"]
        ledger.settle(new(), new(), RELEASED, b"", told)
        await asyncio.sleep(0.01)
        began = time.monotonic()
        await ledger.close()
        assert time.monotonic() - began < 1.0
        assert (await told.standing).kind == UNAVAILABLE

    on(test)


def test_leases_are_renewed_of_what_is_open_and_old_alone() -> None:
    async def test(store: Store, ledger: StoreLedger) -> None:
        keys = [new() for _ in range(4)]
        attempts = [new() for _ in range(4)]
        for key, attempt in zip(keys, attempts, strict=True):
            await claim(ledger, asks(key, attempt))
        await settle(ledger, keys[1], attempts[1], COMPLETED)
        await settle(ledger, keys[2], attempts[2], UNKNOWN)
        await ledger.renew()
        assert store.renewed == []  # all are new
        ledger._held = {attempt: (key, -1e9) for attempt, (key, _) in ledger._held.items()}
        await ledger.renew()
        assert sorted(store.renewed) == sorted((keys[0], keys[3]))
        store.book.records[keys[3]].attempt = new()  # another's now
        assert (await mark(ledger, keys[3], attempts[3])).kind == LOST
        assert list(ledger._held) == [attempts[0]]

    on(test)


def test_a_store_that_becomes_unfit_gets_no_claims_and_still_the_settlements() -> None:
    async def test(store: Store, ledger: StoreLedger) -> None:
        key, attempt = new(), new()
        assert (await claim(ledger, asks(key, attempt))).kind == GRANTED
        store.unfit = "store_evicts"
        await ledger.check()
        assert (await claim(ledger, asks(new(), new()))).reason == "store_evicts"
        assert (await settle(ledger, key, attempt, COMPLETED)).kind == DONE
        store.unfit = ""
        await ledger.check()
        assert (await claim(ledger, asks(new(), new()))).kind == GRANTED

    on(test)


def test_a_question_is_asked_again_through_a_new_connection_and_says_so() -> None:
    async def test(store: Store, ledger: StoreLedger) -> None:
        assert await ledger.entry(new()) is None
        store.questions_lost = 1
        assert await ledger.decide(new(), new(), RELEASED, b"", "ana", "why")
        assert store.decided == [False, True]
        store.questions_lost = 5
        with pytest.raises(LedgerError):
            await ledger.entry(new())
        store.questions_lost = 0
        store.down = "store_gone"
        with pytest.raises(LedgerError, match="down"):
            await ledger.entry(new())
        opened = store.opened
        with pytest.raises(LedgerError, match="down"):
            await ledger.entry(new())
        assert store.opened <= opened + 1  # a lane may have tried, the question has not

    on(test)


def test_figures_are_a_second_old_at_most_and_asked_once() -> None:
    async def test(store: Store, ledger: StoreLedger) -> None:
        await asyncio.gather(*(ledger.figures() for _ in range(3)))
        await ledger.figures()
        assert len(store.decided) <= 3
        asked = len(store.decided)
        ledger._figures_at -= 1.0
        await ledger.figures()
        assert len(store.decided) == asked + 1

    on(test)


def test_a_store_that_is_away_at_the_start_is_tried_for_until_it_is_there() -> None:
    async def run() -> None:
        store = Store()
        store.down = "store_gone"
        ledger = StoreLedger(store, 2)
        began = time.monotonic()
        await ledger.start()
        assert time.monotonic() - began < 1.0
        try:
            assert (await claim(ledger, asks(new(), new()))).kind == UNAVAILABLE
            store.down = ""
            await until(lambda: not ledger.away)
            assert (await claim(ledger, asks(new(), new()))).kind == GRANTED
        finally:
            await ledger.close()

    uvloop.run(run())


def test_the_pause_between_connections_grows_to_a_bound_and_is_spread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(remote, "BACK_OFF_FIRST_S", 0.05)
    monkeypatch.setattr(remote, "BACK_OFF_MOST_S", 5.0)
    assert [back_off(failures, 1.0) for failures in (1, 2, 3, 4, 9, 50)] == [0.0, 0.05, 0.1, 0.2, 5.0, 5.0]
    assert back_off(9, 0.5) == 2.5


def test_a_store_that_refuses_every_batch_is_not_stormed() -> None:
    async def test(store: Store, ledger: StoreLedger) -> None:
        store.script = ["refuse"] * 1_000
        assert (await claim(ledger, asks(new(), new()))).reason == "store_test"
        assert store.opened < 15  # in TELL_S, with pauses of 5, 10, 20, 40, 50 ms

    on(test)


def test_claims_and_settlements_are_batches_of_their_own() -> None:
    async def test(store: Store, ledger: StoreLedger) -> None:
        key, attempt = new(), new()
        assert (await claim(ledger, asks(key, attempt))).kind == GRANTED
        told = await asyncio.gather(
            settle(ledger, key, attempt, COMPLETED, b"a"), settle(ledger, new(), new(), COMPLETED, b"b"),
            claim(ledger, asks(key, new())),
        )  # fmt: skip
        assert [standing.kind for standing in told[:2]] == [DONE, LOST]
        assert {kind for kind, _ in store.batches} == {CLAIM, SETTLE}
        assert store.book.records[key].state != SENT

    on(test, lanes=2)
