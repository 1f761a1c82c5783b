"""The file of shared health: one word a target, seen by all, whole at every moment, forgotten when it is old."""

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.stores import health_layout as layout
from faregate.stores.health import STALE_MS, HealthError, HealthTable
from faregate.stores.health_layout import Shared, pack, unpack
from tests.stores.table import DyingMemory, Killed, Lifetime

NOW = 5_000_000
KEY = b"payments\n127.0.0.1:9001"
OTHER = b"payments\n127.0.0.1:9002"


class Tables:
    """Opens views of one file, each as another worker would."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.path = folder / "health.bin"
        self._stack = stack
        self.paused: list[float] = []

    def open(self, now_ms: int = NOW, boot_id: str = "boot-1") -> HealthTable:
        table = HealthTable(self.path, now_ms, boot_id=boot_id, pause=self.paused.append)
        self._stack.callback(table.close)
        return table


@pytest.fixture
def tables(tmp_path: Path) -> Iterator[Tables]:
    with ExitStack() as stack:
        yield Tables(tmp_path, stack)


def place_of(table: HealthTable, key: bytes = KEY, now_ms: int = NOW):
    place = table.claim(key, now_ms)
    assert place is not None
    return place


shared = st.builds(
    Shared,
    st.sampled_from(["", "ejected", "open"]),
    st.booleans(),
    st.booleans(),
    st.integers(0, 7),
    st.integers(0, 2**48 - 1),
    st.integers(0, 511),
)


@given(shared)
def test_a_word_says_what_was_packed(one: Shared) -> None:
    word = pack(one)
    assert 0 <= word < 1 << 64
    assert unpack(word) == one


@pytest.mark.parametrize(
    ("one", "read"),
    [
        (Shared(ejections=99), Shared(ejections=7)),
        (Shared(at_ms=1 << 60), Shared(at_ms=(1 << 48) - 1)),
        (Shared(at_ms=-5), Shared()),
        (Shared(version=513), Shared(version=1)),
    ],
)
def test_what_does_not_fit_is_cut_and_disturbs_nothing_else(one: Shared, read: Shared) -> None:
    assert unpack(pack(one)) == read


@given(st.integers(0, 2**64 - 1))
def test_any_word_can_be_read(word: int) -> None:
    assert unpack(word).out in {"", "ejected", "open"}


def test_what_one_says_the_others_see_and_only_that_is_news(tables: Tables) -> None:
    one, two = tables.open(), tables.open()
    place = place_of(one)
    assert place_of(two) == place
    assert place_of(two, OTHER) != place
    before = two.sequence
    assert two.changed_since(before) == []
    one.write(place, 77)
    assert two.changed_since(before) == [place.slot]
    assert two.read(place) == 77
    assert two.changed_since(two.sequence) == []


def test_who_missed_more_than_the_ring_holds_looks_at_everything(tables: Tables) -> None:
    one, two = tables.open(), tables.open()
    place, before = place_of(one), two.sequence
    for word in range(layout.RING):
        one.write(place, word)
    assert two.changed_since(before) == [place.slot] * layout.RING
    one.write(place, 1)
    assert two.changed_since(before) is None
    assert two.changed_since(two.sequence + 5) is None, "nor is a number trusted that never was"


def test_100_000_targets_have_places(tables: Tables) -> None:
    table = tables.open()
    keys = [b"up\n10.0.%d.%d:80" % divmod(number, 1000) for number in range(100_000)]
    places = [table.claim(key, NOW) for key in keys]
    assert None not in places
    assert len({place.slot for place in places if place}) == len(keys)


def test_a_full_neighbourhood_leaves_a_target_without_a_place(tables: Tables) -> None:
    table = tables.open()
    slot = place_of(table).slot
    for number in range(layout.PROBES):
        word = layout.PAGE_BYTES // 8 + (slot + number) % layout.SLOTS * layout.SLOT_WORDS
        table.words[word + layout.LOW] = 1
        table.words[word + layout.SEEN_MS] = NOW
    assert table.claim(KEY, NOW) is None


def test_a_place_that_nobody_used_for_long_becomes_anothers(tables: Tables) -> None:
    table = tables.open()
    place = place_of(table)
    table.write(place, 9)
    word = layout.PAGE_BYTES // 8 + place.slot * layout.SLOT_WORDS
    table.words[word + layout.LOW] += 2  # another target's, in our way
    assert place_of(table, now_ms=NOW + layout.UNSEEN_MS).slot != place.slot
    table.words[word + layout.LOW + layout.SLOT_WORDS] = 0
    taken = place_of(table, now_ms=NOW + layout.UNSEEN_MS + 1)
    assert taken.slot == place.slot
    assert table.read(taken) == 0, "the former target's state is not said of this one"


def test_who_lost_its_place_reads_that_it_did(tables: Tables) -> None:
    table = tables.open()
    place = place_of(table)
    table.words[layout.PAGE_BYTES // 8 + place.slot * layout.SLOT_WORDS + layout.LOW] += 2
    assert table.read(place) == -1


def test_a_place_in_use_is_kept(tables: Tables) -> None:
    table = tables.open()
    place = place_of(table)
    word = layout.PAGE_BYTES // 8 + place.slot * layout.SLOT_WORDS + layout.SEEN_MS
    table.seen(place, NOW + 1000)
    assert table.words[word] == NOW, "written once a minute at most"
    table.seen(place, NOW + 60_000)
    assert table.words[word] == NOW + 60_000
    table.seen(place, NOW)
    assert table.words[word] == NOW, "a moment in the future is not believed"


@pytest.mark.parametrize("writes", range(7))
def test_whoever_dies_between_two_writes_leaves_the_old_word_or_the_new(tables: Tables, writes: int) -> None:
    dying, other = tables.open(), tables.open()
    place = place_of(other)
    other.write(place, 5)
    memory = dying.words
    dying.words = DyingMemory(memory, Lifetime(writes))  # type: ignore[assignment]

    def say_more() -> None:
        for word in (6, 7, 8):
            assert dying.lock()
            dying.write(place, word)
            dying.unlock()

    with pytest.raises(Killed):
        say_more()
    dying.words = memory
    assert other.read(place) in {5, 6, 7, 8}
    seen = other.sequence
    dying.unlock()  # as the kernel does
    assert other.lock()
    other.write(place, 9)
    other.unlock()
    assert other.changed_since(seen) == [place.slot]
    assert other.read(place) == 9


@pytest.mark.parametrize("writes", range(4))
def test_whoever_dies_while_it_takes_a_place_leaves_one_for_the_next(tables: Tables, writes: int) -> None:
    dying, other = tables.open(), tables.open()
    memory = dying.words
    dying.words = DyingMemory(memory, Lifetime(writes))  # type: ignore[assignment]
    with pytest.raises(Killed):
        dying.claim(KEY, NOW)
    dying.words = memory
    place = place_of(other)
    assert other.read(place) == 0
    assert place_of(dying) == place


@pytest.mark.parametrize(
    ("now_ms", "boot_id", "known"),
    [
        (NOW + STALE_MS, "boot-1", True),
        (NOW + STALE_MS + 1, "boot-1", False),
        (NOW, "boot-2", False),
        (NOW - 900, "boot-1", True),
        (NOW - 3_600_000, "boot-1", False),
        (100, "boot-1", False),
    ],
    ids=["in use", "long ago", "another boot", "a moment back", "clock an hour back", "clock began anew"],
)
def test_what_is_old_or_of_another_time_is_forgotten(
    tables: Tables, now_ms: int, boot_id: str, known: bool
) -> None:
    table = tables.open()
    table.write(place_of(table), 5)
    later = tables.open(now_ms, boot_id)
    assert later.read(place_of(later, now_ms=now_ms)) == (5 if known else 0)


def test_who_has_the_file_open_when_it_is_emptied_finds_its_place_anew(tables: Tables) -> None:
    stopped = tables.open()
    place = place_of(stopped)
    stopped.write(place, 5)
    before = stopped.sequence
    later = NOW + STALE_MS + 1
    fresh = tables.open(later)
    assert stopped.changed_since(before) is None
    assert stopped.read(place) == -1
    assert place_of(stopped, now_ms=later) == place_of(fresh, now_ms=later)


def test_the_file_is_private_whole_and_no_link(tables: Tables, tmp_path: Path) -> None:
    tables.open()
    status = tables.path.stat()
    assert stat.S_IMODE(status.st_mode) == 0o600
    assert status.st_size == layout.FILE_BYTES
    assert status.st_blocks * 512 >= layout.FILE_BYTES, "no holes: a full disk must not kill a worker"
    tables.path.rename(tmp_path / "elsewhere")
    tables.path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"):
        tables.open()


@pytest.mark.parametrize("content", [b"", b"something else", bytes(layout.FILE_BYTES)])
def test_a_file_of_another_kind_is_replaced(tables: Tables, content: bytes) -> None:
    tables.path.write_bytes(content)
    table = tables.open()
    table.write(place_of(table), 5)
    again = tables.open()
    assert again.read(place_of(again)) == 5


def test_a_holder_that_does_not_move_holds_nobody_up(tables: Tables) -> None:
    stopped, other = tables.open(), tables.open()
    place = place_of(other)
    assert stopped.lock()
    tables.paused.clear()
    assert not other.lock()
    assert 0.001 < sum(tables.paused) < 0.005
    tables.paused.clear()
    assert not other.lock()
    assert not tables.paused, "a stopped holder costs a wait once, not at every change"
    other.write(place, 5)
    assert stopped.read(place) == 5
    stopped.unlock()
    assert other.lock()


def test_opening_gives_up_on_who_never_ends_it(tables: Tables) -> None:
    description = os.open(tables.path.with_name("health.bin.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(description, fcntl.LOCK_EX)
        with pytest.raises(HealthError, match="does not move"):
            tables.open()
        assert 0.4 < sum(tables.paused) < 0.6
    finally:
        os.close(description)
    tables.open()
