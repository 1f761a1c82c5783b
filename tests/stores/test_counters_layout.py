"""Sizes and calendars on which everything else rests."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.stores import counters_layout as layout
from faregate.stores.counters_layout import Kind


@pytest.mark.parametrize("period_ms", sorted(layout.WINDOWS))
def test_a_call_is_remembered_for_1_006_to_1_014_periods(period_ms):
    width, period = layout.bucket_width_ns(period_ms), period_ms * 1_000_000
    assert 1.006 * period <= 127 * width
    assert 128 * width <= 1.014 * period


def test_a_slot_holds_its_head_and_its_body():
    assert layout.BODY_WORD * 8 == layout.BODY_CELL * 4
    assert layout.BODY_CELL * 4 + layout.BODY_CELLS * 4 == layout.SLOT_BYTES
    assert layout.WORKERS_MAX <= layout.BODY_CELLS


def test_every_kind_has_an_overflow_slot_of_its_own():
    assert min(Kind) > 0, "slot 0 holds the bitmap"
    assert max(Kind) < layout.RESERVED_SLOTS
    assert len(set(Kind)) == len(Kind.__members__)


def test_the_bitmap_fits_into_the_body_of_its_slot():
    assert layout.PARTITION_SLOTS // 8 <= layout.BODY_CELLS * 4


def test_the_head_of_the_file_ends_before_what_workers_write_there():
    assert layout.FILE_HEAD.size <= layout.CELLS_USED_OFFSET < layout.PAGE_BYTES


@given(st.integers(31_536_000, 32_503_593_600).map(lambda wall: datetime.fromtimestamp(wall, UTC)))
def test_calendar_months_begin_and_end_with_those_of_utc(moment):
    period = layout.calendar_period(Kind.CALENDAR_MONTH, moment.timestamp())
    start, end = (layout.calendar_start(Kind.CALENDAR_MONTH, period + more) for more in (0, 1))
    first = moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    assert start == first.timestamp()
    assert end == first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1).timestamp()


@pytest.mark.parametrize("kind", sorted(set(layout.CALENDARS.values())))
def test_calendar_periods_follow_each_other_without_gap(kind):
    wall = datetime(2028, 2, 29, 23, 59, 59, tzinfo=UTC).timestamp()
    period = layout.calendar_period(kind, wall)
    end = layout.calendar_start(kind, period + 1)
    assert layout.calendar_start(kind, period) <= wall < end
    assert layout.calendar_period(kind, end - 0.001) == period
    assert layout.calendar_period(kind, end) == period + 1
