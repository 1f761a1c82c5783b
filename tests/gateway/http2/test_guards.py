"""Rates and caps of one HTTP/2 connection, each at its bound and one above it."""

import pytest

from faregate.gateway.http2.frames import ENHANCE_YOUR_CALM, ConnectionFault
from faregate.gateway.http2.guards import (
    BLOCK_BYTES_MAX,
    CONTINUATIONS_MAX,
    EARLY_RESETS_MAX,
    EMPTY_DATA,
    EMPTY_UPDATES,
    IDLE_FRAMES,
    LIFE_MAX,
    OUR_RESETS_MAX,
    PINGS,
    RESETS,
    SETTINGS,
    Guards,
    check_block,
)

RATES = [(PINGS, 100), (SETTINGS, 50), (EMPTY_DATA, 100), (EMPTY_UPDATES, 100), (RESETS, 100)]
LIFE_CAPPED = [PINGS, SETTINGS, EMPTY_DATA, EMPTY_UPDATES, IDLE_FRAMES]


@pytest.mark.parametrize(("kind", "rate"), RATES)
def test_a_second_s_worth_at_once_passes_and_one_more_does_not(kind: int, rate: int) -> None:
    guards = Guards()
    for _ in range(rate):
        guards.count(kind, 5.0)
    with pytest.raises(ConnectionFault) as fault:
        guards.count(kind, 5.0)
    assert fault.value.code == ENHANCE_YOUR_CALM


@pytest.mark.parametrize(("kind", "rate"), RATES)
def test_the_rate_itself_may_go_on(kind: int, rate: int) -> None:
    guards = Guards()
    for n in range(min(LIFE_MAX, rate * 20)):
        guards.count(kind, 5.0 + n / rate)


@pytest.mark.parametrize("kind", LIFE_CAPPED)
def test_however_slowly_they_come_a_connection_s_life_has_a_cap(kind: int) -> None:
    guards = Guards()
    for n in range(LIFE_MAX):
        guards.count(kind, float(n))
    with pytest.raises(ConnectionFault) as fault:
        guards.count(kind, float(LIFE_MAX))
    assert fault.value.code == ENHANCE_YOUR_CALM


def test_resets_before_an_answer_are_few_in_a_connection_s_life_and_others_are_not_counted() -> None:
    guards = Guards()
    for n in range(1000):
        guards.stream_reset(float(n), answered=True)
    for n in range(EARLY_RESETS_MAX):
        guards.stream_reset(1000.0 + n, answered=False)
    with pytest.raises(ConnectionFault, match="early_resets"):
        guards.stream_reset(2000.0, answered=False)


def test_a_peer_may_make_us_reset_only_so_many_streams() -> None:
    guards = Guards()
    for _ in range(OUR_RESETS_MAX):
        guards.we_reset()
    with pytest.raises(ConnectionFault, match="made_us_reset"):
        guards.we_reset()


def test_a_field_block_has_a_bound_in_bytes_and_in_frames() -> None:
    check_block(BLOCK_BYTES_MAX, CONTINUATIONS_MAX)
    for too_much in ((BLOCK_BYTES_MAX + 1, 1), (0, CONTINUATIONS_MAX + 1)):
        with pytest.raises(ConnectionFault) as fault:
            check_block(*too_much)
        assert fault.value.code == ENHANCE_YOUR_CALM
