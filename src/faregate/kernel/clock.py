"""Time, read at the edge and passed inwards as numbers.

Steps and stores never look at a clock: the worker reads both once per event and hands the readings on, so
that tests can say what time it is. Durations and limits use ``monotonic`` time, which all processes of a
machine share (CLOCK_MONOTONIC); calendar periods, token lifetimes and log lines use ``wall`` time.
"""

import time
from typing import Protocol


class Clock(Protocol):
    """Two readings: ``monotonic()`` in seconds since an arbitrary start, ``wall()`` in seconds since the
    epoch, UTC.
    """

    def monotonic(self) -> float: ...

    def wall(self) -> float: ...


class SystemClock:
    """The machine's own clock."""

    monotonic = staticmethod(time.monotonic)
    wall = staticmethod(time.time)
