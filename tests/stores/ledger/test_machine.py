"""Any sequence of moves gives in every store what it gives in the model: two workers, three keys, time in steps."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import ClassVar, TypeVar

import pytest
import uvloop
from hypothesis import HealthCheck, settings, stateful
from hypothesis import strategies as st

from faregate.stores.ledger.moves import (
    CLAIMED,
    COMPLETED,
    GRANTED,
    LEASE_S,
    RELEASED,
    SENT,
    UNKNOWN,
    Claim,
    Standing,
)
from faregate.stores.ledger.protocol import Entry, Ledger
from tests.support.ledger_bench import Bench, ModelBench, claim, mark, settle

T = TypeVar("T")
WORKERS = st.integers(0, 1)
KEYS = st.integers(0, 2)
ALL = (CLAIMED, SENT, COMPLETED, UNKNOWN)


def seen(standing: Standing) -> tuple[int, bytes, bytes]:
    return standing.kind, standing.attempt, standing.answer


def shown(entries: list[Entry]) -> list[tuple[object, ...]]:
    """Without the times, which two stores cannot have in common."""
    return [(*entry[:5], entry.expires_at > 0, *entry[7:]) for entry in sorted(entries)]


class Machine(stateful.RuleBasedStateMachine):
    """``make``: an empty bench on the store, in the running loop."""

    make: ClassVar[Callable[[], Bench]]

    def __init__(self) -> None:
        super().__init__()
        self._loop = uvloop.new_event_loop()
        asyncio.set_event_loop(self._loop)
        self._benches = self._run(self._both())
        self._workers: list[tuple[Ledger, ...]] = [self._hire(), self._hire()]
        self._random = random.Random(7)
        self._open: dict[bytes, tuple[int, Claim]] = {}
        """Attempts that were granted and not settled since: whose they are."""
        self._last: list[Claim] = []
        """The latest that were granted."""

    async def _both(self) -> tuple[Bench, ...]:
        return ModelBench(), type(self).make()

    def _run(self, work: Coroutine[object, object, T]) -> T:
        return self._loop.run_until_complete(work)

    def _hire(self) -> tuple[Ledger, ...]:
        return tuple(self._run(bench.worker()) for bench in self._benches)

    def _same(self, ask: Callable[[Ledger], Coroutine[object, object, T]], worker: int) -> T:
        """Asks both; they must say the same."""
        model, store = (self._run(ask(ledger)) for ledger in self._workers[worker])
        assert store == model, f"the store said {store}, the model {model}"
        return store

    @stateful.rule(worker=WORKERS, key=KEYS, same=st.booleans(), sends=st.booleans(), resolves=st.booleans())
    def claims(self, worker: int, key: int, same: bool, sends: bool, resolves: bool) -> None:
        attempt = self._random.randbytes(16)
        asked = Claim(bytes([key]) * 16, attempt, (b"f" if same else b"g") * 32, 70, attempt, sends, resolves)

        async def ask(ledger: Ledger) -> tuple[int, bytes, bytes]:
            return seen(await claim(ledger, asked))

        if self._same(ask, worker)[0] == GRANTED:
            self._open[attempt] = (worker, asked)
            self._last = [*self._last, asked][-6:]

    @stateful.precondition(lambda self: self._open)
    @stateful.rule(data=st.data())
    def claims_again(self, data: st.DataObject) -> None:
        worker, asked = self._open[data.draw(st.sampled_from(sorted(self._open)))]

        async def ask(ledger: Ledger) -> tuple[int, bytes, bytes]:
            return seen(await claim(ledger, asked))

        self._same(ask, worker)

    @stateful.precondition(lambda self: self._last)
    @stateful.rule(data=st.data())
    def marks(self, data: st.DataObject) -> None:
        asked = data.draw(st.sampled_from(self._last))
        worker = self._open.get(asked.attempt, (0, asked))[0]

        async def ask(ledger: Ledger) -> tuple[int, bytes, bytes]:
            return seen(await mark(ledger, asked.key, asked.attempt))

        self._same(ask, worker)

    @stateful.precondition(lambda self: self._last)
    @stateful.rule(
        data=st.data(), state=st.sampled_from((COMPLETED, RELEASED, UNKNOWN)), answer=st.binary(max_size=9)
    )
    def settles(self, data: st.DataObject, state: int, answer: bytes) -> None:
        asked = data.draw(st.sampled_from(self._last))
        worker, _ = self._open.pop(asked.attempt, (0, asked))

        async def ask(ledger: Ledger) -> tuple[int, bytes, bytes]:
            return seen(
                await settle(ledger, asked.key, asked.attempt, state, answer if state == COMPLETED else b"")
            )

        self._same(ask, worker)

    @stateful.rule(worker=WORKERS, after_s=st.sampled_from((3.0, 51.0)), defers=st.booleans())
    def asks_what_is_due(self, worker: int, after_s: float, defers: bool) -> None:
        async def ask(ledger: Ledger) -> list[tuple[object, ...]]:
            return shown(await ledger.due(10))

        for entry in self._same(ask, worker):
            if defers:

                async def defer(ledger: Ledger, entry: tuple[object, ...] = entry) -> None:
                    await ledger.defer(entry[0], entry[1], after_s)  # type: ignore[arg-type]

                self._same(defer, worker)

    @stateful.precondition(lambda self: self._last)
    @stateful.rule(data=st.data(), worker=WORKERS, state=st.sampled_from((COMPLETED, RELEASED)))
    def decides(self, data: st.DataObject, worker: int, state: int) -> None:
        asked = data.draw(st.sampled_from(self._last))

        async def ask(ledger: Ledger) -> bool:
            return await ledger.decide(asked.key, asked.attempt, state, b"decided", "ana", "why")

        if self._same(ask, worker):
            self._open.pop(asked.attempt, None)

    @stateful.rule(seconds=st.sampled_from((4, 20, 100)))
    def time_goes_on(self, seconds: int) -> None:
        for bench in self._benches:
            self._run(bench.advance(seconds))

    @stateful.rule(worker=WORKERS)
    def a_worker_is_killed(self, worker: int) -> None:
        for bench, ledger in zip(self._benches, self._workers[worker], strict=True):
            self._run(bench.abandon(ledger))
        self.time_goes_on(LEASE_S + 1)
        self._workers[worker] = self._hire()
        self._open = {attempt: held for attempt, held in self._open.items() if held[0] != worker}

    @stateful.invariant()
    def the_records_are_the_same(self) -> None:
        async def ask(ledger: Ledger) -> list[tuple[object, ...]]:
            alone = await ledger.entry(b"\0" * 16)
            listed = await ledger.entries(ALL, b"", 10)
            assert [entry.key for entry in listed] == sorted(entry.key for entry in listed)
            return shown(listed if alone is None else [*listed, alone])

        self._same(ask, 0)

    def teardown(self) -> None:
        for bench in self._benches:
            self._run(bench.close())
        asyncio.set_event_loop(None)
        self._loop.close()


@pytest.mark.parametrize(("store", "examples"), [("embedded", 6), ("redis", 10), ("postgresql", 5)])
def test_every_store_is_the_model(store: str, examples: int, make_bench: Callable[[int], Bench]) -> None:
    made = iter(range(1_000_000))

    class OfStore(Machine):
        make = staticmethod(lambda: make_bench(next(made)))  # type: ignore[assignment]

    stateful.run_state_machine_as_test(
        OfStore,
        settings=settings(
            max_examples=examples, stateful_step_count=30, deadline=None, database=None, derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip
