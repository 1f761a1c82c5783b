"""The notations that people write, and the numbers they stand for (SPEC section 2)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.kernel.units import (
    COUNT_MAX,
    Rate,
    parse_duration_ms,
    parse_percent,
    parse_rate,
    parse_rates,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "ms"),
    [("250ms", 250), ("5s", 5_000), ("2m", 120_000), ("1h", 3_600_000), ("30d", 2_592_000_000), ("0s", 0)],
)
def test_durations(text: str, ms: int) -> None:
    assert parse_duration_ms(text) == ms


@pytest.mark.parametrize(
    "text", ["", "5", "s", "-5s", "5 s", "5S", "1.5s", "5s ", "1h30m", "\u0665s", "9999999999s", "5s\n"]
)
def test_durations_refused(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration_ms(text)


@pytest.mark.parametrize(
    ("text", "size"), [("512B", 512), ("64KiB", 65_536), ("2MiB", 2_097_152), ("1GiB", 1 << 30), ("0B", 0)]
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "64", "64KB", "64kib", "64 KiB", "-1B", "1.5MiB", "\u0666B", "1B\n"])
def test_sizes_refused(text: str) -> None:
    with pytest.raises(ValueError, match="size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("100/second", Rate(100, 1_000)),
        ("10/second burst 20", Rate(10, 1_000, 20)),
        ("2000 / minute", Rate(2000, 60_000)),
        ("1/hour", Rate(1, 3_600_000)),
        (" 7/day ", Rate(7, 86_400_000)),
        ("1000000/month", Rate(1_000_000, 0)),
        (f"{COUNT_MAX}/second", Rate(COUNT_MAX, 1_000)),
    ],
)
def test_rates(text: str, rate: Rate) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize(
    "text",
    ["", "100", "/second", "0/second", "-1/second", "1/week", "1/seconds", "1.5/second", "1/second burst", "1/second burst 0", "1/month burst 5",
     f"{COUNT_MAX + 1}/second", f"1/second burst {COUNT_MAX + 1}", "\u0661/second", "1/second;2/minute"],
)  # fmt: skip
def test_rates_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_rate(text)


def test_several_rates_are_joined_by_semicolons() -> None:
    assert parse_rates("10/second; 10/minute burst 5") == [Rate(10, 1_000), Rate(10, 60_000, 5)]
    with pytest.raises(ValueError):
        parse_rates("10/second;")


@given(
    st.integers(1, COUNT_MAX),
    st.sampled_from([1_000, 60_000, 3_600_000, 86_400_000, 0]),
    st.integers(0, COUNT_MAX),
)
def test_a_rate_prints_as_it_is_written(count: int, period_ms: int, burst: int) -> None:
    rate = Rate(count, period_ms, burst if period_ms else 0)
    assert parse_rate(str(rate)) == rate


@pytest.mark.parametrize(("text", "share"), [("0%", 0), ("50%", 50), ("100%", 100)])
def test_percents(text: str, share: int) -> None:
    assert parse_percent(text) == share


@pytest.mark.parametrize("text", ["", "50", "101%", "-1%", "5.5%", "50 %", "%"])
def test_percents_refused(text: str) -> None:
    with pytest.raises(ValueError, match="share"):
        parse_percent(text)
