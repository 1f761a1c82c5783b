"""Whatever a crash leaves of the log: all that was acknowledged is there, and nothing is there that was never asked for.

The tail is cut and flipped at every byte; the power is cut with any of the unsynced sectors written.
"""

import random
from pathlib import Path

import pytest

from faregate.stores.ledger.embedded import records
from faregate.stores.ledger.protocol import COMPLETED, GRANTED, RELEASED, SENT, UNKNOWN, LedgerError
from tests.stores.ledger.embedded.material import FaultyDisk, World, attempt_of, key_of, newest


def standing_after(folder: Path, world: World) -> dict[bytes, tuple[int, bytes, bytes]]:
    """What a new process finds; the folder is put back by whoever asks."""
    again = World.__new__(World)
    again.__dict__.update(world.__dict__)
    again.disk = FaultyDisk()
    again.folder = folder
    again.open()
    try:
        again.check()
        return again.standing()
    finally:
        again.close()


def acknowledged(world: World) -> dict[bytes, tuple[int, bytes, bytes]]:
    """One record of each kind, durable."""
    world.put(1, COMPLETED, answer=b"first answer")
    world.put(2, UNKNOWN)
    world.put(3, SENT)
    world.put(4, RELEASED)
    world.put(5, COMPLETED, answer=b"x" * 300)
    return world.standing()


def test_every_byte_cut_from_the_tail_and_every_byte_flipped_in_it(tmp_path: Path) -> None:
    world = World(tmp_path / "ledger")
    expected = acknowledged(world)
    end = world.book.log.active.used
    world.claim(key_of(6), attempt_of(6), commit=False)  # the batch that the crash tears
    world.book.settle(key_of(3), attempt_of(3), COMPLETED, b"late")
    world.book.log.disk.write(world.book.log.active.descriptor, b"".join(world.book.log._pending), end)
    path = newest(world.folder)
    whole = path.read_bytes()[: world.book.log.active.used]
    world.close()
    sixth = (SENT, attempt_of(6), b"")
    first = end + next(n for n in range(8, len(whole), 8) if whole[end + n + 16 : end + n + 32] == key_of(3))

    def look(content: bytes) -> dict[bytes, tuple[int, bytes, bytes]]:
        for old in world.folder.glob("*"):
            old.unlink()
        path.write_bytes(content)
        return standing_after(world.folder, world)

    for cut in range(end, len(whole)):
        found = look(whole[:cut])
        assert found == (expected if cut < first else {**expected, key_of(6): sixth}), cut
        if cut % 16 == 0:
            found = look(whole[:cut] + bytes(4_096))  # as it lies in a file whose room was taken ahead
            assert found == (expected if cut < first else {**expected, key_of(6): sixth}), cut
    for at in range(end, len(whole)):
        broken = bytearray(whole)
        broken[at] ^= 0x40
        found = look(bytes(broken))
        assert found == (expected if at < first else {**expected, key_of(6): sixth}), at
    assert look(whole) == {**expected, key_of(6): sixth, key_of(3): (COMPLETED, attempt_of(3), b"late")}


def test_what_was_cut_off_is_not_found_again_by_a_later_start(tmp_path: Path) -> None:
    world = World(tmp_path / "ledger")
    world.put(1)
    end = world.book.log.active.used
    for number in (2, 3):
        world.claim(key_of(number), attempt_of(number), commit=False)
    world.book.log.disk.write(world.book.log.active.descriptor, b"".join(world.book.log._pending), end)
    path = newest(world.folder)
    world.close()
    content = bytearray(path.read_bytes())
    content[end + 20] ^= 1  # the second record of the batch stands whole behind it
    path.write_bytes(content)
    world.disk = FaultyDisk()
    world.open()
    assert set(world.standing()) == {key_of(1)}
    world.put(4, SENT)  # as long as the one that was torn
    world.again()
    assert set(world.standing()) == {key_of(1), key_of(4)}
    world.close()


def test_what_a_crash_tore_is_looked_through_but_not_the_room_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls wait for a start; the room of a file is 32 MiB, where each eighth byte could begin a record."""
    world = World(tmp_path / "ledger")
    world.put(1)
    end = world.book.log.active.used
    path = newest(world.folder)
    world.close()
    looked = 0

    def counted(data: bytes, at: int, number: int, offset: int) -> int:
        nonlocal looked
        looked += 1
        return length_at(data, at, number, offset)

    with path.open("r+b") as file:
        file.truncate(32 << 20)
        file.seek(end)
        file.write(b"torn" * 100)
    length_at = records.length_at
    monkeypatch.setattr(records, "length_at", counted)
    world.disk = FaultyDisk()
    world.open()
    assert looked < 200
    assert set(world.standing()) == {key_of(1)}
    world.close()


def test_a_record_that_ends_in_zeros_is_told_from_the_room_behind_it(tmp_path: Path) -> None:
    world = World(tmp_path / "ledger")
    world.put(1, answer=bytes(80 << 10))
    expected = world.standing()
    world.again()
    assert world.standing() == expected
    world.close()


def test_damage_in_what_was_acknowledged_is_told_from_a_crash(tmp_path: Path) -> None:
    world = World(tmp_path / "ledger")
    acknowledged(world)
    path = newest(world.folder)
    used = world.book.log.active.used
    last = world.book.opens[key_of(3)[0]][key_of(3)]
    offset = (last.place & ((1 << 23) - 1)) << 3
    world.close()
    content = path.read_bytes()[:used]
    for at in (3, 150, offset + 20):
        broken = bytearray(content)
        broken[at] ^= 1
        path.write_bytes(broken)
        with pytest.raises(LedgerError, match=rf"{path.name} is damaged at byte"):
            world.open()
        assert path.read_bytes() == bytes(broken), "nothing was changed"


def test_a_broken_record_in_an_older_file_names_the_file_and_the_byte(tmp_path: Path) -> None:
    world = World(tmp_path / "ledger")
    acknowledged(world)
    path = newest(world.folder)
    world.again()
    world.put(7)
    world.close()
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    with pytest.raises(LedgerError, match=rf"{path.name} is damaged at byte \d+; nothing was changed"):
        world.open()


@pytest.mark.parametrize("seed", range(40))
def test_the_power_cut_at_any_moment_loses_nothing_that_was_acknowledged(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    disk = FaultyDisk()
    world = World(tmp_path / "ledger", disk=disk)
    world.book.log.segment_bytes = 16 << 10  # many files
    told: dict[int, tuple[int, int]] = {}  # number -> state and turn that were acknowledged
    asked: dict[int, set[tuple[int, int]]] = {}  # what may have come of what was not
    for _ in range(3):
        for turn in range(chance.randrange(1, 60)):
            batch: dict[int, tuple[int, int]] = {}
            for _ in range(chance.randrange(1, 6)):
                number = chance.randrange(12)
                move(world, chance, number, turn, batch, asked)
            if chance.random() < 0.9:
                assert world.book.log.commit()
                world.cleaner.step()
                assert world.book.log.commit()
                told.update(batch)
                for number in batch:
                    asked[number] = set()
        disk.power_cut(chance)
        disk = world.disk = FaultyDisk()
        world.open()
        world.book.log.segment_bytes = 16 << 10
        world.check()
        found = {key: state for key, (state, _, _) in world.standing().items()}
        for number in range(12):
            state = found.get(key_of(number), RELEASED)
            possible = {told.get(number, (RELEASED, 0)), *asked.get(number, set())}
            assert state in {each for each, _ in possible}, (number, state, possible)
            told[number], asked[number] = (state, 0), set()
    world.close()


def move(
    world: World, chance: random.Random, number: int, turn: int,
    batch: dict[int, tuple[int, int]], asked: dict[int, set[tuple[int, int]]],
) -> None:  # fmt: skip
    """One move of a key, as far as its state allows it."""
    key = key_of(number)
    record = world.book.opens[key[0]].get(key)
    if record is None:
        if key in world.book.kept[key[0]]:
            return
        attempt = chance.randbytes(16)
        assert world.book.claim(world.owner, key, attempt, b"f" * 32, 3_600, b"about", True, True) == GRANTED
        state = SENT
    else:
        state = chance.choice((COMPLETED, RELEASED, UNKNOWN))
        world.book.settle(key, record.attempt, state, chance.randbytes(chance.randrange(900)))
    batch[number] = (state, turn)
    asked.setdefault(number, set()).add((state, turn))
