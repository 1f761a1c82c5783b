"""The notations people write (SPEC section 2) and the numbers they stand for."""

import re
from typing import Final, NamedTuple

_DURATION: Final = re.compile(r"([0-9]{1,9})(ms|s|m|h|d)")
_DURATION_MS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_SIZE: Final = re.compile(r"([0-9]{1,12})(B|KiB|MiB|GiB)")
_SIZE_BYTES: Final = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_RATE: Final = re.compile(r"([0-9]{1,12})\s*/\s*(second|minute|hour|day|month)(?:\s+burst\s+([0-9]{1,12}))?")
_PERIOD_MS: Final = {"second": 1_000, "minute": 60_000, "hour": 3_600_000, "day": 86_400_000, "month": 0}
_PERCENT: Final = re.compile(r"([0-9]{1,3})%")

COUNT_MAX: Final = 1_000_000_000
"""The largest count of a rate or quota: what one 32-bit counter holds with room to spare."""


class Rate(NamedTuple):
    """``count`` per ``period_ms``; ``period_ms`` 0 is a calendar month; ``burst`` 0 is a sliding window."""

    count: int  # type: ignore[assignment]  # SPEC's word; nobody counts a rate's members
    period_ms: int
    burst: int = 0

    def __str__(self) -> str:
        unit = next(unit for unit, ms in _PERIOD_MS.items() if ms == self.period_ms)
        return f"{self.count}/{unit}" + (f" burst {self.burst}" if self.burst else "")


def parse_duration_ms(text: str) -> int:
    """Milliseconds of ``250ms``, ``5s``, ``2m``, ``1h``, ``30d``. Raises ValueError."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError("expected a duration such as 250ms, 5s, 2m, 1h or 30d")
    return int(match[1]) * _DURATION_MS[match[2]]


def parse_size(text: str) -> int:
    """Bytes of ``512B``, ``64KiB``, ``2MiB``, ``1GiB``. Raises ValueError."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError("expected a size such as 64KiB, 2MiB or 1GiB")
    return int(match[1]) * _SIZE_BYTES[match[2]]


def parse_rate(text: str) -> Rate:
    """One rate: ``100/second``, ``10/second burst 20``, ``1000000/month``. Raises ValueError."""
    match = _RATE.fullmatch(text.strip())
    if match is None:
        raise ValueError("expected a rate such as 100/second, 10/second burst 20 or 2000/minute")
    rate = Rate(int(match[1]), _PERIOD_MS[match[2]], int(match[3] or 0))
    if not 1 <= rate.count <= COUNT_MAX or rate.burst > COUNT_MAX or (match[3] and not rate.burst):
        raise ValueError(f"counts must lie between 1 and {COUNT_MAX}")
    if rate.burst and not rate.period_ms:
        raise ValueError("a calendar month takes no burst")
    return rate


def parse_rates(text: str) -> list[Rate]:
    """Several rates joined by ``;``. Raises ValueError."""
    return [parse_rate(part) for part in text.split(";")]


def parse_percent(text: str) -> int:
    """0 to 100 of ``50%``. Raises ValueError."""
    match = _PERCENT.fullmatch(text)
    if match is None or int(match[1]) > 100:
        raise ValueError("expected a share such as 50%")
    return int(match[1])
