"""Slow start: what part of its share a target gets that is new or comes back."""

from typing import Final

SLOW_START_S: Final = 10.0
"""A new or returning target rises from ``SLOW_START_FROM`` to its full share in this time: caches and pools
are cold.
"""
SLOW_START_FROM: Final = 0.1
_SLOW_START_STEPS: Final = 20


def slow_start_ramp(age_s: float) -> float:
    """Part of its full share that a target gets ``age_s`` after it came (back), in 20 steps so that tables
    live long.
    """
    if age_s >= SLOW_START_S:
        return 1.0
    step = int(max(age_s, 0.0) / SLOW_START_S * _SLOW_START_STEPS)
    return SLOW_START_FROM + (1.0 - SLOW_START_FROM) * step / _SLOW_START_STEPS
