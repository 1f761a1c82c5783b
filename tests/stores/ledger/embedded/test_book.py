"""The book beside the model that all stores are held to, move by move, with time, new starts and cleaning between."""

import random
from pathlib import Path

import pytest

from faregate.stores.ledger.embedded.asking import Ask, answered, figures
from faregate.stores.ledger.protocol import (
    COMPLETED,
    DONE,
    GRANTED,
    IN_FLIGHT,
    LEASE_S,
    RELEASED,
    REPLAY,
    SENT,
    UNKNOWN,
    Claim,
    Entry,
)
from tests.stores.ledger.embedded.material import World, attempt_of, key_of
from tests.support.model_ledger import ModelBook, Owner

KEYS = 9
ATTEMPTS = 4


def clock_of(world: World):
    return lambda: world.clock.now_ms / 1000


@pytest.mark.parametrize("seed", range(16))
def test_it_does_what_the_model_does(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    world = World(tmp_path / "ledger")
    world.book.log.segment_bytes = 8 << 10
    model, owner = ModelBook(clock_of(world)), Owner()
    for turn in range(600):
        key, attempt = key_of(chance.randrange(KEYS)), attempt_of(chance.randrange(ATTEMPTS))
        book, what = world.book, chance.randrange(12)
        if what < 4:
            sends, fingerprint = chance.random() < 0.6, chance.choice((b"f", b"f", b"g")) * 32
            told = model.claim(
                Claim(key, attempt, fingerprint, 60 + chance.randrange(200), b"about", sends, True), owner
            )
            keep_s = model.records[key].keep_s
            kind = book.claim(world.owner, key, attempt, fingerprint, keep_s, b"about", sends, True)
            assert kind == told.kind, (turn, kind, told.kind)
            if kind != GRANTED:
                assert book.told_attempt == told.attempt
                assert book.told_age_ms / 1000 == pytest.approx(told.age_s, abs=0.002)
            if kind == REPLAY:
                assert book.told_answer == told.answer
        elif what == 4:
            assert book.mark_sent(world.owner, key, attempt) == model.mark_sent(key, attempt).kind, turn
        elif what < 8:
            state, answer = chance.choice((COMPLETED, COMPLETED, RELEASED, UNKNOWN)), chance.randbytes(300)
            told = model.settle(key, attempt, state, answer)
            assert book.settle(key, attempt, state, answer) == told.kind, turn
        elif what == 8:
            state = chance.choice((COMPLETED, RELEASED))
            verdict = model.decide(key, attempt, state, b"found", "anna", "seen")
            assert (book.decide(key, attempt, state, b"found", "anna", "seen") == DONE) == verdict, turn
        elif what == 9:
            expected = [entry.key for entry in model.due(2)]
            assert [record.key for record in book.due(2)] == expected, turn
        elif what == 10:
            model.defer(key, attempt, 5.0)
            book.defer(key, attempt, 5.0)
        else:
            world.advance(chance.choice((0.5, 3.0, 20.0, 70.0)))
        assert book.log.commit()
        if chance.random() < 0.3:
            world.cleaner.step()
        if turn % 40 == 39:
            world.work()
            world.check()
        if turn % 100 == 99:
            world.again()
            world.book.log.segment_bytes = 8 << 10
            for record in world.book.unknown.values():
                record.due_ms = round(model.records[record.key].due_at * 1000)  # a loan is not written down
            world.book._due = sorted((record.due_ms, key) for key, record in world.book.unknown.items())
        compare(world, model)
    world.close()


def compare(world: World, model: ModelBook) -> None:
    """The whole of it, as people see it."""
    expected = model.standing()
    found: list[Entry] = answered(world.book, Ask("entries", states=[1, 2, 3, 5], most=50))  # type: ignore[assignment]
    assert [entry.key for entry in found] == sorted(expected)
    for entry in found:
        record = expected[entry.key]
        assert (entry.state, entry.attempt, entry.about, entry.tries) == (
            record.state,
            record.attempt,
            record.about,
            record.tries,
        )
        whole: Entry = answered(world.book, Ask("entry", entry.key))  # type: ignore[assignment]
        assert whole.answer == record.answer
    numbers = figures(world.book)
    assert numbers.unknown == sum(record.state == UNKNOWN for record in expected.values())
    assert numbers.in_flight == sum(record.state in {1, SENT} for record in expected.values())


def test_an_owner_who_is_gone_leaves_what_he_claimed_free_and_what_he_sent_unknown(tmp_path: Path) -> None:
    world = World(tmp_path / "ledger")
    world.claim(key_of(1), attempt_of(1), sends=False)
    world.claim(key_of(2), attempt_of(2), sends=True)
    world.put(3, COMPLETED)
    world.book.away(world.owner, 0)
    world.book.settle_gone()
    assert world.book.log.commit()
    assert {key: state for key, (state, _, _) in world.standing().items()} == {
        key_of(2): UNKNOWN,
        key_of(3): COMPLETED,
    }
    world.check()
    assert world.book.settle(key_of(2), attempt_of(2), COMPLETED, b"late") == DONE
    world.close()


def test_after_a_start_owners_have_a_lease_to_come_back_and_take_up_what_is_theirs(tmp_path: Path) -> None:
    world = World(tmp_path / "ledger")
    other = world.book.here(b"worker 2")
    world.claim(key_of(1), attempt_of(1))
    world.book.claim(other, key_of(2), attempt_of(2), b"f" * 32, 60, b"", False, True)
    world.book.claim(other, key_of(3), attempt_of(3), b"f" * 32, 60, b"", True, True)
    assert world.book.log.commit()
    world.again()  # World says that worker 1 is here
    for seconds, state in ((LEASE_S - 1.0, SENT), (2.0, UNKNOWN)):
        world.advance(seconds)
        world.book.settle_gone()
        assert world.book.log.commit()
        assert world.standing()[key_of(3)][0] == state
        assert (key_of(2) in world.standing()) == (state == SENT)
        assert world.standing()[key_of(1)][0] == SENT
    assert b"worker 2" not in world.book.owners
    world.close()


def test_unknown_never_expires_and_completed_does_to_the_second(tmp_path: Path) -> None:
    world = World(tmp_path / "ledger")
    world.put(1, UNKNOWN, keep_s=60)
    world.put(2, COMPLETED, keep_s=60)
    world.advance(59.9)
    assert world.book.claim(world.owner, key_of(2), attempt_of(9), b"f" * 32, 60, b"", True, True) == REPLAY
    world.advance(0.1)
    assert set(world.standing()) == {key_of(1)}
    assert world.claim(key_of(2), attempt_of(9)) == GRANTED
    world.advance(400 * 86_400)
    world.work()
    world.check()
    assert world.standing()[key_of(1)][0] == UNKNOWN
    assert world.claim(key_of(2), attempt_of(8)) == IN_FLIGHT
    world.close()


def test_a_key_lives_on_when_the_wall_clock_jumps_over_starts_and_boots(tmp_path: Path) -> None:
    world = World(tmp_path / "ledger")
    world.put(1, COMPLETED, keep_s=86_400)
    world.clocks.wall_ms += 30 * 86_400_000
    world.again()
    assert set(world.standing()) == {key_of(1)}
    world.clocks.reboot(b"B" * 16, 300 * 86_400)
    world.again()
    assert set(world.standing()) == {key_of(1)}, "an hour at most is believed"
    world.clocks.reboot(b"C" * 16, -900 * 86_400)
    world.again()
    assert set(world.standing()) == {key_of(1)}
    world.advance(86_400)
    assert not world.standing()
    world.close()


def test_the_oldest_unknown_is_the_one_that_was_first_also_after_cleaning_and_a_start(tmp_path: Path) -> None:
    world = World(tmp_path / "ledger")
    for number in range(5):
        world.put(number, UNKNOWN)
        world.advance(10)
        world.again()
    world.book.defer(key_of(0), attempt_of(0), 3.0)
    assert world.book.log.commit()
    world.again()
    assert figures(world.book).oldest_unknown_s == 50.0
    assert list(world.book.unknown) == [key_of(number) for number in range(5)]
    world.close()


def test_what_a_person_decided_is_told_with_who_and_why(tmp_path: Path) -> None:
    world = World(tmp_path / "ledger")
    world.put(1, UNKNOWN)
    assert (
        answered(world.book, Ask("decide", key_of(1), attempt_of(2), COMPLETED, b"x", "anna", "bank says so"))
        is False
    )
    assert (
        answered(world.book, Ask("decide", key_of(1), attempt_of(1), COMPLETED, b"x", "anna", "bank says so"))
        is True
    )
    assert world.book.log.commit()
    world.again()
    entry = answered(world.book, Ask("entry", key_of(1)))
    assert isinstance(entry, Entry)
    assert (entry.by, entry.note, entry.answer, entry.about) == (
        "anna",
        "bank says so",
        b"x",
        b"about " + key_of(1),
    )
    assert entry.changed_at == world.clocks.wall_ms / 1000
    assert entry.expires_at == entry.changed_at + 3_600
    world.close()
