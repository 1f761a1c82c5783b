"""A full disk and a broken one: nothing is told as done that is not, and what can go on does."""

import errno
from pathlib import Path

from faregate.stores.ledger.embedded.disk import Disk
from faregate.stores.ledger.protocol import COMPLETED, DONE, GRANTED, SENT, UNAVAILABLE
from tests.stores.ledger.embedded.material import FaultyDisk, World, attempt_of, key_of


def test_a_disk_that_is_full_refuses_claims_and_still_settles_what_is_in_flight(tmp_path: Path) -> None:
    disk = FaultyDisk()
    world = World(tmp_path / "ledger", disk=disk)
    world.put(1, SENT)
    disk.room = 0
    log = world.book.log
    number = 2
    while not log.full:
        world.put(number, COMPLETED, answer=bytes(70_000))
        log.prepare()
        number += 1
        assert number < 100
    assert (
        world.book.claim(world.owner, key_of(900), attempt_of(1), b"f" * 32, 60, b"", True, True)
        == UNAVAILABLE
    )
    assert world.book.told_reason == "ledger_full"
    assert world.settle(key_of(1), attempt_of(1), COMPLETED, b"late") == DONE
    disk.room = None
    log.prepare()
    assert not log.full
    assert world.claim(key_of(900), attempt_of(1)) == GRANTED
    world.again()
    assert world.standing()[key_of(1)] == (COMPLETED, attempt_of(1), b"late")
    world.close()


def test_a_write_that_finds_no_room_is_written_again_at_the_same_place(tmp_path: Path) -> None:
    disk = FaultyDisk()
    world = World(tmp_path / "ledger", disk=disk)
    world.put(1, SENT)
    world.put(2, SENT)
    log = world.book.log
    for number, fault in ((1, "fails"), (2, "fails_sync")):
        setattr(disk, fault, errno.ENOSPC)
        world.book.settle(key_of(number), attempt_of(number), COMPLETED, b"answer")
        assert not log.commit()
        assert log.full
        assert not log.failed
        assert (
            world.book.claim(world.owner, key_of(5), attempt_of(1), b"f" * 32, 60, b"", True, True)
            == UNAVAILABLE
        )
        assert not log.commit()
        setattr(disk, fault, 0)
        assert log.commit()
    world.again()
    assert world.standing() == {
        key_of(number): (COMPLETED, attempt_of(number), b"answer") for number in (1, 2)
    }
    world.close()


def test_what_waits_for_room_can_be_read(tmp_path: Path) -> None:
    disk = FaultyDisk()
    world = World(tmp_path / "ledger", disk=disk)
    world.put(1, SENT)
    disk.fails = errno.EDQUOT
    world.book.settle(key_of(1), attempt_of(1), COMPLETED, b"answer")
    assert not world.book.log.commit()
    assert world.standing() == {key_of(1): (COMPLETED, attempt_of(1), b"answer")}
    disk.fails = 0
    world.close()


def test_a_sync_that_fails_is_the_end_of_trust(tmp_path: Path) -> None:
    for fault in ("fails", "fails_sync"):
        disk = FaultyDisk()
        world = World(tmp_path / fault, disk=disk)
        world.put(1, SENT)
        setattr(disk, fault, errno.EIO)
        world.book.settle(key_of(1), attempt_of(1), COMPLETED, b"answer")
        assert not world.book.log.commit()
        assert "Input/output error" in world.book.log.failed
        setattr(disk, fault, 0)
        assert not world.book.log.commit(), "it is never tried again"
        assert (
            world.book.claim(world.owner, key_of(2), attempt_of(2), b"f" * 32, 60, b"", True, True)
            == UNAVAILABLE
        )
        assert world.book.settle(key_of(1), attempt_of(1), COMPLETED, b"answer") != GRANTED
        assert world.cleaner.step() is False
        world.close()


def test_the_machines_own_disk_takes_room_ahead_and_leaves_nothing_when_it_cannot(tmp_path: Path) -> None:
    disk = Disk()
    path = tmp_path / "one.log"
    descriptor = disk.create(path, 1 << 20)
    assert path.stat().st_size == 1 << 20
    assert path.stat().st_blocks * 512 >= 1 << 20
    assert path.stat().st_mode & 0o777 == 0o600
    disk.write(descriptor, b"abc", 10)
    disk.sync(descriptor)
    assert disk.read(descriptor, 5, 9) == b"\0abc\0"
    disk.cut(descriptor, 12)
    assert disk.size(descriptor) == 12
    disk.close(descriptor)
    try:
        disk.create(tmp_path / "two.log", 1 << 62)
    except OSError:
        assert not (tmp_path / "two.log").exists()
    else:
        raise AssertionError
