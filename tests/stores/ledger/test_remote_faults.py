"""What nobody foresaw ends no task of a remote ledger: it is written down without its words, and work goes on."""

import asyncio
import logging

import pytest
import uvloop

from faregate.stores.ledger import remote, remote_aside
from faregate.stores.ledger.moves import COMPLETED, GRANTED, Standing, Teller
from faregate.stores.ledger.protocol import LedgerError
from faregate.stores.ledger.remote_session import OTHER_KEY
from tests.stores.ledger.conformance import asks, new
from tests.stores.ledger.scripted import Store, StoreLedger, StoreSession, on, until
from tests.support.ledger_bench import claim, settle

SECRET = "hunter2"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "TELL_S", 0.5)
    monkeypatch.setattr(remote, "BACK_OFF_FIRST_S", 0.005)
    monkeypatch.setattr(remote, "BACK_OFF_MOST_S", 0.02)
    monkeypatch.setattr(remote, "RENEW_S", 0.02)
    monkeypatch.setattr(remote_aside, "PAUSE_S", 0.01)


def written(caplog: pytest.LogCaptureFixture, what: str) -> str:
    """The lines on ``what``; none holds a secret."""
    assert SECRET not in caplog.text
    lines = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert any(line.startswith(f"{what} failed") and "ValueError" in line for line in lines), lines
    return "\n".join(lines)


def test_a_connection_that_fails_as_nobody_foresaw_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        store = Store()
        store.fault = ValueError(f"redis://:{SECRET}@host")
        ledger = StoreLedger(store)
        await ledger.start()
        try:
            assert ledger.away == "store_error"
            assert ledger.why_away == "no connection could be made (ValueError)"
            with pytest.raises(LedgerError, match="no connection could be made"):
                await ledger.entry(new())
            store.fault = None
            await until(lambda: not ledger.away)
            assert (await claim(ledger, asks(new(), new()))).kind == GRANTED
        finally:
            await ledger.close()

    uvloop.run(run())
    assert "scripted.py" in written(caplog, "a connection to the ledger"), "where it was"


def test_a_keeper_that_meets_what_nobody_foresaw_goes_on(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(store: Store, ledger: StoreLedger) -> None:
        faults = [ValueError(SECRET), ValueError(SECRET)]

        async def renew() -> None:
            if faults:
                raise faults.pop()
            store.renewed.append(b"again")

        monkeypatch.setattr(ledger, "renew", renew)
        await until(lambda: bool(store.renewed))

    on(test)
    written(caplog, "the ledger's keeper")


def test_a_lane_whose_connection_cannot_even_be_closed_goes_on(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    closes = [ValueError(SECRET)]
    close = StoreSession.close

    async def broken(session: StoreSession) -> None:
        if closes:
            raise closes.pop()
        await close(session)

    monkeypatch.setattr(StoreSession, "close", broken)

    async def test(store: Store, ledger: StoreLedger) -> None:
        store.script = ["refuse"]
        assert (await claim(ledger, asks(new(), new()))).kind == GRANTED
        assert not closes

    on(test)
    written(caplog, "a connection of the ledger")


def test_a_call_that_fails_when_it_is_told_takes_no_other_with_it(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Teller):
        def ledger_told(self, standing: Standing) -> None:
            raise ValueError(SECRET)

    async def test(store: Store, ledger: StoreLedger) -> None:
        key, attempt = new(), new()
        assert (await claim(ledger, asks(key, attempt))).kind == GRANTED
        ledger.settle(new(), new(), COMPLETED, b"", Broken())
        assert (await asyncio.wait_for(settle(ledger, key, attempt, COMPLETED), 2)).kind
        assert ledger._backlog.kept == 0

    on(test)
    written(caplog, "a call that the ledger told")


def test_calls_of_another_lookup_key_are_not_asked_about() -> None:
    async def test(store: Store, ledger: StoreLedger) -> None:
        store.unfit = OTHER_KEY
        await ledger.check()
        assert await ledger.due(10) == []
        store.unfit = "store_evicts"
        await ledger.check()
        with pytest.raises(NotImplementedError):  # a script knows of none: it was asked
            await ledger.due(10)

    on(test)


def test_a_store_that_is_unfit_says_why_in_words() -> None:
    async def test(store: Store, ledger: StoreLedger) -> None:
        assert (ledger.away, ledger.why_away) == ("", "")
        store.unfit = "store_evicts"
        await ledger.check()
        assert (ledger.away, ledger.why_away) == ("store_evicts", "unfit in words")

    on(test)
