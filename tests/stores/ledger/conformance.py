"""What every ledger does, whichever store keeps it: payments.md 3.3 and 3.5, row by row.

Each function here takes a bench and is run against every store by ``test_conformance``. None looks at how a
store does it.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Final

from faregate.stores.ledger.moves import (
    ABOUT_BYTES_MAX,
    ANSWER_BYTES_MAX,
    CLAIMED,
    COMPLETED,
    DONE,
    GRANTED,
    IN_FLIGHT,
    LEASE_S,
    LOST,
    MISMATCH,
    OPEN,
    RELEASED,
    REPLAY,
    SENT,
    UNKNOWN,
    Claim,
)
from faregate.stores.ledger.protocol import Ledger
from tests.support.ledger_bench import Bench, claim, mark, settle

KEEP_S: Final = 3_600
DAY_S: Final = 86_400.0


def asks(
    key: bytes, attempt: bytes, *, sends: bool = True, fingerprint: bytes = b"f" * 32, about: bytes = b"about",
    resolves: bool = True, keep_s: int = KEEP_S,
) -> Claim:  # fmt: skip
    return Claim(key, attempt, fingerprint, keep_s, about, sends, resolves)


def new() -> bytes:
    return os.urandom(16)


async def put(
    ledger: Ledger, state: int, key: bytes, attempt: bytes, answer: bytes = b"answer", **more: bool
) -> None:
    """Brings a record into ``state``."""
    assert (await claim(ledger, asks(key, attempt, sends=state != CLAIMED, **more))).kind == GRANTED
    if state not in {CLAIMED, SENT}:
        kept = answer if state == COMPLETED else b""
        assert (await settle(ledger, key, attempt, state, kept)).kind == DONE


async def what_is_absent_is_granted_and_granted_again_to_the_same_attempt(bench: Bench) -> None:
    ledger = await bench.worker()
    for sends, state in ((False, CLAIMED), (True, SENT)):
        key, attempt = new(), new()
        for _ in range(3):
            assert (await claim(ledger, asks(key, attempt, sends=sends))).kind == GRANTED
        entry = await ledger.entry(key)
        assert entry is not None
        assert (entry.state, entry.attempt, entry.about) == (state, attempt, b"about")
        assert (await claim(ledger, asks(key, attempt, sends=True))).kind == GRANTED
        assert (await claim(ledger, asks(key, new()))).kind == IN_FLIGHT


async def each_state_answers_the_same_and_another_request(bench: Bench) -> None:
    ledger = await bench.worker()
    table = (
        (CLAIMED, IN_FLIGHT, MISMATCH), (SENT, IN_FLIGHT, MISMATCH), (COMPLETED, REPLAY, MISMATCH),
        (UNKNOWN, OPEN, MISMATCH), (RELEASED, GRANTED, GRANTED),
    )  # fmt: skip
    for state, same, other in table:
        for fingerprint, kind in ((b"f" * 32, same), (b"g" * 32, other)):
            key, attempt = new(), new()
            await put(ledger, state, key, attempt)
            told = await claim(ledger, asks(key, new(), fingerprint=fingerprint))
            assert told.kind == kind, (state, fingerprint, told.kind)
            assert told.attempt == (b"" if kind == GRANTED else attempt)
            assert told.answer == (b"answer" if kind == REPLAY else b"")
            assert 0.0 <= told.age_s < 60.0


async def what_others_hold_is_seen_by_every_worker(bench: Bench) -> None:
    one, two = await bench.worker(), await bench.worker()
    key, attempt = new(), new()
    await put(one, SENT, key, attempt)
    assert (await claim(two, asks(key, new()))).kind == IN_FLIGHT
    assert (await settle(one, key, attempt, COMPLETED, b"the answer")).kind == DONE
    told = await claim(two, asks(key, new()))
    assert (told.kind, told.attempt, told.answer) == (REPLAY, attempt, b"the answer")


async def one_of_many_who_claim_at_once_is_granted(bench: Bench) -> None:
    workers = [await bench.worker(), await bench.worker()]
    for _ in range(5):
        key = new()
        attempts = [new() for _ in range(40)]
        told = await asyncio.gather(
            *(claim(workers[turn % 2], asks(key, attempt)) for turn, attempt in enumerate(attempts))
        )
        granted = [attempt for attempt, each in zip(attempts, told, strict=True) if each.kind == GRANTED]
        assert len(granted) == 1
        assert {each.kind for each in told} == {GRANTED, IN_FLIGHT}
        assert {each.attempt for each in told if each.kind == IN_FLIGHT} == set(granted)


async def a_mark_makes_it_sent_once_and_for_its_attempt_alone(bench: Bench) -> None:
    ledger = await bench.worker()
    key, attempt = new(), new()
    await put(ledger, CLAIMED, key, attempt)
    assert (await mark(ledger, key, new())).kind == LOST
    assert (await mark(ledger, key, attempt)).kind == DONE
    assert (await mark(ledger, key, attempt)).kind == DONE
    entry = await ledger.entry(key)
    assert entry is not None
    assert entry.state == SENT
    for state in (COMPLETED, RELEASED, UNKNOWN):
        assert (await settle(ledger, key, attempt, UNKNOWN)).kind == DONE
        assert (await settle(ledger, key, attempt, state)).kind == DONE
        assert (await mark(ledger, key, attempt)).kind == LOST
        key, attempt = new(), new()
        await put(ledger, SENT, key, attempt)


async def a_settlement_is_done_again_and_never_another_s(bench: Bench) -> None:
    ledger = await bench.worker()
    # settled as, then asked for: what is told, and how the record stands
    table = (
        (COMPLETED, COMPLETED, DONE, COMPLETED), (COMPLETED, UNKNOWN, LOST, COMPLETED),
        (COMPLETED, RELEASED, LOST, COMPLETED), (UNKNOWN, UNKNOWN, DONE, UNKNOWN),
        (UNKNOWN, COMPLETED, DONE, COMPLETED), (UNKNOWN, RELEASED, DONE, None), (RELEASED, RELEASED, DONE, None),
        (RELEASED, COMPLETED, LOST, None), (RELEASED, UNKNOWN, LOST, None),
    )  # fmt: skip
    for first, second, kind, left in table:
        key, attempt = new(), new()
        await put(ledger, first, key, attempt)
        assert (
            await settle(ledger, key, attempt, second, b"late" if second == COMPLETED else b"")
        ).kind == kind
        entry = await ledger.entry(key)
        assert (None if entry is None else entry.state) == left, (first, second)
        if first == COMPLETED:  # the first answer stays
            assert entry is not None
            assert entry.answer == b"answer"
    key = new()
    await put(ledger, SENT, key, new())
    for state in (COMPLETED, UNKNOWN, RELEASED):
        assert (await settle(ledger, key, new(), state)).kind == LOST
    entry = await ledger.entry(key)
    assert entry is not None
    assert entry.state == SENT


async def a_claim_whose_owner_is_gone_is_free_and_lost_to_it(bench: Bench) -> None:
    gone, ledger = await bench.worker(), await bench.worker()
    key, attempt, next_attempt = new(), new(), new()
    await put(gone, CLAIMED, key, attempt)
    await bench.abandon(gone)
    await bench.advance(LEASE_S + 1)
    assert await ledger.entry(key) is None
    assert (await claim(ledger, asks(key, next_attempt, fingerprint=b"g" * 32))).kind == GRANTED
    assert (await mark(ledger, key, attempt)).kind == LOST
    for state in (COMPLETED, UNKNOWN, RELEASED):
        assert (await settle(ledger, key, attempt, state)).kind == LOST
    assert (await mark(ledger, key, next_attempt)).kind == DONE


async def what_was_sent_by_one_who_is_gone_is_unknown_and_never_free(bench: Bench) -> None:
    gone, ledger = await bench.worker(), await bench.worker()
    key, attempt = new(), new()
    await put(gone, SENT, key, attempt)
    await bench.abandon(gone)
    await bench.advance(LEASE_S + 1)
    told = await claim(ledger, asks(key, new()))
    assert (told.kind, told.attempt) == (OPEN, attempt)
    assert (await claim(ledger, asks(key, new(), fingerprint=b"g" * 32))).kind == MISMATCH
    assert (await mark(ledger, key, attempt)).kind == LOST
    assert [entry.key for entry in await ledger.entries([UNKNOWN], b"", 10)] == [key]
    await bench.advance(1_000 * DAY_S)
    assert (await claim(ledger, asks(key, new()))).kind == OPEN
    assert [entry.key for entry in await ledger.due(10)] == [key]
    assert (await settle(ledger, key, attempt, COMPLETED, b"late")).kind == DONE  # the same attempt, late
    told = await claim(ledger, asks(key, new()))
    assert (told.kind, told.answer) == (REPLAY, b"late")


async def a_living_owner_keeps_what_it_holds(bench: Bench) -> None:
    owner, other = await bench.worker(), await bench.worker()
    claimed, attempt, sent, sent_by = new(), new(), new(), new()
    await put(owner, CLAIMED, claimed, attempt)
    await put(owner, SENT, sent, sent_by)
    await bench.advance(5 * LEASE_S)
    assert (await claim(other, asks(claimed, new()))).kind == IN_FLIGHT
    assert (await claim(other, asks(sent, new()))).kind == IN_FLIGHT
    assert (await mark(owner, claimed, attempt)).kind == DONE
    assert (await settle(owner, sent, sent_by, COMPLETED, b"")).kind == DONE


async def an_answer_is_kept_for_its_time_and_not_longer(bench: Bench) -> None:
    ledger = await bench.worker()
    key, attempt = new(), new()
    await put(ledger, COMPLETED, key, attempt)
    entry = await ledger.entry(key)
    assert entry is not None
    assert abs(entry.expires_at - entry.changed_at - KEEP_S) < 0.01
    await bench.advance(KEEP_S - 60)
    assert (await claim(ledger, asks(key, new()))).kind == REPLAY
    await bench.advance(61)
    assert await ledger.entry(key) is None
    assert await ledger.entries([COMPLETED], b"", 10) == []
    assert (await settle(ledger, key, attempt, UNKNOWN)).kind == LOST
    assert (await claim(ledger, asks(key, new(), fingerprint=b"g" * 32))).kind == GRANTED


async def a_longer_keep_outlives_a_shorter_one_of_the_same_key(bench: Bench) -> None:
    ledger = await bench.worker()
    key, attempt = new(), new()
    await claim(ledger, asks(key, attempt, keep_s=60))
    await settle(ledger, key, attempt, COMPLETED, b"first")
    await bench.advance(61)
    second = new()
    assert (await claim(ledger, asks(key, second, keep_s=90 * 86_400))).kind == GRANTED
    assert (await settle(ledger, key, second, COMPLETED, b"second")).kind == DONE
    await bench.advance(89 * DAY_S)
    assert (await claim(ledger, asks(key, new()))).answer == b"second"


async def bytes_come_back_as_they_were(bench: Bench) -> None:
    ledger = await bench.worker()
    every = bytes(range(256))
    about = (every * (ABOUT_BYTES_MAX // 256))[:ABOUT_BYTES_MAX]
    answer = every * (ANSWER_BYTES_MAX // 256)
    for key, attempt in (
        (b"\0" * 16, b"\0" * 16),
        (b"\xff" * 16, b"\xff" * 16),
        (b"\r\n" * 8, b"'\"%$\\\t{}" * 2),
    ):
        assert (await claim(ledger, asks(key, attempt, fingerprint=every[:32], about=about))).kind == GRANTED
        assert (await settle(ledger, key, attempt, COMPLETED, answer)).kind == DONE
        told = await claim(ledger, asks(key, new(), fingerprint=every[:32]))
        assert (told.kind, told.answer, told.attempt) == (REPLAY, answer, attempt)
        entry = await ledger.entry(key)
        assert entry is not None
        assert (entry.key, entry.attempt, entry.about, entry.fingerprint, entry.answer) == (
            key, attempt, about, every[:32], answer,
        )  # fmt: skip


async def an_empty_answer_is_a_replay_of_nothing(bench: Bench) -> None:
    ledger = await bench.worker()
    key, attempt = new(), new()
    await put(ledger, COMPLETED, key, attempt, answer=b"")
    told = await claim(ledger, asks(key, new()))
    assert (told.kind, told.answer) == (REPLAY, b"")


async def a_query_is_due_after_a_second_and_then_one_asker_s(bench: Bench) -> None:
    one, two = await bench.worker(), await bench.worker()
    key, attempt, silent = new(), new(), new()
    await put(one, UNKNOWN, key, attempt)
    await put(one, UNKNOWN, silent, new(), resolves=False)
    assert await two.due(10) == []
    await bench.advance(2)
    both = await asyncio.gather(one.due(10), two.due(10))
    assert [entry.key for due in both for entry in due] == [key]
    assert await one.due(10) == []
    await bench.advance(LEASE_S + 1)  # whoever asked said nothing
    (entry,) = await two.due(10)
    assert (entry.key, entry.attempt, entry.tries, entry.resolves, entry.about) == (
        key,
        attempt,
        0,
        True,
        b"about",
    )
    await two.defer(key, attempt, 100.0)
    await bench.advance(90)
    assert await one.due(10) == []
    await bench.advance(20)
    (entry,) = await one.due(10)
    assert entry.tries == 1
    await one.defer(key, new(), 1.0)  # not this attempt's
    entry_now = await one.entry(key)
    assert entry_now is not None
    assert entry_now.tries == 1


async def no_more_are_due_than_asked_for(bench: Bench) -> None:
    ledger = await bench.worker()
    keys = [new() for _ in range(5)]
    for key in keys:
        await put(ledger, UNKNOWN, key, new())
    await bench.advance(2)
    found = [entry.key for most in (2, 2, 2) for entry in await ledger.due(most)]
    assert sorted(found) == sorted(keys)


async def a_verdict_from_outside_settles_the_unknown_alone(bench: Bench) -> None:
    ledger = await bench.worker()
    key, attempt = new(), new()
    await put(ledger, UNKNOWN, key, attempt)
    assert not await ledger.decide(key, new(), COMPLETED, b"", "resolver", "")
    assert await ledger.decide(key, attempt, COMPLETED, b"decided", "ana", "the bank says so: ž")
    entry = await ledger.entry(key)
    assert entry is not None
    assert (entry.state, entry.by, entry.note, entry.answer) == (
        COMPLETED,
        "ana",
        "the bank says so: ž",
        b"decided",
    )
    assert (await claim(ledger, asks(key, new()))).answer == b"decided"
    assert not await ledger.decide(key, attempt, RELEASED, b"", "ana", "again")
    await bench.advance(KEEP_S + 1)
    assert await ledger.entry(key) is None
    for state in (CLAIMED, SENT, COMPLETED, RELEASED):
        key, attempt = new(), new()
        await put(ledger, state, key, attempt)
        assert not await ledger.decide(key, attempt, RELEASED, b"", "ana", "")
    key, attempt = new(), new()
    await put(ledger, UNKNOWN, key, attempt)
    assert await ledger.decide(key, attempt, RELEASED, b"", "resolver", "not found")
    assert (await settle(ledger, key, attempt, COMPLETED, b"late")).kind == LOST
    assert (await claim(ledger, asks(key, new()))).kind == GRANTED
    assert await ledger.due(10) == []


async def records_are_listed_by_key_in_pages(bench: Bench) -> None:
    ledger = await bench.worker()
    by_state: dict[int, list[bytes]] = {}
    for state in (CLAIMED, SENT, COMPLETED, UNKNOWN, RELEASED):
        keys = by_state[state] = [new() for _ in range(7)]
        for key in keys:
            await put(ledger, state, key, new())
    assert await ledger.entries([RELEASED], b"", 10) == []
    for states in ([CLAIMED], [SENT], [COMPLETED], [UNKNOWN], [CLAIMED, SENT, COMPLETED, RELEASED, UNKNOWN]):
        wanted = sorted(key for state in states if state != RELEASED for key in by_state[state])
        found: list[bytes] = []
        while page := await ledger.entries(states, found[-1] if found else b"", 3):
            assert len(page) <= 3
            assert all(entry.state in states and entry.answer == b"" for entry in page)
            found += [entry.key for entry in page]
        assert found == wanted


async def the_figures_count_what_is_there(bench: Bench) -> None:
    ledger = await bench.worker()
    oldest = new()
    await put(ledger, UNKNOWN, oldest, new())
    await bench.advance(100)
    for state in (CLAIMED, SENT, SENT, UNKNOWN, COMPLETED, COMPLETED, COMPLETED, RELEASED):
        await put(ledger, state, new(), new())
    figures = await (await bench.worker()).figures()
    assert (figures.records, figures.in_flight, figures.unknown) == (8, 3, 2)
    assert 99.0 < figures.oldest_unknown_s < 120.0


async def nothing_of_an_expired_key_comes_back(bench: Bench) -> None:
    """A key's next life starts from nothing: tries, verdict and note are not those of the one before."""
    ledger = await bench.worker()
    key, attempt = new(), new()
    await put(ledger, UNKNOWN, key, attempt)
    await ledger.defer(key, attempt, 1.0)
    assert await ledger.decide(key, attempt, COMPLETED, b"a", "ana", "note")
    await bench.advance(KEEP_S + 1)
    await put(ledger, UNKNOWN, key, new())
    entry = await ledger.entry(key)
    assert entry is not None
    assert (entry.tries, entry.by, entry.note, entry.answer, entry.expires_at) == (0, "", "", b"", 0.0)


BEHAVIOURS: Final[tuple[Callable[[Bench], Awaitable[None]], ...]] = (
    what_is_absent_is_granted_and_granted_again_to_the_same_attempt,
    each_state_answers_the_same_and_another_request,
    what_others_hold_is_seen_by_every_worker,
    one_of_many_who_claim_at_once_is_granted,
    a_mark_makes_it_sent_once_and_for_its_attempt_alone,
    a_settlement_is_done_again_and_never_another_s,
    a_claim_whose_owner_is_gone_is_free_and_lost_to_it,
    what_was_sent_by_one_who_is_gone_is_unknown_and_never_free,
    a_living_owner_keeps_what_it_holds,
    an_answer_is_kept_for_its_time_and_not_longer,
    a_longer_keep_outlives_a_shorter_one_of_the_same_key,
    bytes_come_back_as_they_were,
    an_empty_answer_is_a_replay_of_nothing,
    a_query_is_due_after_a_second_and_then_one_asker_s,
    no_more_are_due_than_asked_for,
    a_verdict_from_outside_settles_the_unknown_alone,
    records_are_listed_by_key_in_pages,
    the_figures_count_what_is_there,
    nothing_of_an_expired_key_comes_back,
)
