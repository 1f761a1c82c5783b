"""Ledger time only goes forward, and no clock that anybody moves makes a key live shorter (invariant I7)."""

import pytest

from faregate.stores.ledger.embedded.clock import BOOT_MS_MAX, LedgerClock, Mark, Reading, SystemClocks, begin
from tests.stores.ledger.embedded.material import Clocks

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
MARK = Mark(50_000, Reading(b"b" * 16, 1_000_000, 1_700_000_000_000))


@pytest.mark.parametrize(
    ("now", "latest_ms", "latest_wall_ms", "expected"),
    [
        pytest.param(Reading(b"b" * 16, 1_007_000, 0), 50_000, 0, 57_000, id="same boot: exactly, whatever the wall clock"),
        pytest.param(Reading(b"b" * 16, 1_000_000 + 30 * DAY_MS, 5), 0, 0, 50_000 + 30 * DAY_MS, id="same boot, a month"),
        pytest.param(Reading(b"b" * 16, 900_000, 0), 60_000, 0, 60_000, id="a machine set back to a copy of itself"),
        pytest.param(Reading(b"c" * 16, 10, 1_700_000_060_000), 50_000, 0, 110_000, id="a boot: as the wall clock says"),
        pytest.param(Reading(b"c" * 16, 10, 1_700_000_060_000), 80_000, 1_700_000_030_000, 110_000, id="from the last record"),
        pytest.param(Reading(b"c" * 16, 10, 1_600_000_000_000), 50_000, 0, 50_000, id="a boot into the past: no time"),
        pytest.param(Reading(b"c" * 16, 10, 1_900_000_000_000), 50_000, 0, 50_000 + BOOT_MS_MAX, id="into the future: an hour"),
    ],
)  # fmt: skip
def test_what_passed_while_no_process_was_there(
    now: Reading, latest_ms: int, latest_wall_ms: int, expected: int
) -> None:
    assert begin(now, MARK, latest_ms, latest_wall_ms) == expected


def test_a_wall_clock_that_jumps_changes_nothing_while_it_runs() -> None:
    clocks = Clocks()
    clock = LedgerClock(clocks)
    before = clock.now_ms
    for jump in (-10 * DAY_MS, 20 * DAY_MS, -DAY_MS):
        clocks.wall_ms += jump
        clock.look()
        assert clock.now_ms == before
    clocks.boot_ms += 1_234
    clock.look()
    assert clock.now_ms == before + 1_234
    clocks.boot_ms -= 5_000
    clock.look()
    assert clock.now_ms == before + 1_234


def test_the_machines_own_clocks_are_read() -> None:
    clocks = SystemClocks()
    one, two = clocks.read(), clocks.read()
    assert one.boot == two.boot != bytes(16)
    assert 0 < one.boot_ms <= two.boot_ms
